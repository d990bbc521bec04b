"""`recorded`: the reward that came with the data, where rollouts were sampled and judged elsewhere.

It compares nothing: a demonstration is worth 1, a sample what its `Action.recorded_reward` says, and null where none
came with it. Truncated, unreadable and empty samples keep the reward that was recorded for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pivotmine.actions.action import Action
from pivotmine.verifiers.base import ALL_KINDS, Outcome, State, Verdict, Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedOptions:
    """There is nothing to choose."""


def prepare(state: State, demonstration: Action, options: RecordedOptions) -> Callable[[Action], Verdict]:
    """A judge that reads what was recorded."""

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
    # The demonstration itself was never sampled: its place in the data is what vouches for it.
    if action is demonstration:
        return Verdict(1.0, Outcome.CORRECT)
    return Verdict(None, Outcome.ERROR, "no reward came with this sample")


def _outcome_of_a_zero(demonstration: Action, action: Action) -> Outcome:
    if action.truncated:
        return Outcome.TRUNCATED
    if action.kind != demonstration.kind:
        return Outcome.WRONG_KIND
    return Outcome.UNPROVEN


VERIFIER = Verifier(prepare=prepare, options=RecordedOptions, version=1, kinds=ALL_KINDS, judges_all=True)
