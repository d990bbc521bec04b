"""Names and ids of the desk's entities, and the split of each.

A salted SHA-256 of its text assigns a name or id to exactly one split. A task draws all its entities from its own
split, so no person, company, town, file or id of one split occurs in another. Items, statuses, reasons and tool names
are not entities and are common to all splits.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Literal

Split = Literal["pretrain", "train", "validation", "test"]

SPLITS: dict[Split, tuple[int, int]] = {
    "pretrain": (0, 70),
    "train": (70, 80),
    "validation": (80, 90),
    "test": (90, 100),
}
"""Percent of the hash range, half open. `pretrain` is for the base policy, `train` for the teacher."""


def words(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


FIRST_NAMES = words(
    """
    Ada Ali Ana Ben Bo Cem Dan Dina Eli Emma Eva Finn Gil Hana Ida Ines Ivo Jan Jon Kai Kim Lea Leo
    Lin Luca Maja Mara Max Mia Mina Nia Nils Noa Olga Omar Pia Rui Sara Tom Uma Vera Yan Zoe
    """
)
"""43 given names."""
SYLLABLES = words(
    """
    ba be bor bra da del dra fa fel gan gor hal jor ka kel kor la lan lor ma mel mor na nor pa pel
    ra rin sa sel sol ta tal tor va vel vin za zan zor
    """
)
"""40 syllables: 64,000 made-up words of three, 1,600 of two."""
ID_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
"""24 letters: with three digits, 24,000 ids. Entries of a list have a word instead of the letter: see `Names.id`."""


def split_of(name: str) -> Split:
    """The split of a name or an id."""
    digest = hashlib.sha256(f"desk/{name.casefold()}".encode()).digest()
    percent = int.from_bytes(digest[:4], "big") % 100
    return next(split for split, (low, high) in SPLITS.items() if low <= percent < high)


class Names:
    """Draws entities of one split; one object never draws the same one twice."""

    def __init__(self, rng: random.Random, split: Split) -> None:
        self._rng, self._split = rng, split
        self.drawn: set[str] = set()

    def person(self) -> str:
        return self._draw(lambda: f"{self._rng.choice(FIRST_NAMES)} {self._word()}")

    def company(self) -> str:
        return self._draw(lambda: f"{self._word()} Ltd")

    def town(self) -> str:
        return self._draw(self._word)

    def stem(self) -> str:
        """The common start of the names of a folder and of its files."""
        return self._draw(lambda: self._word().lower())

    def id(self, word: str = "") -> str:
        """`K473`; `bike#473` for the word `bike`."""
        return self._draw(
            lambda: f"{f'{word}#' if word else self._rng.choice(ID_LETTERS)}{self._rng.randrange(1000):03d}"
        )

    def _word(self) -> str:
        return "".join(self._rng.choice(SYLLABLES) for _ in range(3)).capitalize()

    def _draw(self, make: Callable[[], str]) -> str:
        while True:
            name = make()
            if name not in self.drawn and split_of(name) == self._split:
                self.drawn.add(name)
                return name
