"""Traces of verifiers v1: `{"task", "nodes": [{"parent", "message", "sampled", "token_ids", ...}], "rewards"}`.

A trace is a graph: each node is a message and names the one before it. A conversation is a path from a root to a leaf.
Sampled nodes are the turns; other assistant messages were given to the model. Calls are flat (`id`, `name`,
`arguments`). The tools stand at the root, or in the trace. `extra` keeps the token ids and log-probabilities of a
sampled node for `record`. A node's `mask` marks tokens and does not mask the turn. The outcome is `reward`, else the
weighted sum of `rewards`.

Checked against PrimeIntellect-ai/verifiers, `verifiers/v1/trace.py` and `verifiers/v1/graph.py`.
"""

from __future__ import annotations

from typing import Any

from pivotmine.readers.logs.trees import Node, segments_of_tree
from pivotmine.readers.openai_form import object_at, unreadable
from pivotmine.readers.openai_messages import with_functions
from pivotmine.readers.record_fields import object_of, tool_definitions
from pivotmine.readers.trajectory import BadTrajectory, Reader, Trajectory, outcome_label, text_or_none

_TAKEN = ("nodes", "tools", "calls")


def matches(record: Any) -> bool:
    """Whether a record has `nodes` that are messages with parents."""
    nodes = record.get("nodes") if isinstance(record, dict) else None
    return (
        isinstance(nodes, list)
        and bool(nodes)
        and isinstance(nodes[0], dict)
        and {"parent", "message"} <= nodes[0].keys()
    )


def read(record: Any) -> Trajectory:
    """Read one trace: a segment for each leaf."""
    fields = object_of(record)
    nodes = fields.get("nodes")
    if not isinstance(nodes, list) or not nodes:
        raise BadTrajectory("no_messages", "no list `nodes`")
    tree = [_node(node, place) for place, node in enumerate(nodes)]
    roots = (node.get("tools") for node in nodes if isinstance(node, dict) and node.get("parent") is None)
    tools = tool_definitions(next((tools for tools in roots if tools), None) or fields.get("tools"))
    task, data = object_at(fields, "task"), object_at(object_at(fields, "task"), "data")
    return Trajectory(
        segments=segments_of_tree(tree, tools, verbatim=True),
        task_id=text_or_none(task.get("key") or data.get("task_id") or data.get("id") or data.get("idx")),
        domain=text_or_none(task.get("type")),
        outcome=_outcome(fields),
        outcome_key="reward" if fields.get("reward") is not None else "rewards",
        metadata={k: v for k, v in fields.items() if k not in _TAKEN},
    )


def _node(node: Any, place: int) -> Node:
    parent = node.get("parent") if isinstance(node, dict) else None
    if not isinstance(node, dict) or not (parent is None or (type(parent) is int and 0 <= parent < place)):
        raise BadTrajectory("no_messages", f"node {place} names no earlier node as its parent")
    message = node.get("message")
    if not isinstance(message, dict):
        return Node(parent, unreadable("assistant", f"node {place} has no message"))
    message = with_functions({k: v for k, v in message.items() if v is not None})
    extra = {key: node[key] for key in ("token_ids", "logprobs", "finish_reason") if node.get(key)}
    if not node.get("sampled"):
        return Node(parent, message, is_turn=False)
    extra = _sampled(extra, node.get("mask"))
    return Node(parent, {**message, "extra": extra} if extra else message)


def _sampled(extra: dict[str, Any], mask: Any) -> dict[str, Any]:
    """Keep the tokens that the model sampled, where the mask is true, and log-probabilities if each has one."""
    tokens, logprobs = extra.get("token_ids"), extra.get("logprobs")
    if isinstance(tokens, list) and isinstance(mask, list) and len(mask) == len(tokens):
        tokens = [token for token, is_sampled in zip(tokens, mask, strict=True) if is_sampled is True]
        extra = {**extra, "token_ids": tokens}
    both = isinstance(tokens, list) and isinstance(logprobs, list) and len(logprobs) == len(tokens)
    return extra if both else {k: v for k, v in extra.items() if k != "logprobs"}


def _outcome(fields: dict[str, Any]) -> float | None:
    if fields.get("reward") is not None:
        return outcome_label(fields["reward"])
    rewards = fields.get("rewards")
    scored = [one for one in rewards.values() if isinstance(one, dict)] if isinstance(rewards, dict) else []
    values = [(outcome_label(one.get("score")), outcome_label(one.get("weight", 1))) for one in scored]
    known = [score * weight for score, weight in values if score is not None and weight is not None]
    return sum(known) if known else None


READER = Reader(matches, read)
