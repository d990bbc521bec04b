"""Trees of messages, in which a conversation is a path from a root to a leaf: each path as a segment.

What a path shares with an earlier one is inherited, so that every message is a turn at most once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pivotmine.readers.openai_form import masked
from pivotmine.readers.trajectory import BadTrajectory, Segment

MAX_MESSAGES = 2_000_000
"""Messages of all paths together: a file that names more is hostile, or no trajectory."""


class Node(NamedTuple):
    parent: int | None
    """Place of the message before it, which comes earlier in the list; None: it begins a conversation."""
    message: Any
    is_turn: bool = True
    """Whether a recorded answer of the model; other assistant messages were given to it."""


def segments_of_tree(
    nodes: Sequence[Node], tools: list[Any] | None = None, *, verbatim: bool = False
) -> tuple[Segment, ...]:
    """A segment for each leaf that brings something new, in the order of the leaves; BadTrajectory if there are too
    many messages."""
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
