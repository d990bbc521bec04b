"""`recorded`: the reward that came with the data, for rollouts that were sampled and judged elsewhere.

It compares nothing. A demonstration is worth 1. A sample is worth its `Action.recorded_reward`, or null if it has
none. Truncated, unreadable and empty samples keep their recorded reward. The outcome of a recorded 0 follows from the
kinds of the two actions and the names of their calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pivotmine.actions.action import Action
from pivotmine.verifiers.base import ALL_KINDS, Outcome, State, Verdict, Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedOptions:
    """It has no options."""


def prepare(state: State, demonstration: Action, options: RecordedOptions) -> Callable[[Action], Verdict]:
    """Return a scorer that reads the recorded reward."""

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
    # The demonstration itself was not sampled, so it has no recorded reward.
    if action is demonstration:
        return Verdict(1.0, Outcome.CORRECT)
    return Verdict(None, Outcome.ERROR, "no reward was recorded for this sample")


def _outcome_of_a_zero(demonstration: Action, action: Action) -> Outcome:
    if action.truncated:
        return Outcome.TRUNCATED
    if action.kind != demonstration.kind:
        return Outcome.WRONG_KIND
    if not demonstration.tool_calls:
        return Outcome.WRONG_TEXT
    names, wanted = (Counter(call.name for call in one.tool_calls) for one in (action, demonstration))
    return Outcome.WRONG_ARGUMENTS if names == wanted else Outcome.WRONG_TOOL


VERIFIER = Verifier(prepare=prepare, options=RecordedOptions, version=2, kinds=ALL_KINDS, judges_all=True)
