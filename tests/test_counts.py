"""Numbers with their nouns."""

import pytest

from pivotmine.counts import counted


@pytest.mark.parametrize(
    ("number", "words", "expected"),
    [
        (1, ("state",), "1 state"),
        (0, ("state",), "0 states"),
        (1200, ("demonstrated state",), "1,200 demonstrated states"),
        (2, ("trajectory",), "2 trajectories"),
        (2, ("day",), "2 days"),
        (1, ("state needs none", "states need none"), "1 state needs none"),
        (3, ("state needs none", "states need none"), "3 states need none"),
    ],
)
def test_a_number_agrees_with_what_it_counts(number: int, words: tuple[str, ...], expected: str) -> None:
    assert counted(number, *words) == expected
