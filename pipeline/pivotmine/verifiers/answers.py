"""Three answers, and how they combine (Kleene's strong logic): same, different, unproven.

| answer | reward | outcome |
|---|---|---|
| same | above 0; below 1 is partial credit | `correct`, `partial` |
| different | 0 | the reason |
| unproven | null | `unproven` |

A null with any other outcome is not an answer: the machinery failed. Then the combination fails too, unless no answer
of that verifier could have changed it. Each function reads verdicts one by one and stops as soon as the result is
certain: put an expensive verifier last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pivotmine.run.outcomes import Outcome
from pivotmine.verifiers.base import ZERO, Verdict


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Different if any is, else a failure or unproven if any is, else the smallest reward."""
    seen: list[Verdict] = []
    for verdict in verdicts:
        if verdict.reward == 0:
            return verdict
        seen.append(verdict)
    return _failed(seen) or _unproven(seen) or min(seen, key=_reward)


def any_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Same if any is (the highest reward; ties go to the first), else unproven if any is, else different.

    A failure outranks every reward below 1, because the verifier that failed might have given more.
    """
    seen: list[Verdict] = []
    for verdict in verdicts:
        if verdict.reward == 1:
            return verdict
        seen.append(verdict)
    best = max(seen, key=lambda verdict: verdict.reward or 0.0)
    return _failed(seen) or (best if best.reward else _unproven(seen) or best)


def first_decided(verdicts: Iterable[Verdict]) -> Verdict:
    """The first answer that is same or different. If there is none: the first failure, else the last unproven."""
    seen: list[Verdict] = []
    for verdict in verdicts:
        if verdict.reward is not None:
            return verdict
        seen.append(verdict)
    return _failed(seen) or seen[-1]


def weighted_mean(verdicts: Sequence[Verdict], shares: Sequence[float]) -> Verdict:
    """The mean reward; a failure or unproven if any is. `shares` sum to 1."""
    if null := _failed(verdicts) or _unproven(verdicts):
        return null
    reward = min(1.0, sum(share * _reward(verdict) for share, verdict in zip(shares, verdicts, strict=True)))
    worst = min(verdicts, key=_reward)
    if _reward(worst) == 1:
        return Verdict(1.0, Outcome.CORRECT)
    return Verdict(reward, Outcome.PARTIAL if reward else worst.outcome, worst.detail)


def valued(verdict: Verdict, worth: str) -> Verdict:
    """Give an unproven verdict its worth, `zero` or `null`. Called once, outside all members."""
    return replace(verdict, reward=0.0) if verdict.is_unproven and worth == ZERO else verdict


def _failed(verdicts: Iterable[Verdict]) -> Verdict | None:
    return next((verdict for verdict in verdicts if verdict.reward is None and not verdict.is_unproven), None)


def _unproven(verdicts: Iterable[Verdict]) -> Verdict | None:
    return next((verdict for verdict in verdicts if verdict.is_unproven), None)


def _reward(verdict: Verdict) -> float:
    assert verdict.reward is not None, "nulls are handled before"
    return verdict.reward
