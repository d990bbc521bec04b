"""Success of policies in whole episodes: `python -m pivotmine_desk.episodes --policies BEFORE AFTER`.

All policies get the same `test` tasks, with names and ids that no policy was trained on, at temperature 1. Also prints
each policy's difference to the first one. Intervals are 95 % bootstrap intervals over the tasks.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from pivotmine_desk.evaluate import episode_outcomes
from pivotmine_desk.sampling import load_policy

NUM_RESAMPLES = 2_000


def interval(values: list[float], seed: int = 0) -> tuple[float, float, float]:
    """(mean, low, high) of the values: 95 % percentile bootstrap."""
    rng = random.Random(seed)
    means = sorted(sum(rng.choices(values, k=len(values))) / len(values) for _ in range(NUM_RESAMPLES))
    cut = NUM_RESAMPLES // 40
    return sum(values) / len(values), means[cut], means[-cut - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--policies", type=Path, nargs="+", required=True)
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    first: list[float] | None = None
    for path in options.policies:
        won = episode_outcomes(load_policy(path), "test", range(options.episodes), temperature=1.0, seed=options.seed)
        outcomes = [float(success) for success in won.values()]
        print("episodes  {}: success {:.3f} [{:.3f}, {:.3f}]".format(path, *interval(outcomes)))  # noqa: T201
        if first is None:
            first = outcomes
            continue
        differences = [after - before for after, before in zip(outcomes, first, strict=True)]
        print("          change {:+.3f} [{:+.3f}, {:+.3f}]".format(*interval(differences)))  # noqa: T201


if __name__ == "__main__":
    main()
