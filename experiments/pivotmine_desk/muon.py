"""Muon for the layers' matrices (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/), in float32.

torch's own Muon orthogonalises in bfloat16. On a CPU without bfloat16 instructions that is 15 times slower than in
float32, and the optimizer took as long as the gradient.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic Newton-Schulz iteration, chosen steep at zero rather than exact at one."""
ITERATIONS = 5


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """Bring the singular values of a matrix [rows, columns] to about 1 (0.7 to 1.2)."""
    a, b, c = COEFFICIENTS
    tall = matrix.size(0) > matrix.size(1)
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum, scaled to AdamW's step size (0.2 sqrt of the longer side, Liu et al. 2025,
    section 2.2)."""

    def __init__(self, matrices: Iterable[Any], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        assert closure is None
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._update(matrix, matrix.grad, group)

    def _update(self, matrix: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        mean = self.state[matrix].setdefault("mean_gradient", torch.zeros_like(matrix))
        mean.lerp_(gradient, 1 - group["momentum"])
        update = orthogonalised(gradient.lerp(mean, group["momentum"]))
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(update, alpha=-0.2 * group["lr"] * max(matrix.shape) ** 0.5)
