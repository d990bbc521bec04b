"""Rows to part files as they come, by a thread: a part is written when it is full, or when its oldest row has waited.

Not when a row comes: an engine that is silent for long must not keep what it gave before from the disk. It goes on
meanwhile; at most the rows of two parts are in memory.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

Rows = list[dict[str, Any]]


class PartWriter:
    """A context that writes the remaining rows when it is left, also by an exception.

    Errors of writing are raised by `add` or at the end.
    """

    def __init__(self, write: Callable[[Rows], None], *, num_rows: int, seconds: float) -> None:
        """write: one part; num_rows: those of a full one; seconds: how long a row waits at most."""
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
        """Take rows for the next part; waits while that one is full and the one before is still being written."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._rows) < self._num_rows)
            self._rows += rows
            self._changed.notify_all()
        self._raise()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        # A signal's exception that is raised while the lock is being taken leaves it taken: the thread would wait for
        # it, and this one for the thread.
        with contextlib.suppress(RuntimeError):
            while True:
                self._lock.release()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        try:
            self._thread.join()
        except BaseException:  # a signal in the middle: the rows are written all the same
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
        """The rows of the next part, as soon as it is due; empty: there are no more rows."""
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
