"""The house keeps its shape: small files, small folders, imports that point one way."""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [path for root in ("pipeline", "stages", "trainer") for path in sorted((ROOT / root).rglob("*.py"))]
MAX_FILES, MAX_LINES = 16, 450


def test_no_folder_holds_more_than_16_files() -> None:
    folders = Counter(path.parent.relative_to(ROOT) for path in SOURCES)
    exempt = {Path("pipeline/pivotmine/readers"), Path("trainer/tests")}
    large = {str(folder): number for folder, number in folders.items() if number > MAX_FILES}
    assert {folder for folder in large if Path(folder) not in exempt} == set()


def test_no_file_is_longer_than_450_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {path: length for path, length in lengths.items() if length > MAX_LINES} == {}


def test_imports_point_one_way() -> None:
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("import-linter is not installed")
    paths = ":".join(str(ROOT / root) for root in ("pipeline", "stages", "trainer"))
    done = subprocess.run(
        [command, "--no-cache", "--no-logo"], cwd=ROOT, env={"PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
