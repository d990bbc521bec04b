"""From a policy's raw text to an action, by the convention that its chat template taught it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pivotmine.actions import hermes, llama3_json, mistral, qwen3_xml
from pivotmine.actions.action import Action, Unparsed
from pivotmine.actions.conventions import is_text, read_text
from pivotmine.actions.pieces import Piece
from pivotmine.actions.reasoning import split_end_tokens, split_reasoning
from pivotmine.errors import UserError

PARSERS = {
    "hermes": hermes.split,
    "llama3_json": llama3_json.split,
    "mistral": mistral.split,
    "qwen3_xml": qwen3_xml.split,
}
"""Convention -> splitter. A new one is a module whose `split(text, tools)` yields pieces, and a line here."""


def require_parser(name: str) -> None:
    """UserError where no parser has the name."""
    if name not in PARSERS:
        raise UserError(f"no parser {name!r}: choose from {', '.join(PARSERS)}")


def parse_action(
    text: str,
    *,
    parser: str,
    action_format: str | None = None,
    opened_reasoning: bool = False,
    truncated: bool = False,
    tools: Sequence[dict[str, Any]] = (),
) -> Action:
    """Read one turn. Every text gives an action, and only markup is dropped.

    `parser` is a name in `PARSERS`, any other is a `UserError`. It reads turns of the action format `native` (or
    None); a text convention reads its turns without the parser. `opened_reasoning`: the prompt ends inside a
    reasoning block. `truncated`: the token budget ended the sample. `tools`: the state's definitions in
    OpenAI form; the qwen3_xml convention needs their types.
    """
    if is_text(action_format):
        return read_text(text, action_format, opened_reasoning=opened_reasoning, truncated=truncated)
    if parser == "hermes" and not opened_reasoning:
        body, _ = split_end_tokens(text)
        if call := hermes.only_call(body):
            return Action(tool_calls=(call,), truncated=truncated)
    return assemble(split_text(text, parser=parser, opened_reasoning=opened_reasoning, tools=tools), truncated)


def split_text(
    text: str, *, parser: str, opened_reasoning: bool = False, tools: Sequence[dict[str, Any]] = ()
) -> Iterator[Piece]:
    """The pieces of one turn, in order: their texts joined are `text`."""
    require_parser(parser)
    body, end_tokens = split_end_tokens(text)
    reasoning, answer = split_reasoning(body, opened=opened_reasoning)
    yield from reasoning
    yield from PARSERS[parser](answer, tools)
    if end_tokens:
        yield Piece(kind="mark", text=end_tokens)


def assemble(pieces: Iterable[Piece], truncated: bool) -> Action:  # noqa: FBT001
    """The action that the pieces make; stretches of message are stripped and joined by a line break."""
    kept = [piece for piece in pieces if piece.kind != "mark"]
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
