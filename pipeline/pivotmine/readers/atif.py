"""ATIF, Harbor's Agent Trajectory Interchange Format (RFC 0001, versions 1.0 to 1.8): `{schema_version, agent,
steps[]}`.

A step of the agent is one turn, with its calls. The results in its observation are tool messages. A single result
without a call's id answers the step's single call; otherwise the environment said it, in a user message. Steps that are
not one model call (`llm_call_count` is not 1) are masked. Steps copied from another file (`is_copied_context`, at the
beginning of a continuation) are inherited: each continuation file is a separate trajectory and repeats no turn.
Embedded `subagent_trajectories` are segments; referenced ones are separate files.

A system step that replaced the context (`extra.context_management.boundary`) opens a new segment. It begins with the
system prompt and goes on with the steps that follow. If the step refers to sub-agents that replaced the context
(Terminus), the file does not hold what the model saw then, and the turns from there on are rejected. The continuation
files that Terminus writes with `linear_history` hold it all.

Terminus agents write text, but Harbor keeps only its parts: the message is "Analysis: ...\\nPlan: ...", and the
keystrokes are calls of `bash_command`. With the JSON parser the action of the first such turn is known (`terminus_2`),
but its words are not. The file does not hold what the model saw from then on, so later turns are rejected. With another
parser the first such turn is rejected too. A step without calls whose message has another form was kept word for word.

The outcome is `reward`, `score`, `resolved` or `success` of the record, its `extra`, or its `final_metrics.extra`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

from pivotmine.actions.conventions import PARSED
from pivotmine.actions.conventions.keystrokes import read_call
from pivotmine.actions.conventions.terminus import TOOL
from pivotmine.messages import UNREADABLE, argument_value
from pivotmine.readers.openai_form import (
    assistant,
    first_label,
    list_at,
    listed,
    masked,
    object_at,
    plain,
    tool_call,
    tool_result,
    unreadable,
    unrecorded,
)
from pivotmine.readers.record_fields import tool_definitions
from pivotmine.readers.trajectory import Reader, Segment, Trajectory, outcome_label, text_or_none

_PARTS = re.compile(r"Analysis: .*\nPlan: ", re.DOTALL)
_ROLES = {"system": "system", "user": "user", "agent": "assistant"}
_MAX_NESTED = 20
"""Maximum depth of sub-agents of sub-agents, so that the recursion ends by itself."""


def matches(record: Any) -> bool:
    """Whether a record has `steps` and a `schema_version` of ATIF."""
    return isinstance(record, dict) and "steps" in record and str(record.get("schema_version")).startswith("ATIF")


def read(record: Any) -> Trajectory:
    """Read one document: a segment, one more for each replaced context, and those of embedded sub-agents."""
    places = [record, object_at(record, "extra"), object_at(object_at(record, "final_metrics"), "extra")]
    dropped = ("steps", "subagent_trajectories")
    return Trajectory(
        segments=tuple(_segments(record)),
        task_id=text_or_none(first_label(places, ("task_id", "task_name", "instance_id"))),
        outcome=outcome_label(first_label(places, ("reward", "score", "resolved", "success"))),
        metadata={k: v for k, v in record.items() if k not in dropped},
    )


def _segments(record: dict[str, Any], depth: int = 0) -> Iterator[Segment]:
    agent = object_at(record, "agent")
    tools = tool_definitions(agent.get("tool_definitions"))
    terminus = str(agent.get("name")).startswith("terminus")
    parser = object_at(agent, "extra").get("parser")
    action_format = "terminus_2" if terminus and parser == "json" else None
    messages: list[Any] = []
    num_copied = 0
    for step in list_at(record, "steps"):
        copied = isinstance(step, dict) and step.get("is_copied_context") is True
        at_start = num_copied == len(messages)
        if (start := _replacement(step, messages)) is not None:
            yield Segment(messages=messages, tools=tools, num_inherited=num_copied, action_format=action_format)
            messages, num_copied = start, len(start)
            continue
        new = list(_terminus_messages(step, parser) if terminus and parser else _messages(step))
        messages += [masked(message) for message in new] if copied and not at_start else new
        num_copied = len(messages) if copied and at_start else num_copied
    yield Segment(messages=messages, tools=tools, num_inherited=num_copied, action_format=action_format)
    embedded = record.get("subagent_trajectories")
    for one in embedded if isinstance(embedded, list) and depth < _MAX_NESTED else ():
        whole = isinstance(one, dict) and isinstance(one.get("steps"), list)
        lost = Segment(messages=[unreadable("assistant", "a sub-agent's trajectory without `steps`")])
        yield from _segments(one, depth + 1) if whole else [lost]


def _replacement(step: Any, messages: list[Any]) -> list[Any] | None:
    """The messages that start the new context if this step replaced the old one; None if it did not."""
    if not isinstance(step, dict) or step.get("source") != "system":
        return None
    results = listed(object_at(step, "observation"), "results")
    if any(isinstance(r, dict) and r.get("subagent_trajectory_ref") for r in results):
        return [unrecorded("user", "sub-agents replaced the context: the file does not hold what the model saw then")]
    if object_at(object_at(step, "extra"), "context_management").get("boundary") != "replace":
        return None
    return list(takewhile(lambda message: message.get("role") == "system", messages))


def _messages(step: Any) -> Iterator[Any]:
    """Yield the messages of a step: what was said, then what was observed."""
    source = step.get("source") if isinstance(step, dict) else None
    role = _ROLES.get(source) if isinstance(source, str) else None
    if role is None:
        yield unreadable("assistant", f"a step of the source {str(source)[:60]!r}")
        return
    content = plain(step.get("message"))
    calls = step.get("tool_calls") or []
    if role != "assistant":
        yield {"role": role, "content": content}
    elif not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        yield unreadable("assistant", "`tool_calls` is not a list of objects")
    else:
        yield _reply(step, content, calls)
    yield from _results(step, calls)


def _terminus_messages(step: Any, parser: Any) -> Iterator[Any]:
    """Yield the messages of a Terminus agent's step. If only parts of an answer are kept, say what the file lacks."""
    first, *observed = _messages(step)
    said = first.get("content")
    is_parts = isinstance(said, str) and (bool(first.get("tool_calls")) or _PARTS.match(said) is not None)
    if first.get("role") != "assistant" or UNREADABLE in first or not is_parts:
        yield first
        # The model wrote text and made no call, so it saw the result as a user message.
        yield from ({"role": "user", "content": m.get("content")} if m.get("role") == "tool" else m for m in observed)
    elif parser != "json" or (action := _terminus_action(said, first.get("tool_calls") or [])) is None:
        yield unrecorded("assistant", "the file holds the parsed parts of the answer, not its words")
    else:
        yield {**first, "content": None, "tool_calls": None, "extra": {PARSED: action}}
        yield unrecorded("user", "the model saw its answer in its own words: the file holds the parsed parts only")


def _terminus_action(said: Any, calls: list[Any]) -> dict[str, Any] | None:
    """The call of the Terminus tool that the parts of an answer stand for; None if they are something else."""
    commands: list[Any] = []
    complete = False
    for call in calls:
        arguments = argument_value(call["function"]["arguments"])
        if call["function"]["name"] == "mark_task_complete":
            complete = True
        elif call["function"]["name"] == "bash_command" and isinstance(arguments, dict):
            commands.append(arguments)
        else:
            return None
    arguments = {"commands": commands, "task_complete": complete}
    if isinstance(read_call(arguments, "terminus_2"), str):
        return None
    return {"reasoning": said, "tool_calls": [{"name": TOOL, "arguments": arguments}]}


def _reply(step: dict[str, Any], content: Any, calls: list[dict[str, Any]]) -> dict[str, Any]:
    made = [tool_call(c.get("tool_call_id"), c.get("function_name"), c.get("arguments")) for c in calls]
    reasoning = step.get("reasoning_content") or ""
    if not isinstance(reasoning, str):
        return unreadable("assistant", "`reasoning_content` is not text")
    reply = assistant(content, reasoning=reasoning, tool_calls=made)
    return reply if step.get("llm_call_count") in (None, 1) else masked(reply)


def _results(step: dict[str, Any], calls: Any) -> Iterator[dict[str, Any]]:
    observation = step.get("observation")
    results = observation.get("results") if isinstance(observation, dict) else [] if observation is None else None
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        yield unreadable("tool", "`observation.results` is not a list of objects")
        return
    only = _only_call(calls) if len(results) == 1 else None
    for result in results:
        identity = result.get("source_call_id")
        identity = only if identity is None else identity
        content = plain(result.get("content"))
        if identity is not None:
            yield tool_result(identity, content)
        elif content is not None:
            yield {"role": "user", "content": content}


def _only_call(calls: Any) -> Any:
    single = isinstance(calls, list) and len(calls) == 1 and isinstance(calls[0], dict)
    return calls[0].get("tool_call_id") if single else None


READER = Reader(matches, read)
