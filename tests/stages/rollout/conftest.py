"""A run of twelve orders."""

from pathlib import Path

import pytest
from order_samples import NUM_ORDERS
from trajectories import order_trajectory, write_jsonl

from pivotmine_stages.cli.options import extract


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve trajectories of two calls and a message: 24 states that tool_call verifies, 12 that it does not."""
    folder = tmp_path_factory.mktemp("source")
    return write_jsonl(folder / "orders.jsonl", [order_trajectory(f"B{i}", task_id=i) for i in range(NUM_ORDERS)])


@pytest.fixture
def run(source: Path, tmp_path: Path) -> Path:
    extract({}, sources=[source], run=tmp_path / "run")
    return tmp_path / "run"
