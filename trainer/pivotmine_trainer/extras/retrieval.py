"""Does the completion still depend on the prompt? (RAGEN-2, arXiv 2604.06268; `--retrieval_prompts P`)

L_ij = log p(Z_i | X_j) for one completion Z_i of each of P prompts X; accuracy = mean_i 1[argmax_j L_ij = i]. A policy
that has collapsed to a template gives every prompt the same answer. Then the accuracy falls to chance, 1/P, while the
entropy may still look healthy. The paper averages over all completions of a prompt. Here one is used, which costs a
forward pass of P * P sequences per step. It uses no random numbers, so training is the same with and without it.
"""

from __future__ import annotations

from typing import Any

import torch


def accuracy(trainer: Any, output: dict[str, Any], num_prompts: int) -> tuple[float, float] | None:
    """(accuracy, chance) over at most `num_prompts` distinct prompts of a batch; None if there are fewer than two.

    output: TRL's prompt_ids and prompt_mask (samples, prompt tokens, padded left), completion_ids and completion_mask
    (samples, tokens, padded right).
    """
    rows = _distinct(output["prompt_ids"], output["prompt_mask"])[:num_prompts]
    if len(rows) < 2:
        return None
    likelihoods = log_likelihoods(trainer, output, rows)
    right = likelihoods.argmax(dim=1) == torch.arange(len(rows), device=likelihoods.device)
    return right.float().mean().item(), 1 / len(rows)


@torch.no_grad()
def log_likelihoods(trainer: Any, output: dict[str, Any], rows: list[int]) -> torch.Tensor:
    """L, (completions i, prompts j): log p of the completion of row i after the prompt of row j."""
    found: list[torch.Tensor] = []
    prompts, prompt_mask = output["prompt_ids"][rows], output["prompt_mask"][rows]
    for row in rows:
        completion = output["completion_ids"][row].expand(len(rows), -1)
        mask = output["completion_mask"][row].expand(len(rows), -1)
        logps, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            torch.cat([prompts, completion], 1),
            torch.cat([prompt_mask, mask], 1),
            completion.size(1),
        )
        found.append((logps * mask).sum(1))
    return torch.stack(found)


def _distinct(prompt_ids: torch.Tensor, prompt_mask: torch.Tensor) -> list[int]:
    """The first row of each distinct prompt."""
    seen: dict[tuple[int, ...], int] = {}
    for row, (ids, mask) in enumerate(zip(prompt_ids.tolist(), prompt_mask.tolist(), strict=True)):
        seen.setdefault(tuple(i for i, m in zip(ids, mask, strict=True) if m), row)
    return list(seen.values())
