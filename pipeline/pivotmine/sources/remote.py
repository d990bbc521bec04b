"""Files behind a URL: hf://, s3://, gs:// and http(s)://, listed and read through fsspec (extra `remote`).

A file is streamed and never held in memory as a whole. If a format needs random access (Parquet, archives) and the
server does not support it, the file is first copied to a temporary one.
"""

from __future__ import annotations

import io
import logging
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import IO, Any

from pivotmine.errors import MissingPackage, UserError
from pivotmine.escape import one_line, public_address

PROTOCOLS = ("hf", "s3", "gs", "gcs", "http", "https")
_BUFFER_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16
"""Bytes read at a time. A broken connection loses the piece that it was sending."""
_STREAM = {"block_size": 0}
"""Over http a file is one stream, because the server may not support ranges."""
_BLOCKS = {"block_size": 8 << 20, "cache_type": "blockcache", "cache_options": {"maxblocks": 8}}
"""Other files are requested in blocks; a broken connection loses one. Several blocks are kept, because a table's
columns are read in turns, and each turn would fetch its block again. The libraries' defaults are 64 KiB (gs) and 50 MB
(s3)."""
_SILENT = logging.NullHandler()
"""By default gcsfs prints each error with a traceback, and also raises it."""
_FINGERPRINTS = ("ETag", "etag", "md5Hash", "crc32c", "blob_id", "xet_hash", "sha256", "oid")
"""Keys under which file systems report a hash of a file's content."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A remote file to read. Its text is its public address, without secrets, which may be stored."""

    url: str = field(repr=False)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.url.partition("?")[0].rstrip("/").rpartition("/")[2]

    def __str__(self) -> str:
        return public_address(self.url)


def is_url(source: object) -> bool:
    """Whether a source names one of the PROTOCOLS."""
    protocol, found, _ = str(source).partition("://")
    return bool(found) and protocol in PROTOCOLS


def find_remote(url: str, is_source: Callable[[str], bool]) -> tuple[list[RemoteFile], list[str]]:
    """Find the files that a URL names (a file, a folder or a glob), and the files of a folder that are skipped.

    Raises UserError if there is no file, if it cannot be reached, or if the extra is missing.
    """
    with _plainly(url):
        system, path = _open_system(url)
        if any(mark in path for mark in "*?[") and not url.startswith("http"):
            found = [p for p in sorted(system.glob(path)) if not system.isdir(p)]
            return [_file(system, p, url) for p in found], []
        if url.startswith("http") or not system.isdir(path):
            system.info(path)
            return [RemoteFile(url)], []
        inside = [str(p) for p in sorted(system.find(path))]
        return [_file(system, p, url) for p in inside if is_source(p)], [p for p in inside if not is_source(p)]


def fingerprint(file: RemoteFile) -> str:
    """128 bits in hexadecimal that change with the content: of hashes from the server, else of the bytes."""
    with _plainly(file.url):
        system, path = _open_system(file.url)
        info = system.info(path)
        known = {key: str(info[key]) for key in _FINGERPRINTS if info.get(key)}
        digest = blake2b(f"{info.get('size')} {sorted(known.items())}".encode(), digest_size=16)
        if not known:
            with system.open(path, "rb") as opened:
                while block := opened.read(_BUFFER_BYTES):
                    digest.update(block)
        return digest.hexdigest()


@contextmanager
def open_remote(file: RemoteFile) -> Generator[io.BufferedReader]:
    """The file's bytes. Every failure is an OSError."""
    try:
        system, path = _open_system(file.url)
        opened = system.open(path, "rb", **(_STREAM if file.url.startswith("http") else _BLOCKS))
    except Exception as error:
        raise _os_error(error) from None
    with opened:
        yield io.BufferedReader(_Plain(opened), _BUFFER_BYTES)


@contextmanager
def seekable(file: IO[bytes]) -> Generator[IO[bytes]]:
    """The file, at its start; a temporary copy if it does not support random access."""
    if file.seekable():
        yield file
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(file, copy, _BUFFER_BYTES)
        copy.seek(0)
        yield copy


def _open_system(url: str) -> tuple[Any, str]:
    import fsspec.core

    logging.getLogger("gcsfs").addHandler(_SILENT)
    return fsspec.core.url_to_fs(url)


def _file(system: Any, path: str, url: str) -> RemoteFile:
    return RemoteFile(f"{url.partition('://')[0]}://{system._strip_protocol(path).lstrip('/')}")


@contextmanager
def _plainly(url: str) -> Generator[None]:
    """Turn the errors of the libraries, which each has its own, into a UserError of one line."""
    try:
        yield
    except ImportError:
        protocol = url.partition("://")[0]
        how = "in the project's folder, `pip install -c constraints.txt '.[remote]'`"
        raise MissingPackage(f"{protocol}:// needs the extra remote: {how}") from None
    except FileNotFoundError as error:
        # The libraries also raise this for a server that does not answer, and for one that refuses.
        cause = error.__cause__
        if cause and getattr(cause, "status", None) != 404:
            raise UserError(f"{public_address(url)} cannot be read: {_os_error(cause)}") from None
        raise UserError(f"{public_address(url)} does not exist: name a file or folder of trajectories") from None
    except Exception as error:
        raise UserError(f"{public_address(url)} cannot be read: {_os_error(error)}") from None


def _os_error(error: BaseException) -> OSError:
    """The whole text in one line: the last of several lines often says who lacks which permission."""
    return OSError(one_line(f"{type(error).__name__}: {error}")[:300])


class _Plain(io.RawIOBase):
    """A remote file that raises only OSErrors; some libraries raise other errors for a broken connection."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._can_seek = bool(file.seekable()) and getattr(file, "size", None) is not None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._can_seek

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._file.read(min(len(buffer), _PIECE_BYTES))
        except Exception as error:
            raise _os_error(error) from None
        buffer[: len(block)] = block
        return len(block)
