"""Event streams of the OpenHands software-agent SDK (OpenHands V1): rows with a `history`, and bare event lists.

Events have a `kind`. The events of one model response (`llm_response_id`) are one turn; the first holds its text and
reasoning. The context of each call is built as in SDK 1.58: results have the words that the model saw, and a
condensation opens a new segment. Bare events of a file are one stream up to the next system prompt.

The turns from there on are rejected if the stream begins in the middle, or if the event of a result does not hold what
the model saw: a tool worded it, or it was cut with a note. The stream holds definitions of tools only if they are in
OpenAI form; otherwise `metadata.unrecorded` says so.

The outcome is read as in rows of earlier versions (`openhands`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pivotmine.readers.logs.event_views import Condensation, Shown, calls_of, streams_of
from pivotmine.readers.logs.model_calls import segments_of
from pivotmine.readers.openai_form import (
    assistant,
    list_at,
    listed,
    object_at,
    plain,
    thoughts_of,
    tool_call,
    tool_result,
    unreadable,
    unrecorded,
)
from pivotmine.readers.openhands import row_outcome
from pivotmine.readers.openhands_observations import command_output
from pivotmine.readers.record_fields import tool_definitions
from pivotmine.readers.trajectory import BadTrajectory, Reader, Trajectory, text_or_none
from pivotmine.sources.json_records import Record

_ERROR_HEADER = "[An error occurred during execution.]\n"
_CLIPPED = (
    "<response clipped><NOTE>Due to the max output limit, only part of the full response has been shown to you.</NOTE>"
)
_MOST_CHARS = {"TerminalObservation": 30_000, "ExecuteBashObservation": 30_000, "BrowserObservation": 50_000}
_COMMANDS = ("TerminalObservation", "ExecuteBashObservation")
_WORDED_BY_THE_TOOL = ("TaskObservation", "ConsultTomObservation", "SleeptimeComputeObservation")
_RESULTS = ("ObservationEvent", "AgentErrorEvent", "UserRejectObservation")


def is_event(value: Any) -> bool:
    """Whether a value has an id, a `source` and the `kind` of an event."""
    return isinstance(value, dict) and {"id", "source", "kind"} <= value.keys() and isinstance(value["kind"], str)


def matches(record: Any) -> bool:
    """Whether a record is an event, or has a `history` of events."""
    history = listed(record, "history")
    return is_event(record) or (bool(history) and is_event(history[0]))


def group(records: Iterable[Record]) -> Iterator[Record]:
    """Group consecutive events into one stream, up to the next system prompt."""
    return streams_of(records, is_event, lambda _, event: event["kind"] == "SystemPromptEvent", lambda _: None)


def read(record: Any) -> Trajectory:
    """Read one conversation: a segment, and one more after each condensation."""
    history = [record] if is_event(record) else list_at(record, "history")
    fields = {} if is_event(record) else record
    metadata = {k: v for k, v in fields.items() if k not in ("history", "instance_id")}
    _check_branches(history)
    tools = _tools(history)
    if tools is None:
        metadata["unrecorded"] = ["tools"]
    return Trajectory(
        segments=segments_of(calls_of(_shown(history), tools)),
        task_id=text_or_none(fields.get("instance_id")),
        outcome=row_outcome(fields),
        metadata=metadata,
    )


def _check_branches(history: list[Any]) -> None:
    parents = [str(e["parent_id"]) for e in history if isinstance(e, dict) and e.get("parent_id") is not None]
    if len(set(parents)) < len(parents):
        raise BadTrajectory("branched_stream", "several events follow the same one: which the model saw is not told")


def _tools(history: list[Any]) -> list[Any] | None:
    for event in history:
        tools = event.get("tools") if isinstance(event, dict) and event.get("kind") == "SystemPromptEvent" else None
        if isinstance(tools, list) and tools and all(isinstance(t, dict) and "function" in t for t in tools):
            return tool_definitions(tools)
    return None


def _shown(history: list[Any]) -> Iterator[Shown | Condensation]:
    batch: list[dict[str, Any]] = []
    for number, event in enumerate(history):
        if batch and not (isinstance(event, dict) and _same_response(batch[0], event)):
            yield from _reply(batch)
            batch = []
        if not is_event(event):
            message = unreadable("assistant", f"event {number} of the stream is not an event")
            yield Shown(identity=f"#{number}", message=message, is_reply=True)
        elif event["kind"] == "ActionEvent":
            batch.append(event)
        elif event["kind"] == "Condensation":
            yield _condensation(event)
        elif (shown := _other(event)) is not None:
            yield shown
    if batch:
        yield from _reply(batch)


def _same_response(first: dict[str, Any], event: dict[str, Any]) -> bool:
    response = first.get("llm_response_id")
    return event.get("kind") == "ActionEvent" and response is not None and event.get("llm_response_id") == response


def _reply(batch: list[dict[str, Any]]) -> Iterator[Shown]:
    """The reply that several events make up, shown at the first of them."""
    made: list[dict[str, Any]] = []
    for event in batch:
        call = object_at(event, "tool_call")
        # Earlier versions of the SDK keep the call in the API's form.
        fields = object_at(call, "function") or call
        if call.get("id") is None or not isinstance(fields.get("name"), str):
            message = unreadable("assistant", "an action without the call that it came from")
            yield Shown(identity=str(event["id"]), message=message, is_reply=True)
            return
        made.append(tool_call(call["id"], fields["name"], fields.get("arguments")))
    reply = assistant(plain(batch[0].get("thought")), reasoning=_reasoning(batch[0]), tool_calls=made)
    yield Shown(identity=str(batch[0]["id"]), message=reply, is_reply=True)


def _reasoning(fields: dict[str, Any]) -> str:
    text = fields.get("reasoning_content")
    return text if isinstance(text, str) and text else thoughts_of(fields)


def _other(event: dict[str, Any]) -> Shown | None:
    kind, identity = event["kind"], str(event["id"])
    if kind == "SystemPromptEvent":
        parts = [part for part in (event.get("system_prompt"), event.get("dynamic_context")) if part is not None]
        return Shown(identity=identity, message={"role": "system", "content": plain(parts)})
    if kind == "MessageEvent":
        return _message(event)
    if kind not in _RESULTS:
        return None
    call = event.get("tool_call_id")
    if kind == "ObservationEvent":
        message = _observation(event)
    elif kind == "AgentErrorEvent":
        message = tool_result(call, event.get("error"))
    else:
        message = tool_result(call, f"Action rejected: {event.get('rejection_reason')}")
    return Shown(identity=identity, message=message, answers=str(call))


def _message(event: dict[str, Any]) -> Shown:
    said = object_at(event, "llm_message")
    content, more = said.get("content"), event.get("extended_content")
    if isinstance(content, list) and isinstance(more, list):
        content = [*content, *more]
    message = {"role": said.get("role"), "content": plain(content)}
    if said.get("role") == "assistant":
        message = assistant(message["content"], reasoning=_reasoning(said))
    return Shown(identity=str(event["id"]), message=message, is_reply=said.get("role") == "assistant")


def _observation(event: dict[str, Any]) -> dict[str, Any]:
    observation = object_at(event, "observation")
    call, kind = event.get("tool_call_id"), str(observation.get("kind"))
    content = plain(observation.get("content", observation.get("output")))
    if kind in _WORDED_BY_THE_TOOL:
        return unrecorded("tool", f"a {kind} is worded by its tool")
    if isinstance(content, str):
        if kind in _COMMANDS:
            content = command_output(content, object_at(observation, "metadata"), observation)
        most = _MOST_CHARS.get(kind)
        if most is not None and len(content) > most and observation.get("full_output_save_dir"):
            return unrecorded("tool", "a long result was cut, with a note that the event does not hold")
        content = content if most is None else _clipped(content, most)
        content = _ERROR_HEADER + content if observation.get("is_error") is True else content
        more = plain(event.get("extended_content") or "")
        content = content + more if isinstance(more, str) else more
    return tool_result(call, content)


def _clipped(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    left = most - len(_CLIPPED)
    head = left // 2 + left % 2
    return text[:head] + _CLIPPED + text[len(text) - (left - head) :]


def _condensation(event: dict[str, Any]) -> Condensation:
    ids = event.get("forgotten_event_ids")
    forgotten = frozenset(str(i) for i in ids) if isinstance(ids, list) else frozenset[str]()
    summary, offset = event.get("summary"), event.get("summary_offset")
    if not isinstance(summary, str) or type(offset) is not int or offset < 0:
        return Condensation(forgotten=forgotten)
    shown = Shown(identity=f"{event['id']}-summary", message={"role": "user", "content": summary})
    return Condensation(forgotten=forgotten, summary=shown, offset=offset)


READER = Reader(matches, read, group)
