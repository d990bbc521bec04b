"""A negative log-likelihood on demonstrated actions, mixed into GRPO: `--demonstration_weight`.

L = L_GRPO + weight * -1/|T| * sum_{t in T} log p(a*_t | the tokens before it)

Each step draws as many states as it has prompts. T: the tokens of one demonstrated action per state. States are drawn
uniformly and with replacement from `demonstrations.parquet`, a sample of all demonstrated states, pivots or not. States
that the policy never solves (`reward_class` never) keep their natural share, or get `--never_share` if that is less.

The drawn states depend only on the seed and the step, so a resumed training draws the same ones. Log-probabilities are
at the sampling temperature, as in the GRPO loss.
"""

from __future__ import annotations

import random
from typing import Any

import torch
from datasets import Dataset
from trl.trainer.utils import pad

from pivotmine.errors import UserError
from pivotmine_trainer.cli.console import counted
from pivotmine_trainer.sft.demonstrations import continuations


class DemonstrationLoss:
    """The demonstrated states, and their loss in a step."""

    def __init__(
        self,
        data: Dataset,
        tokenizer: Any,
        weight: float,
        *,
        never_share: float | None,
        seed: int,
        max_length: int | None,
    ) -> None:
        self.weight, self._seed = weight, seed
        self.sequences: list[tuple[list[int], int]] = []
        """(prompt and action tokens, number of action tokens) of each state whose action can be written and fits."""
        never: list[int] = []
        for row in data:
            assert isinstance(row, dict)
            found = next(iter(continuations(tokenizer, row)), None)
            if found is None or (max_length and len(row["prompt_ids"]) + len(found.action_ids) > max_length):
                continue
            if row.get("reward_class") == "never":
                never.append(len(self.sequences))
            self.sequences.append(([*row["prompt_ids"], *found.action_ids], len(found.action_ids)))
        if not self.sequences:
            raise UserError(
                f"--demonstration_weight {weight}: no demonstration can be used ({counted(len(data), 'row')}): the "
                "chat template cannot write it as it was read, or it exceeds the model's context; leave the option out"
            )
        self._never, self._others = never, sorted(set(range(len(self.sequences))) - set(never))
        natural = len(never) / len(self.sequences)
        self.never_share = natural if never_share is None or not self._others else min(natural, never_share)

    def draw(self, step: int, count: int) -> list[int]:
        """Choose the sequences of an optimiser step, counted from 0."""
        rng = random.Random(f"{self._seed}/demonstrations/{step}")
        return [rng.choice(self._never if rng.random() < self.never_share else self._others) for _ in range(count)]

    def backward(self, trainer: Any, model: Any) -> None:
        """Add this process's part of one step's gradient; log the loss and the gradient norm."""
        args, world = trainer.args, trainer.accelerator.num_processes
        passes = trainer.current_gradient_accumulation_steps
        count = max(1, args.per_device_train_batch_size * world * passes // trainer.num_generations)
        # Rounded up, so that every process has equally many: sharded models wait for each other.
        drawn = [self.sequences[place] for place in self.draw(trainer.state.global_step, -(-count // world) * world)]
        num_tokens = sum(n for _, n in drawn)
        mine = drawn[trainer.accelerator.process_index :: world]
        at_once = max(1, args.per_device_train_batch_size // trainer.num_generations)
        total = 0.0
        for start in range(0, len(mine), at_once):
            with trainer.compute_loss_context_manager():
                loss = self._negative_log_likelihood(trainer, model, mine[start : start + at_once]) / num_tokens
            trainer.accelerator.backward(self.weight * loss * world)
            total += loss.item() * world
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        norm = torch.stack([g.detach().float().norm() for g in gradients]).norm() if gradients else torch.zeros(())
        metrics = trainer._metrics["train"]
        metrics["demonstration/loss"].append(total)
        metrics["demonstration/grad_norm"].append(float(norm.item()))

    def _negative_log_likelihood(self, trainer: Any, model: Any, chosen: list[tuple[list[int], int]]) -> torch.Tensor:
        """Summed over the actions' tokens."""
        device, longest = trainer.accelerator.device, max(n for _, n in chosen)
        blank = trainer._tokenizer.pad_token_id
        prompts, actions = [torch.tensor(ids[:-n]) for ids, n in chosen], [torch.tensor(ids[-n:]) for ids, n in chosen]
        mask = [torch.ones_like(ids) for ids in prompts], [torch.ones_like(ids) for ids in actions]
        ids = torch.cat([pad(prompts, blank, "left"), pad(actions, blank, "right")], 1).to(device)
        seen = torch.cat([pad(mask[0], 0, "left"), pad(mask[1], 0, "right")], 1).to(device)
        logps, _, _ = trainer._get_per_token_logps_and_entropies(model, ids, seen, longest)
        return -(logps * seen[:, -longest:]).sum()
