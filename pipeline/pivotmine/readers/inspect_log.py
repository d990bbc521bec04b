"""Inspect evaluation logs: `.json` (`{eval, samples[]}`) and samples of `.eval` archives (`sources.eval_archive`).

A sample is a trajectory. Its model events record what each call saw, its tools and its answer. They make the segments,
with compactions, sub-agents and branches. Calls of scorers and graders are left out. A log without model events has
only `messages`: they are one segment without tools, in which the sample's input is masked. Long texts are looked up in
`attachments`, and pooled messages in `events_data`.

The outcome is the first score, as Inspect's `value_to_float` reads it (C 1, P 0.5, I and N 0). A sample without a score
that ended at a limit or with an error failed (0). The task is `<eval.task>:<sample id>`, which the epochs of a sample
share.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pivotmine.readers.logs.model_calls import ModelCall, segments_of
from pivotmine.readers.openai_form import (
    assistant,
    list_at,
    listed,
    masked,
    object_at,
    tool_call,
    tool_result,
    unreadable,
)
from pivotmine.readers.record_fields import tool_definitions
from pivotmine.readers.trajectory import BadTrajectory, Reader, Segment, Trajectory, outcome_label
from pivotmine.sources.json_records import Record

_PROTOCOL = "attachment://"
_SCORES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "no": 0.0}
_HEAVY = ("messages", "events", "events_data", "attachments", "store", "timelines", "output", "input", "id")
_MOST_NESTED = 20
"""Maximum levels of events inside events, which older logs have instead of spans."""


def matches(record: Any) -> bool:
    """Whether a record is a sample with its epoch and messages, or a log with `eval` and `samples`."""
    if not isinstance(record, dict):
        return False
    is_log = isinstance(record.get("eval"), dict) and "samples" in record
    return is_log or ({"epoch", "messages", "id"} <= record.keys() and bool({"target", "scores"} & record.keys()))


def group(records: Iterable[Record]) -> Iterator[Record]:
    """Split each log into its samples, numbered through the file."""
    number = 0
    for record in records:
        if record.problem or not matches(record.value) or "samples" not in record.value:
            yield record
            continue
        samples = record.value["samples"]
        if not isinstance(samples, list) or not samples:
            yield Record(record.index, None, ("no_messages", "an Inspect log without samples"))
            continue
        for sample in samples:
            value = {**sample, "eval": record.value["eval"]} if isinstance(sample, dict) else None
            yield Record(number, value, None if value else ("bad_message", "a sample is a JSON object"))
            number += 1


def read(record: Any) -> Trajectory:
    """Read one sample: a segment, and one more for each rewritten context."""
    final = list_at(record, "messages")
    if record.get("invalidation"):
        raise BadTrajectory("invalidated", str(object_at(record, "invalidation").get("reason"))[:200])
    attachments = object_at(record, "attachments")
    shown = [_message(_resolved(message, attachments)) for message in final]
    calls = _calls(record, attachments, shown)
    segments = segments_of([*calls, ModelCall(context=shown, reply=None)]) if calls else (_plain(final, shown),)
    about = object_at(record, "eval")
    task = ":".join(str(part) for part in (about.get("task"), record.get("id")) if part is not None)
    left = {k: v for k, v in record.items() if k not in (*_HEAVY, "eval") and v is not None}
    named = {k: about[k] for k in ("task", "model", "run_id") if about.get(k) is not None}
    return Trajectory(
        segments=segments,
        task_id=task or None,
        outcome=_outcome(record),
        metadata=left | ({"eval": named} if named else {}),
    )


def _plain(final: list[Any], shown: list[Any]) -> Segment:
    """The final conversation; assistant messages of the sample's input are not turns."""
    given = [isinstance(m, dict) and m.get("source") == "input" for m in final]
    return Segment(messages=[masked(m) if put else m for m, put in zip(shown, given, strict=True)])


def _calls(record: dict[str, Any], attachments: dict[str, Any], final: list[Any]) -> list[ModelCall]:
    pool = listed(object_at(record, "events_data"), "messages")
    found: list[tuple[list[Any], Any, list[Any] | None]] = []
    for event in _model_events(record.get("events")):
        reply = _reply(event, attachments)
        if reply is not None:
            context = [_message(_resolved(m, attachments)) for m in _input(event, pool)]
            found.append((context, reply, _tools(event, attachments)))
    seen_next = [*(context for context, _, _ in found), final][1:] if found else []
    return [
        ModelCall(context=context, reply=reply, tools=tools, answer=_answer(reply, (after, final)))
        for (context, reply, tools), after in zip(found, seen_next, strict=True)
    ]


def _answer(reply: Any, contexts: tuple[list[Any], ...]) -> tuple[Any, ...]:
    """The results that follow the reply in the first of the contexts that holds it."""
    for context in contexts:
        place = max((i for i, message in enumerate(context) if message == reply), default=None)
        if place is not None:
            rest = context[place + 1 :]
            end = next((i for i, m in enumerate(rest) if not isinstance(m, dict) or m.get("role") != "tool"), len(rest))
            return tuple(rest[:end])
    return ()


def _model_events(events: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the model events outside of scorers, also those inside other events (older logs)."""
    scoring: set[str] = set()
    steps: list[bool] = []
    for event in events if isinstance(events, list) and depth < _MOST_NESTED else ():
        if not isinstance(event, dict):
            continue
        kind, scores = event.get("event"), str(event.get("type")) == "scorer" or event.get("name") == "scorers"
        if kind == "span_begin" and (scores or str(event.get("parent_id")) in scoring):
            scoring.add(str(event.get("id")))
        elif kind == "step":
            steps = [*steps, scores] if event.get("action") == "begin" else steps[:-1]
        elif str(event.get("span_id")) in scoring or any(steps):
            continue
        elif kind == "model" and event.get("role") != "grader":
            yield event
        else:
            yield from _model_events(event.get("events"), depth + 1)


def _input(event: dict[str, Any], pool: list[Any]) -> list[Any]:
    """The messages that the call saw: its own list, or ranges of the pool."""
    refs = event.get("input_refs")
    if not isinstance(refs, list):
        found = event.get("input")
        return found if isinstance(found, list) else [None]
    messages: list[Any] = []
    for ref in refs:
        whole = isinstance(ref, list) and len(ref) == 2 and all(type(i) is int for i in ref)
        if not whole or not 0 <= ref[0] <= ref[1] <= len(pool):
            return [None]
        messages += pool[ref[0] : ref[1]]
    return messages


def _reply(event: dict[str, Any], attachments: dict[str, Any]) -> Any:
    """What the model answered; None if the call failed or is pending."""
    choices = object_at(event, "output").get("choices")
    if event.get("error") or event.get("pending") or not isinstance(choices, list) or not choices:
        return None
    message = choices[0].get("message") if isinstance(choices[0], dict) else None
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return unreadable("assistant", "a model output without an assistant message")
    return _message(_resolved(message, attachments))


def _tools(event: dict[str, Any], attachments: dict[str, Any]) -> list[Any] | None:
    tools = _resolved(event.get("tools"), attachments)
    if not isinstance(tools, list):
        return tool_definitions(tools)
    kept = ("name", "description", "parameters")
    bare = [{k: t[k] for k in kept if k in t} if isinstance(t, dict) else t for t in tools]
    return tool_definitions(bare)


def _resolved(value: Any, attachments: dict[str, Any]) -> Any:
    """Replace references by their attachments; keep a reference whose attachment is missing."""
    if not attachments:
        return value
    if isinstance(value, str):
        return attachments.get(value.removeprefix(_PROTOCOL), value) if value.startswith(_PROTOCOL) else value
    if isinstance(value, list):
        return [_resolved(item, attachments) for item in value]
    if isinstance(value, dict):
        return {key: _resolved(item, attachments) for key, item in value.items()}
    return value


def _message(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    role, (content, reasoning) = message.get("role"), _content(message.get("content"))
    if _is_reference(content):
        return unreadable(str(role), "a text that should be among the attachments is not")
    if role == "assistant":
        return _assistant(content, reasoning, message.get("tool_calls") or [])
    if role != "tool":
        return {"role": role, "content": content}
    if isinstance(message.get("error"), dict):
        content = f"Error: {message['error'].get('message')}"
    return tool_result(message.get("tool_call_id"), content)


def _assistant(content: Any, reasoning: str, calls: Any) -> dict[str, Any]:
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        return unreadable("assistant", "`tool_calls` is not a list of objects")
    made = [tool_call(call.get("id"), call.get("function"), call.get("arguments")) for call in calls]
    return assistant(content, reasoning=reasoning, tool_calls=made)


def _content(content: Any) -> tuple[Any, str]:
    """Content without its reasoning, and the reasoning."""
    if not isinstance(content, list):
        return content, ""
    kept: list[Any] = []
    thoughts: list[str] = []
    for block in content:
        if isinstance(block, dict) and block.get("type") == "reasoning":
            text = block.get("summary") if block.get("redacted") else block.get("reasoning")
            thoughts += [text] if isinstance(text, str) and text else []
        elif isinstance(block, dict) and block.get("type") == "text":
            kept.append({"type": "text", "text": block.get("text")})
        else:
            kept.append(block)
    single = len(kept) == 1 and isinstance(kept[0], dict) and "text" in kept[0]
    text = kept[0]["text"] if single else kept
    return text if kept else "", "\n".join(thoughts)


def _is_reference(content: Any) -> bool:
    texts = [b.get("text") for b in content if isinstance(b, dict)] if isinstance(content, list) else [content]
    return any(
        isinstance(text, str) and text.startswith(_PROTOCOL) and len(text) == len(_PROTOCOL) + 32 for text in texts
    )


def _outcome(record: dict[str, Any]) -> float | None:
    scores = list(object_at(record, "scores").values())
    value = object_at({"score": scores[0]}, "score").get("value") if scores else None
    if value is not None:
        return outcome_label(_SCORES.get(value, _SCORES.get(value.lower(), value)) if isinstance(value, str) else value)
    return 0.0 if record.get("error") or record.get("limit") else None


READER = Reader(matches, read, group)
