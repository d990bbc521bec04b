"""Which prompts come in which step: a function of the seed and the step, so that a resumed training goes on with them.

TRL's own sampler draws each epoch's order from one generator. Resumed in a later epoch it starts that generator anew
and repeats the first epoch's order; here every epoch's order has a seed of its own.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from trl.trainer.utils import RepeatSampler


class PromptSampler(RepeatSampler):
    """TRL's RepeatSampler, with orders that depend on the seed and the epoch alone."""

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, the first one after a resumption too."""
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) + epoch)

    @classmethod
    def like(cls, sampler: RepeatSampler) -> PromptSampler:
        """The same rows, groups and repeats as TRL's sampler."""
        return cls(
            sampler.data_source,
            sampler.mini_repeat_count,
            sampler.batch_size,
            sampler.repeat_count,
            shuffle=sampler.shuffle,
            seed=sampler.seed,
        )


def repeated(chunk: list[int], sampler: RepeatSampler) -> Generator[int]:
    """One batch of distinct rows as TRL wants it: each row a group, the whole as often as it is reused."""
    for _ in range(sampler.repeat_count):
        for index in chunk:
            yield from (index for _ in range(sampler.mini_repeat_count))


def first_order(num_rows: int, seed: int) -> list[int]:
    """The rows in a random order that only the seed decides."""
    return torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed)).tolist()
