"""Files behind a URL: hf://, s3://, gs:// and http(s)://, listed and read through fsspec (extra `remote`).

A file is streamed, and never held whole; only where a format needs to jump about in it (Parquet, archives) and the
server cannot, it is copied to a temporary file first.
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
"""Read at a time: what a connection sent before it broke off is lost by the piece."""
_STREAM = {"block_size": 0}
"""By http a file is one stream: its server may know no ranges."""
_BLOCKS = {"block_size": 8 << 20, "cache_type": "blockcache", "cache_options": {"maxblocks": 8}}
"""Elsewhere it is asked for by the block, which a connection that breaks off loses. A table's columns are read in
turns: several blocks are kept, or each turn would fetch its block again. Left to themselves, the libraries ask for
64 KiB (gs) or for 50 MB (s3) at once."""
_SILENT = logging.NullHandler()
"""What gcsfs prints of an error by default, with a traceback, it raises as well."""
_FINGERPRINTS = ("ETag", "etag", "md5Hash", "crc32c", "blob_id", "xet_hash", "sha256", "oid")
"""What file systems say of a file's content without its being read."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to be read, as `Path` stands for a local one. As text it is its public address, which may be stored."""

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
    """The files that a URL names (itself, those of a folder, those of a glob), and those of a folder that are skipped.

    UserError if there is no file, if it cannot be reached, or if the extra is missing.
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
    """128 bits in hexadecimal that change with the content: of what the server says of it, else of its bytes."""
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
    """The file, or a temporary copy of it where one cannot jump about in it; at its start."""
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
    """Make one clear line of what the libraries raise: each has its own kinds of errors."""
    try:
        yield
    except ImportError:
        protocol = url.partition("://")[0]
        how = "in the project's folder, `pip install -c constraints.txt '.[remote]'`"
        raise MissingPackage(f"{protocol}:// needs the extra remote: {how}") from None
    except FileNotFoundError as error:
        # The libraries say so of a server that does not answer, and of one that refuses, too.
        cause = error.__cause__
        if cause and getattr(cause, "status", None) != 404:
            raise UserError(f"{public_address(url)} cannot be read: {_os_error(cause)}") from None
        raise UserError(f"{public_address(url)} is not there: name what holds the trajectories") from None
    except Exception as error:
        raise UserError(f"{public_address(url)} cannot be read: {_os_error(error)}") from None


def _os_error(error: BaseException) -> OSError:
    """Its whole text in one line: who lacks which right is often said in the last of several."""
    return OSError(one_line(f"{type(error).__name__}: {error}")[:300])


class _Plain(io.RawIOBase):
    """A remote file whose troubles are OSErrors: a broken connection is one to some libraries only."""

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
