"""Try the run's own actions in other states, and find the one action that earns most everywhere.

An action of another state has no label, because two states may need the same action. So actions with the same letters
and digits are left out, and differently written actions that are paid are counted and shown. The best constant action
shows what a policy that never reads its prompt would earn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import polars as pl

from pivotmine.actions import Action, action_from_json, action_to_json
from pivotmine.progress import track
from pivotmine.run import rundir
from pivotmine.verifiers import Verdict, prepare
from pivotmine.verifiers.concurrent import JudgeCall, judge_all
from pivotmine_stages.audit.trials import OTHER_STATES_ACTION, Subject, Trials
from pivotmine_stages.profiles.gate import Gate, seen_states

MAX_STATES = 2_000
"""Maximum number of states that are tried; if there are more, a random sample."""
_SEED = 0


class Pool(NamedTuple):
    """The states that are tried, and the actions taken in them."""

    run: Path
    turns: pl.DataFrame
    gates: Mapping[str, Gate]
    subjects: Mapping[str, Subject]
    actions: Mapping[str, Sequence[str]]
    """By state: its distinct demonstrations and samples as stored JSON, without reasoning and words next to calls."""

    @property
    def num_pairs(self) -> int:
        """Number of pairs of an action and another state of the same tool."""
        sizes = Counter(subject.tool for subject in self.subjects.values())
        return sum(len(self.actions[state]) * (sizes[at.tool] - 1) for state, at in self.subjects.items())

    def judged(self, given: Mapping[str, set[str]], label: str) -> Iterator[tuple[str, dict[str, Verdict]]]:
        """Yield each state with the verdicts on the actions that are given in it."""
        gates = {state_id: gate for state_id, gate in self.gates.items() if given.get(state_id)}
        for state_id, gate, state in track(seen_states(self.run, self.turns, gates), label, "states", len(gates)):
            assert gate.verifier is not None
            judge = prepare(gate.verifier, state, list(gate.usable.values()))
            texts = sorted(given[state_id])
            calls = [JudgeCall(judge, _action(text), gate.verifier.num_waiting) for text in texts]
            yield state_id, dict(zip(texts, judge_all(calls), strict=True))


def pool_of(
    run: Path, turns: pl.DataFrame, gates: Mapping[str, Gate], subjects: Mapping[str, Subject], policy_id: str | None
) -> Pool:
    """Collect the demonstrations of the judged states, and the policy's samples in them that are not truncated."""
    states = list(subjects)
    if len(states) > MAX_STATES:
        states = sorted(Random(_SEED).sample(states, MAX_STATES))
    actions = {state_id: dict.fromkeys(_plain(text) for text in gates[state_id].usable) for state_id in states}
    if policy_id is not None:
        scores = rundir.scan(run, "scores", sorted((run / "scores" / policy_id).glob("*/part-*.parquet")))
        sampled = scores.filter(pl.col("state_id").is_in(states)).select("state_id", "action").unique()
        for state_id, text in sampled.sort("state_id", "action").collect().iter_rows():
            if not action_from_json(text).truncated:
                actions[state_id][_plain(text)] = None
    chosen = {state_id: subjects[state_id] for state_id in states}
    kept = {state_id: gates[state_id] for state_id in states}
    return Pool(run, turns, kept, chosen, {state_id: tuple(found) for state_id, found in actions.items()})


@lru_cache(maxsize=100_000)
def _plain(text: str) -> str:
    """Return an action without reasoning, and without the words next to its calls."""
    action = action_from_json(text)
    return action_to_json(replace(action, reasoning="", text="", message="" if action.tool_calls else action.message))


@lru_cache(maxsize=100_000)
def _action(text: str) -> Action:
    return action_from_json(text)


@lru_cache(maxsize=100_000)
def _letters(text: str) -> int:
    """Hash the letters and digits of an action, without their order and case."""
    return hash("".join(sorted(filter(str.isalnum, text.casefold()))))


def try_other_states(pool: Pool, num_pairs: int, trials: Trials) -> None:
    """Judge actions in other states of the same tool: all pairs, or a random sample of `num_pairs`."""
    given: dict[str, set[str]] = {}
    for target, text in _pairs(pool, num_pairs):
        if all(_letters(text) != _letters(_plain(own)) for own in pool.gates[target].usable):
            given.setdefault(target, set()).add(text)
    for state_id, verdicts in pool.judged(given, "audit of other states"):
        demonstration = next(iter(pool.gates[state_id].usable.values()))
        for text, verdict in verdicts.items():
            at, pair = pool.subjects[state_id], (demonstration, _action(text))
            trials.add(at, OTHER_STATES_ACTION, pair, verdict, must_pass=None)


def _pairs(pool: Pool, num_pairs: int) -> Iterator[tuple[str, str]]:
    """Yield a state and an action of another state with the same tool. A random sample may repeat a pair."""
    by_tool: dict[str, list[str]] = {}
    for state_id, at in pool.subjects.items():
        by_tool.setdefault(at.tool, []).append(state_id)
    total, random = pool.num_pairs, Random(_SEED)
    for group in by_tool.values():
        everything = [(state, text) for state in group for text in pool.actions[state]]
        quota = num_pairs * len(everything) * (len(group) - 1) // max(total, 1)
        if len(group) < 2:
            continue
        if total <= num_pairs:
            yield from ((other, text) for state, text in everything for other in group if other != state)
            continue
        for _ in range(quota):
            state, text = random.choice(everything)
            other = random.choice(group)
            if other != state:
                yield other, text


class _Group(NamedTuple):
    grouped_by: str
    name: str | None
    states: list[str]
    candidates: list[str]
    """Distinct actions of its states, the most frequent ones first."""


def best_constants(pool: Pool, num_pairs: int, verifier_id: str) -> list[dict[str, Any]]:
    """Return rows of `audit_constants`, the highest mean reward first.

    It takes about 2 * num_pairs verdicts for all tools together, and as many for all domains. If a group has more pairs
    than its share of `num_pairs`, its actions are screened on a random sample of its states. The best and the most
    frequent ones are then judged in every state.
    """
    if not num_pairs:
        return []
    groups = [*_groups(pool, "tool"), *_groups(pool, "domain")]
    quotas = [max(1, num_pairs * len(group.states) // len(pool.subjects)) for group in groups]
    tried: list[_Group] = []
    for group, quota in zip(groups, quotas, strict=True):
        candidates = group.candidates[:quota]
        size = max(1, quota // len(candidates))
        states = group.states if size >= len(group.states) else Random(_SEED).sample(group.states, size)
        tried.append(group._replace(states=states, candidates=candidates))
    sums = _earned(pool, tried)
    finals: list[_Group] = []
    for group, quota, screened, earned in zip(groups, quotas, tried, sums, strict=True):
        size = max(2, quota // len(group.states))
        best = sorted(screened.candidates, key=lambda text, earned=earned: -earned[text][0])[: size // 2]
        chosen = list(dict.fromkeys([*best, *screened.candidates[: size - len(best)]]))
        finals.append(group._replace(candidates=[] if len(screened.states) == len(group.states) else chosen))
    again = _earned(pool, finals)
    rows = [
        _row(verifier_id, group, len(screened.candidates), first, second if final.candidates else None)
        for group, screened, final, first, second in zip(groups, tried, finals, sums, again, strict=True)
    ]
    return sorted(rows, key=lambda row: -row["mean_reward"])


def _groups(pool: Pool, grouped_by: str) -> Iterator[_Group]:
    states: dict[str | None, list[str]] = {}
    for state_id, at in pool.subjects.items():
        states.setdefault(at.tool if grouped_by == "tool" else at.domain, []).append(state_id)
    for name, found in states.items():
        counted = Counter(text for state_id in found for text in pool.actions[state_id])
        yield _Group(grouped_by, name, found, [text for text, _ in counted.most_common()])


_Earned = Mapping[str, tuple[float, int]]
"""By action: sum of rewards, and states in which it earned anything."""


def _earned(pool: Pool, groups: Sequence[_Group]) -> list[_Earned]:
    """Return what each candidate of each group earns in the group's states."""
    given: dict[str, set[str]] = {}
    for group in groups:
        for state_id in group.states if group.candidates else ():
            given.setdefault(state_id, set()).update(group.candidates)
    members = [frozenset(group.states) for group in groups]
    sums: list[Counter[str]] = [Counter() for _ in groups]
    paid: list[Counter[str]] = [Counter() for _ in groups]
    for state_id, verdicts in pool.judged(given, "audit of constant actions"):
        for number, group in enumerate(groups):
            for text in group.candidates if state_id in members[number] else ():
                reward = verdicts[text].reward or 0.0
                if reward > 0:
                    sums[number][text] += reward  # pyright: ignore[reportArgumentType]
                    paid[number][text] += 1
    return [
        {text: (float(sums[number][text]), paid[number][text]) for text in group.candidates}
        for number, group in enumerate(groups)
    ]


def _row(verifier_id: str, group: _Group, num_actions: int, first: _Earned, final: _Earned | None) -> dict[str, Any]:
    earned = first if final is None else final
    action = max(earned, key=lambda text: earned[text][0])
    total, num_paid = earned[action]
    return {
        **{"verifier_id": verifier_id, "grouped_by": group.grouped_by, "name": group.name, "action": action},
        **{"mean_reward": total / len(group.states), "num_paid": num_paid, "num_states": len(group.states)},
        **{"num_actions": num_actions, "is_exact": final is None},
    }
