"""Held-out pivots: the reward on the validation split, and how far the pivots are used up.

A pivot teaches while its rewards differ. The share of groups whose rewards are all equal depends on how many samples a
group has: at a success rate of 0.1, 43 % of groups of 8 are all equal and 19 % of groups of 16. The share is therefore
estimated for groups as large as in mining, not as in the evaluation.

States of one task resemble each other, so intervals are bootstrapped over tasks.
"""

from __future__ import annotations

import json
import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pivotmine import policy
from pivotmine_trainer.cli.console import counted

Floats = npt.NDArray[np.float64]

NUM_RESAMPLES = 2_000
LEVEL = 0.95
BOUNDS = ("mean_low", "mean_high")


class Interval(NamedTuple):
    mean: float
    low: float
    high: float


class HeldOut(NamedTuple):
    """One evaluation."""

    step: int
    rewards: dict[str, float]
    """state_id -> mean reward of its scored samples; states without scored samples are absent."""
    zero_variance_share: float
    """Share of these states whose rewards are all equal, in [0, 1]."""
    clusters: dict[str, str] = {}  # noqa: RUF012 - a NamedTuple's default
    """state_id -> task, or trajectory if the task is unknown. An absent state is a task of its own."""
    counts: list[list[int]] = []  # noqa: RUF012
    """[samples, samples with reward 1] of each state. If rewards other than 0 and 1 occur: with the most frequent."""
    unproven_share: float = 0.0
    """Share of all samples whose verdict is unproven, in [0, 1]."""
    mean_low: float | None = None
    """Mean reward without failed samples, unproven ones counted as 0; None if an earlier version wrote the line."""
    mean_high: float | None = None
    """The same with unproven samples counted as 1."""


def summarise(step: int, rows: Iterable[Mapping[str, Any]]) -> HeldOut | None:
    """Summarise samples (`state_id`, `pivot_reward`, `cluster`, `outcome`); None if no sample was scored."""
    drawn: dict[str, list[float]] = {}
    clusters: dict[str, str] = {}
    unproven = num_rows = num_failed = 0
    earned = 0.0
    for row in rows:
        num_rows += 1
        is_unproven = row.get("outcome") == "unproven"
        unproven += is_unproven
        num_failed += row["pivot_reward"] is None and not is_unproven
        earned += row["pivot_reward"] or 0.0
        if row["pivot_reward"] is not None:
            drawn.setdefault(row["state_id"], []).append(row["pivot_reward"])
            clusters[row["state_id"]] = row.get("cluster") or row["state_id"]
    if not drawn:
        return None
    counts = [[len(found), _num_alike(found)] for found in drawn.values()]
    means = {state: sum(r) / len(r) for state, r in drawn.items()}
    equal = sum(k in (0, n) for n, k in counts) / len(counts)
    bounds = [(earned + worth * unproven) / (num_rows - num_failed) for worth in (0, 1)]
    return HeldOut(step, means, equal, clusters, counts, unproven / num_rows, *bounds)


def _num_alike(rewards: Sequence[float]) -> int:
    """The second number of one state in `HeldOut.counts`."""
    found = Counter(round(r, 6) for r in rewards)
    return found[1.0] if found.keys() <= {0.0, 1.0} else found.most_common(1)[0][1]


def all_equal_share(counts: Sequence[Sequence[int]], group: int) -> float:
    """Estimate the share of groups of `group` samples whose rewards are all equal, from `HeldOut.counts` (n, k).

    The success rate p of a state has a Beta(a, b) prior, fitted to all states by maximum likelihood (beta-binomial).
    The share is the mean of p^group + (1 - p)^group over each state's posterior Beta(a + k, b + n - k).
    """
    n, k = np.array(counts, dtype=np.float64).T
    # a = m c and b = (1 - m) c, with m the prior's mean and c its concentration.
    grid = [(m * c, (1 - m) * c) for m in np.linspace(0.02, 0.98, 49) for c in np.geomspace(0.2, 200, 31)]
    best = max(grid, key=lambda ab: float(_log_likelihood(n, k, *ab)))
    a, b = best[0] + k, best[1] + n - k
    stays = np.exp(_log_rising(a, group) - _log_rising(a + b, group))
    turns = np.exp(_log_rising(b, group) - _log_rising(a + b, group))
    return float(np.mean(stays + turns))


def _log_likelihood(n: Floats, k: Floats, a: float, b: float) -> float:
    """Log-likelihood of the counts under a beta-binomial, up to a constant."""
    return sum(
        count
        * (
            sum(math.log(a + i) for i in range(hits))
            + sum(math.log(b + i) for i in range(size - hits))
            - sum(math.log(a + b + i) for i in range(size))
        )
        for (size, hits), count in Counter(zip(n.astype(int).tolist(), k.astype(int).tolist(), strict=True)).items()
    )


def _log_rising(x: Floats, count: int) -> Floats:
    """log of x (x + 1) ... (x + count - 1)."""
    return np.log(x[:, None] + np.arange(count)).sum(1)


def interval(values: Iterable[float], seed: int = 0, clusters: Sequence[str] | None = None) -> Interval:
    """Mean of the values and its percentile bootstrap interval; clusters (tasks) are drawn with replacement.

    clusters: each value's cluster; None if each value is a cluster of its own.
    """
    given = np.fromiter(values, dtype=np.float64)
    _, place = np.unique(clusters if clusters is not None else np.arange(len(given)), return_inverse=True)
    sums, sizes = np.bincount(place, given), np.bincount(place)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (NUM_RESAMPLES, len(sums)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(given.mean()), float(low), float(high))


def reward_interval(found: HeldOut) -> Interval:
    """The mean reward over states, with its interval over tasks."""
    return interval(found.rewards.values(), clusters=[found.clusters.get(state, state) for state in found.rewards])


def gain(before: HeldOut, after: HeldOut) -> Interval:
    """Mean change of the reward, over states in both evaluations, with its interval over tasks."""
    both = sorted(before.rewards.keys() & after.rewards.keys())
    differences = [after.rewards[state] - before.rewards[state] for state in both]
    return interval(differences, clusters=[after.clusters.get(state, state) for state in both])


def metrics(found: HeldOut) -> dict[str, float]:
    """The logged values, under TRL's prefix for evaluations."""
    mean, low, high = reward_interval(found)
    return {
        "eval_pivot_reward": mean,
        "eval_pivot_reward_low": low,
        "eval_pivot_reward_high": high,
        "eval_zero_variance_share": found.zero_variance_share,
        "eval_unproven_share": found.unproven_share,
        "eval_states": len(found.rewards),
        **{f"eval_{name}": value for name in BOUNDS if (value := getattr(found, name)) is not None},
    }


def start_anew(output_dir: Path) -> None:
    """Delete what an earlier training wrote that ended before its first checkpoint."""
    (output_dir / "heldout.jsonl").unlink(missing_ok=True)
    for samples in (output_dir / "completions").glob("*_[0-9][0-9][0-9][0-9][0-9]*.parquet"):
        samples.unlink()  # else its steps would mix with those of the new training


def append(output_dir: Path, found: HeldOut) -> None:
    """Append one line to OUTPUT_DIR/heldout.jsonl."""
    output_dir.mkdir(parents=True, exist_ok=True)
    with (output_dir / "heldout.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(found._asdict()) + "\n")


def read(output_dir: Path) -> list[HeldOut]:
    """Read the evaluations in order of their steps. If a step was evaluated twice, the last one counts."""
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
    """The message that the pivots are used up."""
    return (
        f"time to mine again: {share:.0%} of {what} have rewards that are all equal (threshold {threshold:.0%}).\n"
        "Pass the same options as in the first mining: --config to rollout and score; --limit, --num-samples and "
        f"--engine to rollout.\n{command}"
    )


def mine_again_command(dataset: str, output_dir: str, base: str | None, sampling: dict[str, Any]) -> str:
    """The commands that mine with the new policy, quoted for a shell.

    base: the base model if the policy is an adapter. sampling: training's values of the miner's parameters.
    """
    folder = Path(dataset)
    run = str(folder.parent.parent) if folder.parent.name == "pivots" else "RUN"
    # As the miner derives it from the folder's name; the other stages find the policy by this name.
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
    tasks = counted(len({after.clusters.get(state, state) for state in after.rewards}), "task")
    states = counted(len(after.rewards), "state")
    return "\n".join([f"held out  {states} of {tasks}, 95 % intervals over tasks", *lines])


def _line(found: HeldOut) -> str:
    mean, low, high = reward_interval(found)
    return (
        f"          step {found.step}: reward {mean:.3f} [{low:.3f}, {high:.3f}], "
        f"all equal in {found.zero_variance_share:.0%}"
    )
