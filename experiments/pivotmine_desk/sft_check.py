"""Effect of SFT on the base policy: `python -m pivotmine_desk.sft_check --policy DIR --work DIR --out FILE`.

Trains the base policy with `pivotmine-train --method sft` on the teacher's successful `train` trajectories, at several
settings. Measures each setting's success in `validation` episodes and its general skills. The best setting is trained
again with every seed and measured on `test`: gain in the domain, loss of general skills. Needs pivotmine and its
trainer in one environment.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pivotmine_desk.evaluate import episode_success, skill_scores
from pivotmine_desk.sampling import Policy, load_policy
from pivotmine_desk.teacher import record, trajectories
from pivotmine_desk.world import dumps
from pivotmine_stages.engines.options import EngineOptions
from pivotmine_stages.extract.options import ExtractConfig
from pivotmine_stages.extract.stage import extract
from pivotmine_stages.policy.options import PolicyConfig
from pivotmine_stages.rollout.options import RolloutConfig
from pivotmine_stages.rollout.stage import rollout
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.stage import select


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    lr: float
    """Peak learning rate of AdamW; linear to 0."""
    epochs: int
    """Passes over the trajectories."""


SETTINGS = (
    Setting(lr=1e-3, epochs=3),
    Setting(lr=2e-3, epochs=6),
    Setting(lr=2e-3, epochs=12),
    Setting(lr=3e-3, epochs=6),
    Setting(lr=4e-3, epochs=6),
)
BATCH = 16
"""Sequences per step."""


def demonstrations(policy: Path, work: Path, count: int) -> Path:
    """Mine a dataset of all turns in the successful ones of the teacher's first `count` trajectories.

    One state is sampled, because `select` renders prompts as a sampled policy does.
    """
    run, source = work / "run", work / "trajectories.jsonl"
    work.mkdir(parents=True, exist_ok=True)
    source.write_text("".join(dumps(record(one)) + "\n" for one in trajectories("train", count)), encoding="utf-8")
    extract(ExtractConfig(sources=(source,)), run)
    opened = PolicyConfig(engine=EngineOptions(model=str(policy)), engine_name="transformers", policy_name="policy")
    rollout(RolloutConfig(policy=opened, num_samples=1, limit=1), run)
    select(SelectConfig(strategy="all", tokenizer=str(policy), validation_share=0.0), run)
    return run / "pivots" / "default"


def finetune(policy: Path, dataset: Path, setting: Setting, *, seed: int, out: Path) -> Policy:
    """Train a setting into the folder `out` and load the policy."""
    from pivotmine_trainer.cli.app import main as pivotmine_train  # imports TRL, which takes seconds

    options = {
        "method": "sft",
        "dataset": dataset,
        "model": policy,
        "output_dir": out,
        "seed": seed,
        "learning_rate": setting.lr,
        "num_train_epochs": setting.epochs,
        "per_device_train_batch_size": BATCH,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "gradient_checkpointing": "false",
        "dataloader_pin_memory": "false",
        "disable_tqdm": "true",
    }
    pivotmine_train([word for name, value in options.items() for word in (f"--{name}", str(value))])
    return load_policy(out)


def measured(policy: Policy, options: argparse.Namespace, split: Any) -> dict[str, float]:
    """Greedy success in episodes and greedy mean of the general skills, both in [0, 1]."""
    success = episode_success(policy, split, range(options.episodes), temperature=0.0, seed=0)
    scores = skill_scores(policy, count=options.questions, temperature=0.0, seed=0)
    return {"success": success["all"], "skills": sum(scores.values()) / len(scores)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="the dataset and the trained policies")
    parser.add_argument("--out", type=Path, required=True, help="JSON, for the card")
    parser.add_argument("--trajectories", type=int, default=400)
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--questions", type=int, default=400, help="of each skill")
    parser.add_argument("--seeds", type=int, default=3, help="of the best setting; the others are tried with seed 0")
    options = parser.parse_args()
    dataset = demonstrations(options.policy, options.work, options.trajectories)

    def trained(place: int, seed: int) -> Policy:
        out = options.work / f"setting-{place}-seed-{seed}"
        return finetune(options.policy, dataset, SETTINGS[place], seed=seed, out=out)

    rows = [asdict(s) | measured(trained(i, 0), options, "validation") for i, s in enumerate(SETTINGS)]
    best = max(range(len(rows)), key=lambda i: rows[i]["success"])
    base = measured(load_policy(options.policy), options, "test")
    seeds = [measured(trained(best, seed), options, "test") for seed in range(options.seeds)]
    after = {key: sum(seed[key] for seed in seeds) / len(seeds) for key in base}
    found = {
        "trajectories": options.trajectories,
        "episodes": options.episodes,
        "questions": options.questions,
        "base": base,
        "settings": rows,
        "best": best,
        "seeds": seeds,
        "gain": after["success"] - base["success"],
        "cost": base["skills"] - after["skills"],
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
