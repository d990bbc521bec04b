"""Worker processes end with their parent, by a kill, SIGTERM or an error, and return memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pivotmine_stages.engines.vllm.end_with_driver import start_time
from pivotmine_stages.parallel import process_map

_SCRIPT = """
import os, sys, time
from pathlib import Path
from pivotmine_stages.parallel import process_map
from pivotmine_stages.termination import on_sigterm

def stay(path):
    path.write_text(str(os.getpid()))
    time.sleep(3600)

if __name__ == "__main__":
    on_sigterm()
    with process_map(2) as over:
        for _ in over(stay, [Path(name) for name in sys.argv[1:]]):
            pass
"""


def _worker(path: Path) -> tuple[int, str]:
    """The number of the worker that writes it here, and its start time."""
    while not (path.exists() and path.read_text()):
        time.sleep(0.01)
    return (pid := int(path.read_text())), start_time(pid)


def _wait_for_the_end(workers: list[tuple[int, str]]) -> None:
    """Returns once none of them runs; else pytest's own limit ends the test."""
    deadline = time.monotonic() + 60
    while any(started and start_time(pid) == started for pid, started in workers):
        assert time.monotonic() < deadline, "workers outlive the process that started them"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("by", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)]
)
def test_busy_workers_end_with_their_parent(by: signal.Signals, code: int, tmp_path: Path) -> None:
    script, marks = tmp_path / "script.py", [tmp_path / "a", tmp_path / "b"]
    script.write_text(_SCRIPT)
    with subprocess.Popen([sys.executable, script, *marks], stderr=subprocess.DEVNULL) as process:
        workers = [_worker(mark) for mark in marks]
        os.kill(process.pid, by)
        try:
            assert process.wait(60) == code
        finally:
            process.kill()
    _wait_for_the_end(workers)


def _mark_and_stay(path: Path) -> None:
    path.write_text(str(os.getpid()))
    if path.name != "quick":
        time.sleep(3600)


def test_an_error_in_the_middle_does_not_wait_for_the_workers(tmp_path: Path) -> None:
    workers: list[tuple[int, str]] = []
    with pytest.raises(ValueError, match="enough"), process_map(2) as over:  # noqa: PT012
        for _ in over(_mark_and_stay, [tmp_path / "quick", tmp_path / "slow", tmp_path / "slow2"]):
            workers.append(_worker(tmp_path / "slow"))
            raise ValueError("enough")
    _wait_for_the_end(workers)


def _memory_pool(_: int) -> str:
    import pyarrow as pa

    return pa.default_memory_pool().backend_name


def test_workers_give_back_what_arrow_frees() -> None:
    with process_map(2) as over:
        assert list(over(_memory_pool, range(2))) == ["system", "system"]
