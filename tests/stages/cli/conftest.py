import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Command
from trajectories import order_trajectory, write_jsonl

from pivotmine_stages.cli.app import main


@pytest.fixture
def pivotmine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Run a command; returns (exit code, standard output, standard error)."""
    # A busy machine would announce a command that takes long, in front of what the tests expect.
    monkeypatch.setattr("pivotmine.progress.SILENT_S", 600.0)

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pivotmine", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        captured = capsys.readouterr()
        return int(done.value.code or 0), captured.out, captured.err

    yield command
    log = logging.getLogger("pivotmine")
    log.setLevel(logging.NOTSET)
    log.handlers.clear()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(
        tmp_path / "orders.jsonl", [order_trajectory(f"B{i}", reward=i % 2, task_id=i) for i in range(6)]
    )
