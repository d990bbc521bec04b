"""Stream the records of sources: files, folders, globs and URLs.

The first bytes of a file tell JSON, JSON lines, Parquet and Inspect's archives apart, and whether gz or zst packs them.

A record is a JSON value with its place in the source. Data that cannot be read becomes a record with the reason; the
records before it are kept.
"""

from __future__ import annotations

import codecs
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import glob
from hashlib import blake2b
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from pivotmine.errors import UserError
from pivotmine.escape import public_address
from pivotmine.sources import eval_archive
from pivotmine.sources.decompress import BlockStream, read_blocks
from pivotmine.sources.json_records import Record, is_value, read_array, read_document, read_lines
from pivotmine.sources.parquet_records import PARQUET, read_parquet
from pivotmine.sources.remote import RemoteFile, find_remote, fingerprint, is_url, open_remote, seekable

TEXT_SUFFIXES = (".json", ".jsonl", ".ndjson", ".traj")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".eval")
_COMPRESSED = ("", ".gz", ".zst")
_HEAD_BYTES = 1 << 20
"""Bytes read to recognise the form."""


@dataclass(frozen=True, slots=True)
class SkippedFiles:
    """The files of a folder whose names are not those of sources: they give one record, which says so."""

    folder: str
    suffixes: str
    """The number of files by suffix, and of hidden and irregular ones, as text."""

    @property
    def name(self) -> str:
        """The folder's last part."""
        return PurePosixPath(self.folder).name

    def __str__(self) -> str:
        return self.folder


Source = Path | RemoteFile | SkippedFiles


def find_sources(paths: Iterable[Path | str]) -> list[Source]:
    """Find the files that paths, folders, globs and URLs name, each file once.

    The skipped files of folders come last. Raises UserError for a path that names no file.
    """
    found: dict[Path | str, Source] = {}
    skipped: dict[str, Source] = {}
    for path in paths:
        files, others = _remote(str(path)) if is_url(path) else _local(str(path))
        for file in files:
            found.setdefault(file.resolve() if isinstance(file, Path) else file.url, file)
        if others:
            folder = public_address(str(path)) if is_url(path) else str(path)
            skipped[str(path)] = SkippedFiles(folder, _counted(others))
    return [*found.values(), *skipped.values()]


def _local(name: str) -> tuple[list[Path], list[str]]:
    """The files of a path, folder or glob, and the suffixes of a folder's other files."""
    if not name:  # an unset shell variable; as a path it would be the current folder
        raise UserError("the name of a source is empty: name a file or folder of trajectories")
    path = Path(name)
    if path.is_file():
        return [path], []
    if path.is_dir():
        return _inside(path)
    if not any(mark in name for mark in "*?["):
        raise UserError(f"{path} is neither a file nor a folder: name a file or folder of trajectories")
    matched = [Path(one) for one in sorted(glob(name, recursive=True))]  # noqa: PTH207 (a pattern may begin anywhere)
    files = [one for one in matched if one.is_file()]
    if not files:
        raise UserError(f"{name} matches no file: name a file or folder of trajectories")
    return files, []


def _inside(folder: Path) -> tuple[list[Path], list[str]]:
    """The sources below a folder, and the suffixes of its other files."""
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    shown = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    inside = [path for path in shown if _is_source(path.name) and path.is_file()]
    if not inside:
        raise UserError(f"{folder} contains no {', '.join(SUFFIXES)} file (plain, .gz or .zst)")
    # A broken link may have the name of a source.
    others = [_suffix(path.name) if path.is_file() else "no regular file" for path in sorted({*shown} - {*inside})]
    return inside, others + ["hidden" for path in {*paths} - {*shown} if _is_source(path.name)]


def _remote(url: str) -> tuple[list[RemoteFile], list[str]]:
    files, others = find_remote(url, _is_source)
    if not files and any(mark in url for mark in "*?["):
        raise UserError(f"{public_address(url)} matches no file: name a file or folder of trajectories")
    if not files:
        raise UserError(f"{public_address(url)} contains no {', '.join(SUFFIXES)} file (plain, .gz or .zst)")
    return files, [_suffix(name) for name in others]


def _is_source(name: str) -> bool:
    return name.endswith(tuple(s + c for s in SUFFIXES for c in _COMPRESSED))


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix or "no suffix"


def _counted(kinds: list[str]) -> str:
    return ", ".join(f"{kind} {number}" for kind, number in Counter(kinds).most_common(20))


def lies_in(source: Source, folder: Path) -> bool:
    """Whether a source is a local file below a folder."""
    return isinstance(source, Path) and source.resolve().is_relative_to(folder.resolve())


def content_hash(path: Path | RemoteFile) -> str:
    """128 bits in hexadecimal that change with a source's content; UserError if it cannot be read."""
    if isinstance(path, RemoteFile):
        return fingerprint(path)
    digest = blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while block := file.read(_HEAD_BYTES):
                digest.update(block)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def read_source(path: Source, messages_column: str | None = None) -> Iterator[Record]:
    """Yield the records of one source, in order. If it breaks off, the last record says so.

    `messages_column`: the column (or key) that holds the messages; it becomes `messages`.
    """
    if isinstance(path, SkippedFiles):
        detail = f"files that are not read: {path.suffixes}; read are {', '.join(SUFFIXES)}"
        yield Record(None, None, ("skipped_files", detail))
        return
    trouble: list[str] = []
    try:
        with path.open("rb") if isinstance(path, Path) else open_remote(path) as file:
            for record in _read(path, file, trouble, messages_column):
                yield _renamed(record, messages_column) if messages_column else record
    except OSError as error:
        trouble.append(f"{type(error).__name__}: {error}"[:300])
    for detail in trouble:
        yield Record(None, None, ("unreadable_source", detail))


def _renamed(record: Record, column: str) -> Record:
    """Move the column's value to `messages`. Without the column, the record is a problem that names its columns."""
    value = record.value
    if record.problem:
        return record
    if not isinstance(value, dict) or column not in value:
        detail = f"no key {column!r}: the record {_held(value)}"
        return Record(record.index, None, ("no_messages_column", detail[:300]))
    rest = {key: inner for key, inner in value.items() if key != column}
    messages = value[column]
    if _continues(messages) and isinstance(rest.get("prompt"), list):
        made = {**rest, "completion": messages}  # without its prompt, an answer has no context
    else:
        made = {**rest, "messages": messages}
    return Record(record.index, made, num_bytes=record.num_bytes)


def _continues(messages: Any) -> bool:
    """Whether messages begin with an answer, as the rest of a conversation does."""
    first = messages[0] if isinstance(messages, list) and messages else None
    return isinstance(first, dict) and first.get("role") in ("assistant", "tool")


def _held(value: Any) -> str:
    return f"has {', '.join(value) or 'nothing'}" if isinstance(value, dict) else f"is a {type(value).__name__}"


def _read(
    path: Path | RemoteFile, file: io.BufferedReader, trouble: list[str], messages_column: str | None
) -> Iterator[Record]:
    magic = file.peek(4)[:4]
    if magic in (PARQUET, eval_archive.MAGIC):
        with seekable(file) as whole:
            if magic == eval_archive.MAGIC:
                yield from eval_archive.read_archive(whole)
            else:  # Arrow reads a local file better by its path
                yield from read_parquet(path if isinstance(path, Path) else whole, messages_column)
        return
    blocks = read_blocks(file, trouble)
    head = b""
    for block in blocks:
        head += block
        if len(head) >= _HEAD_BYTES:
            break
    head = head.removeprefix(codecs.BOM_UTF8)
    unpacked = io.BufferedReader(BlockStream(chain([head], blocks)), _HEAD_BYTES)
    if head[:4] == PARQUET:
        # A table's directory is at its end, so a packed table must be held in memory as a whole.
        yield from read_parquet(io.BytesIO(unpacked.read()), messages_column)
    elif _is_csv(path.name, head):
        yield Record(None, None, ("unreadable_source", "CSV is not read: convert it to JSON lines or Parquet"))
    elif _is_lines(path.name, head):
        yield from read_lines(unpacked)
    elif head.lstrip()[:1] == b"[":
        yield from read_array(unpacked)
    elif head.strip():
        yield from read_document(unpacked.read())
    elif not trouble:
        yield Record(None, None, ("empty_source", "the file holds nothing but white space"))


def _is_csv(name: str, head: bytes) -> bool:
    """Whether a file is a CSV or TSV table by its name, or by a first line of column names."""
    if any(suffix in (".csv", ".tsv") for suffix in PurePosixPath(name).suffixes):
        return True
    first = head.lstrip().partition(b"\n")[0]
    names = [one.strip().strip(b'"') for one in first.replace(b"\t", b",").split(b",")]
    return len(names) > 1 and all(re.fullmatch(rb"[A-Za-z_][\w .-]*", one) for one in names)


def _is_lines(name: str, head: bytes) -> bool:
    """Whether a file holds JSON lines: by its name, or if its first line is a JSON value and another line follows."""
    if any(suffix in (".jsonl", ".ndjson") for suffix in PurePosixPath(name).suffixes):
        return bool(head.strip())
    first, _, rest = head.lstrip().partition(b"\n")
    return bool(rest.strip()) and is_value(first)
