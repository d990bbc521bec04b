"""The advantage of a sample within its group: `--advantages`.

Notation: r_i are the rewards of one group, m and s the mean and standard deviation of its scored samples; m_-i and s_-i
leave out sample i.

| choice | advantage | source |
|---|---|---|
| `grpo` | (r_i - m) / (s + 1e-4), s with Bessel's correction | DeepSeekMath, arXiv 2402.03300, as TRL computes it |
| `leave_one_out` | (r_i - m_-i) / s_-i, s_-i of the population; not divided where s_-i is 0 | NeMo RL's pivot recipes |
| `rloo` | r_i - m_-i | arXiv 2402.14740 |

One success among 16: `grpo` gives +3.75 and -0.25, `leave_one_out` +1.00 and -0.27. NeMo RL's later versions put
Bessel's correction into s_-i, which gives -0.26.

A sample without a reward has advantage 0 and enters no mean.

`--invalid_action_advantage` replaces the advantage of actions that cannot be parsed (NVIDIA's SWE recipes: -5). It is
an advantage, not a reward: the means of the other samples still use the verifier's reward, mostly 0.
"""

from __future__ import annotations

import torch

EPSILON = 1e-4


def group_advantages(rewards: torch.Tensor, choice: str) -> torch.Tensor:
    """Advantages of rewards (groups, samples), same shape. NaN: not scored. These and groups of one get 0."""
    scored = ~rewards.isnan()
    r = rewards.double().nan_to_num(0.0)
    count = scored.sum(1, keepdim=True)
    if choice == "grpo":
        mean = r.sum(1, keepdim=True) / count.clamp(min=1)
        spread = (((r - mean) ** 2 * scored).sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
        found = (r - mean) / (spread + EPSILON)
    else:
        others = (count - 1).clamp(min=1)
        mean = (r.sum(1, keepdim=True) - r) / others
        found = r - mean
        if choice == "leave_one_out":
            # Sum each sample's distances: a difference of two sums of squares is not exactly 0 if all are equal.
            apart = (r[:, None, :] - mean[:, :, None]) ** 2 * scored[:, None, :]
            apart = apart * ~torch.eye(r.shape[1], dtype=torch.bool, device=r.device)
            spread = (apart.sum(2) / others).sqrt()
            found = torch.where(spread > 1e-6, found / spread.clamp(min=1e-6), found)
    return torch.where(scored & (count > 1), found, 0.0).to(rewards.dtype)


def with_invalid(advantages: torch.Tensor, is_invalid: torch.Tensor, fixed: float | None) -> torch.Tensor:
    """Replace the advantage of invalid actions by `fixed`, unless that is None."""
    return advantages if fixed is None else torch.where(is_invalid, fixed, advantages)
