"""vLLM's processes end with their driver, the process that opened the engine, however that process ends.

Left to itself, vLLM waits for ever for the next request of a driver that was killed, and holds its GPU's memory. So
each of its workers looks for the driver twice a second and, where it is gone, kills vLLM's process above it, where
there is one, and itself. Nothing is found by a name or a number that may have become another's: the driver is named by
its start time too, and only a parent and the worker itself are killed. Before there is a worker, no memory of a GPU is
held; vLLM's process then gives up five minutes after its driver's end.

On Linux; elsewhere nothing is done.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, Self

DRIVER = "PIVOTMINE_VLLM_DRIVER"
"""Environment variable that vLLM's processes inherit: the driver's number and start time."""
INTERVAL_S = 0.5
EXTENSION = f"{__name__}.EndWithDriver"
"""For vLLM's option `worker_extension_cls`."""


def name_driver() -> None:
    """Tell the processes that vLLM is about to start that this one is their driver."""
    pid = os.getpid()
    started = start_time(pid)
    if started:
        os.environ[DRIVER] = f"{pid} {started}"


class EndWithDriver:
    """A base that vLLM gives its worker: with the worker, before it touches a GPU, the watch begins."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        if DRIVER in os.environ:
            pid, started = os.environ[DRIVER].split()
            threading.Thread(target=_watch, args=(int(pid), started), name="driver-watch", daemon=True).start()
        return super().__new__(cls)


def start_time(pid: int) -> str:
    """When a running process was started, in ticks since the boot; empty: no such process runs, or this is no Linux."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # One that has ended stays in the list until its own parent has asked for its exit status.
    return "" if fields[0] in "ZXx" else fields[19]


def _watch(driver: int, started: str) -> None:
    while _runs(driver, started):
        time.sleep(INTERVAL_S)
    above, parent = multiprocessing.parent_process(), os.getppid()
    if above is not None and above.pid == parent != driver:
        os.kill(parent, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _runs(pid: int, started: str) -> bool:
    try:
        return start_time(pid) == started
    except OSError:  # no file can be opened just now
        return True
