"""Plans: how many samples each state shall have after the next round, from its rewards so far.

Exact: a state that is undecided gets the fewest samples that could decide it. Probabilistic: a prior fitted on the run
says what further samples of each state are worth (`allocation`), and one price a token draws the line: the highest at
which the expected worth of the selection is still `target_recall` of what K samples of every state would give, or
where a budget is given, the lowest that keeps to it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pivotmine.stats.success_prior import Observed, Prior, fit_prior
from pivotmine_stages.adaptive.allocation import Lattice, Outlook, Place
from pivotmine_stages.adaptive.options import AdaptiveOptions
from pivotmine_stages.profiles.stopping import Rewards, StoppingRule, is_decided, least_samples

PILOT_STATES = 500
"""States of the first round: enough to fit a prior, which may leave others unsampled."""
LEAST_BATCH = 2
"""A round costs a prefill: an exact plan asks for no single samples."""
_LOWEST_PRICE, _HIGHEST_PRICE = 1e-6, 1.0
_PRICE_STEP = 0.02
_TOKEN_STEP = math.log(2) / 2
"""Costs of a sample are rounded to factors of the square root of 2, so that alike states are reckoned once."""
_MEAN_STEP, _WEIGHT_STEP = 0.125, math.log(2)
"""So are carried priors: their means in logits, their weights to factors of 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSoFar:
    """A state as a plan sees it."""

    rewards: Rewards = field(default_factory=Rewards)
    known: Observed = field(default_factory=lambda: Observed(0, 0))
    """Its rewards as successes and failures, and its covariates."""
    tokens: float = 1.0
    """Expected tokens of one more sample, in any unit that all states share."""
    least_mean: float = 0.0
    """A bound from below on its mean reward: the policy's probability of the demonstration, where triage gave it, or of
    all stored actions that succeed."""
    carried: tuple[float, float] | None = None
    """Beta (alpha, beta) of its success rate that earlier policies' samples give; None: the run's prior."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a probabilistic plan spends samples for."""

    target_recall: float = AdaptiveOptions().target_recall
    """Share of what K samples of every state would give, in (0, 1]; wrong choices count against it."""
    sample_budget: int | None = None
    """Most samples in all; None: as many as the target needs."""
    batch_samples: int | None = None
    """Samples of a state between two decisions; None: a quarter of K."""


class Plan(NamedTuple):
    counts: list[int]
    """Samples that each state shall have, never fewer than it has."""
    facts: dict[str, float]
    """Of a probabilistic plan: prior, price, expected recall and expected samples when all is done."""


def exact_plan(states: Sequence[StateSoFar], rule: StoppingRule) -> Plan:
    """Undecided states draw the fewest samples that could decide them, and no single ones."""
    return Plan([_exact_count(state, rule) for state in states], {})


def _exact_count(state: StateSoFar, rule: StoppingRule) -> int:
    drawn = state.rewards.num_samples
    if state.least_mean >= rule.max_mean or is_decided(state.rewards, rule):
        return drawn
    return min(drawn + max(least_samples(state.rewards, rule), LEAST_BATCH), max(rule.num_samples, drawn))


def probabilistic_plan(
    states: Sequence[StateSoFar],
    rule: StoppingRule,
    goal: Goal,
    pilot_states: int = PILOT_STATES,
    pilot: Sequence[int] | None = None,
) -> Plan:
    """The next round: the pilot's states at first, then every state whose next batch is worth its price.

    pilot: its states by their places; None: `pilot_states` of them, spread evenly.
    """
    batch = goal.batch_samples or math.ceil(rule.num_samples / 4)
    counts = [state.rewards.num_samples for state in states]
    first = _pilot(states, rule, pilot_states) if pilot is None else pilot
    unsampled = [i for i in first if counts[i] == 0]
    if goal.sample_budget is not None:
        unsampled = unsampled[: max(goal.sample_budget - sum(counts), 0) // batch]
    if unsampled:
        for i in unsampled:
            counts[i] = min(batch, rule.num_samples)
        return Plan(counts, {})
    open_states = [i for i, state in enumerate(states) if _is_open(state, rule)]
    return _priced(states, open_states, counts, rule, goal, batch)


def _pilot(states: Sequence[StateSoFar], rule: StoppingRule, pilot_states: int) -> list[int]:
    """States spread evenly over those that may be pivots."""
    possible = [i for i, state in enumerate(states) if state.least_mean < rule.max_mean]
    size = min(pilot_states, len(possible))
    return [possible[i * len(possible) // size] for i in range(size)]


def _is_open(state: StateSoFar, rule: StoppingRule) -> bool:
    is_possible = state.least_mean < rule.max_mean and not state.rewards.is_mostly_unproven
    return is_possible and state.rewards.num_samples < rule.num_samples


_LatticeKey = tuple[tuple[float, float], bool]


class _Kind(NamedTuple):
    """States that are alike: one computation for all."""

    prior: tuple[float, float]
    is_carried: bool
    at: Place
    left: int
    tokens: float
    """Of a sample, relative to the mean over all states."""

    @property
    def lattice(self) -> _LatticeKey:
        return self.prior, self.is_carried


def _priced(
    states: Sequence[StateSoFar],
    open_states: list[int],
    counts: list[int],
    rule: StoppingRule,
    goal: Goal,
    batch: int,
) -> Plan:
    prior = fit_prior([state.known for state in states if state.rewards.num_scored])
    mean_tokens = math.fsum(states[i].tokens for i in open_states) / max(len(open_states), 1)
    kinds = {i: _kind(states[i], prior, rule, mean_tokens) for i in open_states}
    counted = Counter(kinds.values())
    lattices = {key: _lattice(*key, rule, batch) for key in {kind.lattice for kind in counted}}
    line = _line(counted, lattices, _done(states, open_states, rule, prior, batch), goal, sum(counts))
    taken = Counter[_Kind]()
    for i, kind in kinds.items():
        taken[kind] += 1
        if line.above[kind].num_samples > 0 or (
            line.below[kind].num_samples > 0 and _is_share(taken[kind], line.share)
        ):
            counts[i] += min(batch, kind.left)
    return Plan(counts, {"phi": prior.phi, "price": line.price, "expected_samples": line.num_samples})


def _is_share(number: int, share: float) -> bool:
    """Whether the number-th of many alike, from 1, is one of an even spread of that share."""
    return math.floor(number * share) > math.floor((number - 1) * share)


def _kind(state: StateSoFar, prior: Prior, rule: StoppingRule, mean_tokens: float) -> _Kind:
    rewards = state.rewards
    at = Place(rewards.total, rewards.num_scored - rewards.total, rewards.low, rewards.high)
    tokens = math.exp(round(math.log(state.tokens / mean_tokens) / _TOKEN_STEP) * _TOKEN_STEP)
    own = prior.beta(state.known) if state.carried is None else _rounded(*state.carried)
    return _Kind(own, state.carried is not None, at, rule.num_samples - rewards.num_samples, tokens)


def _rounded(a: float, b: float) -> tuple[float, float]:
    logit = round(math.log(a / b) / _MEAN_STEP) * _MEAN_STEP
    weight = math.exp(round(math.log(a + b) / _WEIGHT_STEP) * _WEIGHT_STEP)
    mean = 1 / (1 + math.exp(-logit))
    return mean * weight, (1 - mean) * weight


def _lattice(prior: tuple[float, float], is_carried: bool, rule: StoppingRule, batch: int) -> Lattice:  # noqa: FBT001
    return Lattice(
        a=prior[0],
        b=prior[1],
        batch_samples=batch,
        max_mean=rule.max_mean,
        carried_samples=rule.num_samples if is_carried else None,
    )


def _done(states: Sequence[StateSoFar], open_states: list[int], rule: StoppingRule, prior: Prior, batch: int) -> float:
    """Worth of the states that have all their samples: it counts on both sides of the recall."""
    is_open = set(open_states)
    total = 0.0
    for i, state in enumerate(states):
        if i in is_open or (state.carried is None and not state.rewards.num_scored):
            continue
        kind = _kind(state, prior, rule, 1.0)
        total += _lattice(*kind.lattice, rule, batch).stop(kind.at)
    return total


class _Line(NamedTuple):
    """Where the price is drawn: between two close ones: one asks too little, the other too much."""

    price: float
    above: dict[_Kind, Outlook]
    """Every kind's outlook at the higher price."""
    below: dict[_Kind, Outlook]
    """At the lower one: a share of the states that only it samples are sampled."""
    share: float
    num_samples: float
    """Expected samples in all when everything is done."""


def _line(
    counted: Counter[_Kind],
    lattices: dict[_LatticeKey, Lattice],
    done: float,
    goal: Goal,
    drawn: int,
) -> _Line:
    """Bisection on the logarithm of the price of a mean sample: the highest that still asks enough."""
    full = done + sum(count * lattices[kind.lattice].full(kind.at, kind.left) for kind, count in counted.items())

    def outlooks(log_price: float) -> dict[_Kind, Outlook]:
        memos: dict[tuple[_LatticeKey, float], dict[tuple[Place, int], Outlook]] = {}
        return {
            kind: lattices[kind.lattice].outlook(
                kind.at, kind.left, math.exp(log_price) * kind.tokens, memos.setdefault((kind.lattice, kind.tokens), {})
            )
            for kind in counted
        }

    def share(above: dict[_Kind, Outlook], below: dict[_Kind, Outlook]) -> float:
        """How far from `above` to `below` the target lies, and the budget allows; above 1 where `below` is too dear."""
        worth = _between(done + _sum(counted, above, 0), done + _sum(counted, below, 0), goal.target_recall * full)
        if goal.sample_budget is None:
            return worth
        spent = _between(drawn + _sum(counted, above, 1), drawn + _sum(counted, below, 1), goal.sample_budget)
        return min(worth, spent)

    low, high = math.log(_LOWEST_PRICE), math.log(_HIGHEST_PRICE)
    below, above = outlooks(low), outlooks(high)
    while high - low > _PRICE_STEP:
        middle = (low + high) / 2
        found = outlooks(middle)
        if share(above, found) <= 1:
            low, below = middle, found
        else:
            high, above = middle, found
    part = max(0.0, min(1.0, share(above, below)))
    samples = drawn + (1 - part) * _sum(counted, above, 1) + part * _sum(counted, below, 1)
    return _Line(math.exp(low), above, below, part, samples)


def _sum(counted: Counter[_Kind], outlooks: dict[_Kind, Outlook], column: int) -> float:
    return math.fsum(count * outlooks[kind][column] for kind, count in counted.items())


def _between(start: float, end: float, wanted: float) -> float:
    """Where `wanted` lies from start (0) to end (1); 0 where start has it already, 2 where end falls short of it."""
    if wanted <= start:
        return 0.0
    return (wanted - start) / (end - start) if wanted < end else 1.0 if wanted == end else 2.0
