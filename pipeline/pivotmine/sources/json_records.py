"""Read records from JSON: one document, JSON lines, or one array that is parsed element by element."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import IO, Any

from pivotmine import strict_json

_CHUNK_CHARS = 1 << 20
"""Characters of an array that are read at a time."""
_MARGIN_CHARS = 16
"""No JSON literal is longer: an error this close to the end of the text may only mean that more must be read."""
_SEPARATORS = re.compile(r"[\s,]*")
_UNDECODED = re.compile(r"[\udc80-\udcff]")
_FIRST_KEY = re.compile(rb'\s*\{\s*"([^"\\]*)"')
_FINDS_ENDS = json.JSONDecoder()


class Record:
    """A JSON value with its place in the source, or the problem that prevents reading it.

    Its text is parsed on first access, so that another process can do the parsing.
    """

    __slots__ = ("_data", "_problem", "_value", "index", "num_bytes")

    def __init__(
        self, index: int | None, value: Any, problem: tuple[str, str] | None = None, *, num_bytes: int = 0
    ) -> None:
        self.index = index
        """Place in the source, from 0; None for the source as a whole."""
        self.num_bytes = num_bytes
        """Approximate size of its text or row; 0 if unknown."""
        self._value, self._problem = value, problem
        self._data: bytes | None = None

    @classmethod
    def unread(cls, index: int, data: bytes) -> Record:
        """A record with the JSON text `data`, not parsed yet."""
        record = cls(index, None, num_bytes=len(data))
        record._data = data
        return record

    @property
    def value(self) -> Any:
        """The JSON value; None if there is a problem."""
        self._read()
        return self._value

    @property
    def problem(self) -> tuple[str, str] | None:
        """(reason, detail) if the record could not be read; else None."""
        self._read()
        return self._problem

    @property
    def first_key(self) -> str | None:
        """The first key, found without parsing the whole text; None if it is not an object or the key has escapes."""
        if self._data is None:
            return next(iter(self._value), None) if isinstance(self._value, dict) else None
        found = _FIRST_KEY.match(self._data)
        return found[1].decode("utf-8", "replace") if found else None

    def _read(self) -> None:
        if self._data is None:
            return
        data, self._data = self._data, None
        try:
            self._value = strict_json.loads(data)
        except ValueError as error:
            self._problem = ("bad_json", str(error)[:200])
            if found := _UNDECODED.search(strict_json.as_text(data)):
                self._problem = ("bad_encoding", f"not UTF-8 at character {found.start()}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return (self.index, self.value, self.problem) == (other.index, other.value, other.problem)

    def __repr__(self) -> str:
        return f"Record({self.index!r}, {self.value!r}, {self.problem!r})"


def is_value(line: bytes) -> bool:
    """Whether a line is a JSON value by itself, strict or not."""
    try:
        json.loads(strict_json.as_text(line))
    except (ValueError, RecursionError):
        return False
    return True


def read_lines(file: Iterable[bytes]) -> Iterator[Record]:
    """Read one value from each line. An empty line counts as a line and gives no record."""
    for index, line in enumerate(file):
        if line.strip():
            yield Record.unread(index, line)


def read_document(data: bytes) -> Iterator[Record]:
    """Read one JSON value. If another follows, the file holds JSON lines under another name."""
    record = Record.unread(0, data)
    if record.problem and record.problem[1].startswith("Extra data"):
        yield from read_lines(io.BytesIO(data))
    else:
        yield record


def read_array(file: IO[bytes]) -> Iterator[Record]:
    """Yield the elements of one JSON array as soon as each is complete: memory holds a few, not the file."""
    index = 0
    try:
        for element in _elements(io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")):
            yield Record.unread(index, element.encode("utf-8", "surrogateescape"))
            index += 1
    except ValueError as error:
        yield Record(index, None, ("bad_json", f"the array is not whole from here on: {error}"[:200]))


def _elements(file: IO[str]) -> Iterator[str]:
    """Yield the text of each element; ValueError if what follows is not an element."""
    buffer, end, size = file.read(_CHUNK_CHARS).lstrip(), 1, _CHUNK_CHARS
    while not buffer.startswith("]", start := _skip_separators(buffer, end)):
        stop = _element_end(buffer, start)
        if stop is not None:
            yield buffer[start:stop]
            end, size = stop, _CHUNK_CHARS
        elif more := file.read(size):
            # An unfinished element is read in ever larger pieces, so that a huge one takes linear time.
            buffer, end, size = buffer[start:] + more, 0, size * 2
        else:
            raise ValueError("it does not end")
    rest = buffer[start + 1 :].strip()
    while more := file.read(_CHUNK_CHARS):  # read to the end: a packed file has its checksum there
        rest = rest or more.strip()
    if rest:
        raise ValueError("text after its end")


def _skip_separators(text: str, start: int) -> int:
    match = _SEPARATORS.match(text, start)
    assert match is not None
    return match.end()


def _element_end(text: str, start: int) -> int | None:
    """Index after the element at `start`; None if more text may belong to it; ValueError if it is not JSON."""
    try:
        _, end = _FINDS_ENDS.raw_decode(text, start)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        if error.pos < len(text) - _MARGIN_CHARS and not error.msg.startswith("Unterminated"):
            raise ValueError(error.msg) from None
        return None
    # At the end of the text a number or a literal may be incomplete; a closed bracket or quote is not.
    return end if text[start] in '[{"' or (end < len(text) and text[end] in " \t\r\n,]") else None
