"""Verifiers made of verifiers; each demonstration goes to every member.

- `all`: the least reward; 0 is certain as soon as one member says 0, and else a null member makes it null.
- `any`: the greatest; 1 is certain as soon as one member says 1, and else a null member makes it null.
- `first_decided`: the first member that knows: whose reward is not null, and whose outcome is not `unproven`. Where
  none does, null if any is null, else the last verdict.
- `weighted`: the mean of the rewards by weight; null where one of them is.

Members are asked in order, and no longer than the verdict is open: a dear one stands last. `all` and `weighted` handle
the kinds of turn that all members handle; `any` and `first_decided` those that one does, and leave out the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pivotmine.actions.action import Action
from pivotmine.errors import UserError
from pivotmine.verifiers.base import ALL_KINDS, Outcome, State, Verdict, Verifier, VerifierSpec

Decide = Callable[[Iterable[Verdict]], Verdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class CombinatorOptions:
    members: tuple[VerifierSpec, ...] = ()
    """At least one."""

    def __post_init__(self) -> None:
        if not self.members:
            raise UserError("a verifier made of others needs at least one: members = [...]")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedOptions:
    members: tuple[VerifierSpec, ...] = ()
    """At least one."""
    weights: tuple[float, ...] = ()
    """One a member, above 0; only their ratios count."""

    def __post_init__(self) -> None:
        if (
            not self.members
            or len(self.weights) != len(self.members)
            or not all(0 < w < math.inf for w in self.weights)
        ):
            raise UserError("verifier weighted: at least one member, and for each a weight above 0")


def prepare_all(state: State, demonstration: Action, options: CombinatorOptions) -> Callable[[Action], Verdict]:
    """A judge by the least reward."""
    return _judge_by(_least, state, demonstration, options.members)


def prepare_any(state: State, demonstration: Action, options: CombinatorOptions) -> Callable[[Action], Verdict]:
    """A judge by the greatest reward."""
    return _judge_by(_greatest, state, demonstration, options.members)


def prepare_first(state: State, demonstration: Action, options: CombinatorOptions) -> Callable[[Action], Verdict]:
    """A judge by the first member that knows."""
    return _judge_by(_first_decided, state, demonstration, options.members)


def prepare_weighted(state: State, demonstration: Action, options: WeightedOptions) -> Callable[[Action], Verdict]:
    """A judge by the weighted mean."""
    total = sum(options.weights)
    shares = [weight / total for weight in options.weights]
    return _judge_by(lambda verdicts: _mean(list(verdicts), shares), state, demonstration, options.members)


def _judge_by(
    decide: Decide, state: State, demonstration: Action, members: Sequence[VerifierSpec]
) -> Callable[[Action], Verdict]:
    judges = [(spec.name, spec.judge(state, demonstration)) for spec in members if spec.handles(demonstration.kind)]

    def verdicts(action: Action) -> Iterator[Verdict]:
        for name, judge in judges:
            verdict = judge(action)
            yield replace(verdict, detail=f"{name}: {verdict.detail}" if verdict.detail else name)

    return lambda action: decide(verdicts(action))


def _least(verdicts: Iterable[Verdict]) -> Verdict:
    seen: list[Verdict] = []
    for verdict in verdicts:
        if verdict.reward == 0:
            return verdict
        seen.append(verdict)
    return _null(seen) or min(seen, key=_reward)


def _greatest(verdicts: Iterable[Verdict]) -> Verdict:
    seen: list[Verdict] = []
    for verdict in verdicts:
        if verdict.reward == 1:
            return verdict
        seen.append(verdict)
    return _null(seen) or max(seen, key=_reward)


def _first_decided(verdicts: Iterable[Verdict]) -> Verdict:
    seen: list[Verdict] = []
    for verdict in verdicts:
        if verdict.reward is not None and verdict.outcome != Outcome.UNPROVEN:
            return verdict
        seen.append(verdict)
    return _null(seen) or seen[-1]


def _mean(verdicts: list[Verdict], shares: list[float]) -> Verdict:
    if null := _null(verdicts):
        return null
    reward = min(1.0, sum(share * _reward(verdict) for share, verdict in zip(shares, verdicts, strict=True)))
    worst = min(verdicts, key=_reward)
    if _reward(worst) == 1:
        return Verdict(1.0, Outcome.CORRECT)
    return Verdict(reward, Outcome.PARTIAL if reward else worst.outcome, worst.detail)


def _null(verdicts: Sequence[Verdict]) -> Verdict | None:
    return next((verdict for verdict in verdicts if verdict.reward is None), None)


def _reward(verdict: Verdict) -> float:
    assert verdict.reward is not None, "nulls are dealt with before"
    return verdict.reward


ALL = Verifier(prepare=prepare_all, options=CombinatorOptions, version=1, kinds=ALL_KINDS, asks_all_members=True)


ANY = Verifier(prepare=prepare_any, options=CombinatorOptions, version=1, kinds=ALL_KINDS)


FIRST_DECIDED = Verifier(prepare=prepare_first, options=CombinatorOptions, version=1, kinds=ALL_KINDS)


WEIGHTED = Verifier(
    prepare=prepare_weighted, options=WeightedOptions, version=1, kinds=ALL_KINDS, asks_all_members=True
)
