"""Strict JSON for untrusted text: one parser that only ever raises ValueError, one canonical writer.

The standard parser accepts what is not JSON (NaN, Infinity), keeps the last of two equal keys without a word,
reads lone surrogates that no UTF-8 file can hold, and leaves with RecursionError on deep nesting. Text from
trajectories and models may hold all four.
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 100
"""Deepest nesting of arrays and objects that is read; no tool call of ours or of a peer's comes near."""

_WINDOW_CHARS = 1024
"""What `raw_loads` looks at first: longer than nearly every tool call."""

_MARGIN_CHARS = 16
"""An error or a number's end this close to a window's end may be the window's doing: no literal is longer."""

_WHITE_SPACE = re.compile(r"[ \t\n\r]*+")
_MAYBE_SURROGATE = re.compile(r"[\ud800-\udfff]|\\u[dD][89a-fA-F]")


def loads(text: str) -> Any:
    """Parse strict JSON; raises ValueError (with the reason) on anything else."""
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check(value, text)
    return value


def raw_loads(text: str, start: int = 0) -> tuple[Any, int]:
    """Parse the strict JSON value at `start` (white space before it is skipped), whatever follows it.

    Returns the value and the index just behind it. Raises ValueError with the reason; positions in it count
    from the value's first character.

    The text is read through a window that grows while the value may go on behind it: the standard decoder's
    errors count the lines of all text before them, which makes many broken values in one long text take
    quadratic time.
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
            # An unterminated string is reported where it starts, however far away the window ends.
            if whole or (error.pos < settled and not error.msg.startswith("Unterminated")):
                raise ValueError(f"{error.msg} at character {error.pos}") from None
        else:
            if whole or length < settled:
                _check(value, window[:length])
                return value, start + length
        size *= 4


def dumps(value: Any) -> str:
    """Compact JSON, key order kept: what is stored."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def canonical(value: Any) -> str:
    """Compact JSON with sorted keys: what is hashed and compared."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


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


_DECODER = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique_keys
)


def _skip_white_space(text: str, start: int) -> int:
    match = _WHITE_SPACE.match(text, start)
    assert match is not None
    return match.end()


def _check(value: Any, source: str) -> None:
    if exceeds_depth(value, MAX_DEPTH):
        raise ValueError("nested too deeply")
    if _MAYBE_SURROGATE.search(source):
        try:
            dumps(value).encode()
        except UnicodeEncodeError:
            raise ValueError("a string holds a lone surrogate") from None


def exceeds_depth(value: Any, limit: int) -> bool:
    """Whether arrays and objects nest more than `limit` levels deep; an empty one is no level."""
    level = [value]
    for _ in range(limit + 1):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return False
    return True
