"""OpenAI-style messages: their allowed fields, and the ids of a message and of a state.

A message is kept as its source has it. Its id hashes all of it. A state's id hashes only what the policy would see:
role, name, content (outer white space aside), reasoning, calls and results, with call ids replaced by their position.
So the same state recorded twice is one state: bookkeeping (usage, model, cost, ids, timestamps) does not count.

Reasoning in the history counts, because the recorded model probably saw it. `reasoning_content`, `reasoning`,
`thinking` and `reasoning_details` with the same text give the same id. A `<think>` block in the content is content. The
model did not see what a reader keeps under `extra`, so that does not count.

The action format of the segment is part of the id if it is a text convention. Ids of native states do not depend on it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pivotmine import strict_json

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
UNREADABLE, UNRECORDED, SEVERAL_CONVERSATIONS = "unreadable", "unrecorded", "several_conversations"
"""Keys under which a reader reports a problem: it could not convert a message, the source does not contain it, or the
rest may belong to another conversation."""
_READER_PROBLEMS = {
    UNREADABLE: "bad_message",
    UNRECORDED: "unrecorded_context",
    SEVERAL_CONVERSATIONS: "several_conversations",
}
_TEXT_BLOCKS = ("text", "input_text", "output_text")
_MEDIA = {
    "image": "image",
    "input_image": "image",
    "image_url": "image",
    "input_audio": "audio",
    "audio": "audio",
    "video": "video",
    "video_url": "video",
    "input_video": "video",
}
MASK_KEYS = ("weight", "loss", "train", "training", "trainable", "loss_mask", "loss_weight", "mask")
"""Keys under which sources say whether a message is trained on."""
# Keys that a policy sees, reasoning aside. All others are bookkeeping of the source.
_SEEN = frozenset(["role", "content", "name", "refusal", "tool_calls", "tool_call_id", "function_call"])
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
"""Keys under which sources keep a message's reasoning as text; the first one present counts."""
_REASONING = frozenset([*REASONING_KEYS, "reasoning_details"])
_DETAIL_KEYS = ("text", "summary", "thinking", "content")
_PLAIN_KEYS = frozenset(["role", "content", "name", "tool_call_id"])
# "Error: x", "[ERROR] x", "TypeError: x", "Exception - x", a bare "error"; not "Error rate: 2 %" or "error-free".
_FAILURE = re.compile(
    r"\[error\]|\w*(?:error|exception)\s*(?:[:\n]|-\s|$)|traceback \(most recent call last\)", re.IGNORECASE
)


def digest(data: bytes) -> str:
    """128-bit hash, in hexadecimal."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def problem(message: Any) -> tuple[str, str] | None:
    """Why a message cannot be part of a state: (reason, detail); None if it can."""
    if not isinstance(message, dict):
        return "bad_message", f"a message is a JSON object, not {type(message).__name__}"
    role = message.get("role")
    if role not in ROLES:
        return "unknown_role", repr(role)[:100]
    if not _READER_PROBLEMS.keys().isdisjoint(message):
        key = next(key for key in _READER_PROBLEMS if key in message)
        return _READER_PROBLEMS[key], str(message[key])[:200]
    return _content_problem(message.get("content")) or _calls_problem(message.get("tool_calls"))


def _content_problem(content: Any) -> tuple[str, str] | None:
    if content is None or isinstance(content, str):
        return None
    if not isinstance(content, list):
        return "bad_message", f"content is text, null or a list of blocks, not {type(content).__name__}"
    for block in content:
        if problem := _block_problem(block):
            return problem
    return None


def _block_problem(block: Any) -> tuple[str, str] | None:
    kind = str(block.get("type")) if isinstance(block, dict) else type(block).__name__
    if kind in _MEDIA:
        return _MEDIA[kind], "a content block"
    if kind not in _TEXT_BLOCKS:
        return "bad_message", f"unknown content block {kind[:60]!r}"
    if not isinstance(block.get("text"), str):
        return "bad_message", f"a content block {kind!r} without text"
    return None


def _calls_problem(calls: Any) -> tuple[str, str] | None:
    if calls is None:
        return None
    if not isinstance(calls, list):
        return "bad_message", f"tool_calls is a list, not {type(calls).__name__}"
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            return "bad_message", "a tool call without a function name"
    return None


def is_assistants(message: Any) -> bool:
    """Whether a value of any type is an assistant message."""
    return isinstance(message, dict) and message.get("role") == "assistant"


def text_of(content: Any) -> str:
    """Content as one text: blocks are joined, null is empty."""
    if isinstance(content, list):
        return "".join(block["text"] for block in content)
    return content or ""


def reasoning_of(message: dict[str, Any]) -> Any:
    """A message's reasoning: the value under one of REASONING_KEYS, else the texts of `reasoning_details`, else empty.

    Encrypted details have no text. A value that is not text is returned as it is.
    """
    for key in REASONING_KEYS:
        if value := message.get(key):
            return value
    details = message.get("reasoning_details")
    if not isinstance(details, list):
        return details or ""
    return "\n".join(text for detail in details if (text := _detail_text(detail)))


def for_chat_server(messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages in the form that chat servers take today: content is text, and calls are `tool_calls`.

    A legacy `function_call` has no id, so its call and the result after it get one.
    """
    found: list[dict[str, Any]] = []
    call_id = ""
    for message in messages:
        kept = {key: message[key] for key in ("tool_calls", "tool_call_id", "name") if message.get(key) is not None}
        legacy = message.get("function_call")
        if not kept.get("tool_calls") and isinstance(legacy, dict):
            call_id = f"call_{len(found)}"
            kept["tool_calls"] = [{"id": call_id, "type": "function", "function": legacy}]
        role = message["role"]
        if role == "function":
            role = "tool"
            kept.setdefault("tool_call_id", call_id)
        found.append({"role": role, "content": text_of(message.get("content")), **kept})
    return found


def _detail_text(detail: Any) -> str:
    if not isinstance(detail, dict):
        return detail if isinstance(detail, str) else ""
    return next((detail[key] for key in _DETAIL_KEYS if isinstance(detail.get(key), str)), "")


def message_id(message: Any) -> str:
    """Hash of the whole message as a JSON value."""
    return digest(strict_json.canonical_bytes(message))


def tools_id(tools: list[Any]) -> str:
    """Hash of the tool definitions as a JSON value."""
    return digest(strict_json.canonical_bytes(tools))


class Seen(NamedTuple):
    """The part of a message that determines a state's id: JSON without the ids of calls."""

    shown: bytes
    """What the policy sees of the message. If it is a result that names its call, only the part before the call's
    id."""
    calls: tuple[str, ...] = ()
    """The ids of its calls."""
    answers: str | None = None
    """The id of the call that it answers; None if it names no call."""
    rest: bytes = b""
    """The part behind that call's id."""


def seen(
    message: dict[str, Any], canonical: bytes | None = None, arguments: tuple[Sequence[Any], bool] | None = None
) -> Seen:
    """The part of a message that determines a state's id. The message has no `problem`.

    canonical: the whole message as canonical JSON, if known; most messages are hashed in this form. arguments: if
    known, the arguments of all `tool_calls` as JSON values, and whether they and the message are
    `strict_json.is_ordinary`.
    """
    content = message.get("content")
    if canonical is not None and isinstance(content, str) and content == content.strip():
        if len(message) == 2:
            return Seen(canonical)  # a role and a text
        if "tool_call_id" in message and message.keys() <= _PLAIN_KEYS and {*map(type, message.values())} == {str}:
            # The usual result: the id of its call comes last in canonical JSON.
            call_id = message["tool_call_id"]
            end = len(canonical) - 1 - len(strict_json.canonical_bytes(call_id, ordinary=True))
            return Seen(canonical[:end], (), call_id, b"}")
    values, ordinary = arguments or (None, None)
    fields = _seen(message, values)
    plain = fields.keys() <= _PLAIN_KEYS and isinstance(fields.get("name", ""), str)
    shown, rest = _around_place(fields, ordinary=plain or ordinary)
    answers, calls = message.get("tool_call_id"), message.get("tool_calls") or ()
    ids = tuple([str(call.get("id")) for call in calls])
    return Seen(shown, ids, None if answers is None else str(answers), rest)


def _around_place(fields: dict[str, Any], *, ordinary: bool | None) -> tuple[bytes, bytes]:
    """Canonical JSON before and behind the id of the call that a result names; all of it if it names none."""
    if "tool_call_id" not in fields:
        return strict_json.canonical_bytes(fields, ordinary=ordinary), b""
    zero = strict_json.canonical_bytes({**fields, "tool_call_id": 0}, ordinary=ordinary)
    if max(fields) == "tool_call_id":  # the last key, as in nearly all results
        return zero[:-2], zero[-1:]
    one = strict_json.canonical_bytes({**fields, "tool_call_id": 1}, ordinary=ordinary)
    # The two texts differ in one place: that of the id.
    start = next(at for at, (a, b) in enumerate(zip(zero, one, strict=True)) if a != b)
    return zero[:start], zero[start + 1 :]


class StateHash:
    """The id of the state after each message of a segment, in time linear in the segment.

    action_format: the segment's; `native` and None do not change the id.
    """

    def __init__(self, tools_id: str | None, action_format: str | None = None) -> None:
        convention = f"\n{action_format}" if action_format not in (None, "native") else ""
        self._hash = hashlib.blake2b(f"{tools_id or ''}{convention}".encode(), digest_size=16)
        self._places: dict[str, int] = {}
        self._num_calls = 0

    def add(self, message: dict[str, Any]) -> None:
        """Append a message to the state."""
        self.add_seen(seen(message))

    def add_seen(self, message: Seen) -> None:
        """Append a message, as `seen` returns it."""
        shown, calls, answers, rest = message
        for call_id in calls:
            # A source may use an id again in a later turn: it then means the later call.
            self._places[call_id] = self._num_calls
            self._num_calls += 1
        # No separator is needed: JSON objects one after another are unambiguous.
        self._hash.update(shown)
        if answers is not None:
            self._hash.update(b"%d%b" % (self._place(answers), rest))

    def state_id(self) -> str:
        """Id of the state made of the messages added so far."""
        return self._hash.hexdigest()

    def _place(self, call_id: str) -> int:
        """Number of the call. A call that is not in the state gets the next number."""
        if call_id not in self._places:
            self._places[call_id] = self._num_calls
            self._num_calls += 1
        return self._places[call_id]


def _seen(message: dict[str, Any], arguments: Sequence[Any] | None = None) -> dict[str, Any]:
    """The fields of a message that the policy sees. A result names its call by the source's id."""
    if message.keys() <= _PLAIN_KEYS and {*map(type, message.values())} == {str}:
        seen = dict(message)
    else:
        seen = {key: value for key, value in message.items() if key in _SEEN and value is not None}
    seen["content"] = text_of(message.get("content")).strip()
    if not _REASONING.isdisjoint(message):
        text = reasoning_of(message)
        if text := text.strip() if isinstance(text, str) else text:
            seen["reasoning_content"] = text
    if seen.keys() <= _PLAIN_KEYS:
        return seen
    if "tool_calls" in seen and (calls := seen.pop("tool_calls")):
        if arguments is None:
            seen["tool_calls"] = [_function(call["function"]) for call in calls]
        else:
            names = (call["function"]["name"] for call in calls)
            seen["tool_calls"] = [list(call) for call in zip(names, arguments, strict=True)]
    if isinstance(function := seen.get("function_call"), dict):
        seen["function_call"] = _function(function)
    return seen


def _function(function: dict[str, Any]) -> list[Any]:
    return [function.get("name"), argument_value(function.get("arguments"))]


def argument_value(arguments: Any) -> Any:
    """Arguments as a JSON value, whether the source wrote an object or its text; text that is not JSON stays text.

    Null, its text and empty text are an empty object.
    """
    if no_arguments(arguments):
        return {}
    if not isinstance(arguments, str):
        return arguments
    try:
        return strict_json.loads(arguments)
    except ValueError:
        return arguments


def no_arguments(arguments: Any) -> bool:
    """Whether a recorded call was written without arguments: null, its text, or empty text."""
    return arguments is None or (isinstance(arguments, str) and arguments.strip() in ("", "null"))


def call_failed(reply: Iterable[dict[str, Any]]) -> bool:
    """Whether a tool result among the messages that answer a turn reports a failure.

    A result fails if its message says so (`is_error`, `status`), or if its text begins like an error ("Error:",
    "[ERROR]", "TypeError:", "Traceback (most recent call last)"). It also fails if it is a JSON object with a truthy
    `error`, `errors`, `is_error` or `isError`, with `status` "error" or "failed", or with `success` false.
    """
    return any(result_failed(message) for message in reply if message.get("role") in ("tool", "function"))


def result_failed(message: dict[str, Any]) -> bool:
    """Whether one tool result reports a failure, by the rules of `call_failed`."""
    if message.get("is_error") is True or message.get("status") == "error":
        return True
    text = text_of(message.get("content")).lstrip()
    if not text.startswith("{"):
        return _FAILURE.match(text) is not None
    if not _may_say(text):
        return False  # most results need no parsing
    try:
        value = strict_json.loads(text)
    except ValueError:
        return False
    if not isinstance(value, dict):
        return False
    has_error = any(value.get(key) for key in ("error", "errors", "is_error", "isError"))
    return has_error or value.get("status") in ("error", "failed") or value.get("success") is False


def _may_say(text: str) -> bool:
    """Whether a text may be an object with a key that reports success or failure: a quick test."""
    named = '"error' in text or '"status"' in text or '"success"' in text or '"is_error"' in text or '"isError"' in text
    return named or "\\u" in text  # an escape can spell any key
