"""Spans of model calls: OpenInference (`llm.input_messages`) and OpenTelemetry's GenAI (`gen_ai.input.messages`).

A span is one request with its answer. The spans of a trace are one trajectory, in the order of their start. A context
that repeats the last one and goes on extends its segment. Attributes may be nested, flat
(`llm.input_messages.0.message.role`) or OTLP's list of `{"key", "value"}`. Spans may stand in OTLP's `resourceSpans`.
Spans of another kind (chains, tools) are left out.

Checked against Arize-ai/openinference (`spec/semantic_conventions.md`, `spec/llm_spans.md`) and OpenTelemetry's GenAI
conventions (`gen-ai-input-messages.json`, `gen-ai-output-messages.json`, `gen_ai.tool.definitions`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pivotmine import strict_json
from pivotmine.readers.logs.snapshots import Snapshots
from pivotmine.readers.openai_form import assistant, listed, object_at, tool_call, tool_result
from pivotmine.readers.record_fields import labelled, object_of, tool_definitions
from pivotmine.readers.trajectory import BadTrajectory, Reader, Trajectory
from pivotmine.sources.json_records import Record

_JOINED = "spans"
_MAX_ITEMS = 100_000
"""Maximum index of a list in a flat key."""


def matches(record: Any) -> bool:
    """Whether a record is a span, joined spans, or an OTLP export."""
    if not isinstance(record, dict):
        return False
    if isinstance(record.get(_JOINED), list) or isinstance(record.get("resourceSpans"), list):
        return True
    return isinstance(record.get("attributes"), dict | list) and _trace_id(record) is not None


def _trace_id(span: dict[str, Any]) -> str | None:
    places = (span, object_at(span, "context"))
    found = (place.get(key) for place in places for key in ("trace_id", "traceId", "context.trace_id"))
    return next((str(value) for value in found if isinstance(value, str | int)), None)


@dataclass(slots=True)
class _Trace:
    index: int | None
    spans: list[Any] = field(default_factory=list[Any])


def group(records: Iterator[Record]) -> Iterator[Record]:
    """Join the spans of each trace into one record, in the order in which the traces begin."""
    traces: dict[str, _Trace] = {}
    for record in records:
        if record.problem or not matches(record.value) or _JOINED in record.value:
            yield record
            continue
        for span in _spans(record.value):
            trace_id = _trace_id(span)
            if trace_id is not None:
                traces.setdefault(trace_id, _Trace(record.index)).spans.append(span)
    for trace in traces.values():
        yield Record(trace.index, {_JOINED: trace.spans})


def _spans(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "resourceSpans" not in record:
        yield record
        return
    for resource in record["resourceSpans"]:
        for scope in listed(resource, "scopeSpans"):
            yield from (span for span in listed(scope, "spans") if isinstance(span, dict))


def read(record: Any) -> Trajectory:
    """Read one trace."""
    fields = object_of(record)
    spans = fields[_JOINED] if _JOINED in fields else list(_spans(fields))
    if not isinstance(spans, list) or not all(isinstance(span, dict) for span in spans):
        raise BadTrajectory("no_messages", f"`{_JOINED}` is for joined spans")
    snapshots = Snapshots()
    metadata: dict[str, Any] = {"trace_id": _trace_id(spans[0]) if spans else None}
    for span in sorted(spans, key=_start):
        attributes = _attributes(span.get("attributes"))
        call = _openinference(attributes) or _gen_ai(attributes)
        if call is not None:
            snapshots.add(*call)
            metadata |= object_at(attributes, "metadata")
    if not snapshots.segments:
        raise BadTrajectory("no_messages", "no span of the trace is a model call with its messages")
    outcome, key = labelled(metadata)
    return Trajectory(segments=tuple(snapshots.segments), outcome=outcome, outcome_key=key, metadata=metadata)


def _start(span: dict[str, Any]) -> tuple[int, str]:
    for key in ("start_time", "startTimeUnixNano", "startTime", "start_time_unix_nano"):
        value = span.get(key)
        if isinstance(value, str | int | float):
            text = str(value)  # the length orders numbers; dates compare as text
            return (len(text), text) if text.isdigit() else (0, text)
    return (0, "")


def _attributes(value: Any) -> dict[str, Any]:
    """Attributes as nested objects; numbered keys become lists."""
    if isinstance(value, list):
        value = {one["key"]: _otlp(one.get("value")) for one in value if isinstance(one, dict) and "key" in one}
    root: dict[str, Any] = {}
    for key, inner in value.items() if isinstance(value, dict) else ():
        place, path = root, str(key).split(".")
        for step in path[:-1]:
            below = place.setdefault(step, {})
            if not isinstance(below, dict):
                break
            place = below
        else:
            if isinstance(place.get(path[-1]), dict) and isinstance(inner, dict):
                place[path[-1]] |= inner
            else:
                place[path[-1]] = inner
    return _with_lists(root)


def _with_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _with_lists(one) for key, one in value.items()}
    if inner and all(key.isdecimal() and int(key) < _MAX_ITEMS for key in inner):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner


def _otlp(value: Any) -> Any:
    """An OTLP value as JSON."""
    if not isinstance(value, dict):
        return value
    if "arrayValue" in value:
        return [_otlp(one) for one in listed(value["arrayValue"], "values")]
    if "kvlistValue" in value:
        pairs = listed(value["kvlistValue"], "values")
        return {one["key"]: _otlp(one.get("value")) for one in pairs if isinstance(one, dict) and "key" in one}
    return next(iter(value.values()), None)


def _json(value: Any) -> Any:
    """Parse a value if it is JSON text."""
    if isinstance(value, str):
        try:
            return strict_json.loads(value)
        except ValueError:
            return value
    return value


_Call = tuple[list[Any], Any, list[Any] | None]


def _openinference(attributes: dict[str, Any]) -> _Call | None:
    llm = object_at(attributes, "llm")
    given, made = llm.get("input_messages"), llm.get("output_messages")
    if not isinstance(given, list) or not isinstance(made, list) or len(made) != 1:
        return None
    tools = [_json(object_at(one, "tool").get("json_schema")) for one in listed(llm, "tools")]
    return [_of_openinference(one) for one in given], _of_openinference(made[0]), tool_definitions(tools)


def _of_openinference(wrapped: Any) -> dict[str, Any]:
    message = object_at(wrapped, "message")
    role, content = message.get("role"), message.get("content")
    if content is None and isinstance(message.get("contents"), list):
        content = [_block(object_at(one, "message_content")) for one in message["contents"]]
    if role in ("tool", "function"):
        return tool_result(message.get("tool_call_id"), content)
    if role != "assistant":
        return {"role": role, "content": content}
    functions = [
        (one, object_at(one, "function")) for one in (object_at(c, "tool_call") for c in listed(message, "tool_calls"))
    ]
    calls = [tool_call(one.get("id"), function.get("name"), function.get("arguments")) for one, function in functions]
    return assistant(content, tool_calls=calls)


def _block(part: dict[str, Any]) -> dict[str, Any]:
    if part.get("type") == "text":
        return {"type": "text", "text": part.get("text")}
    return {"type": part.get("type")}


def _gen_ai(attributes: dict[str, Any]) -> _Call | None:
    found = object_at(attributes, "gen_ai")
    given, made = _json(object_at(found, "input").get("messages")), _json(object_at(found, "output").get("messages"))
    if not isinstance(given, list) or not isinstance(made, list) or len(made) != 1:
        return None
    system = _json(found.get("system_instructions"))
    first = [{"role": "system", "content": _text(system)}] if isinstance(system, list) and system else []
    tools = _json(object_at(found, "tool").get("definitions"))
    context = first + [new for message in given for new in _of_gen_ai(message)]
    reply = _of_gen_ai(made[0])
    return (context, reply[0], tool_definitions(tools)) if len(reply) == 1 else None


def _text(parts: list[Any]) -> Any:
    texts = [part.get("content") if isinstance(part, dict) and part.get("type") == "text" else None for part in parts]
    if all(isinstance(text, str) for text in texts):
        return "".join(text for text in texts if text)
    return [{"type": part.get("type") if isinstance(part, dict) else None} for part in parts]


def _of_gen_ai(message: Any) -> list[dict[str, Any]]:
    """Split one message into several: each result of a call is a separate message."""
    role, parts = (message.get("role"), listed(message, "parts")) if isinstance(message, dict) else (None, [])
    results: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    thoughts: list[str] = []
    rest: list[Any] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "tool_call_response":
            results.append(tool_result(part.get("id"), part.get("response", part.get("result"))))
        elif kind == "tool_call":
            calls.append(tool_call(part.get("id"), part.get("name"), part.get("arguments")))
        elif kind in ("reasoning", "thinking") and isinstance(part.get("content"), str):
            thoughts.append(part["content"])
        else:
            rest.append(part)
    if role == "assistant":
        return [assistant(_text(rest) if rest else None, reasoning="\n".join(thoughts), tool_calls=calls)]
    return results + ([{"role": role, "content": _text(rest)}] if rest or not results else [])


READER = Reader(matches, read, group)
