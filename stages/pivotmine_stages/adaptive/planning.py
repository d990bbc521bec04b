"""Plans: how many samples each state needs after the next round, from its rewards so far.

Exact: an undecided state gets the minimum number of samples that could decide it. Probabilistic: a prior fitted on the
run says what further samples of each state are worth (`allocation`), and one price per token decides which are drawn.
That is the highest price at which the expected worth of the selection still is `target_recall` of what K samples of
every state would give. If a sample budget ends first, it is the lowest price that keeps to the budget.
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
"""Number of states in the first round: enough to fit a prior, which may leave other states unsampled."""
LEAST_BATCH = 2
"""Minimum samples of a state in an exact round: a round costs a prefill, so single samples are too expensive."""
_LOWEST_PRICE, _HIGHEST_PRICE = 1e-6, 1.0
_PRICE_STEP = 0.02
_TOKEN_STEP = math.log(2) / 2
"""Costs of a sample are rounded to factors of the square root of 2, so that similar states share one computation."""
_MEAN_STEP, _WEIGHT_STEP = 0.125, math.log(2)
"""Carried priors are rounded too: their means in logits, their weights to factors of 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSoFar:
    """A state as a plan sees it."""

    rewards: Rewards = field(default_factory=Rewards)
    known: Observed = field(default_factory=lambda: Observed(0, 0))
    """Its rewards as successes and failures, and its covariates."""
    tokens: float = 1.0
    """Expected tokens of one more sample, in any unit that all states share."""
    least_mean: float = 0.0
    """A lower bound of its mean reward: the policy's probability of the demonstration, if triage gave it, or of all
    stored actions that succeed."""
    carried: tuple[float, float] | None = None
    """Beta (alpha, beta) of its success rate, from earlier policies' samples; None for the run's prior."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The goal of a probabilistic plan."""

    target_recall: float = AdaptiveOptions().target_recall
    """Share of the signal that K samples of every state would give, in (0, 1]. Wrong selections reduce it."""
    sample_budget: int | None = None
    """Maximum number of samples in all; None for as many as the target needs."""
    batch_samples: int | None = None
    """Samples of a state between two decisions; None for a quarter of K."""


class Plan(NamedTuple):
    counts: list[int]
    """Number of samples that each state needs, at least as many as it has."""
    facts: dict[str, float]
    """Of a probabilistic plan: `phi` of the prior, `price`, and `expected_samples` when all rounds are done; else
    empty."""


def exact_plan(states: Sequence[StateSoFar], rule: StoppingRule) -> Plan:
    """Undecided states get the minimum number of samples that could decide them, at least LEAST_BATCH."""
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
    """The next round: first the pilot's states, then every state whose next batch is worth its price.

    pilot: the indices of its states; None for `pilot_states` evenly spread ones.
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
    """Similar states, which share one computation."""

    prior: tuple[float, float]
    is_carried: bool
    at: Place
    left: int
    tokens: float
    """Tokens of a sample, relative to the mean over all open states."""

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
        # Of the states that only the lower price samples, an evenly spread share is sampled.
        if line.above[kind].num_samples > 0 or (
            line.below[kind].num_samples > 0 and _is_share(taken[kind], line.share)
        ):
            counts[i] += min(batch, kind.left)
    return Plan(counts, {"phi": prior.phi, "price": line.price, "expected_samples": line.num_samples})


def _is_share(number: int, share: float) -> bool:
    """Whether item `number` (from 1) of similar items belongs to an evenly spread share of them."""
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
    """Worth of the states that have all their samples. It is part of both sides of the recall."""
    is_open = set(open_states)
    total = 0.0
    for i, state in enumerate(states):
        if i in is_open or (state.carried is None and not state.rewards.num_scored):
            continue
        kind = _kind(state, prior, rule, 1.0)
        total += _lattice(*kind.lattice, rule, batch).stop(kind.at)
    return total


class _Line(NamedTuple):
    """The price, between two close ones: the higher one draws too few samples, the lower one too many."""

    price: float
    above: dict[_Kind, Outlook]
    """Every kind's outlook at the higher price."""
    below: dict[_Kind, Outlook]
    """Every kind's outlook at the lower price. Of the states that only this price samples, `share` are sampled."""
    share: float
    num_samples: float
    """Expected samples in all when all rounds are done."""


def _line(
    counted: Counter[_Kind],
    lattices: dict[_LatticeKey, Lattice],
    done: float,
    goal: Goal,
    drawn: int,
) -> _Line:
    """The highest price of a mean sample that still draws enough, by bisection on its logarithm."""
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
        """Where the target or the budget is reached, between `above` (0) and `below` (1).

        Over 1 if `below` reaches neither.
        """
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
    """Where `wanted` lies from start (0) to end (1); 0 if start has it already, 2 if end falls short of it."""
    if wanted <= start:
        return 0.0
    return (wanted - start) / (end - start) if wanted < end else 1.0 if wanted == end else 2.0
