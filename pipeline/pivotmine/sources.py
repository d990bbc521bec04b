"""Sources: files of records, streamed. JSON, JSON lines and Parquet; gz and zst by their first bytes.

A record is a JSON value with its place in the source. What cannot be read is a record too, with the reason, and what
was read before it is kept.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import zstandard

from pivotmine.errors import UserError

SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet")
_COMPRESSED = ("", ".gz", ".zst")
_CHUNK = 1 << 20
_BROKEN = (EOFError, OSError, zlib.error, zstandard.ZstdError)


class Record(NamedTuple):
    index: int | None
    """Place in the source, from 0; None: the source as a whole."""
    value: Any
    """The JSON value; None where there is a problem."""
    problem: tuple[str, str] | None = None
    """(reason, detail) where the record could not be read."""


def find_sources(paths: Iterable[Path]) -> list[Path]:
    """Files as given, folders as the files below them; UserError where there is nothing."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and _is_source(p))
            if not inside:
                raise UserError(f"{path} holds no {', '.join(SUFFIXES)} file (plain, .gz or .zst)")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"{path} does not exist")
    return list(dict.fromkeys(found))


def _is_source(path: Path) -> bool:
    return path.name.endswith(tuple(s + c for s in SUFFIXES for c in _COMPRESSED))


def read_source(path: Path) -> Iterator[Record]:
    """The records of one file, in order."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == b"PAR1":
            yield from _read_parquet(path)
        else:
            yield from _read_json(path, magic)
    except _BROKEN as error:
        yield Record(None, None, ("unreadable_source", f"{type(error).__name__}: {error}"[:300]))


def _read_parquet(path: Path) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    index = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=256):
            for row in batch.to_pylist():
                yield Record(index, _without_nulls({k: _from_json_text(v) for k, v in row.items()}))
                index += 1
    except pa.ArrowException as error:
        yield Record(index, None, ("unreadable_source", str(error).splitlines()[0][:300]))


def _from_json_text(value: Any) -> Any:
    """A Parquet column of messages may be JSON text."""
    if isinstance(value, str) and value[:1] in "[{" and value:
        try:
            return json.loads(value, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return value
    return value


def _without_nulls(value: Any) -> Any:
    """Parquet structs fill a key that one row lacks with null: such keys are left out again."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value]
    return value


def _read_json(path: Path, magic: bytes) -> Iterator[Record]:
    with _open_bytes(path, magic) as file:
        head = file.read(_CHUNK)
        file = io.BufferedReader(_Rewound(head, file), _CHUNK)
        if _is_lines(path, head):
            yield from _read_lines(file)
        elif head.lstrip()[:1] == b"[":
            yield from _read_array(file)
        else:
            yield from _read_document(file.read())


def _read_document(data: bytes) -> Iterator[Record]:
    """One JSON value; where another follows, these are JSON lines under another name."""
    record = _record(0, data)
    if record.problem and record.problem[1].startswith("Extra data"):
        yield from _read_lines(io.BytesIO(data))
    else:
        yield record


def _open_bytes(path: Path, magic: bytes) -> IO[bytes]:
    if magic[:2] == b"\x1f\x8b":
        return gzip.open(path, "rb")
    if magic == b"\x28\xb5\x2f\xfd":
        return zstandard.ZstdDecompressor(max_window_size=1 << 31).stream_reader(  # pyright: ignore[reportReturnType]
            path.open("rb"), read_across_frames=True, closefd=True
        )
    return path.open("rb")


class _Rewound(io.RawIOBase):
    """A stream whose head was read already, from the start again."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head, self._rest = io.BytesIO(head), rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head.read(len(buffer)) or self._rest.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _is_lines(path: Path, head: bytes) -> bool:
    """JSON lines by name, or where the first line is a JSON value and another line follows."""
    if any(s in (".jsonl", ".ndjson") for s in path.suffixes):
        return True
    first, _, rest = head.lstrip().partition(b"\n")
    if not rest.strip():
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def _read_lines(file: IO[bytes]) -> Iterator[Record]:
    for index, line in enumerate(file):
        if line.strip():
            yield _record(index, line)


def _record(index: int, data: bytes) -> Record:
    try:
        return Record(index, _loads(data.decode("utf-8-sig" if index == 0 else "utf-8")))
    except UnicodeDecodeError as error:
        return Record(index, None, ("bad_encoding", str(error)[:200]))
    except (ValueError, RecursionError) as error:
        return Record(index, None, ("bad_json", f"{error}"[:200]))


def _loads(text: str) -> Any:
    value = json.loads(text, parse_constant=_refuse_constant)
    if "\\u" in text:
        _refuse_surrogates(value)
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _refuse_surrogates(value: Any) -> None:
    """A lone surrogate is no character: it cannot be written as UTF-8 again."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate is not a character") from None


def _read_array(file: IO[bytes]) -> Iterator[Record]:
    """The elements of one JSON array, each parsed as soon as it is whole: memory holds a few, not the file."""
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    text = io.TextIOWrapper(file, encoding="utf-8-sig")
    index, size, problem = 0, _CHUNK, ""
    try:
        buffer = text.read(_CHUNK).lstrip()[1:]
        while True:
            end = 0
            while (start := _SEPARATORS.match(buffer, end).end()) < len(buffer):  # pyright: ignore[reportOptionalMemberAccess]
                if buffer[start] == "]":
                    return
                try:
                    value, end = decoder.raw_decode(buffer, start)
                except (ValueError, RecursionError) as error:
                    problem = str(error)
                    break
                yield _checked(index, value)
                index, size = index + 1, _CHUNK
            more = text.read(size)
            if not more:
                break
            buffer, size = buffer[end:] + more, size * 2
    except UnicodeDecodeError as error:
        problem = str(error)
    yield Record(index, None, ("bad_json", f"the array is not whole from here on: {problem}"[:200]))


_SEPARATORS = re.compile(r"[\s,]*")


def _checked(index: int, value: Any) -> Record:
    try:
        _refuse_surrogates(value)
    except ValueError as error:
        return Record(index, None, ("bad_json", str(error)))
    return Record(index, value)
