"""Write files under a temporary name (`.tmp`) next to their place, and rename them when they are complete.

A failed write removes its file at once. The file of a killed process is removed by the next stage of the run. A writer
holds a lock on its file, and the kernel releases it when the process ends. So an unlocked file is abandoned.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


@contextmanager
def temporary_place(path: Path) -> Generator[Path]:
    """The temporary path to write to before `settle` renames it; at the end the file there is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with ExitStack() as held:
        while True:
            file = held.enter_context(place.open("ab"))
            fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):  # swept by another process before the lock
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
    """Remove the unfinished files of killed processes in a run, except those below `but_not`."""
    places = run.rglob("*.tmp")
    remove_unlocked(place for place in places if not (place.is_relative_to(but_not) or place.name.startswith(".")))


def remove_unlocked(places: Iterable[Path]) -> None:
    """Remove the files that no living process holds a lock on."""
    for place in places:
        # Errors are expected: the file is locked, or another sweep has removed it.
        with suppress(OSError), place.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            place.unlink()
