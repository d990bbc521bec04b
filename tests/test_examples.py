"""The scripts in examples/ run as their docstrings say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pivotmine import open_run

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(
    ("script", "tables"),
    [
        ("mine_and_look.py", {"rollouts": 240, "profiles": 30}),
        ("own_verifier.py", {"turns": 1922, "rollouts": 0}),
        ("own_reader.py", {"trajectories": 1, "turns": 2}),
    ],
)
def test_an_example_runs(script: str, tables: dict[str, int], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, tmp_path / "run"], env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    run = open_run(tmp_path / "run")
    assert {table: len(getattr(run, table).collect()) for table in tables} == tables
    assert done.stdout


def test_every_example_is_run_here() -> None:
    marks = getattr(test_an_example_runs, "pytestmark")  # noqa: B009
    assert {path.name for path in EXAMPLES.glob("*.py")} == {script for script, _ in marks[0].args[1]}
