"""Turn trees of messages into segments: a conversation is a path from a root to a leaf, and each path is a segment.

A path inherits what it shares with an earlier one, so that every message is a turn at most once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pivotmine.readers.openai_form import masked
from pivotmine.readers.trajectory import BadTrajectory, Segment

MAX_MESSAGES = 2_000_000
"""Maximum number of messages in all paths together: a file with more is hostile, or not a trajectory."""


class Node(NamedTuple):
    parent: int | None
    """Index of the message before it, which is smaller than its own; None if it begins a conversation."""
    message: Any
    is_turn: bool = True
    """Whether it may be a turn: assistant messages that were given to the model are not."""


def segments_of_tree(
    nodes: Sequence[Node], tools: list[Any] | None = None, *, verbatim: bool = False
) -> tuple[Segment, ...]:
    """A segment for each leaf, in the order of the leaves; BadTrajectory if there are too many messages."""
    depths: list[int] = []
    for node in nodes:
        depths.append(1 if node.parent is None else depths[node.parent] + 1)
    inner = {node.parent for node in nodes}
    leaves = [place for place in range(len(nodes)) if place not in inner]
    if sum(depths[leaf] for leaf in leaves) > MAX_MESSAGES:
        raise BadTrajectory("too_many_branches", f"the {len(leaves)} branches hold more than {MAX_MESSAGES} messages")
    covered = set[int]()
    segments: list[Segment] = []
    for leaf in leaves:
        path = _path(nodes, leaf)
        num_inherited = sum(place in covered for place in path)
        covered.update(path)
        messages = [
            nodes[place].message if nodes[place].is_turn or at < num_inherited else masked(nodes[place].message)
            for at, place in enumerate(path)
        ]
        segments.append(Segment(messages=messages, tools=tools, num_inherited=num_inherited, verbatim=verbatim))
    return tuple(segments)


def _path(nodes: Sequence[Node], leaf: int) -> list[int]:
    path, place = list[int](), leaf
    while True:
        path.append(place)
        parent = nodes[place].parent
        if parent is None:
            return path[::-1]
        place = parent
