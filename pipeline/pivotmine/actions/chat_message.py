"""OpenAI assistant messages as actions: recorded demonstrations and chat servers' replies.

Keys next to a call's `function` (an index, a server's own fields) concern the transport and are ignored. Inside
`function` the strict rule of `calls` applies, except that null values are dropped. Text that still contains call markup
is a call that the server failed to parse. It goes to `unparsed`: as a message, a broken call would pass as an answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

from pivotmine import strict_json
from pivotmine.actions import calls, llama3_json, pieces
from pivotmine.actions.action import Action, ToolCall
from pivotmine.actions.pieces import Piece, assemble
from pivotmine.actions.reasoning import opens_reasoning, split_reasoning
from pivotmine.messages import no_arguments, reasoning_of

# Call markup of conventions that have no parser here: DeepSeek, Kimi, MiniMax, GPT-OSS.
_FOREIGN = (
    r"<｜tool▁calls?▁begin｜>|<｜DSML｜function_calls>|<\|tool_calls?(?:_section)?_begin\|>|"
    r"<minimax:tool_call>|<\|call\|>"
)
_MARKUP = re.compile(rf"</?tool_call>|<function=|\[TOOL_CALLS\]|{_FOREIGN}|{llama3_json.MARKS.pattern}")
_PLAIN_KEYS = frozenset(["role", "content", "tool_calls"])
# The first characters of all call markup and reasoning tags: a quick test.
_MARKUP_BEGINNING = re.compile(r"[<\[{]")


def action_from_message(message: dict[str, Any], *, truncated: bool = False) -> Action:
    """The action in an assistant message. Parts that are neither text nor a valid call are `unparsed`, with the reason.

    It uses `content` (text, null, or blocks), reasoning (`reasoning_of`, or a `<think>` block at the start of the
    content), `refusal`, `tool_calls` and the older `function_call`. truncated: whether the finish reason was `length`.
    """
    return _plain_action(message, truncated=truncated) or assemble(_pieces(message), truncated=truncated)


def _plain_action(message: dict[str, Any], *, truncated: bool) -> Action | None:
    """Fast path for the usual message: text without markup, valid calls, no other keys. None for other messages."""
    content, tool_calls = message.get("content"), message.get("tool_calls")
    if not message.keys() <= _PLAIN_KEYS or not (tool_calls is None or isinstance(tool_calls, list)):
        return None
    if content is not None and (not isinstance(content, str) or _is_marked(content)):
        return None
    try:
        calls = tuple([_read_tool_call(call) for call in tool_calls]) if tool_calls else ()
    except ValueError:
        return None
    return Action(message=(content or "").strip(), tool_calls=calls, truncated=truncated)


def _is_marked(content: str) -> bool:
    """Whether a text starts with reasoning or contains call markup."""
    if _MARKUP_BEGINNING.search(content) is None:
        return False
    return opens_reasoning(content) or _MARKUP.search(content) is not None


def _pieces(message: dict[str, Any]) -> Iterator[Piece]:
    if reasoning := reasoning_of(message):
        yield Piece(kind="reasoning", text=_text(reasoning))
    yield from _content_pieces(message.get("content"))
    if message.get("refusal"):
        yield pieces.message(_text(message["refusal"]))
    yield from _call_pieces(message)


def _content_pieces(content: Any) -> Iterator[Piece]:
    if isinstance(content, str):
        reasoning, answer = split_reasoning(content)
        yield from reasoning
        yield _answer(answer)
    elif isinstance(content, list):
        for block in cast("list[Any]", content):
            yield from _block_pieces(block)
    elif content is not None:
        yield pieces.unparsed(_text(content), "the content is neither text nor a list of blocks")


def _block_pieces(block: Any) -> Iterator[Piece]:
    fields = cast("dict[str, Any]", block) if isinstance(block, dict) else {}
    kind = fields.get("type")
    match kind, fields.get("text", fields.get(str(kind))):
        case "text" | "output_text", str(text):
            yield from _content_pieces(text)
        case "refusal", str(text):
            yield pieces.message(text)
        case "thinking" | "reasoning", str(text):
            yield Piece(kind="reasoning", text=text)
        case _:
            yield pieces.unparsed(_text(cast("Any", block)), f"a content block of type {str(kind)[:80]}")


def _answer(text: str) -> Piece:
    if found := _MARKUP.search(text):
        return pieces.unparsed(text, f"call markup left in the content: {found[0][:80]}")
    return pieces.message(text)


def _call_pieces(message: dict[str, Any]) -> Iterator[Piece]:
    tool_calls = message.get("tool_calls")
    if isinstance(tool_calls, list):
        for call in cast("list[Any]", tool_calls):
            yield pieces.calls(_text(call), lambda call=call: (_read_tool_call(call),))
    elif tool_calls is not None:
        yield pieces.unparsed(_text(tool_calls), "tool_calls is not a list")
    if message.get("function_call") is not None:
        function = message["function_call"]
        yield pieces.calls(_text(function), lambda: (_read_function(function),))


def _read_tool_call(call: Any) -> ToolCall:
    if not isinstance(call, dict):
        raise ValueError("the call is not an object")
    if call.get("type") not in (None, "function"):
        raise ValueError(f"a call of type {str(call['type'])[:80]}")
    if "function" not in call:
        raise ValueError("no function")
    return _read_function(call["function"])


def _read_function(function: Any) -> ToolCall:
    if not isinstance(function, dict):
        raise ValueError("the function is not an object")
    given: dict[str, Any] = {key: value for key, value in function.items() if value is not None}
    if no_arguments(given.get("arguments")):
        given["arguments"] = {}
    if isinstance(given.get("arguments"), dict):
        # Another parser decoded these and may have accepted NaN or a lone surrogate.
        given["arguments"] = _strict(given["arguments"])
    return calls.read_call(given)


def _strict(arguments: Any) -> Any:
    try:
        return strict_json.loads(strict_json.dumps(arguments))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the arguments are not JSON: {error}") from None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return strict_json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
    except RecursionError:
        return "nested too deeply to be shown"
