"""Which given calls stand for which demonstrated ones: a matching as large as can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any


def num_matched(wanted: Sequence[Any], found: Sequence[Any], same: Callable[[Any, Any], bool] | None) -> int:
    """The most pairs of a wanted and a found form, each used once, that are the same.

    Without `same` two forms are the same where they are equal; with it they need not be so transitively, and the
    pairs are found by augmenting paths (Kuhn).
    """
    if same is None:
        return (Counter(wanted) & Counter(found)).total()
    alike = [[j for j, form in enumerate(found) if same(want, form)] for want in wanted]
    taken_by: dict[int, int] = {}

    def place(i: int, tried: set[int]) -> bool:
        for j in alike[i]:
            if j not in tried:
                tried.add(j)
                if j not in taken_by or place(taken_by[j], tried):
                    taken_by[j] = i
                    return True
        return False

    return sum(place(i, set()) for i in range(len(wanted)))
