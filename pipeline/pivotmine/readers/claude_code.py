"""Claude Code's session files: JSON lines, each an event with a `uuid` and the `parentUuid` that it follows.

`group` joins the lines of a session. The lines of one API response (one `message.id`) are one turn. Its tool results
follow it in the order of its calls. The context of a turn is the path from the root to it. So a prompt that was taken
back, a sub-agent (`isSidechain`) and the part after a compaction are separate segments. Messages that Claude Code wrote
in the model's name (`<synthetic>`) are masked. Reports of API errors are left out, because the model does not see them.

The files do not hold the system prompt, the tools (`--tools FILE`) and the text of reminders: `metadata.unrecorded`
names them. The context is unknown if a line's parent is missing, or after a compaction that kept or cleared single
messages: the turns from there on are rejected. The format has no outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pivotmine.readers.anthropic_messages import is_result, result_of, said
from pivotmine.readers.logs.model_calls import ModelCall, segments_of
from pivotmine.readers.openai_form import assistant, list_at, masked, object_at, plain, unreadable, unrecorded
from pivotmine.readers.trajectory import Reader, Trajectory
from pivotmine.sources.json_records import Record

_JOINED = "claude_code_lines"
_OTHER_KINDS = (
    *("summary", "file-history-snapshot", "queue-operation", "custom-title", "ai-title", "agent-name", "last-prompt"),
    *("mode", "permission-mode", "pr-link", "worktree-state", "bridge-session"),
)
"""Types of lines that are not part of the conversation."""
_ABOUT = ("sessionId", "agentId", "cwd", "gitBranch", "version", "summary")


@dataclass(slots=True, eq=False)
class _Item:
    """A message of the conversation: a prompt, or a reply with the results of its calls."""

    parent: _Item | None
    message: dict[str, Any]
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Results by call id."""

    def answer(self) -> list[dict[str, Any]]:
        """The results in the order of the calls."""
        ids = [call.get("id") for call in self.message.get("tool_calls", ())]
        return [self.results[i] for i in ids if i in self.results]


@dataclass(slots=True)
class _Session:
    places: dict[str, _Item | None] = field(default_factory=dict)
    """The item of each line, by its uuid; None for the root."""
    replies: dict[str, _Item] = field(default_factory=dict)
    """Replies by response id, in the order in which they began."""
    callers: dict[str, _Item] = field(default_factory=dict)
    """The reply that made a call, by the call's id."""


def is_line(value: Any) -> bool:
    """Whether a value is a line of a session file, part of the conversation or not."""
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return False
    placed = {"uuid", "parentUuid", "sessionId"} <= value.keys()
    return placed or (value["type"] in _OTHER_KINDS and bool({"sessionId", "leafUuid", "snapshot"} & value.keys()))


def matches(record: Any) -> bool:
    """Whether a record is a line of a session file, or the joined lines of a session."""
    return is_line(record) or (isinstance(record, dict) and isinstance(record.get(_JOINED), list))


def group(records: Iterable[Record]) -> Iterator[Record]:
    """Join the lines of each session. A session ends at a line of another session that does not continue it."""
    first: int | None = None
    lines: list[Any] = []
    known: set[str] = set()
    for record in records:
        if not is_line(record.value):
            yield record
            continue
        line = record.value
        session = line.get("sessionId")
        is_next = session is not None and all(held.get("sessionId") not in (session, None) for held in lines)
        if lines and is_next and str(line.get("parentUuid")) not in known:
            yield Record(first, {_JOINED: lines})
            lines, known = [], set()
        first = first if lines else record.index
        lines.append(line)
        known.add(str(line.get("uuid")))
    if lines:
        yield Record(first, {_JOINED: lines})


def read(record: Any) -> Trajectory:
    """Read one session: a segment for each path through it."""
    lines = [record] if is_line(record) else list_at(record, _JOINED)
    session = _Session()
    for line in lines:
        if isinstance(line, dict) and isinstance(line.get("uuid"), str):
            session.places[line["uuid"]] = _place(line, session)
    found = ((key, next((x[key] for x in lines if isinstance(x, dict) and x.get(key)), None)) for key in _ABOUT)
    metadata = {key: value for key, value in found if value is not None}
    return Trajectory(
        segments=segments_of(
            ModelCall(context=_context(turn), reply=turn.message, answer=tuple(turn.answer()))
            for turn in session.replies.values()
        ),
        metadata={**metadata, "unrecorded": ["system prompt", "tools", "reminders"]},
    )


def _context(turn: _Item) -> list[Any]:
    """The messages on the path from the root to the turn."""
    path: list[_Item] = []
    item = turn.parent
    while item is not None:
        path.append(item)
        item = item.parent
    seen = [message for one in reversed(path) for message in (one.message, *one.answer())]
    headless = not seen or seen[0].get("role") == "assistant"
    return [unrecorded("user", "a reply that follows nothing"), *seen] if headless else seen


def _place(line: dict[str, Any], session: _Session) -> _Item | None:
    """The item that the line makes or belongs to; lines that follow this line follow that item."""
    parent = _parent(line, session)
    kind, message = line["type"], line.get("message")
    if kind == "system":
        return _boundary(line, parent)
    if kind not in ("user", "assistant") or line.get("isApiErrorMessage") is True:
        return parent
    if not isinstance(message, dict):
        return _Item(parent, unreadable(kind, "a line without its message"))
    return _reply(line, message, parent, session) if kind == "assistant" else _prompt(message, parent, session)


def _parent(line: dict[str, Any], session: _Session) -> _Item | None:
    parent = line.get("parentUuid")
    if parent is None:
        return None
    if not isinstance(parent, str) or parent not in session.places:
        return _Item(None, unrecorded("user", "the line that this one follows is missing"))
    return session.places[parent]


def _boundary(line: dict[str, Any], parent: _Item | None) -> _Item | None:
    """What follows a system line: after a compaction the root, or an unknown context if it kept or cleared messages."""
    subtype = line.get("subtype")
    kept = object_at(line, "compactMetadata").get("preservedSegment")
    if subtype == "microcompact_boundary" or (subtype == "compact_boundary" and kept):
        return _Item(None, unrecorded("user", "a compaction kept or cleared single messages"))
    return None if subtype == "compact_boundary" else parent


def _reply(line: dict[str, Any], message: dict[str, Any], parent: _Item | None, session: _Session) -> _Item:
    """The reply of the response, with the line's blocks added."""
    identity = str(message.get("id") or line["uuid"])
    item = session.replies.get(identity)
    reply = said(message.get("content"))
    if message.get("model") == "<synthetic>":
        reply = masked(reply)
    if item is None:
        item = session.replies[identity] = _Item(parent, reply)
    else:
        item.message = _merged(item.message, reply)
    for call in reply.get("tool_calls", ()):
        session.callers[str(call.get("id"))] = item
    return item


def _merged(reply: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    if any(part.get("content") is None for part in (reply, more)):  # one of them could not be read
        return reply if reply.get("content") is None else more
    reasoning = "\n".join(filter(None, (part.get("reasoning_content") for part in (reply, more))))
    calls = [*reply.get("tool_calls", ()), *more.get("tool_calls", ())]
    whole = assistant(reply["content"] + more["content"], reasoning=reasoning, tool_calls=calls)
    return masked(whole) if reply.get("weight") == 0 else whole


def _prompt(message: dict[str, Any], parent: _Item | None, session: _Session) -> _Item | None:
    """Give the results in a user's message to the replies that called; the rest is a message."""
    content = message.get("content")
    results = [b for b in content if is_result(b)] if isinstance(content, list) else []
    item = parent
    for block in results:
        identity = str(block.get("tool_use_id"))
        result = result_of({**block, "tool_use_id": identity})
        caller = session.callers.get(identity)
        if caller is None:
            item = _Item(item, result)
        else:
            caller.results[identity] = result
            item = caller
    rest = [b for b in content if not is_result(b)] if isinstance(content, list) else content
    return item if results and not rest else _Item(item, {"role": "user", "content": plain(rest)})


READER = Reader(matches, read, group)
