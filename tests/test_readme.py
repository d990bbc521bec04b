"""The README and the pages name what exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_file_tree_names_every_folder_of_code_and_no_other() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = text[text.index("pyproject.toml  constraints.txt") :]
    named = set(re.findall(r"(?<![.\w])(\w+)/", tree[: tree.index("```")]))
    roots = ("pipeline/pivotmine", "stages/pivotmine_stages", "trainer/pivotmine_trainer")
    folders = {path.parent.name for root in roots for path in (ROOT / root).glob("*/__init__.py")}
    assert folders <= named
    assert [name for name in sorted(named) if not any(ROOT.glob(f"**/{name}"))] == []


def test_every_option_of_the_trainer_exists() -> None:
    part = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = "\n".join(re.findall(r"(?:pivotmine-train|trl grpo)[^\n`]*", part))
    used = {*re.findall(r"--([a-z_]+)(?= )", commands), *re.findall(r"`--([a-z_]+)[^`]*`", part)}
    assert {"dataset", "method", "retrieval_prompts", "echo_weight"} <= used
    declared = (ROOT / "trainer/pivotmine_trainer/cli/arguments.py").read_text(encoding="utf-8")
    of_trl = {
        "output_dir",
        "use_peft",
        "report_to",
        "use_vllm",
        "resume_from_checkpoint",
        "reward_funcs",
        "dataset_name",
    }
    assert [
        name for name in sorted(used - of_trl) if not re.search(rf"(^    {name}:|\"--{name}\")", declared, re.M)
    ] == []


def test_the_readme_fits_in_a_minute() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 8000


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name in ("README.md", "guide.md", "training.md")])
def test_every_command_and_flag_of_a_page_exists(page: Path) -> None:
    from typer.main import get_command

    from pivotmine_stages.cli.app import app

    commands = get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    used = re.findall(r"^pivotmine (\w+) (.*)$", text, flags=re.MULTILINE)
    assert used
    for command, rest in used:
        flags = {flag for parameter in commands[command].params for flag in parameter.opts}
        assert set(re.findall(r"(?<!\S)--[\w-]+", rest)) <= flags, command
