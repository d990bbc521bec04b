"""Verifiers made of other verifiers: each member judges the action, and `answers` combines the answers.

- `all`: different if any member says so, else unproven if any is, else the smallest reward.
- `any`: same if any member says so (the highest reward), else unproven if any is, else different.
- `first_decided`: the answer of the first member that says same or different.
- `weighted`: the mean of the rewards by weight; unproven if any member is.

If a member fails (a null that is not unproven), the result is a failure unless that member could not have changed it.
Members judge in order, and only until the result is certain: put an expensive member last. `all` and `weighted` handle
the kinds of turn that all members handle. `any` and `first_decided` handle the kinds that any member handles, and skip
the other members.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pivotmine.actions.action import Action
from pivotmine.errors import UserError
from pivotmine.verifiers import answers
from pivotmine.verifiers.base import ALL_KINDS, State, Verdict, Verifier, VerifierSpec

Decide = Callable[[Iterable[Verdict]], Verdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class CombinatorOptions:
    members: tuple[VerifierSpec, ...] = ()
    """At least one."""

    def __post_init__(self) -> None:
        if not self.members:
            raise UserError("a verifier made of others needs at least one member: members = [...]")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedOptions:
    members: tuple[VerifierSpec, ...] = ()
    """At least one."""
    weights: tuple[float, ...] = ()
    """One per member, above 0; only their ratios count."""

    def __post_init__(self) -> None:
        if (
            not self.members
            or len(self.weights) != len(self.members)
            or not all(0 < w < math.inf for w in self.weights)
        ):
            raise UserError("verifier weighted: needs at least one member, and a weight above 0 for each")


def prepare_all(state: State, demonstration: Action, options: CombinatorOptions) -> Callable[[Action], Verdict]:
    """Members that must all accept: different if any is, else unproven if any is, else the smallest reward."""
    return _judge_by(answers.all_of, state, demonstration, options.members)


def prepare_any(state: State, demonstration: Action, options: CombinatorOptions) -> Callable[[Action], Verdict]:
    """Members of which one must accept: same if any is, else unproven if any is, else different."""
    return _judge_by(answers.any_of, state, demonstration, options.members)


def prepare_first(state: State, demonstration: Action, options: CombinatorOptions) -> Callable[[Action], Verdict]:
    """Members that judge in order, until one says same or different."""
    return _judge_by(answers.first_decided, state, demonstration, options.members)


def prepare_weighted(state: State, demonstration: Action, options: WeightedOptions) -> Callable[[Action], Verdict]:
    """Members whose rewards are averaged by weight; unproven if any member is."""
    total = sum(options.weights)
    shares = [weight / total for weight in options.weights]
    return _judge_by(
        lambda verdicts: answers.weighted_mean(list(verdicts), shares), state, demonstration, options.members
    )


def _judge_by(
    decide: Decide, state: State, demonstration: Action, members: Sequence[VerifierSpec]
) -> Callable[[Action], Verdict]:
    judges = [(spec.name, spec.judge(state, demonstration)) for spec in members if spec.handles(demonstration.kind)]

    def verdicts(action: Action) -> Iterator[Verdict]:
        for name, judge in judges:
            verdict = judge(action)
            yield replace(verdict, detail=f"{name}: {verdict.detail}" if verdict.detail else name)

    return lambda action: decide(verdicts(action))


ALL = Verifier(prepare=prepare_all, options=CombinatorOptions, version=1, kinds=ALL_KINDS, asks_all_members=True)
ANY = Verifier(prepare=prepare_any, options=CombinatorOptions, version=1, kinds=ALL_KINDS)
FIRST_DECIDED = Verifier(prepare=prepare_first, options=CombinatorOptions, version=1, kinds=ALL_KINDS)
WEIGHTED = Verifier(
    prepare=prepare_weighted, options=WeightedOptions, version=1, kinds=ALL_KINDS, asks_all_members=True
)
