"""What SFT on the teacher's trajectories does: `python -m pivotmine_desk.sft_check --policy DIR --out FILE`.

Supervised training of the base policy on the teacher's successful `train` trajectories at several settings;
for each, the success in `validation` episodes and the general skills afterwards. The setting that is best
on `validation` is trained again with every seed and measured on `test`: what it gained in the domain, and what
it cost outside.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pivotmine_desk.conversation import encode_turns
from pivotmine_desk.data import pad
from pivotmine_desk.evaluate import episode_success, skill_scores
from pivotmine_desk.pretrain import turn_loss
from pivotmine_desk.sampling import Policy, load_policy
from pivotmine_desk.tasks import tool_definitions
from pivotmine_desk.teacher import trajectories


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
"""Trajectories a step."""


def finetune(policy: Policy, setting: Setting, *, count: int, seed: int) -> None:
    """Train the policy in place on the successful ones of the teacher's first `count` trajectories."""
    turns = [
        encode_turns(policy.tokenizer, episode.messages, tool_definitions(episode.task.domain))
        for episode in trajectories("train", count)
        if episode.outcome
    ]
    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=setting.lr, weight_decay=0.0)
    steps = setting.epochs * -(-len(turns) // BATCH)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(setting.epochs):
        rng.shuffle(turns)
        for start in range(0, len(turns), BATCH):
            turn_loss(policy.model, pad(turns[start : start + BATCH]), policy.model.device.type).backward()
            torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()


def measured(policy: Policy, options: argparse.Namespace, split: Any) -> dict[str, float]:
    """Greedy success in episodes and greedy mean of the general skills, both in [0, 1]."""
    success = episode_success(policy, split, range(options.episodes), temperature=0.0, seed=0)
    scores = skill_scores(policy, count=options.questions, temperature=0.0, seed=0)
    return {"success": success["all"], "skills": sum(scores.values()) / len(scores)}


def trained(options: argparse.Namespace, setting: Setting, seed: int) -> Policy:
    """The policy after a setting's training."""
    policy = load_policy(options.policy)
    finetune(policy, setting, count=options.trajectories, seed=seed)
    return policy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON, for the card")
    parser.add_argument("--trajectories", type=int, default=400)
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--questions", type=int, default=400, help="of each skill")
    parser.add_argument("--seeds", type=int, default=3, help="of the best setting; the others are tried with seed 0")
    options = parser.parse_args()
    rows = [asdict(setting) | measured(trained(options, setting, 0), options, "validation") for setting in SETTINGS]
    best = max(range(len(rows)), key=lambda i: rows[i]["success"])
    base = measured(load_policy(options.policy), options, "test")
    seeds = [measured(trained(options, SETTINGS[best], seed), options, "test") for seed in range(options.seeds)]
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
