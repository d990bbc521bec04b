"""The desk's SFT is the trainer's: its dataset has every good turn, and training on it makes the turns likelier."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch

from pivotmine_desk.conversation import encode_turns
from pivotmine_desk.data import pad
from pivotmine_desk.pretrain import turn_loss
from pivotmine_desk.sampling import Policy, load_policy
from pivotmine_desk.sft_check import Setting, demonstrations, finetune
from pivotmine_desk.tasks import tool_definitions
from pivotmine_desk.teacher import trajectories

POLICY = Path(__file__).parents[2] / "data/desk/policy"
COUNT = 12


@torch.no_grad()
def loss(policy: Policy) -> float:
    """Of the turns in the successful trajectories, in nats a token."""
    episodes = [one for one in trajectories("train", COUNT) if one.outcome]
    turns = [encode_turns(policy.tokenizer, one.messages, tool_definitions(one.task.domain)) for one in episodes]
    return turn_loss(policy.model, pad(turns), "cpu").item()


@pytest.mark.filterwarnings("ignore")  # TRL's and its friends', of each other and of this vLLM
def test_sft_makes_the_teacher_s_turns_likelier(tmp_path: Path) -> None:
    dataset = demonstrations(POLICY, tmp_path, COUNT)
    rows = pl.read_parquet(dataset / "train.parquet")
    good = [one for one in trajectories("train", COUNT) if one.outcome]
    assert 0 < len(good) < COUNT
    assert rows["trajectory_id"].n_unique() == len(good)
    trained = finetune(POLICY, dataset, Setting(lr=1e-3, epochs=2), seed=0, out=tmp_path / "out")
    assert loss(trained) < 0.8 * loss(load_policy(POLICY))
