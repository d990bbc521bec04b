"""Inspect's `.eval` archives: zip files with a JSON file for each sample, packed by deflate or zstd.

Members are unpacked here, because `zipfile` knows zstd only from Python 3.14 on. An archive that ends early has lost
its directory: its members are then found by their own headers, one after the other.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import zstandard

from pivotmine import strict_json
from pivotmine.sources.decompress import unpacked
from pivotmine.sources.json_records import Record, read_document

MAGIC = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<4sHHHHHIIIHH")
_SIZES_FOLLOW = 0x8
_BLOCK_BYTES = 1 << 16
_SAMPLES = "samples/"
_KNOWN = (_SAMPLES, "_journal/", "header.json", "summaries.json", "reductions.json")
"""Beginnings of the names that Inspect gives to members."""


class Member(NamedTuple):
    name: str
    offset: int
    """Position of its local header."""
    method: int
    num_bytes: int
    """Packed size."""
    checksum: int
    """CRC-32 of the unpacked data."""


def read_archive(file: IO[bytes]) -> Iterator[Record]:
    """Yield the samples in order, each with the `eval` of the log's header, or a problem if it cannot be read."""
    members, cut_off = _members(file)
    samples = [m for name, m in members.items() if name.startswith(_SAMPLES) and not _is_broken_sample(name)]
    about = _about(file, members)
    for index, member in enumerate(samples):
        yield _sample(file, index, member, about)
    if cut_off:
        yield Record(None, None, ("unreadable_source", "EOFError: the archive is cut off"))
    elif not samples:
        yield Record(None, None, ("unreadable_source", "a zip archive without samples: of these, Inspect's are read"))
    elif others := [name for name in members if not name.startswith(_KNOWN) or _is_broken_sample(name)]:
        detail = f"{len(others)} members of the archive that are not samples, the first {others[0][:80]!r}"
        yield Record(None, None, ("skipped_files", detail))


def _is_broken_sample(name: str) -> bool:
    return name.startswith(_SAMPLES) and not name.endswith(".json")


def _members(file: IO[bytes]) -> tuple[dict[str, Member], bool]:
    """The members by name (the last one of equal names), and whether the archive's directory is missing."""
    try:
        with zipfile.ZipFile(file) as archive:
            found = archive.infolist()
    except (zipfile.BadZipFile, struct.error, ValueError, OSError, NotImplementedError):
        return {member.name: member for member in _scanned(file)}, True
    return {
        i.filename: Member(i.filename, i.header_offset, i.compress_type, i.compress_size, i.CRC) for i in found
    }, False


def _scanned(file: IO[bytes]) -> Iterator[Member]:
    """Yield the complete members, as their own headers describe them."""
    end, offset = file.seek(0, 2), 0
    while True:
        file.seek(offset)
        head = file.read(_LOCAL_HEADER.size)
        if len(head) < _LOCAL_HEADER.size or not head.startswith(MAGIC):
            return
        _, _, flags, method, _, _, checksum, num_bytes, _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(head)
        name = file.read(name_bytes).decode("utf-8", "replace")
        following = offset + _LOCAL_HEADER.size + name_bytes + extra_bytes + num_bytes
        if flags & _SIZES_FOLLOW or num_bytes == 0xFFFFFFFF or following > end:
            return
        yield Member(name, offset, method, num_bytes, checksum)
        offset = following


def _contents(file: IO[bytes], member: Member) -> bytes:
    file.seek(member.offset)
    head = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    file.seek(head[9] + head[10], 1)  # skip the name and the extra field
    blocks = _packed(file, member.num_bytes)
    if member.method == zipfile.ZIP_STORED:
        data = b"".join(blocks)
    elif member.method == zipfile.ZIP_DEFLATED:
        data = b"".join(unpacked(blocks, lambda: zlib.decompressobj(wbits=-15)))  # -15: without a header
    elif member.method == 93:  # zstd
        data = b"".join(unpacked(blocks, zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj))
    else:
        raise ValueError(f"packed by method {member.method}, which is not read")
    if zlib.crc32(data) != member.checksum:
        raise ValueError("its checksum is wrong")
    return data


def _packed(file: IO[bytes], num_bytes: int) -> Iterator[bytes]:
    while num_bytes > 0 and (block := file.read(min(num_bytes, _BLOCK_BYTES))):
        num_bytes -= len(block)
        yield block


def _sample(file: IO[bytes], index: int, member: Member, about: Any) -> Record:
    try:
        (record,) = read_document(_contents(file, member))
    except (ValueError, EOFError, OSError, struct.error, zlib.error, zstandard.ZstdError) as error:
        return Record(index, None, ("unreadable_source", f"{member.name[:80]}: {type(error).__name__}: {error}"[:300]))
    if record.problem or about is None or not isinstance(record.value, dict):
        return Record(index, record.value, record.problem)
    return Record(index, {**record.value, "eval": about})


def _about(file: IO[bytes], members: dict[str, Member]) -> Any:
    """The log's `eval`, from its header or, if the log never ended, its start; None if neither can be read."""
    for name in ("header.json", "_journal/start.json"):
        try:
            found = strict_json.loads(_contents(file, members[name]).decode())
        except (KeyError, ValueError, EOFError, OSError, struct.error, zlib.error, zstandard.ZstdError):
            continue
        if isinstance(found, dict) and isinstance(found.get("eval"), dict):
            return found["eval"]
    return None
