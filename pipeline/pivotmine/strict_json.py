"""Strict JSON for untrusted text: a parser that raises nothing but ValueError, and a canonical writer.

The standard parser accepts text that is not JSON (NaN, Infinity), silently keeps the last of two equal keys, reads lone
surrogates that no UTF-8 file can contain, and raises RecursionError on deep nesting. Text from trajectories and models
may contain all four.

If the package orjson is installed, it does the work. Where its result would differ, the standard parser and writer are
used. So the results are the same with and without it.
"""

from __future__ import annotations

import functools
import json
import re
from itertools import chain
from typing import Any

MAX_DEPTH = 100
"""Maximum nesting of arrays and objects. No tool call of ours or of a peer's comes near it."""

_WINDOW_CHARS = 1024
"""Size of the first window of `raw_loads`: longer than nearly every tool call."""

_MARGIN_CHARS = 16
"""An error or a number's end this close to a window's end may be due to the window: no literal is longer."""

_WHITE_SPACE = re.compile(r"[ \t\n\r]*+")
_MAYBE_SURROGATE = re.compile(r"[\ud800-\udfff]|\\u[dD][89a-fA-F]")


def loads(text: str | bytes) -> Any:
    """Parse strict JSON, text or its UTF-8; raises ValueError (with the reason) on anything else."""
    value = _quick_loads(text)
    if value is not _UNSURE:
        return value
    if isinstance(text, bytes):
        text = as_text(text)
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check(value, text)
    return value


def raw_loads(text: str, start: int = 0) -> tuple[Any, int]:
    """Parse the strict JSON value at `start` (white space before it is skipped); any text may follow it.

    Returns the value and the index just behind it. Raises ValueError with the reason; positions in it count from the
    value's first character.

    The text is read through a window that grows while the value may extend beyond it. The standard decoder counts the
    lines of all text before an error. Without the window, many broken values in one long text would take quadratic
    time.
    """
    start = _skip_white_space(text, start)
    size = _WINDOW_CHARS
    while True:
        window = text[start : start + size]
        whole = start + size >= len(text)
        settled = len(window) - _MARGIN_CHARS
        try:
            value, length = _DECODER.raw_decode(window)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        except json.JSONDecodeError as error:
            # An unterminated string is reported at its start, even if only the window cuts it.
            if whole or (error.pos < settled and not error.msg.startswith("Unterminated")):
                raise ValueError(f"{error.msg} at character {error.pos}") from None
        else:
            if whole or length < settled:
                _check(value, window[:length])
                return value, start + length
        size *= 4


def dumps(value: Any, *, ordinary: bool | None = None) -> str:
    """Compact JSON in the given key order, for storage; ordinary: `is_ordinary` of the value, if known."""
    quick = _quick_dumps(value, ordinary=ordinary)
    return _ENCODER.encode(value) if quick is None else quick.decode()


def dump_bytes(value: Any) -> bytes:
    """`dumps` as UTF-8; UnicodeEncodeError if a string has a lone surrogate."""
    quick = _quick_dumps(value)
    return _ENCODER.encode(value).encode() if quick is None else _exact(quick)


def canonical(value: Any) -> str:
    """Compact JSON with sorted keys, for hashes and comparisons."""
    quick = _quick_dumps(value, sort_keys=True)
    return _CANONICAL_ENCODER.encode(value) if quick is None else quick.decode()


def canonical_bytes(value: Any, *, ordinary: bool | None = None) -> bytes:
    """`canonical` as UTF-8; UnicodeEncodeError if a string has a lone surrogate.

    ordinary: `is_ordinary` of the value, if known.
    """
    quick = _quick_dumps(value, sort_keys=True, ordinary=ordinary)
    return _CANONICAL_ENCODER.encode(value).encode() if quick is None else _exact(quick)


def fingerprint(value: Any) -> bytes:
    """Bytes that differ for different JSON values, key order included; compact JSON for ordinary values.

    Compare them only within one process: with and without orjson, exponents are written differently.
    """
    if (package := _orjson()) is not None:
        try:
            return _exact(package.dumps(value))
        except TypeError:
            pass
    return _ENCODER.encode(value).encode("utf-8", "surrogatepass")


def as_text(data: bytes) -> str:
    """Decode UTF-8. Invalid bytes become lone surrogates, which strict JSON refuses."""
    return data.decode("utf-8", "surrogateescape")


_UNSURE = object()
_CONTAINERS = (dict, list)
_SCALARS = frozenset([bool, int, type(None)])


@functools.cache
def _orjson() -> Any:
    """The package, imported on first use; None if it is not installed."""
    try:
        import orjson
    except ImportError:
        return None
    return orjson


def _quick_loads(text: str | bytes) -> Any:
    """orjson's result if the strict parser would give the same, else `_UNSURE`; the strict parser then explains errors.

    orjson keeps the last of two equal keys (the text then has more quotes than the value), and converts integers beyond
    64 bits to floats.
    """
    if (package := _orjson()) is None:
        return _UNSURE
    try:
        data = text.encode() if isinstance(text, str) else text
        value = package.loads(data)
    except ValueError:
        return _UNSURE
    if isinstance(value, str):
        return value
    if not is_ordinary(value):
        return _UNSURE
    written: bytes = package.dumps(value)
    if data.startswith(written):  # compact text
        return value
    return _UNSURE if b"\\u0022" in data or data.count(b'"') != written.count(b'"') else value


def _quick_dumps(value: Any, *, sort_keys: bool = False, ordinary: bool | None = None) -> bytes | None:
    """orjson's result if the standard writer would give the same, else None.

    orjson writes exponents differently, and accepts more types.
    """
    if (package := _orjson()) is None:
        return None
    try:
        data: bytes = package.dumps(value, option=package.OPT_SORT_KEYS if sort_keys else None)
    except TypeError:
        return None
    return data if (is_ordinary(value) if ordinary is None else ordinary) else None


def _exact(data: bytes) -> bytes:
    """A copy to keep: orjson's bytes hold the whole buffer that they were written in, about ten times their size."""
    return memoryview(data).tobytes()


def is_ordinary(value: Any) -> bool:
    """Whether a value is JSON of at most `MAX_DEPTH` levels, with only floats that all writers write the same way."""
    level: list[Any] = [value.values() if type(value) is dict else value if type(value) is list else (value,)]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for children in level:
            for child in children:
                kind = type(child)
                if kind is str:
                    continue
                if kind is dict or kind is list:
                    if child:  # an empty one is no level
                        below.append(child.values() if kind is dict else child)
                elif kind not in _SCALARS and (kind is not float or (child and not 1e-4 <= abs(child) < 1e16)):
                    return False
        if not below:
            return True
        level = below
    return False


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"number out of range: {text[:40]}")
    return number


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object repeats a key")
    return value


# Made once: json.dumps would make one for each value.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_CANONICAL_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique_keys)


def _skip_white_space(text: str, start: int) -> int:
    match = _WHITE_SPACE.match(text, start)
    assert match is not None
    return match.end()


def _check(value: Any, source: str) -> None:
    # With fewer brackets than levels, the value cannot be too deep: skip the walk.
    if source.count("[") + source.count("{") > MAX_DEPTH and exceeds_depth(value, MAX_DEPTH):
        raise ValueError("nested too deeply")
    if _MAYBE_SURROGATE.search(source):
        try:
            dumps(value).encode()
        except UnicodeEncodeError:
            raise ValueError("a string holds a lone surrogate") from None


def exceeds_depth(value: Any, limit: int) -> bool:
    """Whether arrays and objects nest more than `limit` levels deep; an empty one is no level."""
    level = [value] if isinstance(value, _CONTAINERS) and value else []
    for _ in range(limit):
        if not level:
            return False
        children = chain.from_iterable([node.values() if isinstance(node, dict) else node for node in level])
        level = [child for child in children if type(child) is not str and isinstance(child, _CONTAINERS) and child]
    return bool(level)
