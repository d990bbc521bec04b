"""An auxiliary next-token loss on the environment's reply (ECHO, arXiv 2605.24517; `--echo_weight 0.05`).

L = L_GRPO(actions) + lambda * L_env, L_env = -1/|O| * sum_{t in O} log p(o_t | what stands before it): the policy
learns to foresee what its tools answer, which the reward alone does not teach. Lambda is 0.05 in the paper
(0.01 to 0.05 works, 0.2 collapses).

Differences from the paper:
1. There the reply is the one to the sampled action, in the same sequence. A pivot's action is never carried out, so the
   reply is the recorded one, after the recorded action: prompt + first demonstration + reply, one sequence a prompt.
2. O is the whole reply as the chat template writes it, its few tokens of markup included.
3. Log-probabilities are those of the other loss: at the sampling temperature.

|O| is counted over all passes of a step, so that the passes may be cut as memory asks.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from datasets import Dataset
from trl.trainer.utils import pad

from pivotmine.errors import UserError
from pivotmine_trainer.sft.demonstrations import continuations


def check_replies(data: Dataset, echo: Echo) -> None:
    """UserError where no row has a reply to learn from: the loss would be 0 in every step, and nobody would say so."""
    asked = Echo(echo.tokenizer, echo.weight, echo.max_length)
    if all(asked.sequence(row) is None for row in data):  # pyright: ignore[reportArgumentType]
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(asked.left_out.items()))
        raise UserError(
            f"--echo_weight {echo.weight}: none of the {len(data)} training rows has a recorded reply to learn from "
            f"({reasons}); mine trajectories with their environment's replies, or leave it out"
        )


class Echo:
    """The loss, with the replies of the rows as tokens."""

    def __init__(self, tokenizer: Any, weight: float, max_length: int | None) -> None:
        self.tokenizer, self.weight, self.max_length = tokenizer, weight, max_length
        self.left_out: Counter[str] = Counter()
        """Prompts without a reply to learn from, each time one came, by reason."""

    def sequence(self, row: dict[str, Any]) -> tuple[list[int], int] | None:
        """(prompt + action + reply, number of reply tokens); None where there is no reply, with the reason counted."""
        found = next((c for c in continuations(self.tokenizer, row, with_reply=True) if c.reply_ids), None)
        if found is None:
            self.left_out["no_reply"] += 1
            return None
        ids = [*row["prompt_ids"], *found.action_ids, *found.reply_ids]
        if self.max_length is not None and len(ids) > self.max_length:
            self.left_out["too_long"] += 1
            return None
        return ids, len(found.reply_ids)

    def batch(self, trainer: Any, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Columns for TRL's batch, a row a sample: the first sample of each prompt carries its prompt's sequence.

        echo_ids, echo_mask (samples, tokens), padded left, and echo_targets, 1 at the reply's tokens; num_echo_tokens,
        those of all processes.
        """
        sequences: list[tuple[list[int], int]] = []
        seen: set[str] = set()
        for row in rows:
            found = None if row["state_id"] in seen else self.sequence(row)
            seen.add(row["state_id"])
            sequences.append(found or ([trainer._tokenizer.pad_token_id], 0))
        device = trainer.accelerator.device
        ids = [torch.tensor(ids) for ids, _ in sequences]
        targets = [torch.arange(len(ids)) >= len(ids) - count for ids, count in sequences]
        count = torch.tensor(float(sum(count for _, count in sequences)), device=device)
        return {
            "echo_ids": pad(ids, padding_value=trainer._tokenizer.pad_token_id, padding_side="left").to(device),
            "echo_mask": pad([torch.ones_like(i) for i in ids], padding_value=0, padding_side="left").to(device),
            "echo_targets": pad([t.long() for t in targets], padding_value=0, padding_side="left").to(device),
            "num_echo_tokens": trainer.accelerator.gather(count).sum(),
        }

    def loss(self, trainer: Any, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """weight * L_env of one pass; the passes of a step sum to the mean over its reply tokens."""
        targets = inputs["echo_targets"]
        rows = targets.any(dim=1).nonzero().flatten()
        if len(rows) == 0:
            rows = rows.new_zeros(1)  # sharded models wait for each other: every process has a pass of its own
        targets = targets[rows]
        reply_length = max(int(targets.sum(1).max()), 1)
        logps, _, _ = trainer._get_per_token_logps_and_entropies(
            model, inputs["echo_ids"][rows], inputs["echo_mask"][rows], reply_length
        )
        total = -(logps * targets[:, -reply_length:]).sum()
        passes = trainer.current_gradient_accumulation_steps / trainer.args.steps_per_generation
        normalizer = inputs["num_echo_tokens"].clamp(min=1.0) / trainer.accelerator.num_processes * passes
        loss = total / normalizer
        trainer._metrics["train"]["echo_loss"].append(loss.item() * trainer.current_gradient_accumulation_steps)
        return self.weight * loss
