"""Read the messages of segments in any order: one pass over `messages` copies the needed rows to a temporary file.

Messages are stored once, by a hash of their content, so the messages of one segment may be in any part. Without the
file, reading segments in another order would read the whole table for every few of them.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from array import array
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.run import rundir
from pivotmine.run.atomic_files import remove_unlocked
from pivotmine.run.parts import require_sound


def tools_by_id(run: Path) -> dict[str | None, list[dict[str, Any]] | None]:
    """Tool definitions by `tools_id`; the id None gives None."""
    rows = rundir.scan(run, "tools", require_sound(run, "tools")).collect().iter_rows(named=True)
    return {None: None, **{row["tools_id"]: json.loads(row["tools"]) for row in rows}}


_PREFIX = ".messages-"


class SegmentTexts:
    """The messages and tools of added turns. A context manager; it deletes its temporary file on exit."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._file: Any = None
        self._path, self._size = "", 0
        self._known: pl.DataFrame | None = None
        """message_id, offset and length of the messages in the file."""
        self._places: dict[str, tuple[array[int], array[int]]] = {}
        """By segment: the offsets of its messages in the file, and their lengths in bytes."""
        self._tools: dict[str | None, Any] = {}

    def __enter__(self) -> SegmentTexts:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, turns: pl.DataFrame) -> None:
        """Make the segments of these turns (`segment_id`) readable; a new one costs one pass over `messages`."""
        wanted = [one for one in turns["segment_id"].unique(maintain_order=True) if one not in self._places]
        if not wanted:
            return
        self._tools = self._tools or tools_by_id(self._run)
        new = pl.DataFrame({"segment_id": wanted}, schema={"segment_id": pl.String})
        segments = rundir.scan(self._run, "segments", require_sound(self._run, "segments"))
        rows = segments.select("segment_id", message_id="message_ids").join(new.lazy(), on="segment_id", how="semi")
        rows = rows.explode("message_id").collect()
        self._read(rows.select(pl.col("message_id").unique()).drop_nulls())
        assert self._known is not None
        placed = rows.join(self._known, on="message_id", how="left", maintain_order="left")
        placed = placed.group_by("segment_id", maintain_order=True).agg(pl.col("offset", "length").drop_nulls())
        for segment_id, offsets, lengths in placed.iter_rows():
            self._places[segment_id] = array("q", offsets), array("q", lengths)

    def _read(self, message_ids: pl.DataFrame) -> None:
        found = [] if self._known is None else [self._known]
        new = message_ids if self._known is None else message_ids.join(self._known, on="message_id", how="anti")
        file = self._file = self._file or self._opened()
        for path in require_sound(self._run, "messages") if len(new) else ():
            part = pl.read_parquet(path, columns=["message_id", "message"], glob=False)
            part = part.join(new, on="message_id", how="semi", maintain_order="left")
            lengths = part["message"].str.len_bytes().cast(pl.Int64)
            offsets = self._size + lengths.cum_sum() - lengths
            found.append(part.select("message_id").with_columns(offset=offsets, length=lengths))
            file.writelines(text.encode() for text in part["message"])
            self._size += int(lengths.sum())
        file.flush()
        empty = {"message_id": pl.String, "offset": pl.Int64, "length": pl.Int64}
        self._known = pl.concat(found) if found else pl.DataFrame(schema=empty)

    def _opened(self) -> Any:
        # The run's disk has room for it; if it is read-only, Python's default folder is used.
        folder = self._run if os.access(self._run, os.W_OK) else None
        file = tempfile.NamedTemporaryFile(dir=folder, prefix=_PREFIX, suffix=".tmp")  # noqa: SIM115
        fcntl.flock(file, fcntl.LOCK_EX)
        remove_unlocked(self._run.glob(f"{_PREFIX}*.tmp"))
        self._path = file.name
        return file

    def only(self, turns: pl.DataFrame) -> SegmentTexts:
        """A copy for another process that reads only these turns (`segment_id`, `tools_id`), from the same file."""
        chosen = SegmentTexts.__new__(SegmentTexts)
        chosen._path = self._path
        chosen._places = {segment_id: self._places[segment_id] for segment_id in turns["segment_id"].unique()}
        chosen._tools = {tools_id: self._tools[tools_id] for tools_id in turns["tools_id"].unique()}
        return chosen

    def tools(self, tools_id: str | None) -> list[dict[str, Any]] | None:
        """The tools of a turn that was added."""
        return self._tools[tools_id]

    def messages(self, segment_id: str) -> list[dict[str, Any]]:
        """The messages of a segment that was added, in order."""
        with open(self._path, "rb", buffering=0) as file:  # noqa: PTH123  (Path.open would buffer)
            places = zip(*self._places[segment_id], strict=True)
            return [json.loads(os.pread(file.fileno(), length, offset)) for offset, length in places]
