"""What is learnt from besides pivots: the policy's own successes, and demonstrations alone.

`train_alone` is the matched control of pivots with the demonstration loss: the same demonstrations in the same steps at
the same rate, and no pivots.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import torch
from datasets import Dataset

from pivotmine.errors import UserError
from pivotmine_claims.ledger import Cost, locked
from pivotmine_claims.mining import Mined
from pivotmine_desk.conversation import load_tokenizer
from pivotmine_desk.data import pad
from pivotmine_desk.pretrain import turn_loss
from pivotmine_desk.sampling import load_policy
from pivotmine_trainer.data.dataset import load_split
from pivotmine_trainer.extras.demonstration_loss import DemonstrationLoss

CHECKPOINT = "checkpoint.pt"


def own_successes(mined: Mined, every_turn: Path, seed: int) -> Path:
    """A dataset in which each state's demonstration is one of the policy's samples that the verifier paid.

    every_turn: the dataset of all demonstrated turns. States without a success are left out.
    """
    folder = mined.run / "pivots" / f"own-successes-{seed}"
    with locked(mined.run.parent / "select-lock"):
        if (folder / "train.parquet").is_file():
            return folder
        scores = pl.read_parquet(mined.run / "scores" / "*" / "*" / "part-*.parquet")
        good = scores.filter(pl.col("reward") == 1).sort("state_id", "sample_index")
        actions = dict(good.group_by("state_id").agg("action").iter_rows())
        chosen = {state: random.Random(f"{seed}/{state}").choice(found) for state, found in actions.items()}
        rows = pl.read_parquet(every_turn / "train.parquet").filter(pl.col("state_id").is_in(list(chosen)))
        rows = rows.unique("state_id", keep="first", maintain_order=True)
        said = [json.dumps([{"action": json.loads(chosen[state])}]) for state in rows["state_id"]]
        rows = rows.with_columns(
            demonstrations=pl.Series(said), trajectory_id=pl.lit(None, pl.String), turn_id=pl.lit(None, pl.String)
        )
        folder.mkdir(parents=True, exist_ok=True)
        rows.write_parquet(folder / "train.tmp")
        (folder / "train.tmp").replace(folder / "train.parquet")
    return folder


def demonstration_loss(dataset: Path, policy: Path, seed: int) -> DemonstrationLoss:
    """The demonstrations of a dataset as the trainer reads and draws them."""
    if not (dataset / "demonstrations.parquet").is_file():
        raise UserError(f"{dataset} has no demonstrations.parquet: select it again with this version")
    data: Dataset = load_split(str(dataset), "demonstrations")
    return DemonstrationLoss(
        data, load_tokenizer(policy), 1.0, never_share=None, seed=seed, max_length=None
    )  # fmt: skip


def drawn_tokens(loss: DemonstrationLoss, *, steps: int, count: int) -> int:
    """Tokens of the demonstrations of the first steps, prompts included."""
    return sum(len(loss.sequences[place][0]) for step in range(steps) for place in loss.draw(step, count))


def train_alone(
    folder: Path,
    policy: Path,
    dataset: Path,
    *,
    seed: int,
    rate: float,
    warmup: int,
    steps: int,
    count: int,
    save_steps: int,
) -> dict[str, Any]:
    """AdamW at a constant rate after the warm-up, gradients clipped at norm 1: as the trainer has it.

    Checkpoints are policies in float32 with the optimiser next to them; a second call goes on from the last one.
    """
    loss = demonstration_loss(dataset, policy, seed)
    loaded = load_policy(policy)
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=rate, weight_decay=0.0)
    done = _resume(folder, loaded.model, optimizer)
    for step in range(done, steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, step / max(1, warmup))  # the schedule's first factor is 0, as in the trainer
        sequences = [loss.sequences[place] for place in loss.draw(step, count)]
        masks = [[False] * (len(ids) - n) + [True] * n for ids, n in sequences]
        batch = pad([(ids, mask) for (ids, _), mask in zip(sequences, masks, strict=True)])
        turn_loss(loaded.model, batch, "cpu").backward()
        torch.nn.utils.clip_grad_norm_(loaded.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % save_steps == 0 or step + 1 == steps:
            out = folder / "out" / f"checkpoint-{step + 1}"
            loaded.model.save_pretrained(out)
            loaded.tokenizer.save_pretrained(out)
            _save(folder, loaded.model, optimizer, step + 1)
    return {}


def cost_alone(loss: DemonstrationLoss, *, steps: int, count: int) -> Cost:
    """Of `train_alone` to a step."""
    return Cost(trained=drawn_tokens(loss, steps=steps, count=count))


def _save(folder: Path, model: Any, optimizer: torch.optim.Optimizer, step: int) -> None:
    half = folder / f"{CHECKPOINT}.tmp"
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, half)
    half.replace(folder / CHECKPOINT)


def _resume(folder: Path, model: Any, optimizer: torch.optim.Optimizer) -> int:
    """The step to go on from; 0 where there is no checkpoint."""
    if not (folder / CHECKPOINT).is_file():
        return 0
    state = torch.load(folder / CHECKPOINT, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]
