"""Pieces of a policy's output, which every splitter yields in order.

Their texts joined give the output, character for character. So one test for all conventions checks that nothing is
lost.
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
    """`mark` is markup without content: a reasoning block's tags, end-of-turn tokens."""
    text: str
    """The stretch as written, markup and white space included."""
    calls: tuple[ToolCall, ...] = ()
    """The parsed calls: at least one if the kind is `calls`, else none."""
    reason: str = ""
    """Why it could not be parsed; empty unless the kind is `unparsed`."""


def message(text: str) -> Piece:
    """Text for the user."""
    return Piece(kind="message", text=text)


def unparsed(text: str, reason: str) -> Piece:
    """Text that looks like a call and is not a valid one."""
    return Piece(kind="unparsed", text=text, reason=reason)


def calls(text: str, read: Callable[[], tuple[ToolCall, ...]]) -> Piece:
    """The calls that `read` returns; if it raises ValueError, the whole text as unparsed with that reason."""
    try:
        return Piece(kind="calls", text=text, calls=read())
    except ValueError as error:
        return unparsed(text, str(error))


def assemble(pieces: Iterable[Piece], *, truncated: bool = False) -> Action:
    """Build the action from its pieces.

    Pieces of the message are stripped and joined by a line break, and so are those of the reasoning.
    """
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
    """Split a text at its marks: `read(text, index)` yields the pieces from a mark on; the text in between is message.

    Marks in `strays` belong inside or behind a call. Outside of a call, such a mark shows that the text before it was
    meant to be a call, so that text is unparsed.
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
