"""Cut the records of all sources into blocks of some megabytes, and map a function over them in processes, in order.

The end of a block depends only on the records. So the same sources give the same part files with any number of
processes. Only a few blocks are in memory at a time.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, TypeVar

from pivotmine.errors import UserError
from pivotmine.sources.json_records import Record

BLOCK_BYTES = 4 << 20
"""Minimum size of a block, in bytes of JSON text or Parquet rows; the last block may be smaller."""
GROUP_SIGNAL_S = 0.2
"""A signal to the process group may end the workers before this process handles it. It waits this long, so that the
user sees the signal's message and not the one about a worker."""
_READ_BYTES = 1 << 13
"""Size that is assumed for a record of unknown size, which was joined from several."""

T = TypeVar("T")
R = TypeVar("R")


class Block(NamedTuple):
    number: int
    """Place among the blocks, from 0."""
    records: list[tuple[str, Record]]
    """Each with the path of its source, as given."""


def into_blocks(records: Iterable[tuple[str, Record]]) -> Iterator[Block]:
    """The records in blocks, in order."""
    number, size, held = 0, 0, list[tuple[str, Record]]()
    for source, record in records:
        held.append((source, record))
        size += record.num_bytes or _READ_BYTES
        if size >= BLOCK_BYTES:
            yield Block(number, held)
            number, size, held = number + 1, 0, []
    if held:
        yield Block(number, held)


ParallelMap = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
"""`map` over processes: the answers in the order of the items."""


@contextmanager
def process_map(num_processes: int | None) -> Generator[ParallelMap]:
    """A `map` over processes (by default one per core). They start with the second item; a single item needs none.

    They end with this process, even if it is killed. If an exception leaves the block, they end at once, without
    finishing their items.
    """
    wanted = num_processes or os.cpu_count() or 1
    pools: list[ProcessPoolExecutor] = []
    spawning = multiprocessing.get_context("spawn")
    lives, lifeline = spawning.Pipe(duplex=False)

    def over(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        rest = iter(items)
        first = list(islice(rest, 2))
        if wanted == 1 or len(first) < 2:
            return map(function, chain(first, rest))
        if not pools:
            pools.append(ProcessPoolExecutor(wanted, spawning, _start_worker, (lives,)))
        return _ordered(pools[0], function, chain(first, rest), ahead=wanted + 1)

    try:
        yield over
    except BaseException:
        lifeline.close()
        raise
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)
        lifeline.close()
        lives.close()


def _start_worker(lives: Connection) -> None:
    """Keep this worker small, and end it as soon as nobody holds the other end of the pipe.

    The kernel closes the pipe of a killed process.
    """
    # pyarrow reads this on import, in the first task. Arrow's own pool would keep 50 MB of unused memory.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

    def watch() -> None:
        wait([lives])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


@contextmanager
def _uninterrupted() -> Generator[None]:
    """Block Ctrl-C, also in the processes that are started meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ordered(pool: ProcessPoolExecutor, function: Callable[[T], R], items: Iterable[T], *, ahead: int) -> Iterator[R]:
    pending: deque[Future[R]] = deque()
    try:
        for item in items:
            with _uninterrupted():  # a worker inherits this: only this process handles Ctrl-C, and ends its workers
                job = pool.submit(function, item)
            pending.append(job)
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        time.sleep(GROUP_SIGNAL_S)
        raise UserError(
            "a worker process has ended, most likely for lack of memory: try a smaller --num-processes; "
            'in a script of your own, call this below `if __name__ == "__main__":`, since workers import the script'
        ) from None
