"""Session files of coding agents: JSON lines, a header and then one entry per line.

| dialect | header | entries |
|---|---|---|
| Codex | `session_meta` | `response_item` (an item of the Responses API), `compacted`, `event_msg` for display |
| session traces (STS) | `session` with `harness` | `message` |
| Pi | `session` with `version` or `cwd` | `message` with `id` and `parentId`, `compaction`, ... |

`group` joins the lines of a session. Entries of Pi are a tree: each path to a leaf is a segment. A compaction of Codex
with its `replacement_history` opens a segment. The turns from there on are rejected if the file does not hold what the
model saw: after a compaction without its history, a summary, a shell command of the user, a rollback or an unreadable
line, and in a session without its header. Only Codex records the system prompt (`base_instructions`), and no file holds
the tools: `metadata.unrecorded` says so.

Checked against openai/codex (`codex-rs/protocol/src/protocol.rs`, `models.rs`), badlogic/pi-mono
(`packages/coding-agent/docs/session.md`, `src/core/messages.ts`) and huggingface.co/docs/hub/session-traces-format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pivotmine.readers.logs.response_items import to_messages
from pivotmine.readers.logs.trees import Node, segments_of_tree
from pivotmine.readers.openai_form import (
    assistant,
    list_at,
    object_at,
    plain,
    tool_call,
    tool_result,
    unreadable,
    unrecorded,
)
from pivotmine.readers.openai_messages import with_functions
from pivotmine.readers.trajectory import Reader, Segment, Trajectory
from pivotmine.sources.json_records import Record

_JOINED = "session_lines"
_CODEX = ("session_meta", "response_item", "compacted", "turn_context", "event_msg", "world_state")
_SILENT = (
    *("model_change", "thinking_level_change", "label", "session_info", "custom", "ephemeral"),
    *("active_tools_change", "leaf"),
)
"""Entries of Pi that show the model nothing."""
_REWORDED = ("compaction", "branch_summary", "custom_message", "context_transform")
"""Entries of Pi that the model saw in words that the file does not hold."""


def is_line(value: Any) -> bool:
    """Whether a value is a line of a session file."""
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return False
    kind = value["type"]
    if kind in _CODEX:
        return isinstance(value.get("payload"), dict)
    if kind == "session":
        return "id" in value and bool({"harness", "version", "cwd"} & value.keys())
    if kind == "message":
        return isinstance(value.get("message"), dict) and "sessionId" not in value
    return kind in (*_SILENT, *_REWORDED) and {"id", "timestamp"} <= value.keys()


def _is_header(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") in ("session", "session_meta")


def matches(record: Any) -> bool:
    """Whether a record is a line of a session file, or the joined lines of a session."""
    return is_line(record) or (isinstance(record, dict) and isinstance(record.get(_JOINED), list))


def group(records: Iterator[Record]) -> Iterator[Record]:
    """Join the lines from one header to the next into one record."""
    first: int | None = None
    lines: list[Any] = []
    for record in records:
        if record.problem or not is_line(record.value):
            yield record
            if lines:
                lines.append(None)  # the unreadable line may have been an entry
            continue
        is_next = _is_header(record.value) and any(not _is_header(line) for line in lines)
        if is_next:
            yield Record(first, {_JOINED: lines})
            lines = []
        first = first if lines else record.index
        lines.append(record.value)
    if lines:
        yield Record(first, {_JOINED: lines})


def read(record: Any) -> Trajectory:
    """Read one session."""
    lines = [record] if is_line(record) else list_at(record, _JOINED)
    kinds = {str(line.get("type")) for line in lines if isinstance(line, dict)}
    header = next((line for line in lines if _is_header(line)), {})
    of_codex = bool(kinds & set(_CODEX))
    segments = _codex(lines, object_at(header, "payload")) if of_codex else segments_of_tree(_tree(lines))
    about = object_at(header, "payload") if of_codex else header
    has_prompt = bool(_instructions(about)) if of_codex else False
    metadata = {k: v for k, v in about.items() if k not in ("type", "timestamp", "base_instructions")}
    return Trajectory(
        segments=segments, metadata={**metadata, "unrecorded": ["tools"] if has_prompt else ["system prompt", "tools"]}
    )


def _instructions(meta: dict[str, Any]) -> str:
    text = object_at(meta, "base_instructions").get("text")
    return text if isinstance(text, str) else ""


def _codex(lines: list[Any], meta: dict[str, Any]) -> tuple[Segment, ...]:
    """A segment, and one more for each compaction."""
    instructions = _instructions(meta)
    system = [{"role": "system", "content": instructions}] if instructions else []
    given: list[Any] = [] if _is_header(lines[0]) else [_headless()]
    items: list[Any] = []
    segments: list[Segment] = []
    compacted = False

    def close() -> None:
        if items:
            messages = [*system, *given, *to_messages(items)]
            # The beginning of a session holds no turns. A history that replaced another holds earlier turns.
            segments.append(Segment(messages=messages, num_inherited=len(system) + len(given) if compacted else 0))
            items.clear()

    for number, line in enumerate(lines):
        kind, payload = (line.get("type"), object_at(line, "payload")) if isinstance(line, dict) else (None, {})
        if line is None:
            items.append(unrecorded("user", f"line {number} of the session could not be read"))
        elif kind == "response_item" and payload.get("type") != "ghost_snapshot":
            items.append(payload)
        elif kind == "event_msg" and payload.get("type") == "thread_rolled_back":
            items.append(unrecorded("user", "the session was rolled back"))
        elif kind == "compacted":
            close()
            compacted = True
            history = payload.get("replacement_history")
            given = (
                to_messages(history)
                if isinstance(history, list) and history
                else [unrecorded("user", "a compaction without the history that replaced the old one")]
            )
    close()
    return tuple(segments)


def _headless() -> dict[str, Any]:
    return unrecorded("user", "the session has no header: it begins in the middle")


def _tree(lines: list[Any]) -> list[Node]:
    """The entries as a tree; entries without ids follow each other."""
    nodes: list[Node] = []
    places: dict[str, int | None] = {}
    last: int | None = None
    if lines and not _is_header(lines[0]):
        nodes.append(Node(None, _headless()))
        last = 0
    head = last
    for number, line in enumerate(lines):
        if _is_header(line):
            continue
        if not isinstance(line, dict):
            nodes.append(Node(last, unrecorded("user", f"line {number} of the session could not be read")))
            last = len(nodes) - 1
            continue
        parent = line.get("parentId")
        if "parentId" in line and isinstance(line.get("id"), str):
            if parent is None:
                last = head
            elif isinstance(parent, str) and parent in places:
                last = places[parent]
            else:
                nodes.append(Node(None, unrecorded("user", "the entry that this one follows is missing")))
                last = len(nodes) - 1
        message = _message(line)
        if message is not None:
            nodes.append(Node(last, message))
            last = len(nodes) - 1
        if isinstance(line.get("id"), str):
            places[line["id"]] = last
    return nodes


def _message(line: dict[str, Any]) -> dict[str, Any] | None:
    """The message that an entry shows the model; None if it shows nothing."""
    kind = line.get("type")
    if kind in _REWORDED:
        return unrecorded("user", f"the entry {kind!r} is not worded as the model saw it")
    message = line.get("message")
    if kind != "message" or not isinstance(message, dict):
        return None
    role, content = message.get("role"), message.get("content")
    if role == "toolResult":
        result = tool_result(message.get("toolCallId"), plain(content), name=message.get("toolName"))
        return result | {"is_error": True} if message.get("isError") is True else result
    if role == "assistant" and isinstance(content, list):
        return _said(content, message)
    if role in ("user", "assistant", "system", "developer", "tool", "function"):
        return with_functions({**message, "content": plain(content)})
    if message.get("excludeFromContext") is True:
        return None
    return unrecorded("user", f"a message of the role {str(role)[:60]!r} is not worded as the model saw it")


def _said(blocks: list[Any], message: dict[str, Any]) -> dict[str, Any]:
    texts, thoughts, calls = list[str](), list[str](), list[dict[str, Any]]()
    for block in blocks:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text" and isinstance(block.get("text"), str):
            texts.append(block["text"])
        elif kind == "thinking" and isinstance(block.get("thinking"), str):
            thoughts.append(block["thinking"])
        elif kind == "toolCall":
            calls.append(tool_call(block.get("id"), block.get("name"), block.get("arguments")))
        else:
            return unreadable("assistant", f"a content block of type {str(kind)[:60]!r}")
    made = assistant("".join(texts), reasoning="\n".join(filter(None, thoughts)), tool_calls=calls)
    if message.get("stopReason") in ("error", "aborted"):  # nobody should imitate an answer that was broken off
        made["weight"] = 0
    return (
        made if "tool_calls" in made or not message.get("tool_calls") else {**made, "tool_calls": message["tool_calls"]}
    )


READER = Reader(matches, read, group)
