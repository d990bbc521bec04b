"""extract over many megabytes of tau-bench, against the least that any reader must do and against the usual way.

`PIVOTMINE_REAL_DATA` names the folder with tau-bench's file, `--megabytes` how much of it is made: copies of the file,
each with its own first message and its own call ids, so that neither dedupe nor compression is flattered. Measured in
one run: seconds against `json.loads` of the same lines on one core; seconds and bytes against a `datasets.map` that
writes a prompt a turn; peak memory of all processes together at `--many-megabytes` against that at `--megabytes`; and
seconds a turn where trajectories are ten times as long. Wall seconds are followed by CPU seconds, those that the processors
work: a machine that others use too makes the first longer and leaves the second nearly as they are.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from pivotmine_stages.cli.options import extract
from pivotmine_stages.extract.summary import ExtractSummary

LENGTHENING = 10


def main() -> None:
    """Print the ratios."""
    options = _options()
    if not os.environ.get("PIVOTMINE_REAL_DATA"):
        print("extract  skipped: PIVOTMINE_REAL_DATA names no folder, and the tau-bench file in it is what is copied")
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        source = folder / "source.jsonl"
        megabytes = _write(source, _copies(options.megabytes))
        print(f"extract  load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {options.num_processes} processes")
        floor = _seconds(lambda: _loads(source))
        num_turns, ours = _extract(source, folder / "run", options.num_processes)
        floor = min(floor, _seconds(lambda: _loads(source)))
        print(f"extract  {megabytes:.0f} MB: {ours}; json.loads {floor}; {_ratios(ours, floor)}")
        print(f"extract  {num_turns / ours.passed:,.0f} turns/s")
        if options.datasets:
            _against_datasets(source, folder, ours)
        _long(folder, options, num_turns, ours)
        if options.many_megabytes:
            memory = _peak_memory(source, folder / "again", options.num_processes)
            many = _write(source, _copies(options.many_megabytes))
            more = _peak_memory(source, folder / "many", options.num_processes)
            print(
                f"extract  peak memory at {megabytes:.0f} MB {memory:.0f} MB, at {many:.0f} MB {more:.0f} MB, ratio {more / memory:.2f}"
            )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks extract", description=__doc__)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--many-megabytes", type=float, default=0, help="0: peak memory is not compared")
    parser.add_argument("--num-processes", type=int, default=os.cpu_count())
    parser.add_argument("--no-datasets", dest="datasets", action="store_false", help="without the slow comparison")
    parser.add_argument("--folder", type=Path, help="where the files go; by default the system's")
    return parser.parse_args()


def _copies(megabytes: float) -> Iterator[str]:
    """Lines of tau-bench records, up to this many megabytes."""
    (file,) = (Path(os.environ["PIVOTMINE_REAL_DATA"]) / "tau-bench").glob("*.json")
    records, size, number = json.loads(file.read_text(encoding="utf-8")), 0, 0
    while size < megabytes * 1e6:
        line = json.dumps(_copy(records[number % len(records)], number // len(records))) + "\n"
        size, number = size + len(line), number + 1
        yield line


def _copy(record: dict[str, Any], number: int) -> dict[str, Any]:
    """The record with a first message and call ids of its own."""
    made = copy.deepcopy(record)
    made["traj"][0]["content"] = f"Copy {number}. {made['traj'][0]['content']}"
    for message in made["traj"]:
        for call in message.get("tool_calls") or ():
            call["id"] = f"{call['id']}_{number}"
        if "tool_call_id" in message:
            message["tool_call_id"] = f"{message['tool_call_id']}_{number}"
    return made


def _write(path: Path, lines: Iterator[str]) -> float:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(lines)
    return path.stat().st_size / 1e6


def _loads(source: Path) -> None:
    with source.open(encoding="utf-8") as file:
        for line in file:
            json.loads(line)


class Seconds(NamedTuple):
    passed: float
    worked: float
    """By all processors together."""

    def __str__(self) -> str:
        return f"{self.passed:.2f} s ({self.worked:.2f} s of work)"


def _seconds(work: Callable[[], object]) -> Seconds:
    """What a piece of work takes, its child processes included."""
    started, before = time.perf_counter(), os.times()
    work()
    return Seconds(time.perf_counter() - started, sum(os.times()[:4]) - sum(before[:4]))


def _ratios(a: Seconds, b: Seconds) -> str:
    return f"ratio {a.passed / b.passed:.2f} ({a.worked / b.worked:.2f} of work)"


def _extract(source: Path, run: Path, num_processes: int) -> tuple[int, Seconds]:
    """Number of turns, and what extract takes, the start of its processes included."""
    found: list[ExtractSummary] = []
    seconds = _seconds(lambda: found.append(extract({}, sources=[source], run=run, num_processes=num_processes)))
    return found[0].turns, seconds


def _peak_memory(source: Path, run: Path, num_processes: int) -> float:
    """MB that extract's processes hold together at most, over what this process held before.

    It is the sum of what each holds for itself and its part of what they share (PSS), looked at five times a second.
    """
    done, sizes = threading.Event(), [0.0]
    watcher = threading.Thread(target=_watch, args=(done, sizes))
    before = _memory(os.getpid())
    watcher.start()
    extract({}, sources=[source], run=run, num_processes=num_processes)
    done.set()
    watcher.join()
    return max(sizes) - before


def _watch(done: threading.Event, sizes: list[float]) -> None:
    while not done.wait(0.2):
        sizes.append(sum(_memory(process) for process in (os.getpid(), *_children(os.getpid()))))


def _children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in text.split()]


def _memory(process: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1e3
    return 0.0


def _against_datasets(source: Path, folder: Path, ours: Seconds) -> None:
    """The usual way: one row a turn, its whole prompt written out."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    target = folder / "prompts.parquet"

    def theirs() -> None:
        rows = Dataset.from_text(str(source), cache_dir=str(folder / "cache"))
        prompts = rows.map(_prompts, batched=True, batch_size=16, remove_columns=["text"])
        pq.write_table(prompts.data.table, target, compression="zstd")

    seconds = _seconds(theirs)
    tables = sum(path.stat().st_size for path in (folder / "run").rglob("*.parquet")) / 1e6
    prompts = target.stat().st_size / 1e6
    print(f"extract  datasets.map {seconds}; {_ratios(seconds, ours)} of ours")
    print(f"extract  {tables:.1f} MB on disk, a prompt a turn {prompts:.1f} MB, ratio {tables / prompts:.2f}")


def _prompts(batch: dict[str, list[str]]) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {"prompt": [], "action": []}
    for line in batch["text"]:
        messages = json.loads(line)["traj"]
        for position, message in enumerate(messages):
            if message["role"] == "assistant":
                rows["prompt"].append(json.dumps(messages[:position]))
                rows["action"].append(json.dumps(message))
    return rows


def _long(folder: Path, options: argparse.Namespace, num_turns: int, ours: Seconds) -> None:
    """The same records, ten after the other made one trajectory."""
    source = folder / "long.jsonl"
    _write(source, _joined(_copies(options.megabytes)))
    num_long, longer = _extract(source, folder / "long", options.num_processes)
    a, b = (Seconds(s.passed / n, s.worked / n) for s, n in ((longer, num_long), (ours, num_turns)))
    print(f"extract  a turn in trajectories {LENGTHENING} times as long: {_ratios(a, b)}")


def _joined(lines: Iterator[str]) -> Iterator[str]:
    held: list[dict[str, Any]] = []
    for line in lines:
        held.append(json.loads(line))
        if len(held) == LENGTHENING:
            yield json.dumps({**held[0], "traj": [m for record in held for m in record["traj"]]}) + "\n"
            held = []
