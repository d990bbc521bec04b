"""The light install: every package that the project needs, at the pinned version, each file by its hash."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def pins(path: Path) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in found}


def test_the_light_install_is_locked_by_hashes_at_the_versions_of_the_constraints() -> None:
    text = (ROOT / "requirements-light.txt").read_text(encoding="utf-8")
    locked, constrained = pins(ROOT / "requirements-light.txt"), pins(ROOT / "constraints.txt")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split(r"[<>=\[; ]", one)[0] for one in project["dependencies"]}
    assert needed <= locked.keys()
    assert not {"torch", "transformers", "vllm"} & locked.keys()
    assert {name: version for name, version in locked.items() if constrained.get(name, version) != version} == {}
    entries = re.split(r"^(?=[a-z])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)[1:]
    assert len(entries) == len(locked)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    assert not re.search(r"https?://|index-url|find-links", text)
