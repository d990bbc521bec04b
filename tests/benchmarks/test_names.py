"""`python -m benchmarks NAME ...`: names come first, and values of options are not taken for names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_value_that_is_called_like_a_benchmark_is_a_value() -> None:
    asked = [sys.executable, "-m", "benchmarks", "scale", "--states", "train"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert found.returncode == 2
    assert found.stderr.endswith("argument --states: invalid int value: 'train'\n")
