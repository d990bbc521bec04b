"""Write rows to part files in a thread: a part is written when it is full, or when its oldest row has waited.

The thread does not wait for the next row, so that rows reach the disk even if the engine is silent for long. The engine
goes on meanwhile; at most the rows of two parts are in memory.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

Rows = list[dict[str, Any]]


class PartWriter:
    """A context manager; on exit it writes the remaining rows, also after an exception.

    `add` or the exit raises errors of writing.
    """

    def __init__(self, write: Callable[[Rows], None], *, num_rows: int, seconds: float) -> None:
        """write: writes one part; num_rows: rows of a full part; seconds: maximum wait of a row."""
        self._write, self._num_rows, self._seconds = write, num_rows, seconds
        self._rows: Rows = []
        self._closed = False
        self._error: Exception | None = None
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._thread = threading.Thread(target=self._write_all, name="part-writer")

    def __enter__(self) -> PartWriter:
        self._thread.start()
        return self

    def add(self, rows: Rows) -> None:
        """Add rows to the next part; waits while it is full and the part before is still being written."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._rows) < self._num_rows)
            self._rows += rows
            self._changed.notify_all()
        self._raise()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        # An exception that a signal raises while `add` takes the lock leaves it taken. Release it, or the writing
        # thread would wait for the lock, and this one for that thread.
        with contextlib.suppress(RuntimeError):
            while True:
                self._lock.release()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        try:
            self._thread.join()
        except BaseException:  # a signal during the wait: write the rows all the same
            self._thread.join()
            raise
        self._raise()

    def _write_all(self) -> None:
        while rows := self._next_part():
            try:
                self._write(rows)
            except Exception as error:
                self._error = error

    def _next_part(self) -> Rows:
        """Wait until a part is due and return its rows; empty if no more rows will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._rows or self._closed)
            self._changed.wait_for(lambda: len(self._rows) >= self._num_rows or self._closed, self._seconds)
            rows, self._rows = self._rows, []
            self._changed.notify_all()
            return rows

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
