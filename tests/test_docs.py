"""The commands and scripts in the README and in docs/ run as they are written, and the site builds without a warning.

A block is left out only if a comment above it says why: `<!-- not run: needs a GPU -->`. Two names stand for the
reader's own files: `my.jsonl` is a part of the desk's trajectories here, and `Qwen/Qwen3-8B` is the desk's policy.
"""

import os
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").rglob("*.md") if not page.is_symlink())]
DESK = ROOT / "data" / "desk"
BLOCK = re.compile(
    r"(?m)(?:^<!-- not run: (?P<why>.+) -->\n)?^```(?P<kind>sh|console|python)\n(?P<text>.*?)^```$", re.DOTALL
)
REPLACED = {
    "data/desk/trajectories.jsonl": "my.jsonl",
    "Qwen/Qwen3-8B": str(DESK / "policy"),
    "runs/desk-transformers": "runs/mine",
}
SETTINGS = "--max-new-tokens 64"  # the desk's context is short


def blocks(page: Path) -> list[tuple[str, str]]:
    """Kind and text of the blocks of a page that are to be run."""
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [(block["kind"], block["text"]) for block in found if block["why"] is None]


def commands(kind: str, text: str) -> list[str]:
    """The commands of a block; those of a console stand behind a `$`."""
    lines = text.replace("\\\n", " ").splitlines()
    if kind == "console":
        return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [line for line in lines if line.strip()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a reader's files, and the run that the pages speak of."""
    here = tmp_path_factory.mktemp("reader")
    (here / "data").symlink_to(ROOT / "data")
    (here / "trainer").symlink_to(ROOT / "trainer")
    with (DESK / "trajectories.jsonl").open(encoding="utf-8") as lines:
        (here / "my.jsonl").write_text("".join(islice(lines, 12)), encoding="utf-8")
    (here / "run.toml").write_text('[verifiers.tool_call]\nfree_text = ["*.note"]\n', encoding="utf-8")
    binaries = here / "bin"
    binaries.mkdir()
    command = f'#!/bin/sh\nexec "{sys.executable}" -m pivotmine_stages "$@"\n'
    (binaries / "pivotmine").write_text(command, encoding="utf-8")
    (binaries / "pivotmine").chmod(0o755)
    shell(here, "pivotmine run my.jsonl --run runs/mine --model Qwen/Qwen3-8B --num-samples 16")
    return here


def shell(folder: Path, command: str) -> None:
    for written, meant in REPLACED.items():
        command = command.replace(written, meant)
    if re.match(r"pivotmine (run|rollout)\b", command) and "--max-new-tokens" not in command:
        command = f"{command} {SETTINGS}"
    run(folder, "bash", "-c", command)


def run(folder: Path, *command: str) -> None:
    environment = os.environ | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_what_a_page_says_runs(page: Path, folder: Path) -> None:
    for kind, text in blocks(page):
        if kind == "python":
            run(folder, sys.executable, "-c", text)
        for command in commands(kind, text) if kind != "python" else ():
            shell(folder, command)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert {
        str(page.with_suffix(".md").relative_to(tmp_path / "site")) for page in (tmp_path / "site").rglob("*.html")
    } >= pages


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert named == {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
