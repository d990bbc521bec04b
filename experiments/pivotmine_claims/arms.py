"""The arms: what each does, and the settings that were tried for it.

Each arm has 6 tries, on one seed, half of its steps long, judged by greedy validation episodes. The best one is frozen
for all seeds; ties go to the first. A matched control has no tries: it takes the settings of the arm that it controls.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Settings = dict[str, Any]
"""Options of a training, as `pivotmine-train` names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    title: str
    words: str
    """What it does, in a sentence."""
    recipe: str
    """A key of `recipes.RECIPES`."""
    options: Settings = field(default_factory=dict[str, Any])
    """What the recipe is called with."""
    tries: tuple[Settings, ...] = ()
    steps: str = "rl_steps"
    """The field of `Scale` that counts its steps."""
    like: str | None = None
    """The arm whose frozen settings a matched control takes."""
    after: str | None = None
    """The arm whose policy it starts from, with that arm's frozen settings."""


SFT_TRIES = tuple({"learning_rate": rate} for rate in (3e-4, 5e-4, 7e-4, 1e-3, 1.5e-3, 2e-3))
"""Up to the rate that is best over 6 epochs (data/desk/sft.json). Higher ones win a short try and ruin the skills over
a whole run."""
RL_TRIES = tuple({"learning_rate": rate} for rate in (1e-4, 2e-4, 3e-4, 5e-4, 7e-4, 1e-3))
DEMONSTRATION_TRIES = tuple(
    {"learning_rate": rate, "demonstration_weight": weight} for rate in (2e-4, 5e-4, 1e-3) for weight in (0.3, 1.0)
)

ARMS: dict[str, Arm] = {
    "base": Arm(title="base", words="The base policy as it is.", recipe="base"),
    "sft": Arm(
        title="SFT",
        words="SFT as users do it: every turn of the good trajectories.",
        recipe="sft",
        tries=SFT_TRIES,
        steps="sft_steps",
    ),
    "sft_calls": Arm(
        title="SFT, call turns",
        words="SFT on the turns with calls only, which is what the RL arms train on.",
        recipe="sft",
        options={"turns": "calls"},
        tries=SFT_TRIES,
        steps="sft_steps",
    ),
    "pivots": Arm(
        title="pivots, functional",
        words="Turn-level RL on pivots (rewards differ, mean below 0.6), rewarded by `tool_call`: PivotRL.",
        recipe="turn_level",
        tries=RL_TRIES,
    ),
    "sft_then_pivots": Arm(
        title="SFT, then pivots",
        words="SFT as users do it, then turn-level RL on the pivots of the SFT policy.",
        recipe="sft_then_pivots",
        tries=RL_TRIES,
        after="sft",
    ),
    "random": Arm(
        title="random, functional",
        words="Turn-level RL on as many random call states as there are pivots.",
        recipe="turn_level",
        options={"rule": "random"},
        tries=RL_TRIES,
    ),
    "pivots_demonstrations": Arm(
        title="pivots + demonstration loss",
        words="Turn-level RL on pivots, with a loss on a fair sample of the demonstrations in every step.",
        recipe="turn_level",
        options={"demos": True},
        tries=DEMONSTRATION_TRIES,
    ),
    "demonstrations": Arm(
        title="demonstration loss alone",
        words="The matched control: the same demonstrations in the same steps at the same rate, and no pivots.",
        recipe="demonstrations_alone",
        like="pivots_demonstrations",
    ),
    "end_to_end": Arm(
        title="end-to-end RL",
        words="Whole episodes rewarded by their outcome, of tasks that the base policy sometimes solves.",
        recipe="end_to_end",
        tries=RL_TRIES,
        steps="episode_steps",
    ),
    "pivots_strict": Arm(
        title="pivots, strict",
        words="The same pivots, rewarded by `exact`.",
        recipe="turn_level",
        options={"verifier": "exact"},
        tries=RL_TRIES,
    ),
    "mined_again": Arm(
        title="pivots, mined again",
        words="Pivots, mined again with the policy of the moment every 20 steps.",
        recipe="mined_again",
        tries=RL_TRIES,
    ),
    "random_strict": Arm(
        title="random, strict",
        words="The same random states, rewarded by `exact`.",
        recipe="turn_level",
        options={"rule": "random", "verifier": "exact"},
        tries=RL_TRIES,
    ),
    "mixed": Arm(
        title="mixed, no bound on the mean",
        words="Turn-level RL on all states whose rewards differ.",
        recipe="turn_level",
        options={"rule": "mixed"},
        tries=RL_TRIES,
    ),
    "rejection": Arm(
        title="rejection-sampling SFT",
        words="SFT on one of the base policy's own successes in each state that mining saw it solve.",
        recipe="rejection_sampling",
        tries=SFT_TRIES,
        steps="sft_steps",
    ),
}
"""In the order in which cells are made: cheap ones and those that a question hangs on first."""
