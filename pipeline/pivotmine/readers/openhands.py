"""OpenHands event streams, versions 0.14 to 1.x (before the SDK): the rows of `output.jsonl`, and bare event lists.

A row is `{instance_id, history[], test_result, ...}`. A saved trajectory is a list of events, one after the other in
the file, which `group` joins. A turn is one model response: the first of its events holds the message in
`tool_call_metadata.model_response`. A message of the agent is a response without calls. The context of each call is
built as in the conversation memory of OpenHands 0.48. Observations have the words that the model saw, cut at
`max_message_chars`. The events of a delegate are a separate context, and a condensation opens a new segment. The stream
holds only the parts of workspace context and microagents, so they are worded as in 0.48.

If an event of the agent has no response, the stream does not hold what the model saw, and the turns from there on are
rejected. If a condenser did not record its work, the whole run is rejected. A stream without a `system` event (before
0.30) has no system prompt: `metadata.unrecorded` says so.

The outcome is `resolved` of the row, its `report` or `test_result`, or the `result`, `score` or `reward` of
`test_result`, or `test_result` itself if it is a number. A run with none of these that ended with an `error` failed
(0).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pivotmine import strict_json
from pivotmine.readers.logs.event_views import Condensation, Shown, calls_of, streams_of
from pivotmine.readers.logs.model_calls import ModelCall, segments_of
from pivotmine.readers.openai_form import (
    assistant,
    first_label,
    list_at,
    listed,
    object_at,
    tool_call,
    tool_result,
    unreadable,
    unrecorded,
)
from pivotmine.readers.openhands_observations import observed_text, recalled_text
from pivotmine.readers.record_fields import tool_definitions
from pivotmine.readers.trajectory import BadTrajectory, Reader, Trajectory, outcome_label, text_or_none
from pivotmine.sources.json_records import Record

_UNSEEN_ACTIONS = ("recall", "null", "change_agent_state", "pause", "resume", "start", "stop")
_UNCOUNTED = ("null", "change_agent_state", "agent_state_changed", "condensation_request")
"""Events that a condensation does not count."""
_RECORDED_CONDENSERS = ("noop", "llm", "llm_attention", "amortized", "structured", "conversation_window", "None")
_SUMMARY = "summary"


def is_event(value: Any) -> bool:
    """Whether a value has a `source` and the name of an `action` or an `observation`."""
    if not isinstance(value, dict) or "source" not in value or "kind" in value:
        return False
    return isinstance(value.get("action"), str) or isinstance(value.get("observation"), str)


def matches(record: Any) -> bool:
    """Whether a record is an event, or has a `history` of events."""
    history = listed(record, "history")
    return _is_bare_event(record) or (bool(history) and is_event(history[0]))


def group(records: Iterable[Record]) -> Iterator[Record]:
    """Group consecutive events into one stream; a new stream starts where the ids restart."""
    return streams_of(records, _is_bare_event, _restarts, _lost_event)


def _is_bare_event(value: Any) -> bool:
    return is_event(value) and "history" not in value


def _restarts(last: dict[str, Any], event: dict[str, Any]) -> bool:
    ids = (last.get("id"), event.get("id"))
    return all(type(i) is int for i in ids) and ids[1] <= ids[0]  # pyright: ignore[reportOptionalOperand]


def _lost_event(last: dict[str, Any]) -> dict[str, Any]:
    return {"source": "agent", "action": "unreadable", "args": {}, "id": last.get("id")}


def read(record: Any) -> Trajectory:
    """Read one run: a segment for the agent, one for each delegate, and one more after each condensation."""
    history = [record] if is_event(record) else list_at(record, "history")
    fields = {} if is_event(record) else record
    metadata = {k: v for k, v in fields.items() if k not in ("history", "instance_id")}
    _check_condenser(object_at(metadata, "metadata"))
    segments = segments_of(_calls(history, _options(object_at(metadata, "metadata"))))
    if not any(isinstance(e, dict) and e.get("action") == "system" for e in history):
        metadata["unrecorded"] = ["system prompt", "tools"]
    return Trajectory(
        segments=segments,
        task_id=text_or_none(fields.get("instance_id")),
        outcome=row_outcome(fields),
        metadata=metadata,
    )


class _Options(NamedTuple):
    """How the events were shown to the model, by the row's metadata."""

    max_chars: int | None
    extensions: bool
    disabled: list[Any]


def _options(metadata: dict[str, Any]) -> _Options:
    agent = object_at(metadata, "agent_config")
    most = object_at(metadata, "llm_config").get("max_message_chars")
    return _Options(
        max_chars=most if type(most) is int and most >= 0 else None,
        extensions=agent.get("enable_prompt_extensions") is not False,
        disabled=listed(agent, "disabled_microagents"),
    )


def _check_condenser(metadata: dict[str, Any]) -> None:
    kind = str(object_at(metadata, "condenser_config").get("type"))
    if kind not in _RECORDED_CONDENSERS:
        detail = f"the condenser {kind[:60]!r} rewrote the context, and the stream does not say how"
        raise BadTrajectory("unrecorded_context", detail)


def _calls(history: list[Any], options: _Options) -> Iterator[ModelCall]:
    """The calls of the agent and of its delegates, each as a separate conversation."""
    own, delegates = _delegated(history)
    yield from calls_of(_shown(own, options), _tools(own))
    for events in delegates:
        yield from _calls(events, options)


def _delegated(history: list[Any]) -> tuple[list[Any], list[list[Any]]]:
    """Split events into the agent's own and those of each delegate, from its delegation to its observation."""
    own: list[Any] = []
    delegates: list[list[Any]] = []
    depth = 0
    for event in history:
        action, observation = _kinds(event)
        if depth and observation == "delegate":
            depth -= 1
        (delegates[-1] if depth else own).append(event)
        if action == "delegate":
            delegates += [] if depth else [[]]
            depth += 1
    return own, delegates


def _kinds(event: Any) -> tuple[str | None, str | None]:
    fields = event if isinstance(event, dict) else {}
    action, observation = fields.get("action"), fields.get("observation")
    return action if isinstance(action, str) else None, observation if isinstance(observation, str) else None


def _tools(events: list[Any]) -> list[Any] | None:
    found = (object_at(e, "args").get("tools") for e in events if isinstance(e, dict) and e.get("action") == "system")
    return tool_definitions(next((tools for tools in found if tools), None))


def _shown(events: list[Any], options: _Options) -> Iterator[Shown | Condensation]:
    responses: set[Any] = set()
    known: set[str] = set()
    for number, event in enumerate(events):
        action, observation = _kinds(event)
        if not isinstance(event, dict) or (action is None) == (observation is None):
            yield Shown(
                identity=f"#{number}", message=unreadable("assistant", f"event {number} is not an event"), is_reply=True
            )
        elif observation is not None:
            yield from _observation(event, observation, options, known)
        elif action == "condensation":
            yield _condensation(event)
        elif action not in _UNCOUNTED:
            yield _action(event, str(action), responses)


def _action(event: dict[str, Any], action: str, responses: set[Any]) -> Shown:
    """What an action shows: the model's reply (at its first event), a user's message, or nothing."""
    identity, args = str(event.get("id")), object_at(event, "args")
    metadata = event.get("tool_call_metadata")
    if isinstance(metadata, dict):
        response = object_at(metadata, "model_response")
        # Some servers give every response the same id.
        name = strict_json.canonical([response.get("id"), response.get("choices")])
        if name in responses:
            return Shown(identity=identity, message=None)
        responses.add(name)
        reply = _reply(response)
        later = _finished(args.get("thought"), reply) if action == "finish" else None
        return Shown(identity=identity, message=reply, is_reply=True, later=later)
    if action in _UNSEEN_ACTIONS:
        return Shown(identity=identity, message=None)
    if action == "system":
        return Shown(identity=identity, message={"role": "system", "content": args.get("content")})
    return _plain(event, action, args)


def _finished(thought: Any, reply: dict[str, Any]) -> dict[str, Any]:
    """What later calls see of a `finish`, if the run goes on: what was said and thought, not the call."""
    texts = dict.fromkeys(text for text in (thought, reply["content"]) if isinstance(text, str) and text)
    return {"role": "assistant", "content": "\n".join(texts)}


def _plain(event: dict[str, Any], action: str, args: dict[str, Any]) -> Shown:
    """An action without a response: a message, a command of the user, or an action whose text was not recorded."""
    from_user = event.get("source") == "user"
    text = args.get("content") if action == "message" else args.get("thought") if action == "finish" else None
    if action == "message" and args.get("image_urls"):
        text = [{"type": "text", "text": text}, {"type": "image_url", "image_url": args["image_urls"]}]
    message: dict[str, Any] = {"role": "user" if from_user else "assistant", "content": text}
    if action == "run" and from_user:
        message["content"] = f"User executed the command:\n{args.get('command')}"
    elif action not in ("message", "finish") or text is None:
        message = unrecorded("assistant", f"the action {action[:60]!r} without the model's response")
    return Shown(identity=str(event.get("id")), message=message, is_reply=message["role"] == "assistant")


def _reply(response: dict[str, Any]) -> dict[str, Any]:
    choices = response.get("choices")
    message = object_at(choices[0], "message") if isinstance(choices, list) and choices else {}
    content, calls = message.get("content"), message.get("tool_calls") or []
    if message.get("role") != "assistant" or not isinstance(calls, list):
        return unreadable("assistant", "a model response without a message")
    made: list[dict[str, Any]] = []
    for call in calls:
        function = object_at(call, "function")
        if not isinstance(call, dict) or call.get("id") is None or not isinstance(function.get("name"), str):
            return unreadable("assistant", "a model response with a call that cannot be read")
        made.append(tool_call(call["id"], function["name"], function.get("arguments")))
    reasoning = message.get("reasoning_content") or ""
    return assistant(content, reasoning=reasoning if isinstance(reasoning, str) else "", tool_calls=made)


def _observation(event: dict[str, Any], kind: str, options: _Options, known: set[str]) -> Iterator[Shown]:
    metadata = event.get("tool_call_metadata")
    call = metadata.get("tool_call_id") if isinstance(metadata, dict) else None
    by_user = kind == "run" and call is None
    extras = object_at(event, "extras")
    if kind == "recall":
        text = recalled_text(extras, disabled=options.disabled, known=known) if options.extensions else None
    else:
        text = observed_text(event, kind, extras, options.max_chars, by_user=by_user)
    if kind in _UNCOUNTED:
        return
    if text is None:
        yield Shown(identity=str(event.get("id")), message=None)
    elif call is None:
        yield Shown(identity=str(event.get("id")), message={"role": "user", "content": text})
    else:
        yield Shown(identity=str(event.get("id")), message=tool_result(call, text), answers=str(call))


def _condensation(event: dict[str, Any]) -> Condensation:
    args = object_at(event, "args")
    ids, start, end = (args.get(f"forgotten_event{k}") for k in ("_ids", "s_start_id", "s_end_id"))
    forgotten = {str(i) for i in ids} if isinstance(ids, list) else set[str]()
    if type(start) is int and type(end) is int and end - start < 1_000_000:  # a hostile range would fill the memory
        forgotten |= {str(i) for i in range(start, end + 1)}
    summary, offset = args.get("summary"), args.get("summary_offset")
    if not isinstance(summary, str) or type(offset) is not int or offset < 0:
        return Condensation(forgotten=frozenset(forgotten))
    shown = Shown(identity=_SUMMARY, message={"role": "user", "content": summary})
    return Condensation(forgotten=frozenset({*forgotten, _SUMMARY}), summary=shown, offset=offset)


def row_outcome(record: dict[str, Any]) -> float | None:
    """The outcome label of a row, as OpenHands' evaluations write it."""
    result = record.get("test_result")
    places = (record, record.get("report"), result, object_at(result, "report"))
    label = first_label(places, ("resolved",))
    label = first_label([result], ("result", "score", "reward")) if label is None else label
    if label is None and isinstance(result, bool | int | float):
        label = result
    return 0.0 if label is None and record.get("error") else outcome_label(label)


READER = Reader(matches, read, group)
