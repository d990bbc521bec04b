"""The pieces that a policy's output falls into: every splitter yields them, in order, and drops none.

The pieces' texts joined are the output, character for character. That is what makes "nothing is lost" a
property that can be tested, and it is the same for every convention.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pivotmine.actions.action import Action, ToolCall, Unparsed


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of output and what it is."""

    kind: Literal["reasoning", "message", "calls", "unparsed", "mark"]
    """`mark` is markup that says nothing by itself: a reasoning block's tags, end-of-turn tokens."""
    text: str
    """The stretch as written, markup and white space included."""
    calls: tuple[ToolCall, ...] = ()
    """What was read of it, at least one: only `calls` has them."""
    reason: str = ""
    """Why it could not be read: only `unparsed` has one."""


def message(text: str) -> Piece:
    """Text for the user."""
    return Piece(kind="message", text=text)


def unparsed(text: str, reason: str) -> Piece:
    """Text that announces a call and is not one."""
    return Piece(kind="unparsed", text=text, reason=reason)


def calls(text: str, read: Callable[[], tuple[ToolCall, ...]]) -> Piece:
    """Calls as `read` reads them, or, where it raises ValueError, all of it unparsed with that reason."""
    try:
        return Piece(kind="calls", text=text, calls=read())
    except ValueError as error:
        return unparsed(text, str(error))


def assemble(pieces: Iterable[Piece], *, truncated: bool = False) -> Action:
    """The action that the pieces make; stretches of message are stripped and joined by a line break."""
    kept = list(pieces)
    return Action(
        message=_joined(kept, "message"),
        tool_calls=tuple(call for piece in kept for call in piece.calls),
        reasoning=_joined(kept, "reasoning"),
        unparsed=tuple(Unparsed(text=p.text, reason=p.reason) for p in kept if p.kind == "unparsed"),
        truncated=truncated,
    )


def _joined(pieces: list[Piece], kind: str) -> str:
    stripped = (piece.text.strip() for piece in pieces if piece.kind == kind)
    return "\n".join(text for text in stripped if text)


def split_at_marks(
    text: str,
    marks: re.Pattern[str],
    strays: tuple[str, ...],
    read: Callable[[str, int], Iterator[Piece]],
) -> Iterator[Piece]:
    """Walk from mark to mark: `read(text, index)` yields the pieces from there, what lies between is message.

    A mark in `strays` belongs inside or behind a call: met outside, it says that the text before it was to be
    one.
    """
    at = 0
    while found := marks.search(text, at):
        if found[0] in strays:
            yield unparsed(text[at : found.end()], f"{found[0]} without a call that it belongs to")
            at = found.end()
            continue
        if found.start() > at:
            yield message(text[at : found.start()])
        at = found.start()
        for piece in read(text, at):
            yield piece
            at += len(piece.text)
    if at < len(text):
        yield message(text[at:])


_WHITE_SPACE = re.compile(r"\s*+")


def skip_white_space(text: str, at: int) -> int:
    """Index of the first character at or after `at` that is not white space."""
    found = _WHITE_SPACE.match(text, at)
    assert found is not None
    return found.end()
