"""Training data of the base policy: batches of desk episodes and of general skills.

A batch depends only on its number, so a resumed run reads exactly what an uninterrupted one would have read.

Some episodes are guided: all decisions are right, and their tokens have no loss. Without them the policy would never
see the turns after a rare right decision, and would fail there for a reason that is not in the state.
"""

# Capital suffixes name the axes: B sequences, T tokens.
# ruff: noqa: N806

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from pivotmine_desk import skills
from pivotmine_desk.agent import GUIDED, MEDIOCRE
from pivotmine_desk.conversation import encode_turns
from pivotmine_desk.tasks import numbered_task, play, tool_definitions

GUIDED_SHARE = 0.25
"""Share of guided episodes."""
SKILL_WEIGHTS = {"add": 4, "copy": 2, "recall": 4}
"""Weight of a skill among the questions, if not 1: these take longest to learn."""
LOOK_UP_BLOCKS = 64
"""Blocks at the start with look-ups only (512 steps of two workers). Alone, finding a value by its key is learnt in 250
steps; together with everything else it is not learnt in 1,300. The desk needs it, and once learnt it stays."""
BLOCK = 16
"""Batches drawn together and sorted by length, so that the sequences of a batch have similar lengths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    ids: np.ndarray
    """int64 [sequences, tokens], padded on the right."""
    mask: np.ndarray
    """bool, same shape: the assistant's tokens, which have a loss."""


class Reader:
    """Batches of desk episodes and of skills, by number."""

    def __init__(self, tokenizer: Any, *, seed: int, num_desk: int, num_skills: int) -> None:
        self._tokenizer, self._seed = tokenizer, seed
        self._num_desk, self._num_skills = num_desk, num_skills
        self._block, self._batches = -1, list[tuple[Batch, Batch]]()

    def batch(self, number: int) -> tuple[Batch, Batch]:
        """The desk batch and the skills batch of a number; at first both are look-ups."""
        block, place = divmod(number, BLOCK)
        if block != self._block:
            self._block, self._batches = block, self._draw(block)
        return self._batches[place]

    def _draw(self, block: int) -> list[tuple[Batch, Batch]]:
        rng = random.Random(f"{self._seed}/{block}")
        num_desk, num_asked = BLOCK * self._num_desk, BLOCK * self._num_skills
        if block < LOOK_UP_BLOCKS:
            desk, asked = ([self._question("recall", rng) for _ in range(n)] for n in (num_desk, num_asked))
        else:
            first = block * num_desk
            desk = [self._episode(first + i, guided=rng.random() < GUIDED_SHARE) for i in range(num_desk)]
            asked = [self._question(_skill(rng), rng) for _ in range(num_asked)]
        pairs = list(zip(_batches(desk, self._num_desk), _batches(asked, self._num_skills), strict=True))
        rng.shuffle(pairs)
        return pairs

    def _episode(self, number: int, *, guided: bool) -> tuple[list[int], list[bool]]:
        character = GUIDED if guided else MEDIOCRE
        episode = play(numbered_task("pretrain", number), character, self._seed)
        ids, mask = encode_turns(self._tokenizer, episode.messages, tool_definitions(episode.task.domain))
        if not guided:
            return ids, mask
        return ids, without_turns(mask, {t for t, key, _ in episode.decisions if key in MEDIOCRE.chances})

    def _question(self, skill: str, rng: random.Random) -> tuple[list[int], list[bool]]:
        asked = skills.question(skill, "pretrain", rng)
        return encode_turns(self._tokenizer, [*asked.messages, skills.reply_message(asked)], asked.tools)


def _skill(rng: random.Random) -> str:
    return rng.choices(skills.SKILLS, [SKILL_WEIGHTS.get(skill, 1) for skill in skills.SKILLS])[0]


def without_turns(mask: list[bool], turns: set[int]) -> list[bool]:
    """Remove some of the assistant's turns, counted from 0, from the mask."""
    kept, turn = list[bool](), -1
    for position, written in enumerate(mask):
        turn += written and not mask[position - 1]
        kept.append(written and turn not in turns)
    return kept


def pad(sequences: list[tuple[list[int], list[bool]]]) -> Batch:
    """Make one batch, as long as its longest sequence, rounded up to a multiple of 32 tokens."""
    length = -(-max(len(ids) for ids, _ in sequences) // 32) * 32
    ids_BT = np.zeros((len(sequences), length), dtype=np.int64)
    mask_BT = np.zeros((len(sequences), length), dtype=bool)
    for row, (ids, mask) in enumerate(sequences):
        ids_BT[row, : len(ids)] = ids
        mask_BT[row, : len(mask)] = mask
    return Batch(ids=ids_BT, mask=mask_BT)


def _batches(sequences: list[tuple[list[int], list[bool]]], size: int) -> list[Batch]:
    sequences = sorted(sequences, key=lambda sequence: len(sequence[0]))
    return [pad(sequences[i : i + size]) for i in range(0, len(sequences), size)]
