"""Files are written next to their place, under a name that ends in `.tmp`, and renamed when they are whole.

What fails is removed at once. What a killed process leaves is removed by the next stage of the run: whoever writes such
a file holds a lock on it, which the kernel frees with the process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


@contextmanager
def temporary_place(path: Path) -> Generator[Path]:
    """Where to write a file before `settle` puts it in its place; nothing is left there at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with ExitStack() as held:
        while True:
            file = held.enter_context(place.open("ab"))
            fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):  # swept between the two
                if os.path.samestat(place.stat(), os.fstat(file.fileno())):
                    break
        try:
            yield place
        finally:
            place.unlink(missing_ok=True)


def settle(place: Path, path: Path) -> None:
    """Flush a file to the disk and rename it."""
    with place.open("rb") as file:
        os.fsync(file.fileno())
    place.replace(path)


def sweep(run: Path, *, but_not: Path) -> None:
    """Remove what killed processes left half written in a run."""
    places = run.rglob("*.tmp")
    remove_unlocked(place for place in places if not (place.is_relative_to(but_not) or place.name.startswith(".")))


def remove_unlocked(places: Iterable[Path]) -> None:
    """Remove the files that no living process holds a lock on."""
    for place in places:
        # One that another sweep has just removed is not there.
        with suppress(OSError), place.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            place.unlink()
