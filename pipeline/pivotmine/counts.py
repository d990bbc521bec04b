"""Numbers of things in words: `1 state`, `1,200 states`."""

from __future__ import annotations


def counted(number: int, one: str, several: str = "") -> str:
    """A number and its noun: `one` for 1, else `several`, by default the regular plural of `one`."""
    return f"{number:,} {one if number == 1 else several or _plural(one)}"


def _plural(noun: str) -> str:
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2:-1] not in set("aeiou") else f"{noun}s"
