"""Convert items of the Responses API to messages, and messages to items.

A turn is a run of items that the model wrote (`reasoning`, an assistant `message`, calls) with nothing between them.
Text or reasoning after a call belongs to a later response: the call's result was left out. `extra` keeps the items of a
turn and the other keys of a result, so that items -> messages -> items is the identity. A custom tool's call has its
text as the argument `input`, and a local shell call has its action as arguments. An item of another type is not a
message: it stays as it is, and the turns from there on are rejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from pivotmine import strict_json
from pivotmine.messages import is_assistants, text_of
from pivotmine.readers.openai_form import plain, tool_call

_OUTPUT = ("type", "call_id", "output")
_CALLS = ("function_call", "custom_tool_call", "local_shell_call")
_RESULTS = ("function_call_output", "custom_tool_call_output", "local_shell_call_output")
ITEM_TYPES = (*_CALLS, *_RESULTS, "reasoning")
"""Types of items that are not messages."""


def to_messages(items: Any) -> list[Any]:
    """The messages of a list of items; a text is one message of the user."""
    if not isinstance(items, list):
        return [{"role": "user", "content": items}]
    runs = [(own, list(run)) for own, run in groupby(items, _is_own)]
    return [message for own, run in runs for message in (map(_turn, _responses(run)) if own else map(_message, run))]


def _responses(run: list[Any]) -> Iterator[list[Any]]:
    """Split a run of items that the model wrote into responses: text or reasoning after a call begins another."""
    response: list[Any] = []
    for item in run:
        if response and item.get("type") not in _CALLS and response[-1].get("type") in _CALLS:
            yield response
            response = []
        response.append(item)
    yield response


def _is_own(item: Any) -> bool:
    """Whether the model wrote the item."""
    kind = item.get("type") if isinstance(item, dict) else None
    return kind == "reasoning" or kind in _CALLS or (kind in (None, "message") and is_assistants(item))


def _message(item: Any) -> Any:
    if not isinstance(item, dict) or item.get("type") not in _RESULTS:
        return item  # messages of system, developer and user have OpenAI's form
    message = {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
    kept = _OUTPUT if item["type"] == _RESULTS[0] else _OUTPUT[1:]
    rest = {k: v for k, v in item.items() if k not in kept}
    return {**message, "extra": {"item": rest}} if rest else message


def _turn(items: list[dict[str, Any]]) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": "assistant", "content": _content(list(filter(is_assistants, items)))}
    if reasoning := "\n".join(_summary(item) for item in items if item.get("type") == "reasoning"):
        turn["reasoning_content"] = reasoning
    if calls := [call_of(item) for item in items if item.get("type") in _CALLS]:
        turn["tool_calls"] = calls
    return {**turn, "extra": {"items": items}}


def _content(items: list[dict[str, Any]]) -> Any:
    """The text of the blocks; the blocks if one is not text, so that the reject can name it."""
    contents = [item.get("content") for item in items]
    blocks = [block for content in contents for block in (content if isinstance(content, list) else [content])]
    texts = [_block_text(block) for block in blocks]
    if all(text is None or isinstance(text, str) for text in texts):
        return "".join(text for text in texts if text) or None
    return blocks


def _block_text(block: Any) -> Any:
    is_text = isinstance(block, dict) and block.get("type") in ("output_text", "input_text", "text")
    return block.get("text") if is_text else block


def _summary(item: dict[str, Any]) -> str:
    """The readable reasoning: its content, else its summary; encrypted reasoning is dropped."""
    for parts in (item.get("content"), item.get("summary")):
        texts = [part.get("text") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
        if found := "\n".join(text for text in texts if isinstance(text, str)):
            return found
    return ""


def call_of(item: dict[str, Any]) -> dict[str, Any]:
    """An item's OpenAI tool call; missing keys stay missing and are refused later."""
    if item.get("type") == "custom_tool_call":
        return tool_call(item.get("call_id"), item.get("name"), {"input": item.get("input")})
    if item.get("type") == "local_shell_call":
        return tool_call(item.get("call_id"), "local_shell", item.get("action"))
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def to_items(messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The inverse of `to_messages`, also for messages of other formats: reasoning, text and calls, in this order."""
    return [item for message in messages for item in _items(message)]


def _items(message: dict[str, Any]) -> list[dict[str, Any]]:
    extra = message.get("extra") or {}
    if message["role"] == "assistant":
        return extra.get("items") or _new_items(message)
    if message["role"] in ("tool", "function"):
        call_id = message.get("tool_call_id") or message.get("name") or ""
        found = {"type": "function_call_output", "call_id": call_id, "output": _as_input(message.get("content"))}
        return [{**found, **extra.get("item", {})}]
    known = {k: v for k, v in message.items() if k in ("type", "id", "status")}
    return [{"role": message["role"], "content": _as_input(message.get("content")), **known}]


def _as_input(content: Any) -> Any:
    """Content as the API takes it: it has no blocks of type `text`, and no null."""
    return plain(content or "")


def _new_items(message: dict[str, Any]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if reasoning := message.get("reasoning_content") or message.get("reasoning"):
        items.append({"type": "reasoning", "summary": [{"type": "summary_text", "text": str(reasoning)}]})
    if text := text_of(message.get("content")):
        items.append({"type": "message", "role": "assistant", "content": text})
    return items + new_calls(message)


def new_calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    """`function_call` items of an assistant message in OpenAI form, the older `function_call` included."""
    calls: list[dict[str, Any]] = message.get("tool_calls") or []
    legacy = message.get("function_call")
    if not calls and isinstance(legacy, dict):
        calls = [{"id": legacy.get("name"), "function": legacy}]
    return [
        {
            "type": "function_call",
            "name": call["function"]["name"],
            "arguments": argument_text(call["function"].get("arguments")),
            "call_id": str(call.get("id") or ""),
        }
        for call in calls
    ]


def argument_text(arguments: Any) -> str:
    """Arguments as JSON text, whether the source wrote an object or its text."""
    return arguments if isinstance(arguments, str) else strict_json.dumps(arguments or {})
