"""What a cell costs: every rollout turn, every token and the CPU seconds, by stage, mining included.

Turns and tokens are counted in what the stages wrote (rollouts, samples of the trainer, episodes), so work that a kill
repeats is not counted twice. CPU seconds are those of all attempts.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

SECONDS_BETWEEN_NOTES = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    turns: int = 0
    """Sampled actions."""
    generated: int = 0
    """Sampled tokens."""
    prefilled: int = 0
    """Prompt tokens that sampling computed: once for all samples of a prompt, cached ones left out."""
    trained: int = 0
    """Tokens that went forward and backward: a group's prompt once, its actions, demonstrations."""
    groups: int = 0
    dead_groups: int = 0
    """Groups in training whose rewards were all equal: they taught nothing."""
    cpu_s: float = 0.0
    """CPU seconds, starting programs included, measuring left out."""

    @property
    def tokens(self) -> int:
        """Generated, prefilled and trained together."""
        return self.generated + self.prefilled + self.trained


def total(costs: Iterable[Cost]) -> Cost:
    """The sum."""
    costs = list(costs)
    return Cost(**{one.name: sum(getattr(cost, one.name) for cost in costs) for one in fields(Cost)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the ledger."""

    stage: str
    kind: str
    """`mining` or `training`."""
    cost: Cost
    found: Mapping[str, int] = field(default_factory=dict[str, int])
    """Mining: states (or tasks) by reward class."""


def as_json(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Lines of a cell's file."""
    return [
        {"stage": one.stage, "kind": one.kind, **_rounded(asdict(one.cost)), "found": dict(one.found)}
        for one in entries
    ]


def from_json(rows: Iterable[dict[str, Any]]) -> list[Entry]:
    """What `as_json` wrote."""
    names = [one.name for one in fields(Cost)]
    return [
        Entry(stage=r["stage"], kind=r["kind"], cost=Cost(**{name: r[name] for name in names}), found=r["found"])
        for r in rows
    ]


def _rounded(cost: dict[str, Any]) -> dict[str, Any]:
    return {**cost, "cpu_s": round(cost["cpu_s"], 1)}


def stage(folder: Path, work: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns, with `cpu_s` of all attempts; kept in the folder, and done once whoever asks.

    A second process that wants the same stage waits for the first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "done.json"
    with locked(folder / "lock"):
        if not done.is_file():
            with _cpu_noted(folder):
                found = work(folder)
            notes = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("cpu-*.json"))]
            write_json(done, {**found, "cpu_s": round(sum(notes), 2)})
    return json.loads(done.read_text(encoding="utf-8"))


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Generator[bool]:
    """Hold a lock that a killed process gives back; without `wait`, whether it was free."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


@contextmanager
def _cpu_noted(folder: Path) -> Generator[None]:
    """Write this attempt's CPU seconds every other second, so that a killed one counts too."""
    note, began = folder / f"cpu-{os.getpid()}-{time.time_ns()}.json", cpu_seconds()
    ended = threading.Event()

    def write() -> None:
        while True:
            write_json(note, round(cpu_seconds() - began, 2))
            if ended.wait(SECONDS_BETWEEN_NOTES):
                return

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()
        write_json(note, round(cpu_seconds() - began, 2))


def cpu_seconds() -> float:
    """Of this process and the children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def write_json(path: Path, value: Any) -> None:
    """Written under a temporary name and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    half.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    half.replace(path)
