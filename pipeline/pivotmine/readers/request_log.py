"""Logs of requests to a model server: one line per call, `{"request": {"messages", "tools"}, "response": {"choices"}}`.

The request's keys may stand in the line itself (LiteLLM). The answer may be Anthropic's (`{"role": "assistant",
"content": [blocks]}`, with `system` in the request). Successive requests repeat the messages before them. Lines with
the same session (`session_id`, `trace_id`, ... in the line or its `metadata`) are one trajectory. Without a session, a
line belongs to the trajectory that its context continues, with or without the reasoning. Only logged answers are turns.
A context that does not repeat the last one opens a new segment. Calls that the server left in the text become tool
calls. At most MAX_OPEN conversations are followed at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pivotmine.messages import is_assistants
from pivotmine.readers import anthropic_messages
from pivotmine.readers.logs.snapshots import Snapshots, state_after
from pivotmine.readers.record_fields import conversation_of, labelled, object_of, task_of, tool_definitions
from pivotmine.readers.trajectory import BadTrajectory, Reader, Segment, Trajectory, text_or_none
from pivotmine.sources.json_records import Record

MAX_OPEN = 256
"""Conversations held at a time; the one that was continued longest ago is closed first."""
_JOINED = "request_log"
_TAKEN = ("request", "response", "messages", "tools", "functions", "domain")


@dataclass(slots=True)
class _Conversation:
    index: int | None
    snapshots: Snapshots
    fields: dict[str, Any]


def matches(record: Any) -> bool:
    """Whether a record is a line with a request's messages and a response, or joined lines."""
    if not isinstance(record, dict):
        return False
    request = record.get("request", record)
    is_call = isinstance(request, dict) and "messages" in request and isinstance(record.get("response"), dict)
    return is_call or isinstance(record.get(_JOINED), list)


def group(records: Iterator[Record]) -> Iterator[Record]:
    """Join lines into conversations, in the order in which these end; pass other records unchanged."""
    followed: dict[str, _Conversation] = {}
    for record in records:
        try:
            if record.problem or not matches(record.value) or _JOINED in record.value:
                raise BadTrajectory("unknown_format")
            context, reply, tools = _call(record.value)
        except BadTrajectory:
            yield record
            continue
        named = conversation_of(record.value)
        session = f"session {named[1]}" if named else None
        key = session or _continued(followed, context, tools)
        conversation = followed.pop(key, None) or _Conversation(record.index, Snapshots(), {})
        conversation.snapshots.add(context, reply, tools)
        conversation.fields |= {k: v for k, v in record.value.items() if k not in _TAKEN}
        # The index keeps conversations with the same end apart.
        end = session or f"state {_end([*context, reply], tools)} {record.index}"
        followed[end] = conversation
        if len(followed) > MAX_OPEN:
            yield _record(followed.pop(next(iter(followed))))
    yield from map(_record, followed.values())


def _continued(followed: dict[str, _Conversation], context: list[Any], tools: list[Any] | None) -> str:
    """Key of the conversation whose last answer is the last one in the context; empty if there is none."""
    ends = {key.rsplit(" ", 1)[0]: key for key in followed if key.startswith("state ")}
    replies = [place for place, message in enumerate(context) if is_assistants(message)]
    end = _end(context[: replies[-1] + 1], tools) if ends and replies else None
    return ends.get(f"state {end}", "") if end else ""


def _end(messages: list[Any], tools: list[Any] | None) -> str | None:
    """Id of a conversation's end, without reasoning, which many clients leave out of later prompts."""
    return state_after([_without_reasoning(message) for message in messages], tools)


def _without_reasoning(message: Any) -> Any:
    if not is_assistants(message):
        return message
    return {k: v for k, v in message.items() if k not in ("reasoning_content", "reasoning")}


def _record(conversation: _Conversation) -> Record:
    segments = [[s.messages, s.tools, s.num_inherited] for s in conversation.snapshots.segments]
    return Record(conversation.index, {**conversation.fields, _JOINED: segments})


def _call(line: dict[str, Any]) -> tuple[list[Any], Any, list[Any] | None]:
    """Context, answer and tools of one call; BadTrajectory if there is not exactly one answer."""
    request = line.get("request", line)
    context = request.get("messages") if isinstance(request, dict) else None
    if not isinstance(context, list):
        raise BadTrajectory("no_messages", "the request has no list `messages`")
    response = line.get("response")
    if isinstance(response, dict) and "choices" not in response and isinstance(response.get("content"), list):
        context = anthropic_messages.to_messages(request.get("system"), context)
        return context, anthropic_messages.said(response["content"]), tool_definitions(request.get("tools"))
    return context, _answer(response), tool_definitions(request.get("tools") or request.get("functions"))


def _answer(response: Any) -> Any:
    choices = response.get("choices") if isinstance(response, dict) else None
    if not isinstance(choices, list) or not choices:
        raise BadTrajectory("no_response", "the response has no choice")
    if len(choices) > 1:
        raise BadTrajectory(
            "several_choices", f"{len(choices)} answers to one request: which one was taken is not said"
        )
    message = choices[0].get("message") if isinstance(choices[0], dict) else None
    if not isinstance(message, dict):
        raise BadTrajectory("no_response", "the choice has no message")
    return {"role": "assistant", **{k: v for k, v in message.items() if v is not None}}


def read(record: Any) -> Trajectory:
    """Read joined lines, or a single line."""
    fields = object_of(record)
    if _JOINED in fields:
        segments = _segments(fields[_JOINED])
    else:
        snapshots = Snapshots()
        snapshots.add(*_call(fields))
        segments = tuple(snapshots.segments)
    outcome, key = labelled(fields)
    return Trajectory(
        segments=segments,
        task_id=task_of(fields),
        domain=text_or_none(fields.get("domain")),
        outcome=outcome,
        outcome_key=key,
        metadata={k: v for k, v in fields.items() if k not in (*_TAKEN, _JOINED)},
    )


def _segments(joined: Any) -> tuple[Segment, ...]:
    try:
        return tuple(
            Segment(
                messages=messages,
                tools=tool_definitions(tools),
                num_inherited=range(len(messages) + 1)[n],
                verbatim=True,
            )
            for messages, tools, n in joined
            if isinstance(messages, list)
        )
    except (TypeError, ValueError, IndexError):
        raise BadTrajectory("no_messages", f"`{_JOINED}` is for joined lines") from None


READER = Reader(matches, read, group)
