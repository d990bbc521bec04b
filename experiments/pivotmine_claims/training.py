"""Training by the project's own command, and what it cost: counted in the samples that it wrote."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine_claims.arms import Settings
from pivotmine_claims.ledger import Cost, stage, total
from pivotmine_claims.mining import Lab, digest
from pivotmine_trainer.cli.app import main as pivotmine_train

COMMON = {
    "gradient_checkpointing": False,
    "dataloader_pin_memory": False,
    "report_to": "none",
    "use_cpu": True,
    "disable_tqdm": True,
    "resume_from_checkpoint": True,
}
"""Settings of every training. None of them changes a number."""


def train(lab: Lab, folder: Path, policy: Path, dataset: Path, settings: Settings) -> dict[str, Any]:
    """Train by `pivotmine-train` and keep the checkpoints; the stage's result, `cpu_s` alone.

    The policy and the dataset are those of the settings that name the folder: the folder alone says what is done.
    """
    return stage(folder, lambda folder: _train(folder, policy, dataset, {**settings, "seed": lab.seed}))


def _train(folder: Path, policy: Path, dataset: Path, settings: Settings) -> dict[str, Any]:
    out, steps = folder / "out", settings["max_steps"]
    options = {"dataset": dataset, "model": policy, "output_dir": out, **COMMON, **settings}
    if not (out / f"checkpoint-{steps}" / "trainer_state.json").is_file():
        words = [word for name, value in options.items() for word in (f"--{name}", _word(value))]
        with (folder / "log.txt").open("a") as log, redirect_stdout(log), redirect_stderr(log):
            pivotmine_train(words)
    return {}


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def checkpoint(folder: Path, step: int) -> Path:
    """The policy after a step."""
    return folder / "out" / f"checkpoint-{step}"


def grpo_settings(lab: Lab, settings: Settings, *, steps: int) -> Settings:
    """Options of `pivotmine-train` for turn-level RL."""
    scale = lab.scale
    return {
        "method": "grpo",
        "max_steps": steps,
        "save_steps": min(scale.save_steps, steps),
        "save_total_limit": 1000,
        "num_generations": scale.group,
        "prompts_per_step": scale.prompts,
        "per_device_train_batch_size": scale.group * scale.prompts,
        "warmup_steps": scale.warmup_steps,
        "eval_strategy": "no",
        **settings,
    }


def sft_settings(lab: Lab, settings: Settings, *, turns: str) -> Settings:
    """Options of `pivotmine-train` for SFT."""
    scale = lab.scale
    return {
        "method": "sft",
        "sft_turns": turns,
        "max_steps": scale.sft_steps,
        "save_steps": max(1, scale.sft_steps // 3),
        "logging_steps": 1,
        "save_total_limit": 1000,
        "per_device_train_batch_size": scale.sft_batch,
        "lr_scheduler_type": "linear",
        "warmup_steps": scale.warmup_steps,
        "eval_strategy": "no",
        **settings,
    }


def cost_of_samples(folder: Path, dataset: Path, *, group: int, up_to: int) -> Cost:
    """Of turn-level RL to a step: each group's prompt is prefilled once, and trained on once."""
    lengths = dict(
        pl.read_parquet(dataset / "train.parquet").select("state_id", pl.col("prompt_ids").list.len()).iter_rows()
    )
    costs: list[Cost] = []
    for path in sorted((folder / "out" / "completions").glob("train_*.parquet")):
        rows = pl.read_parquet(path, columns=["step", "state_id", "completion_ids", "pivot_reward"])
        if rows["step"][0] > up_to:
            continue
        generated = int(rows["completion_ids"].list.len().sum())
        prompts = rows["state_id"].gather_every(group)  # samples of a group are written one after another
        assert (rows["state_id"] == prompts.repeat_by(group).explode()).all(), path
        rewards = [rows["pivot_reward"].slice(start, group) for start in range(0, len(rows), group)]
        prefilled = sum(lengths[prompt] for prompt in prompts)
        costs.append(
            Cost(
                turns=len(rows),
                generated=generated,
                prefilled=prefilled,
                trained=generated + prefilled,
                groups=len(rewards),
                dead_groups=sum(one.n_unique() == 1 for one in rewards),
            )
        )
    return total(costs)


def cost_of_sft(folder: Path, *, up_to: int) -> Cost:
    """Of SFT to a step, as the trainer counted its tokens: padding left out."""
    state = json.loads((checkpoint(folder, up_to) / "trainer_state.json").read_text(encoding="utf-8"))
    counted = [entry["num_tokens"] for entry in state["log_history"] if "num_tokens" in entry]
    return Cost(trained=int(max(counted)))


def key_of(settings: Settings) -> str:
    """Part of a folder's name."""
    return digest(settings)[:8]
