"""The card's figures: `python -m pivotmine_desk.measure --policy DIR --figures FILE [--states 1200]`.

Writes the figures as JSON, from which `python -m pivotmine_desk.card` makes the card. Every figure is on `test`, with
names and ids that the policy was not trained on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pivotmine_desk.evaluate import class_shares, episode_success, profile, skill_scores, teacher_states
from pivotmine_desk.sampling import Policy, load_policy

NUM_SAMPLES = 16
"""K, the number of samples per state."""


def figures(policy: Policy, *, states: int, episodes: int, questions: int, seed: int) -> dict[str, Any]:
    """All figures at once: shares and scores in [0, 1]."""
    rewarded = profile(policy, teacher_states("test", states), num_samples=NUM_SAMPLES, seed=seed)
    numbers = range(episodes)
    return {
        "states": states,
        "episodes": episodes,
        "questions": questions,
        "seed": seed,
        "classes": class_shares(rewarded),
        "domains": {
            domain: class_shares([row for row in rewarded if row.state.domain == domain])
            for domain in sorted({row.state.domain for row in rewarded})
        },
        "success": episode_success(policy, "test", numbers, temperature=1.0, seed=seed),
        "success_greedy": episode_success(policy, "test", numbers, temperature=0.0, seed=seed),
        "skills": skill_scores(policy, count=questions, temperature=1.0, seed=seed),
        "skills_greedy": skill_scores(policy, count=questions, temperature=0.0, seed=seed),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--figures", type=Path, required=True)
    parser.add_argument("--states", type=int, default=1200)
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--questions", type=int, default=200, help="of each skill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--note", default="", help="a sentence for the card: how this policy came about")
    options = parser.parse_args()
    found = figures(
        load_policy(options.policy),
        states=options.states,
        episodes=options.episodes,
        questions=options.questions,
        seed=options.seed,
    )
    options.figures.write_text(json.dumps({"note": options.note} | found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
