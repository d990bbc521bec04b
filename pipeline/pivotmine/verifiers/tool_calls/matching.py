"""Maximum matchings, such as of demonstrated calls with the calls of an action."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

from pivotmine.verifiers.tool_calls.canonical import are_close, split_measures


def num_matched(wanted: Sequence[Any], found: Sequence[Any], tolerance: float) -> int:
    """The size of a maximum matching of wanted and found forms, each used once.

    Without a tolerance, equal forms match. With one, "close" is not transitive, so the pairs need a search. It compares
    only forms that differ in nothing but their measures.
    """
    if not tolerance:
        return (Counter(wanted) & Counter(found)).total()
    measures: defaultdict[Hashable, list[tuple[int, tuple[float, ...]]]] = defaultdict(list)
    for place, form in enumerate(found):
        rest, values = split_measures(form)
        measures[rest].append((place, values))
    edges: list[list[int]] = []
    for form in wanted:
        rest, values = split_measures(form)
        candidates = measures.get(rest, ())
        edges.append([place for place, other in candidates if are_close(values, other, tolerance)])
    return len(maximum_matching(edges))


def maximum_matching(edges: Sequence[Sequence[int]]) -> dict[int, int]:
    """A largest set of pairs (i, j), with j in edges[i], in which no i and no j occurs twice. Returned as j -> i.

    Hopcroft and Karp (1973), without recursion: thousands of calls must not exhaust the stack.
    """
    taken_by: dict[int, int] = {}
    free = list(range(len(edges)))
    while True:
        level = _levels(edges, taken_by, free)
        untried = [iter(row) for row in edges]
        still_free = [i for i in free if not _augment(i, untried, level, taken_by)]
        if len(still_free) == len(free):
            return taken_by
        free = still_free


def _levels(edges: Sequence[Sequence[int]], taken_by: dict[int, int], free: Sequence[int]) -> dict[int, int]:
    """The length of the shortest alternating path from a free row to each row."""
    level = dict.fromkeys(free, 0)
    frontier, seen, done = list(free), set[int](), False
    while frontier and not done:
        following: list[int] = []
        for i in frontier:
            for j in edges[i]:
                if j in seen:
                    continue
                seen.add(j)
                if j not in taken_by:
                    done = True
                elif taken_by[j] not in level:
                    level[taken_by[j]] = level[i] + 1
                    following.append(taken_by[j])
        frontier = following
    return level


def _augment(start: int, untried: Sequence[Any], level: dict[int, int], taken_by: dict[int, int]) -> bool:
    """Find a path of untried edges, one level per step, from a free row to a free column, and match along it."""
    path: list[tuple[int, int]] = []  # rows, each with the column by which it was left
    i = start
    while True:
        for j in untried[i]:
            holder = taken_by.get(j)
            if holder is None:
                for row, column in [*path, (i, j)]:
                    taken_by[column] = row
                return True
            if level.get(holder) == level[i] + 1:
                path.append((i, j))
                i = holder
                break
        else:
            if not path:
                return False
            i, _ = path.pop()
