"""ShareGPT: `{"conversations": [{"from": "human", "value": "..."}, ...], "tools": "[...]", "system": "..."}`.

`function_call` holds one call `{"name", "arguments"}` or a list of them, as JSON text; `observation` holds its result.
Calls have no ids: results answer the last calls in their order. A `function_call` right after a `gpt` or another
`function_call` is part of the same completion, because nothing between them asked the model again. A value that cannot
be read stays as it is, and the turns from there on are rejected.
"""

from __future__ import annotations

import re
from typing import Any

from pivotmine import strict_json
from pivotmine.messages import MASK_KEYS
from pivotmine.readers.openai_messages import of_messages
from pivotmine.readers.pairing import CallIds
from pivotmine.readers.record_fields import message_list
from pivotmine.readers.trajectory import BadTrajectory, Reader, Trajectory

ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "assistant", "model", "bot"), "assistant"),
    "system": "system",
}
CALLS = ("function_call", "tool_call")
RESULTS = ("observation", "tool", "function", "tool_response", "function_response", "function_output")
_TOOLACE = re.compile(r"\[[A-Za-z_][\w ./-]*\(.*\)\]", re.DOTALL)
_TAKEN = ("from", "value", *MASK_KEYS)


def matches(record: Any) -> bool:
    """Whether a record has `conversations`, or is (or has as `messages`) a list of entries with `from` and `value`."""
    if isinstance(record, dict) and "messages" not in record:
        return "conversations" in record
    entries = record["messages"] if isinstance(record, dict) else record
    return isinstance(entries, list) and _is_entry(entries[0] if entries else None)


def _is_entry(value: Any) -> bool:
    return isinstance(value, dict) and {"from", "value"} <= value.keys() and "role" not in value


def read(record: Any) -> Trajectory:
    """Read a record as one segment: the context only grows."""
    fields: dict[str, Any] = dict(record) if isinstance(record, dict) else {"conversations": record}
    key = "conversations" if "conversations" in fields or "messages" not in fields else "messages"
    entries = message_list(fields.pop(key, None), key)
    if any(map(_is_toolace_call, entries)):
        detail = "calls written as [Name(argument=value)] (ToolACE) are not read: convert them to function_call entries"
        raise BadTrajectory("unknown_format", detail)
    return of_messages(to_messages(entries), fields)


def _is_toolace_call(entry: Any) -> bool:
    """Whether an entry holds only calls in ToolACE's form. Read as text, they would pass for an answer."""
    said = _is_entry(entry) and ROLES.get(str(entry["from"])) == "assistant" and isinstance(entry["value"], str)
    return said and _TOOLACE.fullmatch(entry["value"].strip()) is not None


def to_messages(entries: list[Any]) -> list[Any]:
    """The entries as messages in OpenAI form."""
    messages: list[Any] = []
    ids = CallIds()
    before: Any = None
    for entry in entries:
        if not _is_entry(entry):
            messages.append(entry)  # a message in OpenAI form, or what no state can hold
        elif entry["from"] in CALLS:
            joins = _is_entry(before) and (before["from"] in CALLS or ROLES.get(str(before["from"])) == "assistant")
            _add_calls(messages, entry, ids, joins=joins)
        elif entry["from"] in RESULTS:
            messages.append({**ids.result(_text(entry["value"])), **_other_fields(entry)})
        else:
            role = ROLES.get(str(entry["from"]), entry["from"])
            messages.append({"role": role, "content": entry["value"], **_other_fields(entry)})
        before = entry
    return messages


def _add_calls(messages: list[Any], entry: dict[str, Any], ids: CallIds, *, joins: bool) -> None:
    """Add the calls to the last message, or as a new message; content that is not a call is kept as it is."""
    functions = _functions(entry["value"])
    if functions is None:
        messages.append({"role": "assistant", "content": None, "tool_calls": _text(entry["value"])})
    elif joins and isinstance(calls := messages[-1].get("tool_calls", []), list):
        messages[-1] |= {"tool_calls": calls + ids.calls(functions, more=bool(calls)), **_other_fields(entry)}
    else:
        messages.append(
            {"role": "assistant", "content": None, "tool_calls": ids.calls(functions), **_other_fields(entry)}
        )


def _functions(value: Any) -> list[dict[str, Any]] | None:
    """The called functions; None if the value holds anything else."""
    try:
        found = strict_json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None
    found = found if isinstance(found, list) else [found]
    if not found or not all(isinstance(f, dict) and isinstance(f.get("name"), str) for f in found):
        return None
    return [{"name": f["name"], "arguments": _text(f.get("arguments", {})), **_surplus(f)} for f in found]


def _surplus(function: dict[str, Any]) -> dict[str, Any]:
    """Keys that calls do not have. They are kept so that the action parser refuses the call."""
    return {k: v for k, v in function.items() if k not in ("name", "arguments")}


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else strict_json.dumps(value)


def _other_fields(entry: dict[str, Any]) -> dict[str, Any]:
    """Masks as they are (`weight`, axolotl's `train`, ...); all other fields are kept under `extra`."""
    rest = {k: v for k, v in entry.items() if k not in _TAKEN}
    masks = {k: entry[k] for k in MASK_KEYS if entry.get(k) is not None}
    return {"extra": rest, **masks} if rest else masks


READER = Reader(matches, read)
