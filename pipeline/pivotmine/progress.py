"""One progress line with rates, on standard error: after two seconds, and only where a person looks."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
DELAY_S = 2.0
_EVERY_S = 0.5


class Progress:
    """Counts of done work; `advance` is cheap enough for every row."""

    def __init__(self, label: str, total: int | None) -> None:
        self._label, self._total, self._started, self._shown = label, total, time.monotonic(), 0.0
        self._counts: dict[str, float] = {}
        self._terminal = sys.stderr.isatty()

    def advance(self, **amounts: float) -> None:
        """Add to the counts; the first one named is what `total` counts."""
        for unit, amount in amounts.items():
            self._counts[unit] = self._counts.get(unit, 0) + amount
        now = time.monotonic()
        if self._terminal and now - self._started > DELAY_S and now - self._shown > _EVERY_S:
            self._shown = now
            # A line that wraps could not be taken away again.
            line = self.line(now - self._started)[: shutil.get_terminal_size().columns - 1]
            sys.stderr.write(f"\r\x1b[2K{line}")
            sys.stderr.flush()

    def line(self, elapsed_s: float) -> str:
        """`rollout  120/400 states  12.3 states/s  4,510 tokens/s  23 s left`."""
        parts = [self._label]
        for unit, count in self._counts.items():
            if unit == next(iter(self._counts)):
                parts.append(f"{count:,.0f}{f'/{self._total:,}' if self._total is not None else ''} {unit}")
            parts.append(f"{count / elapsed_s:,.1f} {unit}/s")
        done = next(iter(self._counts.values()), 0)
        if self._total and done:
            parts.append(f"{_duration(elapsed_s * (self._total - done) / done)} left")
        return "  ".join(parts)

    def clear(self) -> None:
        """Take the line away again."""
        if self._shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


@contextmanager
def progress(label: str, total: int | None = None) -> Generator[Progress]:
    """A progress line for the length of a `with` block."""
    shown = Progress(label, total)
    try:
        yield shown
    finally:
        shown.clear()


def track(items: Iterable[T], label: str, unit: str, total: int | None = None) -> Iterator[T]:
    """The items, counted on a progress line."""
    with progress(label, total) as shown:
        for item in items:
            yield item
            shown.advance(**{unit: 1})
