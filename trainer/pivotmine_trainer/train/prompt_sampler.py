"""The order of prompts. It depends only on the seed and the step, so a resumed training continues with the same ones.

TRL's own sampler draws each epoch's order from one generator. Resumed in a later epoch, it starts that generator again
and repeats the first epoch's order. Here each epoch has its own seed.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Self

import torch
from trl.trainer.utils import RepeatSampler


class PromptSampler(RepeatSampler):
    """TRL's RepeatSampler with an order that depends only on the seed and the epoch."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Seed the epoch's order. Called before each epoch, also before the first one after a resumption."""
        self.epoch = epoch
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) + epoch)

    @classmethod
    def like(cls, sampler: RepeatSampler) -> Self:
        """A sampler with the rows, groups and repeats of TRL's sampler."""
        return cls(
            sampler.data_source,
            sampler.mini_repeat_count,
            sampler.batch_size,
            sampler.repeat_count,
            shuffle=sampler.shuffle,
            seed=sampler.seed,
        )


class WeightedSampler(PromptSampler):
    """Prompts drawn by their rows' `weight`, with replacement.

    An epoch has as many draws as rows (in whole batches). On average, a row of weight w is drawn
    rows * w / sum(weights) times: some rows several times, others not at all.
    """

    weights: torch.Tensor

    @classmethod
    def by(cls, sampler: Any, weights: Sequence[float]) -> Self:
        made = cls.like(sampler)
        made.weights = torch.tensor(weights, dtype=torch.float64)
        return made

    def __iter__(self) -> Generator[int]:
        generator = torch.Generator().manual_seed((self.seed or 0) + self.epoch)
        count = self.num_samples // self.batch_size * self.batch_size
        drawn: list[int] = torch.multinomial(self.weights, count, replacement=True, generator=generator).tolist()
        for start in range(0, count, self.batch_size):
            yield from repeated(drawn[start : start + self.batch_size], self)


def repeated(chunk: list[int], sampler: RepeatSampler) -> Generator[int]:
    """Yield one batch as TRL needs it: each row once per sample of its group, the whole batch once per reuse."""
    for _ in range(sampler.repeat_count):
        for index in chunk:
            yield from (index for _ in range(sampler.mini_repeat_count))


def first_order(num_rows: int, seed: int) -> list[int]:
    """The rows in a random order that depends only on the seed."""
    return torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed)).tolist()
