"""An auxiliary next-token loss on the environment's reply (ECHO, arXiv 2605.24517; `--echo_weight 0.05`).

L = L_GRPO(actions) + lambda * L_env, L_env = -1/|O| * sum_{t in O} log p(o_t | the tokens before it): the policy
learns to predict its tools' replies, which the reward alone does not teach. Lambda is 0.05 in the paper
(0.01 to 0.05 works, 0.2 collapses).

Differences from the paper:
1. There the reply answers the sampled action, in the same sequence. A pivot's action is never executed, so here the
   recorded reply follows the recorded action: prompt + first demonstration with a reply + reply, once per prompt.
2. O is the whole reply as the chat template writes it, its few tokens of markup included.
3. Log-probabilities are at the sampling temperature, as in the GRPO loss.

|O| counts the reply tokens of all passes of a step, so the size of a pass does not change the loss.
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
    """Raise UserError if no row has a reply to learn from: the loss would silently be 0 in every step."""
    # A separate one, so that the counts of `echo` are those of the training.
    asked = Echo(echo.tokenizer, echo.weight, echo.max_length)
    if all(asked.sequence(row) is None for row in data):  # pyright: ignore[reportArgumentType]
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(asked.left_out.items()))
        raise UserError(
            f"--echo_weight {echo.weight}: no training row has a recorded reply to learn from ({reasons}); mine "
            "trajectories with their environment's replies, or leave the option out"
        )


class Echo:
    """The loss, with the replies of the rows as tokens."""

    def __init__(self, tokenizer: Any, weight: float, max_length: int | None) -> None:
        self.tokenizer, self.weight, self.max_length = tokenizer, weight, max_length
        self.left_out: Counter[str] = Counter()
        """How often a prompt had no reply to learn from, by reason."""

    def sequence(self, row: dict[str, Any]) -> tuple[list[int], int] | None:
        """(prompt, action and reply tokens, number of reply tokens); None if there is no reply, or it is too long."""
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
        """Columns for TRL's batch, one row per sample; only the first sample of a prompt has the prompt's sequence.

        echo_ids, echo_mask, echo_targets (1 at reply tokens): (samples, tokens), padded left. num_echo_tokens: number
        of reply tokens in all processes.
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
            rows = rows.new_zeros(1)  # sharded models wait for each other, so every process makes a pass
        targets = targets[rows]
        reply_length = max(int(targets.sum(1).max()), 1)
        logps, _, _ = trainer._get_per_token_logps_and_entropies(
            model, inputs["echo_ids"][rows], inputs["echo_mask"][rows], reply_length
        )
        total = -(logps * targets[:, -reply_length:]).sum()
        # num_echo_tokens is of all steps_per_generation passes and of all processes, whose gradients are averaged.
        passes = trainer.current_gradient_accumulation_steps / trainer.args.steps_per_generation
        normalizer = inputs["num_echo_tokens"].clamp(min=1.0) / trainer.accelerator.num_processes * passes
        loss = total / normalizer
        trainer._metrics["train"]["echo_loss"].append(loss.item() * trainer.current_gradient_accumulation_steps)
        return self.weight * loss
