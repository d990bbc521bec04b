"""A curriculum over domains by upper confidence bounds (DUMP, arXiv 2504.09710); `--curriculum`.

For each domain d: mu_d = mean of |A| over the last 300 samples of d, A the group-normalised advantage;
score_d = mu_d + sqrt(2 ln(N + 1) / (n_d + 1)), n_d its samples so far, N those of all domains;
a prompt is of domain d with probability softmax(score / 0.1)_d.

This is the paper's section 4 and its code, with two differences. In their code, validation rewards update the scores
too. Here the data loader fetches one batch ahead, so the advantages of step n count from step n + 2 on. Within a
domain, prompts come in a random order, and each comes once before any comes again.
"""

from __future__ import annotations

import json
import math
import random
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Self

import torch

from pivotmine.errors import UserError
from pivotmine_trainer.train.advantages import group_advantages
from pivotmine_trainer.train.prompt_sampler import PromptSampler, first_order, repeated

WINDOW = 300
"""Number of the latest samples of a domain in its mean."""
TEMPERATURE = 0.1


class Curriculum:
    """The scores of the domains, and the prompts drawn so far."""

    def __init__(self, domains: Sequence[str | None], seed: int) -> None:
        self.rows: dict[str, list[int]] = {}
        """Rows of each domain in drawing order. Rows without a domain are a domain of their own."""
        for row in first_order(len(domains), seed):
            self.rows.setdefault(domains[row] or "", []).append(row)
        self.seed = seed
        self.advantages: dict[str, deque[float]] = {name: deque(maxlen=WINDOW) for name in sorted(self.rows)}
        self.num_samples = dict.fromkeys(self.advantages, 0)
        self.drawn: list[list[int]] = []
        """Every batch of prompts so far; a resumed training gets the same ones again."""
        self._next = dict.fromkeys(self.advantages, 0)

    def learn(self, domains: Sequence[str | None], rewards: Sequence[float], num_generations: int) -> None:
        """Add the advantages of one batch of samples. rewards: group after group, NaN if a sample was not scored."""
        groups = torch.tensor(rewards, dtype=torch.float64).view(-1, num_generations)
        found = group_advantages(groups, "grpo")
        for group, worth, domain in zip(groups, found, domains[::num_generations], strict=True):
            scored = worth[~group.isnan()].abs().tolist()
            self.advantages[domain or ""].extend(scored)
            self.num_samples[domain or ""] += len(scored)

    def weights(self) -> dict[str, float]:
        """The probability of each domain."""
        total = sum(self.num_samples.values())
        scores = {
            name: (sum(window) / len(window) if window else 0.0)
            + math.sqrt(2 * math.log(total + 1) / (self.num_samples[name] + 1))
            for name, window in self.advantages.items()
        }
        highest = max(scores.values())  # subtracted so that exp does not overflow
        powers = {name: math.exp((score - highest) / TEMPERATURE) for name, score in scores.items()}
        return {name: power / sum(powers.values()) for name, power in powers.items()}

    def draw(self, place: int, num_prompts: int) -> list[int]:
        """The rows of batch number `place`, counted from 0 over all epochs."""
        if place < len(self.drawn):
            return self.drawn[place]
        assert place == len(self.drawn), "batches are drawn one after the other"
        weights = self.weights()
        # Seeded by the batch's number, so a resumed training needs no state of a generator.
        rng = random.Random(f"{self.seed}/{place}")
        chosen = rng.choices(list(weights), list(weights.values()), k=num_prompts)
        self.drawn.append([self._take(domain) for domain in chosen])
        return self.drawn[-1]

    def _take(self, domain: str) -> int:
        rows, count = self.rows[domain], self._next[domain]
        self._next[domain] += 1
        return rows[count % len(rows)]

    def save(self, path: Path) -> None:
        """Write everything that later draws depend on."""
        state = {
            "advantages": {name: list(window) for name, window in self.advantages.items()},
            "num_samples": self.num_samples,
            "drawn": self.drawn,
            "next": self._next,
        }
        path.write_text(json.dumps(state), encoding="utf-8")

    def load(self, path: Path) -> None:
        """Read what `save` wrote; UserError if it is missing or cannot be read."""
        try:
            state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            for name, window in self.advantages.items():
                window.extend(map(float, state["advantages"][name]))
            self.num_samples = {name: int(state["num_samples"][name]) for name in self.advantages}
            self._next = {name: int(state["next"][name]) for name in self.advantages}
            self.drawn = [[int(row) for row in batch] for batch in state["drawn"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} is missing or broken ({type(error).__name__}); resume from another checkpoint, or start over "
                "in another --output_dir"
            ) from None


class CurriculumSampler(PromptSampler):
    """Batches of prompts that the curriculum draws, as many per epoch as with TRL's sampler."""

    curriculum: Curriculum

    @classmethod
    def of(cls, sampler: Any, curriculum: Curriculum) -> Self:
        made = cls.like(sampler)
        made.curriculum = curriculum
        return made

    def __iter__(self) -> Generator[int]:
        """Batches are numbered over all epochs."""
        num_batches = self.num_samples // self.batch_size
        for place in range(self.epoch * num_batches, (self.epoch + 1) * num_batches):
            yield from repeated(self.curriculum.draw(place, self.batch_size), self)
