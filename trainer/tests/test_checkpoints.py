"""A checkpoint that training could not go on from as it would have is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny
from refusing import refusal

from pivotmine_trainer.cli import main


@pytest.fixture(scope="module")
def trained(policy: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a training of one step, whose checkpoint is whole."""
    out = tmp_path_factory.mktemp("trained") / "out"
    main(tiny.command(policy, dataset, out, save_steps=1, max_steps=1, eval_strategy="no"))
    return out


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors"])
@pytest.mark.parametrize("flaw", ["is missing", "is empty or broken"])
def test_a_checkpoint_that_training_cannot_go_on_from(
    name: str, flaw: str, trained: Path, policy: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = Path(shutil.copytree(trained, tmp_path / "out")) / "checkpoint-1"
    whole = (checkpoint / name).read_bytes()
    (checkpoint / name).unlink()
    if flaw != "is missing":
        (checkpoint / name).write_bytes(whole[:-10])
    args = tiny.command(policy, dataset, tmp_path / "out", max_steps=2, resume_from_checkpoint="true")
    assert refusal([*args, "--eval_strategy", "no"], capsys) == (
        f"{checkpoint}: {name} {flaw}; resume from another checkpoint, or start anew into another --output_dir"
    )
