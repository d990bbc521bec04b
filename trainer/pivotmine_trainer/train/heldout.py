"""Held-out pivots: the reward on the validation split, and how far the pivots are used up.

A pivot teaches while its rewards differ. The share of held-out states whose rewards are all equal is some fifth where
mining has just sampled them anew (one success in 16 is seldom repeated) and grows as the policy learns; past a
threshold the states are no pivots any more, and it is time to mine with the new policy.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pivotmine import policy

NUM_RESAMPLES = 2_000
LEVEL = 0.95


class Interval(NamedTuple):
    mean: float
    low: float
    high: float


class HeldOut(NamedTuple):
    """One evaluation."""

    step: int
    rewards: dict[str, float]
    """Mean reward by state_id, of the samples that were scored; states without one are not in it."""
    zero_variance_share: float
    """Share of these states whose rewards are all equal, in [0, 1]."""


def summarise(step: int, samples: Iterable[tuple[str, float | None]], num_generations: int) -> HeldOut | None:
    """From (state_id, reward) of every sample; None where nothing was scored.

    Where processes share the states, some come twice, so that every process has a full batch: the first
    `num_generations` samples of a state count.
    """
    by_state: dict[str, list[float | None]] = {}
    for state_id, reward in samples:
        by_state.setdefault(state_id, []).append(reward)
    drawn = {state: [r for r in found[:num_generations] if r is not None] for state, found in by_state.items()}
    scored = {state: found for state, found in drawn.items() if found}
    if not scored:
        return None
    equal = [max(found) - min(found) <= 1e-6 for found in scored.values()]
    return HeldOut(step, {state: sum(r) / len(r) for state, r in scored.items()}, sum(equal) / len(equal))


def interval(values: Iterable[float], seed: int = 0) -> Interval:
    """Mean of the values and its percentile bootstrap interval, the values (states) drawn with replacement."""
    given = np.fromiter(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = given[rng.integers(0, len(given), (NUM_RESAMPLES, len(given)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(given.mean()), float(low), float(high))


def gain(before: HeldOut, after: HeldOut) -> Interval:
    """What the mean reward of the states gained, with the interval of the differences state by state."""
    both = before.rewards.keys() & after.rewards.keys()
    return interval(after.rewards[state] - before.rewards[state] for state in sorted(both))


def metrics(found: HeldOut) -> dict[str, float]:
    """What is logged, under TRL's prefix for evaluations."""
    mean, low, high = interval(found.rewards.values())
    return {
        "eval_pivot_reward": mean,
        "eval_pivot_reward_low": low,
        "eval_pivot_reward_high": high,
        "eval_zero_variance_share": found.zero_variance_share,
        "eval_states": len(found.rewards),
    }


def start_anew(output_dir: Path) -> None:
    """Forget what a training wrote here that ended before its first checkpoint."""
    (output_dir / "heldout.jsonl").unlink(missing_ok=True)


def append(output_dir: Path, found: HeldOut) -> None:
    """One line more in OUTPUT_DIR/heldout.jsonl."""
    output_dir.mkdir(parents=True, exist_ok=True)
    with (output_dir / "heldout.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(found._asdict()) + "\n")


def read(output_dir: Path) -> list[HeldOut]:
    """The evaluations of an output folder by step; of one step that was evaluated twice, the last."""
    path = output_dir / "heldout.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    by_step: dict[int, HeldOut] = {}
    for line in lines:
        try:
            found = HeldOut(**json.loads(line))
        except (ValueError, TypeError):  # killed while writing it
            continue
        by_step[found.step] = found
    return [by_step[step] for step in sorted(by_step)]


def mine_again(share: float, what: str, threshold: float, command: str) -> str:
    """What a person reads when the pivots are used up."""
    return (
        f"time to mine again: {share:.0%} of {what} have rewards that are all equal (threshold {threshold:.0%}).\n"
        "Add what mined first where it was given: --config to rollout and score; --limit, --num-samples and --engine "
        f"to rollout.\n{command}"
    )


def mine_again_command(dataset: str, output_dir: str, base: str | None, sampling: dict[str, Any]) -> str:
    """The commands that mine with the new policy, quoted for a shell.

    base: the model below the policy where it is an adapter. sampling: the miner's parameters, as training sampled.
    """
    folder = Path(dataset)
    run = str(folder.parent.parent) if folder.parent.name == "pivots" else "RUN"
    # What the miner makes of the folder's name: the other stages find the policy by it.
    name, _, _ = policy.policy_id(Path(output_dir).resolve().name, {}).rpartition("-")
    weights = ["--model", base, "--adapter", output_dir] if base else ["--model", output_dir]
    sampled = [word for key, value in sampling.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    commands = (
        ["rollout", run, *weights, "--policy-name", name, *sampled],
        ["score", run, "--policy", name],
        ["select", run, "--policy", name, "--name", name],
    )
    return "\n".join(f"  pivotmine {shlex.join(command)}" for command in commands)


def compared(evaluations: list[HeldOut]) -> str:
    """The first and the last evaluation side by side, for a person."""
    before, after = evaluations[0], evaluations[-1]
    lines = [_line(found) for found in (before, after)]
    if after.step > before.step:
        change = gain(before, after)
        lines.append(f"          change {change.mean:+.3f} [{change.low:+.3f}, {change.high:+.3f}]")
    return "\n".join([f"held out  {len(after.rewards)} states, 95 % intervals over states", *lines])


def _line(found: HeldOut) -> str:
    mean, low, high = interval(found.rewards.values())
    return (
        f"          step {found.step}: reward {mean:.3f} [{low:.3f}, {high:.3f}], "
        f"all equal in {found.zero_variance_share:.0%}"
    )


def as_samples(state_ids: list[str], rewards: list[float]) -> list[tuple[str, float | None]]:
    """Samples from TRL's rewards, in which what could not be scored is NaN."""
    return [(state, None if reward != reward else reward) for state, reward in zip(state_ids, rewards, strict=True)]
