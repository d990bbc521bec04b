"""`recorded`: the reward that came with the data, for rollouts that were sampled and judged elsewhere.

It compares nothing. A demonstration is worth 1. A sample is worth what its `Action.recorded_reward` says, or null if
no reward came with it. Truncated, unreadable and empty samples keep the reward that was recorded for them.
A recorded 0 is somebody's answer "different"; its outcome names the kind of action, for the reason is not known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pivotmine.actions.action import Action
from pivotmine.verifiers.base import ALL_KINDS, Outcome, State, Verdict, Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedOptions:
    """No options."""


def prepare(state: State, demonstration: Action, options: RecordedOptions) -> Callable[[Action], Verdict]:
    """A scorer that reads what was recorded."""

    def judge(action: Action) -> Verdict:
        reward = action.recorded_reward
        if reward is None:
            return _without_record(demonstration, action)
        if reward == 1:
            return Verdict(1.0, Outcome.CORRECT)
        if reward != 0:
            return Verdict(reward, Outcome.PARTIAL)
        return Verdict(0.0, _outcome_of_a_zero(demonstration, action))

    return judge


def _without_record(demonstration: Action, action: Action) -> Verdict:
    # The demonstration was never sampled; that it was recorded vouches for it.
    if action is demonstration:
        return Verdict(1.0, Outcome.CORRECT)
    return Verdict(None, Outcome.ERROR, "no reward came with this sample")


def _outcome_of_a_zero(demonstration: Action, action: Action) -> Outcome:
    if action.truncated:
        return Outcome.TRUNCATED
    if action.kind != demonstration.kind:
        return Outcome.WRONG_KIND
    return Outcome.WRONG_ARGUMENTS if action.tool_calls else Outcome.WRONG_TEXT


VERIFIER = Verifier(prepare=prepare, options=RecordedOptions, version=2, kinds=ALL_KINDS, judges_all=True)
