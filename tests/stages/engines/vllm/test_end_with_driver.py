"""vLLM's processes end with the process that opened the engine, even if that is killed; no others end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest

from pivotmine_stages.engines.vllm.end_with_driver import DRIVER, INTERVAL_S, start_time

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is done")

VLLM = """
import sys
from pivotmine_stages.engines import open_engine
from pivotmine.sampling.settings import Sampling
from pivotmine_stages.engines.options import EngineOptions
from pivotmine_stages.engines.protocol import Request

if __name__ == "__main__":
    engine = open_engine("vllm", EngineOptions(model=sys.argv[1], sampling=Sampling(max_new_tokens=8)))
    (reply,) = engine.sample([Request(state_id="s", prompt_ids=[5, 6], sample_indices=(0, 1))])
    print("sampled", len(reply.samples), flush=True)
    input()
    engine.close()
    print("closed", flush=True)
    input()
"""

FAMILY = """
import multiprocessing, subprocess, sys, time
from pivotmine_stages.engines.vllm.end_with_driver import EndWithDriver, name_driver

def worker():
    EndWithDriver(vllm_config=None, rank=0)
    print("started", flush=True)
    time.sleep(600)

def core_above_a_worker():
    multiprocessing.get_context("fork").Process(target=worker).start()
    time.sleep(600)

if __name__ == "__main__":
    name_driver()
    multiprocessing.get_context("fork").Process(target=globals()[sys.argv[1]]).start()
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.DEVNULL)
    time.sleep(600)
"""

WORKER = """
import time
from pivotmine_stages.engines.vllm.end_with_driver import EndWithDriver
EndWithDriver()
time.sleep(600)
"""


@contextlib.contextmanager
def started(script: str, *arguments: str, **environment: str) -> Generator[tuple[subprocess.Popen[str], set[int]]]:
    """A process that runs the script, and the set of its descendants' numbers, to be filled in: all are ended."""
    command = [sys.executable, "-c", script, *arguments]
    pipe, said = subprocess.PIPE, {**os.environ, **environment}
    descendants: set[int] = set()
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=said) as process:
        try:
            yield process, descendants
        finally:
            process.kill()
            for pid in descendants:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def hears(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{words}\n"


def says(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def below(process: subprocess.Popen[str]) -> dict[int, str]:
    """What runs below it: number and name."""
    found = psutil.Process(process.pid).children(recursive=True)
    return {child.pid: child.name() for child in found if child.status() != psutil.STATUS_ZOMBIE}


def gone(pids: set[int], within_s: float = 20.0) -> bool:
    deadline = time.monotonic() + within_s
    while any(start_time(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(start_time(pid) for pid in pids)


def test_a_driver_that_is_killed_takes_all_of_vllm_with_it(coin_policy: Path) -> None:
    with started(VLLM, str(coin_policy)) as (driver, pids):
        hears(driver, "sampled 2")
        names = below(driver)
        pids |= set(names)
        assert {"VLLM::EngineCore"} < set(names.values())
        driver.kill()
        driver.wait()
        assert gone(pids)


def test_an_engine_that_is_closed_leaves_nothing_behind(coin_policy: Path) -> None:
    with started(VLLM, str(coin_policy)) as (driver, pids):
        hears(driver, "sampled 2")
        pids |= set(below(driver))
        says(driver)
        hears(driver, "closed")
        assert [name for name in below(driver).values() if name.startswith("VLLM")] == []
        says(driver)
        assert driver.wait() == 0
        assert gone(pids)


@pytest.mark.parametrize(("core", "num_processes"), [("worker", 1), ("core_above_a_worker", 2)])
def test_whoever_holds_the_worker_ends_and_what_else_the_driver_started_lives_on(core: str, num_processes: int) -> None:
    with started(FAMILY, core) as (driver, pids):
        hears(driver, "started")
        while len(below(driver)) <= num_processes:
            time.sleep(0.01)
        pids |= set(below(driver))
        bystanders = {pid for pid in pids if psutil.Process(pid).cmdline()[-1] == "import time; time.sleep(600)"}
        driver.kill()
        assert gone(pids - bystanders)
        assert len(bystanders) == 1
        assert not gone(bystanders, 3 * INTERVAL_S)


def test_another_process_with_the_drivers_number_is_not_the_driver() -> None:
    pid = os.getpid()
    with started(WORKER, **{DRIVER: f"{pid} {start_time(pid)}1"}) as (orphan, _):
        assert orphan.wait(20) == -signal.SIGKILL
    with (
        started(WORKER, **{DRIVER: f"{pid} {start_time(pid)}"}) as (worker, _),
        pytest.raises(subprocess.TimeoutExpired),
    ):
        worker.wait(2 + 4 * INTERVAL_S)


def test_one_that_has_ended_and_was_not_asked_for_its_status_does_not_run() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert start_time(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert start_time(process.pid) == ""
    assert start_time(process.pid) == ""
