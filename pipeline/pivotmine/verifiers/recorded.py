"""`recorded`: the reward that came with the data.

`pivotmine record` writes such rewards to `scores`. Nothing here can say what another action would have earned: but for
the demonstration itself, every verdict is null. A state whose demonstration can be read is eligible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pivotmine.actions.action import Action, action_to_json
from pivotmine.verifiers.verdict import Outcome, State, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedOptions:
    """There is nothing to choose."""


def prepare(state: State, demonstration: Action, options: RecordedOptions) -> Callable[[Action], Verdict]:
    """A judge that knows the demonstration alone."""
    form = action_to_json(demonstration)

    def judge(action: Action) -> Verdict:
        return Verdict(1.0, Outcome.CORRECT) if action_to_json(action) == form else UNKNOWN

    return judge


UNKNOWN = Verdict(None, Outcome.ERROR, "no reward was recorded for this action")


def recorded_verdict(reward: float | None) -> Verdict:
    """The verdict that a recorded reward is: null where there is none, or none in [0, 1]."""
    if reward is None:
        return UNKNOWN
    if not 0 <= reward <= 1:
        return Verdict(None, Outcome.ERROR, f"the recorded reward {reward} is not in [0, 1]")
    outcome = Outcome.CORRECT if reward == 1 else Outcome.PARTIAL if reward else Outcome.UNPROVEN
    return Verdict(float(reward), outcome, f"recorded reward {reward:.6g}")
