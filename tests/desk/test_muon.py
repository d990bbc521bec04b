"""Muon against torch's own, which rounds to bfloat16."""

from __future__ import annotations

import pytest
import torch

from pivotmine_desk.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(64, 128), (128, 64), (96, 96)])
def test_steps_are_those_of_torch(shape: tuple[int, int]) -> None:
    draws = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=draws)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    own = Muon([ours], lr=3e-3)
    reference = torch.optim.Muon([theirs], lr=3e-3, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        ours.grad = torch.randn(shape, generator=draws)
        theirs.grad = ours.grad.clone()
        own.step()
        reference.step()
    assert (ours - theirs).norm() < 0.02 * (ours - start).norm()


def test_singular_values_come_near_one_and_the_directions_stay() -> None:
    matrix = torch.randn((32, 80), generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ orthogonalised(matrix) @ right.T
    assert torch.all((inner.diag() > 0.6) & (inner.diag() < 1.3))
    assert torch.allclose(inner, torch.diag(inner.diag()), atol=1e-4)


def test_a_matrix_without_a_gradient_stays() -> None:
    matrix = torch.nn.Parameter(torch.ones(2, 3))
    Muon([matrix], lr=1.0).step()
    assert torch.equal(matrix, torch.ones(2, 3))
