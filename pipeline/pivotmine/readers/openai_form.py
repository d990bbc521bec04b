"""Make messages in OpenAI form from the parts of other formats.

A part that cannot be read becomes a message that no state can hold, with the reason. The turns before it are kept, and
those from there on are one counted reject. Without that message the states would be ones that no model ever saw.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pivotmine import strict_json
from pivotmine.messages import UNREADABLE, UNRECORDED
from pivotmine.readers.trajectory import BadTrajectory


def assistant(content: Any, *, reasoning: str = "", tool_calls: Iterable[dict[str, Any]] = ()) -> dict[str, Any]:
    """An assistant message; it has keys for reasoning and calls only if there are some."""
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if reasoning:
        message["reasoning_content"] = reasoning
    if calls := list(tool_calls):
        message["tool_calls"] = calls
    return message


def tool_call(identity: Any, name: Any, arguments: Any) -> dict[str, Any]:
    """A call; arguments that are not text become JSON text, as in the API."""
    text = arguments if isinstance(arguments, str) else strict_json.dumps(arguments)
    call: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": text}}
    return call if identity is None else {"id": str(identity), **call}


def tool_result(identity: Any, content: Any, **fields: Any) -> dict[str, Any]:
    """A tool message; it has an id only if the source gives one."""
    message: dict[str, Any] = {"role": "tool", "content": content}
    if identity is not None:
        message["tool_call_id"] = str(identity)
    return message | fields


def masked(message: Any) -> Any:
    """Give an assistant message weight 0, so that it is not a demonstration; leave other messages as they are."""
    if isinstance(message, dict) and message.get("role") == "assistant":
        return {**message, "weight": 0}
    return message


def unreadable(role: str, why: str) -> dict[str, Any]:
    """A message in place of a part of the source that could not be read."""
    return {"role": role, "content": None, UNREADABLE: why}


def unrecorded(role: str, why: str) -> dict[str, Any]:
    """A message in place of something that the model saw and the source does not hold."""
    return {"role": role, "content": None, UNRECORDED: why}


def object_at(value: Any, key: str) -> dict[str, Any]:
    """The object under a key of what should be an object; an empty one if it is missing."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def list_at(value: Any, key: str) -> list[Any]:
    """The list under a key; BadTrajectory if it is missing."""
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise BadTrajectory("no_messages", f"no list under `{key}`")
    return found


def listed(value: Any, key: str) -> list[Any]:
    """The list under a key of what should be an object; an empty one if it is missing."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def thoughts_of(message: dict[str, Any]) -> str:
    """The text of Anthropic's thinking blocks, which some harnesses keep next to the content."""
    texts = [block.get("thinking") for block in listed(message, "thinking_blocks") if isinstance(block, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def text_of_blocks(blocks: Any) -> str | None:
    """The text of content that is text, or a list of text blocks only; None for anything else."""
    if isinstance(blocks, str):
        return blocks
    if not isinstance(blocks, list):
        return None
    texts = [block.get("text") if isinstance(block, dict) and block.get("type") == "text" else None for block in blocks]
    return "".join(texts) if all(isinstance(text, str) for text in texts) else None  # pyright: ignore[reportArgumentType, reportCallIssue]


def plain(content: Any) -> Any:
    """The text if all blocks are text; else the content as it is."""
    text = text_of_blocks(content)
    return content if text is None else text


def first_label(places: Iterable[Any], keys: Iterable[str]) -> Any:
    """The first value that is not null: every object is searched for the first key, then for the next one."""
    objects = [place for place in places if isinstance(place, dict)]
    return next((place[key] for key in keys for place in objects if place.get(key) is not None), None)
