"""The run that faults are tried on: trajectories of our own, a stage as a command, and what its tables say.

Commands are children of a process that has imported everything and done nothing: each starts in a few milliseconds.
"""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from benchmarks.chaos.server import Server

from pivotmine.run import rundir

DESK = Path(__file__).parents[2] / "data/desk"
NUM_TRAJECTORIES = 12
NUM_SAMPLES = 4
STAGES = ("extract", "rollout", "score", "select")
LONGEST_S, MOST_TIMES, IDLE_CPU_S = 120.0, 5, 1.0
"""A command hangs if it is still there after LONGEST_S with less than IDLE_CPU_S of CPU time, or after MOST_TIMES as
long: on a crowded machine imports alone may take minutes."""
_OF_TIME = ("num_cached_tokens",)
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["benchmarks.chaos.imported"])


class Ended(NamedTuple):
    code: int
    """Exit code; negative: the signal that ended it."""
    err: str


class Command:
    """A command that is running."""

    def __init__(self, arguments: Sequence[object], log: Path, prepare: Callable[[], None] | None = None) -> None:
        """prepare: called in the new process before the command, to limit it."""
        self._log, given = log, [str(argument) for argument in arguments]
        self.process: BaseProcess = _context.Process(target=_run, args=(given, str(log), prepare))
        log.unlink(missing_ok=True)
        self.process.start()
        while not log.exists() and self.process.is_alive():
            time.sleep(0.002)

    def end(self) -> Ended:
        """Wait for it. One that hangs says first where its threads are."""
        for _ in range(MOST_TIMES):
            before = _cpu_s(self.process.pid)
            self.process.join(LONGEST_S)
            if _cpu_s(self.process.pid) < before + IDLE_CPU_S:
                break
        if self.process.is_alive():
            os.kill(self.process.pid or 0, signal.SIGUSR1)
            self.process.join(5)
            print(self._log.read_text(encoding="utf-8", errors="replace"))
            self.process.kill()
            self.process.join()
            return Ended(0, "Traceback: it hung")
        return Ended(self.process.exitcode or 0, self._log.read_text(encoding="utf-8", errors="replace"))


def _cpu_s(pid: int | None) -> float:
    """CPU seconds of a process so far; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _run(arguments: list[str], log: str, prepare: Callable[[], None] | None) -> None:
    from pivotmine_stages.cli.app import main

    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    with open(os.devnull, "w") as out, open(log, "wb", buffering=0) as err:  # noqa: PTH123
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
    faulthandler.register(signal.SIGUSR1, file=2)
    sys.argv = ["pivotmine", *arguments]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if prepare is not None:
        prepare()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left is the harness's own


class World(NamedTuple):
    folder: Path
    source: Path
    before: dict[str, Path]
    """By stage, the run as it is before the stage; `done`: after all of them."""
    seconds: dict[str, float]
    """What each stage takes undisturbed."""
    tables: dict[str, pl.DataFrame]
    """Those of the undisturbed run."""
    server: Server

    def command(self, stage: str, run: Path, *more: object) -> list[object]:
        """The command of a stage."""
        return {
            "extract": ["extract", self.source, "--run", run, *more],
            "rollout": ["rollout", run, *_ROLLOUT, "--base-url", self.server.address, *more],
            "score": ["score", run, *more],
            "select": ["select", run, *_SELECT, *more],
        }[stage]

    def copy(self, stage: str, name: str) -> Path:
        """A new run, as it is before a stage."""
        run = self.folder / name
        shutil.rmtree(run, ignore_errors=True)
        if self.before[stage].exists():
            shutil.copytree(self.before[stage], run)
        return run

    def run(self, *arguments: object, prepare: Callable[[], None] | None = None) -> Ended:
        """Run a command to its end."""
        return Command(arguments, self.folder / "log", prepare).end()

    def finish(self, run: Path, first: str = "extract") -> Ended | None:
        """All stages from `first` on, undisturbed; the first that fails."""
        for stage in STAGES[STAGES.index(first) :]:
            ended = self.run(*self.command(stage, run))
            if ended.code:
                return ended
        return None


_ROLLOUT = (
    *("--engine", "openai", "--policy-name", "chaos", "--model", "chaos", "--api", "chat", "--max-retries", 2),
    *("--num-samples", NUM_SAMPLES, "--max-new-tokens", 32, "--timeout-s", 2, "--concurrency", 4),
)
_SELECT = ("--strategy", "random", "--tokenizer", DESK / "policy", "--validation-share", 0.25)


def make_world(folder: Path, server: Server) -> World:
    """An undisturbed run, with a copy of it before each stage."""
    source = folder / "source.jsonl"
    source.write_text("".join(json.dumps(one) + "\n" for one in trajectories()), encoding="utf-8")
    before, seconds = {stage: folder / "before" / stage for stage in (*STAGES, "done")}, dict[str, float]()
    world = World(folder, source, before, seconds, {}, server)
    run = folder / "calm"
    world.run("--version")  # waits for the imports
    for stage in STAGES:
        if run.exists():
            shutil.copytree(run, before[stage])
        started = time.monotonic()
        ended = world.run(*world.command(stage, run))
        assert ended.code == 0, (stage, ended)
        seconds[stage] = time.monotonic() - started
    shutil.copytree(run, before["done"])
    world.tables.update(tables_of(run))
    return world


def trajectories() -> list[dict[str, Any]]:
    """Two calls and a message each, of an order desk."""
    parameters = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    tools = [
        {"type": "function", "function": {"name": name, "parameters": parameters}}
        for name in ("find_order", "cancel_order")
    ]
    return [
        {
            "messages": [
                {"role": "user", "content": f"Please cancel my order {number}."},
                _call("find_order", number),
                {"role": "tool", "tool_call_id": "c", "content": f"order {number} is open"},
                _call("cancel_order", number),
                {"role": "tool", "tool_call_id": "c", "content": "cancelled"},
                {"role": "assistant", "content": f"Order {number} is cancelled."},
            ],
            "tools": tools,
            "task_id": f"t{number}",
        }
        for number in range(NUM_TRAJECTORIES)
    ]


def _call(name: str, number: int) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps({"id": str(number)})}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": function}]}


def tables_of(run: Path) -> dict[str, pl.DataFrame]:
    """Every table but rejects, its rows in an order of their own, without what differs from run to run."""
    found: dict[str, pl.DataFrame] = {}
    for table in rundir.TABLES:
        if table != "rejects":
            rows = rundir.scan(run, table).collect().drop(*_OF_TIME, "source", strict=False)
            found[table] = rows.sort([name for name in rows.columns if not isinstance(rows[name].dtype, pl.List)])
    return found


def difference(world: World, run: Path, *, only_keys: bool = False) -> str | None:
    """How a run's tables differ from the undisturbed ones; None: they do not.

    only_keys: where a server may have said other things: which samples there are, and which are scored.
    """
    for table, rows in tables_of(run).items():
        calm = world.tables[table]
        if only_keys:
            if table not in ("rollouts", "scores"):
                continue
            rows, calm = (one.select("state_id", "sample_index").sort(pl.all()) for one in (rows, calm))
        if not rows.equals(calm):
            return f"{table} differs: {len(rows)} rows, {len(calm)} undisturbed"
    left = [path.name for path in run.rglob("*.tmp")]
    return f"left behind: {left[0]}" if left else None


def is_one_line(ended: Ended) -> str | None:
    """What is wrong with how a command ended; None: exit 0, or 1 with one line that says why."""
    if "Traceback" in ended.err or "panicked" in ended.err:
        return f"a traceback, exit {ended.code}: {ended.err.strip().splitlines()[-1][:200]}"
    if ended.code not in (0, 1):
        return f"exit {ended.code}"
    said = [line for line in ended.err.splitlines() if line.startswith("pivotmine: ")]
    return "exit 1 without a reason" if ended.code == 1 and not said else None
