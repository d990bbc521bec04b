"""End vLLM's processes with their driver, the process that opened the engine, even if the driver was killed.

Without this, vLLM waits for ever for the next request of a killed driver and keeps the GPU's memory. Each vLLM worker
therefore checks for the driver twice a second. If the driver is gone, the worker kills vLLM's process above it, if
there is one, and then itself. A process id may be reused, so the driver is identified by its start time too, and a
worker kills only its parent and itself. Before a worker exists, no GPU memory is held; vLLM's process then gives up
five minutes after its driver's end.

This works on Linux; elsewhere nothing is done.
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
"""Environment variable that vLLM's processes inherit: the driver's process id and start time."""
INTERVAL_S = 0.5
EXTENSION = f"{__name__}.EndWithDriver"
"""The value of vLLM's option `worker_extension_cls`."""


def name_driver() -> None:
    """Name this process as the driver of the processes that vLLM starts next."""
    pid = os.getpid()
    started = start_time(pid)
    if started:
        os.environ[DRIVER] = f"{pid} {started}"


class EndWithDriver:
    """Base class that vLLM gives its worker; it starts the watch before the worker touches a GPU."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        if DRIVER in os.environ:
            pid, started = os.environ[DRIVER].split()
            threading.Thread(target=_watch, args=(int(pid), started), name="driver-watch", daemon=True).start()
        return super().__new__(cls)


def start_time(pid: int) -> str:
    """The start time of a running process, in ticks since boot; empty if it does not run, or not on Linux."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # An ended process stays listed as Z or X until its parent has asked for its exit status.
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
    except OSError:  # too many open files, for example
        return True
