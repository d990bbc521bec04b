"""Read the bytes of a file as a stream, unpacking gz and zst, up to where they break off."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import zstandard

_PACKED_BYTES = 1 << 10
"""Packed bytes that are unpacked at a time. The result is held in memory, and four bytes of zst may hold 128 KB."""
_READ_BYTES = 1 << 16
FREE_BYTES = 1 << 30
"""Size to which any file may unpack."""
MAX_RATIO = 200
"""Maximum ratio of unpacked to packed size above FREE_BYTES: logs and tables stay far below it."""


class TooLarge(ValueError):
    """Data that unpacks to far more than logs do: a bomb."""


def too_large() -> str:
    """The message of a `TooLarge`."""
    return f"it unpacks to more than {MAX_RATIO} times its size and {FREE_BYTES >> 30} GB"


def read_blocks(file: io.BufferedReader, trouble: list[str]) -> Iterator[bytes]:
    """Yield the file's bytes, unpacked as its first bytes say. If they break off, add the reason to `trouble`."""
    try:
        unpacker = _unpacker(file.peek(4)[:4])
        blocks = iter(lambda: file.read(_READ_BYTES), b"")
        yield from unpacked(blocks, unpacker) if unpacker else blocks
    except (EOFError, OSError, TooLarge, zlib.error, zstandard.ZstdError) as error:
        trouble.append(f"{type(error).__name__}: {error}"[:300])


def _unpacker(magic: bytes) -> Callable[[], Any] | None:
    if magic[:2] == b"\x1f\x8b":
        return lambda: zlib.decompressobj(wbits=31)  # 31: with a gzip header
    # A zst file may start with a frame that readers must skip: pzstd writes one.
    if magic == b"\x28\xb5\x2f\xfd" or (magic[1:] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50):
        return zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj
    return None


def unpacked(blocks: Iterable[bytes], unpacker: Callable[[], Any]) -> Iterator[bytes]:
    """Yield the contents of all frames, one after the other.

    Raises EOFError after the last one if it is cut off, and TooLarge as soon as they hold too much.
    """
    frame, num_packed, num_unpacked = None, 0, 0
    for block in _small(blocks):
        num_packed += len(block)
        while block := block if frame else block.lstrip(b"\0"):  # zeros may pad the end
            frame = frame or unpacker()
            data = frame.decompress(block)
            num_unpacked += len(data)
            if num_unpacked > max(FREE_BYTES, num_packed * MAX_RATIO):
                raise TooLarge(too_large())
            yield data
            block, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
    if frame:
        raise EOFError("the compressed data is cut off")


def _small(blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        for start in range(0, len(block), _PACKED_BYTES):
            yield block[start : start + _PACKED_BYTES]


class BlockStream(io.RawIOBase):
    """A file object that reads from blocks of bytes."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._rest = blocks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size
