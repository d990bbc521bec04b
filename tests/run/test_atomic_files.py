"""Unfinished files: a failure leaves none, and the next stage removes those of a killed process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from pivotmine.run import rundir
from pivotmine.run.atomic_files import settle, sweep, temporary_place
from pivotmine.run.parts import PartsManifest
from pivotmine_stages.select.dataset import write_splits


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.tmp"))


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"x": [1]})
    with pytest.raises(UnicodeEncodeError):
        rundir.write_text(tmp_path / "a.json", "half \ud800")
    with pytest.raises(OSError, match="No space"):
        write_splits(tmp_path / "pivots" / "p", (_no_space() for _ in "x"))  # type: ignore[arg-type]
    monkeypatch.setattr("os.fsync", _no_space)
    for write in (
        lambda: rundir.write_table(tmp_path / "a.parquet", table),
        lambda: rundir.write_text(tmp_path / "a.json", "{}"),
        lambda: PartsManifest(tmp_path, tmp_path / "scores").write(tmp_path / "scores" / "a.parquet", table),
    ):
        with pytest.raises(OSError, match="No space"):
            write()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


_KILLED = """
import os, signal, sys
from pathlib import Path
from pivotmine.run.atomic_files import temporary_place
with temporary_place(Path(sys.argv[1])) as place:
    place.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_leaves_is_removed_by_the_next_stage(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ("rollouts/p/part-0.parquet", "views.sql"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-c", _KILLED, run / name])
    (run / rundir.UNFINISHED).mkdir()
    (run / rundir.UNFINISHED / "a.tmp").touch()
    assert len(_left(run)) == 4
    with rundir.stage_lock(run, "score"):
        assert _left(run) == [rundir.UNFINISHED, "a.tmp"]


def test_what_is_being_written_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with temporary_place(path) as place:
        place.write_text("whole")
        sweep(tmp_path, but_not=tmp_path / "x")
        settle(place, path)
    assert (path.read_text(), _left(tmp_path)) == ("whole", [])


def test_a_place_that_was_swept_before_it_was_locked_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[Path] = []
    flock = __import__("fcntl").flock

    def late(file: int, how: int) -> None:
        if not swept:
            swept.append(next(tmp_path.glob("*.tmp")))
            swept[0].unlink()
        flock(file, how)

    monkeypatch.setattr("fcntl.flock", late)
    with temporary_place(tmp_path / "a") as place:
        place.write_text("whole")
        settle(place, tmp_path / "a")
    assert (tmp_path / "a").read_text() == "whole"
    assert swept == [tmp_path / f"a.{os.getpid()}.tmp"]
