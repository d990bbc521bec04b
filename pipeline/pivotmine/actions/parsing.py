"""Parse a policy's raw text into an action, by the convention of its chat template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pivotmine.actions import hermes, llama3_json, mistral, qwen3_xml
from pivotmine.actions.action import Action
from pivotmine.actions.conventions import is_text, read_text
from pivotmine.actions.pieces import Piece, assemble
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
    """Raise UserError if no parser has this name."""
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
    """Parse one turn. Every text gives an action, and only markup is dropped.

    parser: a name in `PARSERS`, else UserError. It applies to the action format `native` (or None); text conventions
    have parsers of their own. opened_reasoning: whether the prompt ends inside a reasoning block. truncated: whether
    the token budget ended the sample. tools: the state's tools in OpenAI form; qwen3_xml needs their types.
    """
    if is_text(action_format):
        return read_text(text, action_format, opened_reasoning=opened_reasoning, truncated=truncated)
    if parser == "hermes" and not opened_reasoning:
        body, _ = split_end_tokens(text)
        if call := hermes.only_call(body):
            return Action(tool_calls=(call,), truncated=truncated)
    pieces = split_text(text, parser=parser, opened_reasoning=opened_reasoning, tools=tools)
    return assemble(pieces, truncated=truncated)


def split_text(
    text: str, *, parser: str, opened_reasoning: bool = False, tools: Sequence[dict[str, Any]] = ()
) -> Iterator[Piece]:
    """Split one turn into pieces, in order. Their texts joined give `text`."""
    require_parser(parser)
    body, end_tokens = split_end_tokens(text)
    reasoning, answer = split_reasoning(body, opened=opened_reasoning)
    yield from reasoning
    yield from PARSERS[parser](answer, tools)
    if end_tokens:
        yield Piece(kind="mark", text=end_tokens)
