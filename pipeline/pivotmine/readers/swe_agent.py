"""SWE-agent's `.traj` files: `{trajectory[], history[], info, replay_config}`, of all its action formats.

`history` holds every message. In versions that write it, `query` of each step of `trajectory` holds what the model saw.
Without it, the history processors that `replay_config` names are applied as in SWE-agent 1.x: `last_n_observations`
elides old observations, so every later turn has its own segment. A run is rejected if the file does not record what a
processor did.

The action format is that of the parser that the configuration names. Without one it is `native` if there are
`tool_calls`, else the text convention that most replies follow: a fenced block, `<command>` or `<function=...>`. In a
text convention the action stays in the content, as the model wrote it and sees it later.

`is_demo` messages are masked. The outcome is `resolved` of the record, of `info`, or of a report in either. Without it,
a run failed (0) if its `exit_status` says that nothing was submitted; one that submitted is unlabelled. The attempts of
a retrying agent are separate trajectories.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from pivotmine import strict_json
from pivotmine.actions import NATIVE, read_message
from pivotmine.readers.logs.model_calls import ModelCall, segments_of
from pivotmine.readers.openai_form import first_label, list_at, object_at, thoughts_of, unreadable
from pivotmine.readers.trajectory import BadTrajectory, Reader, Segment, Trajectory, outcome_label, text_or_none
from pivotmine.sources.json_records import Record

_KEPT = ("role", "content", "tool_calls", "name", "is_demo", "reasoning_content")
_HARMLESS_PROCESSORS = ("default", "cache_control", "tag_tool_call_observations")
_ELIDING = "last_n_observations"
_PARSERS = {
    "thought_action": "swe_agent_thought",
    "ThoughtActionParser": "swe_agent_thought",
    "xml_thought_action": "swe_agent_xml",
    "XMLThoughtActionParser": "swe_agent_xml",
    "xml_function_calling": "swe_agent_function_tags",
    "function_calling": NATIVE,
}
"""Action formats of SWE-agent's parsers, by the parsers' names in versions 1 and 0."""
_CONVENTIONS = ("swe_agent_function_tags", "swe_agent_xml", "swe_agent_thought")


def matches(record: Any) -> bool:
    """Whether a record has a `history` of messages with roles, or `trajectory` next to `history` or `attempts`."""
    if not isinstance(record, dict) or "messages" in record or not isinstance(record.get("history"), list):
        return isinstance(record, dict) and isinstance(record.get("attempts"), list) and "trajectory" in record
    first = record["history"][0] if record["history"] else None
    return "role" in first if isinstance(first, dict) else isinstance(record.get("trajectory"), list)


def group(records: Iterable[Record]) -> Iterator[Record]:
    """Split a record with `attempts` into these; the run outside the list repeats one of them and is dropped."""
    for record in records:
        attempts = record.value.get("attempts") if isinstance(record.value, dict) else None
        if not isinstance(attempts, list) or not attempts or not matches(record.value):
            yield record
            continue
        shared = {k: record.value[k] for k in ("environment", "instance_id") if k in record.value}
        for number, attempt in enumerate(attempts):
            whole = isinstance(attempt, dict) and matches(attempt)
            value = {**shared, **attempt, "attempt": number} if whole else None
            problem = None if whole else ("no_messages", f"attempt {number} is not an attempt")
            yield Record(record.index, value, problem)


def read(record: Any) -> Trajectory:
    """Read one run: a segment for each agent, and one more wherever the context was rewritten."""
    history = list_at(record, "history")
    record = {**record, "replay_config": _config(record.get("replay_config"))}
    info = object_at(record, "info")
    action_format = _action_format(record, history)
    return Trajectory(
        segments=tuple(replace(segment, action_format=action_format) for segment in _segments(record, history)),
        task_id=text_or_none(_task_id(record)),
        outcome=_outcome(record, info),
        metadata={k: v for k, v in record.items() if v is not None and k not in ("history", "trajectory", "attempts")},
    )


def _action_format(record: dict[str, Any], history: list[Any]) -> str | None:
    """The action format that the configuration or the replies show; None if neither does."""
    agent = object_at(object_at(record, "replay_config"), "agent")
    parser = object_at(object_at(agent, "tools"), "parse_function").get("type") or agent.get("parse_function")
    if isinstance(parser, str) and parser in _PARSERS:
        return _PARSERS[parser]
    replies = [entry for entry in history if _is_reply(entry)]
    if any(entry.get("tool_calls") for entry in replies):
        return NATIVE
    texts = [entry for entry in replies if isinstance(entry.get("content"), str)]
    for name in _CONVENTIONS:
        if texts and sum(bool(read_message(entry, name).tool_calls) for entry in texts) * 2 > len(texts):
            return name
    return None


def _segments(record: dict[str, Any], history: list[Any]) -> tuple[Segment, ...]:
    agents = dict.fromkeys(_agent(entry) for entry in history)
    if len(agents) == 1 and (calls := _recorded_calls(record, history)):
        return segments_of(calls)
    own = [[entry for entry in history if _agent(entry) == agent] for agent in agents]
    return segments_of(call for entries in own for call in _processed_calls(record, entries))


def _agent(entry: Any) -> str:
    return str(entry.get("agent")) if isinstance(entry, dict) else "None"


def _recorded_calls(record: dict[str, Any], history: list[Any]) -> list[ModelCall]:
    """The calls as the steps recorded them; empty if the steps do not record what each call saw."""
    steps = record.get("trajectory")
    places = [place for place, entry in enumerate(history) if _is_reply(entry)]
    if not isinstance(steps, list) or len(steps) != len(places):
        return []
    queries = [_query(step) for step in steps]
    if not all(queries):
        return []
    pairs = zip(places, queries, strict=True)
    return [_call(history, place, [_message(entry) for entry in query or ()]) for place, query in pairs]


def _query(step: Any) -> list[Any] | None:
    query = step.get("query") if isinstance(step, dict) else None
    return query if isinstance(query, list) and all(isinstance(m, dict) and m.get("role") for m in query) else None


def _processed_calls(record: dict[str, Any], history: list[Any]) -> list[ModelCall]:
    """The calls of the history, with its processors applied."""
    num_kept, polling = _elision(record)
    messages = [_message(entry) for entry in history]
    elided = [_elided(entry, message) for entry, message in zip(history, messages, strict=True)]
    observations: list[int] = []
    calls: list[ModelCall] = []
    for place, entry in enumerate(history):
        if _is_reply(entry):
            # SWE-agent never elides the first observation: it holds the task.
            old = set(observations[1 : _last_elided(len(observations), num_kept, polling)])
            context = [elided[i] if i in old else messages[i] for i in range(place)] if old else messages[:place]
            calls.append(_call(history, place, context))
        elif isinstance(entry, dict) and entry.get("message_type") == "observation" and not entry.get("is_demo"):
            observations.append(place)
    return calls


def _last_elided(num_observations: int, num_kept: int | None, polling: int) -> int:
    return 0 if num_kept is None else max(0, num_observations // polling * polling - num_kept)


def _elision(record: dict[str, Any]) -> tuple[int | None, int]:
    """How many observations `last_n_observations` keeps (None for all), and how many it elides at a time.

    Raises BadTrajectory if a processor changed the context in a way that the file does not record.
    """
    agent = object_at(object_at(record, "replay_config"), "agent")
    named = agent.get("history_processors", agent.get("history_processor"))
    processors = [p for p in (named if isinstance(named, list) else [named]) if p is not None]
    kinds = [p.get("type") if isinstance(p, dict) else p for p in processors]
    found: tuple[int | None, int] = (None, 1)
    for processor, kind in zip(processors, kinds, strict=True):
        if kind in _HARMLESS_PROCESSORS:
            continue
        values = (processor.get("n"), processor.get("polling", 1)) if isinstance(processor, dict) else (None, 1)
        tagged = "tag_tool_call_observations" in kinds
        if kind != _ELIDING or tagged or not all(type(v) is int and v > 0 for v in values) or found[0]:
            detail = f"the history processor {str(kind)[:60]!r} rewrote the context, and no step says how (`query`)"
            raise BadTrajectory("unrecorded_context", detail)
        found = values  # pyright: ignore[reportAssignmentType]
    return found


def _elided(entry: Any, message: Any) -> Any:
    content = entry.get("content") if isinstance(entry, dict) else None
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    texts = [b["text"] for b in blocks if isinstance(b, dict) and isinstance(b.get("text"), str)]
    num_lines = sum(len(text.splitlines()) for text in texts)
    text = f"Old environment output: ({num_lines} lines omitted)"
    return {**message, "content": text} if isinstance(message, dict) else message


def _is_reply(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("role") == "assistant" and not entry.get("is_demo")


def _call(history: list[Any], place: int, context: list[Any]) -> ModelCall:
    end = next((i for i in range(place + 1, len(history)) if _is_reply(history[i])), len(history))
    answer = tuple(_message(entry) for entry in history[place + 1 : end])
    return ModelCall(context=context, reply=_message(history[place]), answer=answer)


def _message(entry: Any) -> Any:
    """The message without the keys that SWE-agent adds: `thought` and `action` are parsed from the content."""
    if not isinstance(entry, dict):
        return entry
    if "content" not in entry:
        return unreadable(str(entry.get("role")), "a message without `content`")
    message = {key: entry.get(key) for key in _KEPT if entry.get(key) is not None or key == "content"}
    ids = entry.get("tool_call_ids")
    if isinstance(ids, list) and ids and entry.get("role") == "tool":
        message["tool_call_id"] = str(ids[0])
    if thinking := thoughts_of(entry):
        message.setdefault("reasoning_content", thinking)
    return {**message, "weight": 0} if entry.get("is_demo") else message


def _config(value: Any) -> Any:
    """Parse the configuration, which SWE-agent 1.x writes as JSON text."""
    try:
        return strict_json.loads(value) if isinstance(value, str) else value
    except ValueError:
        raise BadTrajectory("unrecorded_context", "`replay_config` is not JSON: nobody knows what was shown") from None


def _task_id(record: dict[str, Any]) -> Any:
    problem = object_at(object_at(record, "replay_config"), "problem_statement")
    return next((v for v in (record.get("instance_id"), problem.get("id")) if v is not None), None)


def _outcome(record: dict[str, Any], info: dict[str, Any]) -> float | None:
    reports = [object_at(place, "report") for place in (record, info)]
    reports += [object_at(report, str(record.get("instance_id"))) for report in reports]
    label = first_label((record, info, *reports), ("resolved",))
    if label is not None:
        return outcome_label(label)
    status = info.get("exit_status")
    return 0.0 if isinstance(status, str) and status and not status.startswith("submitted") else None


READER = Reader(matches, read, group)
