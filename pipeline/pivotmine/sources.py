"""Sources: files of records, streamed. JSON, JSON lines and Parquet; gz and zst by their first bytes.

A record is a JSON value with its place in the source. What cannot be read is a record too, with the reason, and what
was read before it is kept.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import IO, Any

from pivotmine import jsonvalues
from pivotmine.errors import UserError
from pivotmine.json_records import Record, is_value, read_array, read_document, read_lines
from pivotmine.unpacking import BlockStream, read_blocks

SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet")
_COMPRESSED = ("", ".gz", ".zst")
_HEAD_BYTES = 1 << 20
"""What is looked at to tell the form."""


def find_sources(paths: Iterable[Path]) -> list[Path]:
    """Files as given, folders as the files below them, each file once; UserError where there is nothing."""
    found: dict[Path, Path] = {}
    for path in paths:
        for file in _files(path):
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path} is no file and no folder: name what holds the trajectories")
    inside = sorted(p for p in path.rglob("*") if _is_source(p) and p.is_file())
    if not inside:
        raise UserError(f"{path} holds no {', '.join(SUFFIXES)} file (plain, .gz or .zst)")
    return inside


def _is_source(path: Path) -> bool:
    return path.name.endswith(tuple(s + c for s in SUFFIXES for c in _COMPRESSED))


def content_hash(path: Path) -> str:
    """128-bit hash of a file's bytes, in hexadecimal; UserError where it cannot be read."""
    digest = blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while block := file.read(_HEAD_BYTES):
                digest.update(block)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def read_source(path: Path) -> Iterator[Record]:
    """The records of one file, in order; where the file breaks off, the last record says so."""
    trouble: list[str] = []
    yield from _read(path, read_blocks(path, trouble))
    for detail in trouble:
        yield Record(None, None, ("unreadable_source", detail))


def _read(path: Path, blocks: Iterator[bytes]) -> Iterator[Record]:
    head = b""
    for block in blocks:
        head += block
        if len(head) >= _HEAD_BYTES:
            break
    head = head.removeprefix(codecs.BOM_UTF8)
    file = io.BufferedReader(BlockStream(chain([head], blocks)), _HEAD_BYTES)
    if head[:4] == b"PAR1":
        # A table's directory is at its end: packed, it must be whole in memory.
        yield from _read_parquet(path if _starts_with(path, b"PAR1") else io.BytesIO(file.read()))
    elif _is_lines(path, head):
        yield from read_lines(file)
    elif head.lstrip()[:1] == b"[":
        yield from read_array(file)
    elif head.strip():
        yield from read_document(file.read())
    else:
        yield Record(None, None, ("empty_source", "the file holds nothing but white space"))


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _is_lines(path: Path, head: bytes) -> bool:
    """JSON lines by name, or where the first line is a JSON value and another line follows."""
    if any(s in (".jsonl", ".ndjson") for s in path.suffixes):
        return bool(head.strip())
    first, _, rest = head.lstrip().partition(b"\n")
    return bool(rest.strip()) and is_value(first)


def _read_parquet(source: Path | IO[bytes]) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    index = 0
    try:
        file = pq.ParquetFile(source, page_checksum_verification=True)
        for batch in file.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                yield _row(index, row)
                index += 1
        if index != file.metadata.num_rows:
            raise EOFError(f"{index} of {file.metadata.num_rows} rows")
    except (pa.ArrowException, EOFError, OSError, ValueError, OverflowError, MemoryError) as error:
        detail = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        yield Record(index, None, ("unreadable_source", detail))


def _row(index: int, row: dict[str, Any]) -> Record:
    value = {key: _cell(cell) for key, cell in row.items() if cell is not None}
    if jsonvalues.exceeds_depth(value, jsonvalues.MAX_DEPTH):
        return Record(index, None, ("bad_json", "nested too deeply"))
    return Record(index, value)


def _cell(cell: Any) -> Any:
    """A column of messages may be JSON text."""
    if isinstance(cell, str) and cell[:1] in ("[", "{"):
        try:
            return jsonvalues.loads(cell)
        except ValueError:
            return cell
    return _plain(cell)


def _plain(value: Any) -> Any:
    """The value as JSON has it. A struct fills a key that one row lacks with null: such keys are left out again."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None  # neither NaN nor infinite
    return str(value)
