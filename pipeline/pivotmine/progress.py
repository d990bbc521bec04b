"""Progress of a command on standard error: a bar in a terminal, elsewhere one plain line every 30 s.

`pivotmine --quiet` (the logger `pivotmine` above level INFO) shows neither.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
LINE_EVERY_S = 30.0
"""Seconds between two lines if standard error is not a terminal: a log file stays short and is never silent for
long."""
SILENT_S = 0.7
"""`announced` logs its line if the work takes longer than this."""
SURE_AFTER_S = 5.0
"""The time left is shown only after this long, because the first item includes the warm-up."""
_WHOLE_FROM = 100
"""A rate of at least this has no decimals, so that the line fits 80 columns."""
_EARLIER: dict[tuple[str, str], tuple[float, float]] = {}
"""By label and unit, the work and seconds of progress that has ended: the rounds of one command have a similar pace."""


class Progress:
    """Counts of finished work; `advance` is cheap enough for every row."""

    def __init__(self, label: str, total: float | None) -> None:
        self._label, self._total, self._started = label, total, time.monotonic()
        self._counts: dict[str, float] = {}
        self._last_line = self._started
        self._bar: Any = None
        self._task: Any = None

    def advance(self, **amounts: float) -> None:
        """Add to the counts; `total` refers to the first unit."""
        for unit, amount in amounts.items():
            self._counts[unit] = self._counts.get(unit, 0) + amount
        now = time.monotonic()
        if self._bar is not None:
            done = next(iter(self._counts.values()))
            self._bar.update(self._task, completed=done, words=self.words(now - self._started))
        elif now - self._last_line >= LINE_EVERY_S and _is_wanted():
            self._last_line = now
            sys.stderr.write(f"{self._label}  {self.words(now - self._started)}\n")
            sys.stderr.flush()

    def words(self, elapsed_s: float) -> str:
        """`120/400 states  12.3 states/s  4,510 tokens/s  23 s left`."""
        parts: list[str] = []
        for place, (unit, count) in enumerate(self._counts.items()):
            if place == 0:
                end = f"/{_amount(self._total, unit)}" if self._total is not None else ""
                parts.append(f"{_amount(count, unit)}{end}{_unit(unit)}")
            rate = count / elapsed_s
            parts.append(f"{_amount(rate, unit, digits=int(rate < _WHOLE_FROM))}{_unit(unit)}/s")
        unit, done = next(iter(self._counts.items()), ("", 0.0))
        before, before_s = _EARLIER.get((self._label, unit), (0.0, 0.0))
        if self._total and done and elapsed_s + before_s >= SURE_AFTER_S:
            pace_s = (elapsed_s + before_s) / (done + before)
            parts.append(f"{_duration(pace_s * max(self._total - done, 0))} left")
        return "  ".join(parts)

    def remember(self) -> None:
        """Remember the pace, so that the next progress with this label estimates its time left from it."""
        for unit, done in list(self._counts.items())[:1]:
            before, before_s = _EARLIER.get((self._label, unit), (0.0, 0.0))
            _EARLIER[self._label, unit] = before + done, before_s + time.monotonic() - self._started

    def show_bar(self) -> Any:
        """A bar for a `with` block."""
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        console = Console(stderr=True, color_system=None if os.environ.get("NO_COLOR") else "auto")
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"))
        self._bar = Bar(*columns, console=console, transient=True, refresh_per_second=4)
        self._task = self._bar.add_task(self._label, total=self._total, words="")
        return self._bar


def _is_wanted() -> bool:
    level = logging.getLogger("pivotmine").level
    return level in (logging.NOTSET, logging.DEBUG, logging.INFO)


def _unit(unit: str) -> str:
    return "" if unit == "bytes" else f" {unit}"


def _amount(count: float, unit: str, digits: int = 0) -> str:
    return f"{count / 1e6:,.1f} MB" if unit == "bytes" else f"{count:,.{digits}f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


@contextmanager
def announced(line: str) -> Generator[None]:
    """Log the line unless the block ends soon: packages may take many seconds to import."""
    timer = threading.Timer(SILENT_S, logging.getLogger("pivotmine").info, [line])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def progress(label: str, total: float | None = None) -> Generator[Progress]:
    """Show progress for the length of a `with` block."""
    shown = Progress(label, total)
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and _is_wanted():
        with shown.show_bar():
            yield shown
    else:
        yield shown
    shown.remember()


def track(items: Iterable[T], label: str, unit: str, total: float | None = None) -> Iterator[T]:
    """The items, counted as they pass."""
    with progress(label, total) as shown:
        for item in items:
            yield item
            shown.advance(**{unit: 1})
