"""ToolBench answer files: `{"answer_generation": {"train_messages", "function", "query"}, "tree" or "trys", "win"}`.

`train_messages` holds the path to the answer, call by call, each with all messages before it, in OpenAI's older form
with `function_call`. A thought is logged as a separate message before its call; both are one turn. Without
`train_messages` (no answer was found) the tree is read: each path to a leaf is a segment, and inherits what it shares
with the path before it. The file does not hold the prompts that the search adds when it tries a node again. `win` is
the outcome.
"""

from __future__ import annotations

from typing import Any

from pivotmine.messages import is_assistants
from pivotmine.readers.logs.snapshots import Snapshots
from pivotmine.readers.openai_form import listed
from pivotmine.readers.pairing import CallIds
from pivotmine.readers.record_fields import object_of, tool_definitions
from pivotmine.readers.trajectory import BadTrajectory, Reader, Segment, Trajectory, outcome_label, text_or_none

_TAKEN = ("answer_generation", "tree", "trys", "compare_candidates", "win")
_KEPT = ("query_count", "total_tokens", "finish_type", "valid_data", "final_answer")
MAX_DEPTH = 200
"""Maximum number of nodes on a path: a search ends far sooner."""


def matches(record: Any) -> bool:
    """Whether a record has an object `answer_generation`."""
    return isinstance(record, dict) and isinstance(record.get("answer_generation"), dict)


def read(record: Any) -> Trajectory:
    """Read a file as one trajectory."""
    found = object_of(record).get("answer_generation")
    if not isinstance(found, dict):
        raise BadTrajectory("no_messages", "no `answer_generation`")
    tools = tool_definitions(found.get("function") or found.get("functions"))
    segments = _path(found.get("train_messages"), tools) or _branches(record, found, tools)
    if not segments:
        raise BadTrajectory("no_messages", "neither `train_messages` nor a tree with an action")
    won = record.get("win") if record.get("win") is not None else found.get("valid_data")
    metadata = {k: v for k, v in record.items() if k not in _TAKEN}
    return Trajectory(
        segments=tuple(segments),
        task_id=text_or_none(record.get("query_id")) or text_or_none(found.get("query")),
        outcome=outcome_label(won),
        metadata=metadata | {k: found[k] for k in _KEPT if k in found},
    )


def _path(calls: Any, tools: list[Any] | None) -> list[Segment]:
    snapshots = Snapshots()
    known = [call for call in calls if isinstance(call, list) and call] if isinstance(calls, list) else []
    for number, call in enumerate(known):
        after = known[number + 1] if number + 1 < len(known) else []
        if len(after) > len(call) and after[: len(call)] == call and all(map(is_assistants, after[len(call) :])):
            continue  # the thought of the next call
        joined = _joined(call)
        if is_assistants(joined[-1]):
            snapshots.add(joined[:-1], joined[-1], tools)
    return snapshots.segments


def _joined(messages: list[Any]) -> list[Any]:
    """Join each thought and the call after it into one message."""
    joined: list[Any] = []
    for message in messages:
        follows = bool(joined) and is_assistants(joined[-1]) and is_assistants(message)
        if follows and not message.get("content") and not joined[-1].get("function_call"):
            joined[-1] = {**message, "content": joined[-1].get("content")}
        else:
            joined.append(message)
    return joined


def _branches(record: dict[str, Any], found: dict[str, Any], tools: list[Any] | None) -> list[Segment]:
    """The paths of the search tree, or the chains of the tries, as segments."""
    tree = record.get("tree")
    if isinstance(tree, dict):
        paths = _leaf_paths(tree.get("tree"))
    else:
        chains = [one.get("chain") for one in listed(record, "trys") if isinstance(one, dict)]
        paths = [chain for chain in chains if isinstance(chain, list)]
    segments: list[Segment] = []
    before: list[Any] = []
    for path in paths:
        messages = [{"role": "user", "content": found.get("query")}, *_of_nodes(path)]
        shared = 0
        while shared < min(len(before), len(messages)) and before[shared] == messages[shared]:
            shared += 1
        if any(map(is_assistants, messages[shared:])):
            segments.append(Segment(messages=messages, tools=tools, num_inherited=shared))
        before = messages
    return segments


def _leaf_paths(root: Any) -> list[list[Any]]:
    """Every path from the root's children to a leaf, in order."""
    paths: list[list[Any]] = []
    stack: list[list[Any]] = [[root]]
    while stack:
        path = stack.pop()
        inner = [child for child in listed(path[-1], "children") if isinstance(child, dict)]
        if not inner or len(path) > MAX_DEPTH:
            paths.append(path[1:])
        stack += [[*path, child] for child in reversed(inner)] if len(path) <= MAX_DEPTH else []
    return paths


def _of_nodes(path: list[Any]) -> list[Any]:
    """The messages of a path: thought, action and its input are one turn, the observation its result."""
    messages: list[Any] = []
    ids, thought, action = CallIds(), None, None
    for node in path:
        kind = node.get("node_type") if isinstance(node, dict) else None
        said = node.get("description") if isinstance(node, dict) else None
        if kind == "Thought":
            thought = said
        elif kind == "Action":
            action = said
        elif kind == "Action Input" and action is not None:
            calls = ids.calls([{"name": action, "arguments": said}])
            messages += [{"role": "assistant", "content": thought, "tool_calls": calls}]
            messages += [ids.result(node.get("observation"))]
            thought = action = None
    if thought is not None:
        messages.append({"role": "assistant", "content": thought})
    return messages


READER = Reader(matches, read)
