"""Adaptive profiling: rounds of plan, rollout and score, until every state is decided or worth no more samples.

A round's plan is a file in the run directory. It depends only on stored rows, and is written before its samples are
drawn. After a kill, the next start first completes the last plan; then the rounds continue as if nothing had happened.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.errors import UserError
from pivotmine.options import problem as problem_of
from pivotmine.run import rundir
from pivotmine.run.parts import write_rejects
from pivotmine.run.states import demonstrated_turns
from pivotmine.stats.carry_bounds import Carried, calibration
from pivotmine.stats.profiles import with_bounds
from pivotmine.stats.success_prior import Observed
from pivotmine_stages.adaptive.carry import Sources, carry, find_sources
from pivotmine_stages.adaptive.options import AdaptiveOptions
from pivotmine_stages.adaptive.planning import Goal, Plan, StateSoFar, exact_plan, probabilistic_plan
from pivotmine_stages.adaptive.summary import AdaptiveSummary, CarrySummary, Profiled, TriageSummary
from pivotmine_stages.adaptive.triage import check as check_triage
from pivotmine_stages.adaptive.triage import triage
from pivotmine_stages.command import to_json
from pivotmine_stages.policy.record import check_seed, is_sampled
from pivotmine_stages.policy.session import PolicySession, open_policy
from pivotmine_stages.profiles.budgets import ROW, longest_rows, stored_rows
from pivotmine_stages.profiles.carry_decay import carried_states, decay_of, fresh_samples, random_sets
from pivotmine_stages.profiles.covariates import covariates, demonstration_masses
from pivotmine_stages.profiles.gate import Gate, as_reject, gate_states
from pivotmine_stages.profiles.posteriors import observed
from pivotmine_stages.profiles.stopping import (
    REWARDS,
    Rewards,
    StoppingRule,
    num_drawn,
    plans_dir,
    rewards_of,
    write_rule,
)
from pivotmine_stages.rollout.missing import eligible_states, first_states
from pivotmine_stages.rollout.options import RolloutConfig
from pivotmine_stages.rollout.stage import Sampled, announce_policy, require_samples, rollout
from pivotmine_stages.score.options import ScoreConfig
from pivotmine_stages.score.stage import ScoreSummary, score

_PRIOR_SAMPLES = 2
"""The run's mean of tokens counts as this many samples of a state."""

Report = Callable[[str, Any], None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveConfig:
    """The options of `run --adaptive`, and those that it needs of rollout, score and select."""

    options: AdaptiveOptions
    rollout: RolloutConfig
    """`num_samples` is the maximum per state."""
    parser: str | None = None
    """Parser of score; None for the one that rollout chose."""
    num_processes: int | None = None
    """Processes of score; None for one per core."""
    max_mean: float
    """The selection's bound on the mean; 1 for a selection without one."""
    min_scored: int
    """The selection's minimum of scored samples."""
    earlier: tuple[str, ...] = ()
    """Policies of the run whose samples are carried over, and the posteriors of the first one."""
    completions: tuple[Path, ...] = ()
    """Folders of the trainer's completions, whose actions are carried over too."""

    def stopping(self) -> StoppingRule:
        """The rule that stops a state."""
        assert self.options.adaptive is not None
        return StoppingRule(
            rule=self.options.adaptive,
            num_samples=self.rollout.num_samples,
            max_mean=self.max_mean,
            min_scored=self.min_scored,
        )


def profile_adaptively(config: AdaptiveConfig, run: Path, report: Report = None) -> Profiled:
    """Run all rounds."""
    rundir.require_run(run)
    check(config)
    started = time.monotonic()
    verifier = config.rollout.verifier
    with open_policy(config.rollout.policy, run) as policy:
        policy_id = policy.record.policy_id
        if config.options.triage:
            check_triage(policy)
        with rundir.stage_lock(run, f"adaptive-{policy_id}-{verifier.verifier_id}"):
            check_seed(run, policy.record)
            found = _Rounds(config, run, policy, report, started).all()
    identity = {"policy_id": policy_id, "verifier_id": verifier.verifier_id, "rule": asdict(config.stopping())}
    rundir.write_manifest(run, "adaptive", identity, {"summary": to_json(found.adaptive)})
    return found


def check(config: AdaptiveConfig) -> None:
    """Raise UserError for settings that are wrong or contradict each other."""
    options, default, wrong_value = config.options, AdaptiveOptions(), problem_of(config.options)
    wrong = {
        wrong_value or "": wrong_value is not None,
        "--target-recall and --sample-budget go with --adaptive probabilistic": options.adaptive == "exact"
        and (options.target_recall, options.sample_budget) != (default.target_recall, default.sample_budget),
        f"--max-mean {config.max_mean}: in (0, 1]": not 0 < config.max_mean <= 1,
        f"--adaptive needs --num-samples of at least {config.min_scored}": config.rollout.num_samples
        < config.min_scored,
    }
    if problem := next((words for words, is_wrong in wrong.items() if is_wrong), None):
        raise UserError(problem)


class _Rounds:
    """The rounds of one start."""

    def __init__(
        self, config: AdaptiveConfig, run: Path, policy: PolicySession, report: Report, started: float
    ) -> None:
        self.config, self.run, self.policy, self.report, self.started = config, run, policy, report, started
        self.rule, verifier = config.stopping(), config.rollout.verifier
        self.goal = Goal(target_recall=config.options.target_recall, sample_budget=config.options.sample_budget)
        self.ids = (policy.record.policy_id, verifier.verifier_id)
        self.budget = policy.record.budget
        self.eligible = eligible_states(run, verifier, (0, 1), limit=config.rollout.limit)
        self.states = first_states(self.eligible.states, config.rollout.limit)
        self.sources: Sources | None = None
        if config.earlier:
            self.sources = find_sources(run, config.earlier, config.completions, policy)
        self.folder = plans_dir(run, *self.ids) / f"{self.rule.rule}-{rundir.config_digest(self._identity())}"
        self.carried: dict[str, Carried] = {}
        self.failed: set[str] = set()
        self.planned: dict[str, int] = {}
        self.plan_facts: dict[str, float] = {}
        self.sampled = Counter[str]()
        self.sampling_s = 0.0

    def _identity(self) -> dict[str, Any]:
        identity = {**asdict(self.rule), **asdict(self.goal), "limit": self.config.rollout.limit}
        identity |= {"from": self.sources.name} if self.sources else {}
        # Plans of an older version do not include the budget.
        return identity if self.budget == self.policy.record.first_budget else {**identity, "budget": self.budget}

    def all(self) -> Profiled:
        write_rule(self.run, *self.ids, self.rule)
        if self.config.options.triage:
            self._triage()
        counts = self._carry(self.sources) if self.sources else {}
        plans = sorted(self.folder.glob("round-*.parquet"))
        done = self._sample(plans[-1]) if plans and self._is_of_this_run(plans[-1]) else None
        if done is None and is_sampled(self.run, self.ids[0]):
            self._score()
        if (wanted := self._to_continue()) is not None:
            done = self._sample(self._write(wanted))
        while (wanted := self._next()) is not None:
            done = self._sample(self._write(wanted))
        # Nothing is to be done: with an empty plan, the stages report this themselves.
        done = done or self._sample(self._write(dict.fromkeys(self.states["state_id"], 0)))
        return replace(done, carried=CarrySummary(**counts, **self._belief())) if self.sources else done

    def _gates(self) -> dict[str, Gate]:
        turns = demonstrated_turns(self.run).join(self.states, on="state_id", how="semi", maintain_order="left")
        return gate_states(self.run, turns, self.config.rollout.verifier)

    def _carry(self, sources: Sources) -> dict[str, Any]:
        """Prefill the stored actions with the new policy, and load the estimates that follow; returns counts."""
        if not is_sampled(self.run, self.ids[0]):
            announce_policy(self.run, self.policy.record)
        counts = carry(self.run, self.policy, self.ids[1], self.states, self._gates(), sources)
        known = carried_states(self.run, *self.ids, self.policy.options.sampling.max_new_tokens)
        self.carried = {state: known[state] for state in self.states["state_id"] if state in known}
        return counts

    def _belief(self) -> dict[str, Any]:
        """Mean unseen mass, states without samples, the fitted decay, and its calibration on other states."""
        profiles = self._profiles()
        decay = decay_of(self.carried, self.ids[0], profiles.values())
        _, checked = random_sets(self.carried, self.ids[0])
        unseen = [state.bounds.unseen for state in self.carried.values()]
        return {
            "unseen_mass": sum(unseen) / max(len(unseen), 1),
            "unsampled": sum(not (state in profiles and profiles[state]["num_samples"]) for state in self.carried),
            "decay": decay,
            "calibration": calibration(decay, fresh_samples(checked, self.carried, profiles.values())),
        }

    def _triage(self) -> None:
        spec = self.config.rollout.verifier
        counts = triage(self.run, self.policy, spec, self.states, self._gates())
        above, detail = set(self._above()), f"the demonstration alone has probability {self.rule.max_mean} or more"
        rows = [
            as_reject("triage", "mean_too_high", turn, detail)
            for turn in self.states.iter_rows(named=True)
            if turn["state_id"] in above
        ]
        identity = {"policy_id": self.ids[0], "verifier_id": self.ids[1]}
        rejects = rundir.table_of_rows("rejects", rows)
        write_rejects(self.run, rundir.rejects_dir(self.run, "triage", identity), rejects)
        if self.report is not None:
            self.report("triage", TriageSummary(above=len(above), max_mean=self.rule.max_mean, **counts))

    def _is_of_this_run(self, plan: Path) -> bool:
        """Whether all states of a plan are still eligible, which a later extract may have changed."""
        rundir.require_whole(plan, "plans")
        planned = pl.read_parquet(plan, glob=False)
        return planned.join(self.states, on="state_id", how="anti").is_empty()

    def _write(self, counts: dict[str, int]) -> Path:
        number = len(list(self.folder.glob("round-*.parquet")))
        rows = pl.DataFrame(
            {"state_id": list(counts), "num_samples": list(counts.values())},
            schema={"state_id": pl.String, "num_samples": pl.Int32},
        )
        path = self.folder / f"round-{number:03d}.parquet"
        rundir.write_table(path, rows.to_arrow())
        return path

    def _sample(self, plan: Path) -> Profiled:
        """Sample what the plan asks for, and score it."""
        rolled = rollout(replace(self.config.rollout, plan=plan, limit=None), self.run, self.policy, self.eligible)
        if rolled.wanted_samples or self.states.is_empty():
            require_samples(rolled)
        self.sampled.update(to_json(rolled.sampled) if rolled.sampled else {})
        self.sampling_s += rolled.sampling_s
        scored = self._score()
        drawn = self._profiles()
        planned = dict(pl.read_parquet(plan, glob=False).select("state_id", "num_samples").iter_rows())
        # These states have fewer samples than planned: the template refused them, or the engine failed.
        self.failed = {state for state, n in planned.items() if n > (num_drawn(drawn[state]) if state in drawn else 0)}
        self.planned = planned
        facts = self._facts(plan, rolled.sampled)
        if self.report is not None and rolled.sampled:
            self.report("adaptive", facts)
        whole = replace(rolled, sampled=Sampled(**self.sampled), sampling_s=round(self.sampling_s, 2))
        return Profiled(adaptive=facts, rollout=whole, score=scored)

    def _score(self) -> ScoreSummary:
        settings = ScoreConfig(
            verifier=self.config.rollout.verifier,
            policy=self.ids[0],
            parser=self.config.parser,
            num_processes=self.config.num_processes,
            max_new_tokens=self.budget,
        )
        return score(settings, self.run)

    def _facts(self, plan: Path, sampled: Sampled) -> AdaptiveSummary:
        return AdaptiveSummary(
            policy_id=self.ids[0],
            verifier_id=self.ids[1],
            rule=self.rule.rule,
            rounds=int(plan.stem.removeprefix("round-")) + 1,
            states=len(self.states),
            triaged=len(self._above()),
            round_states=sampled.states,
            round_samples=sampled.samples or 0,
            samples=sum(row["num_samples"] for row in self._profiles().values()),
            fixed_samples=len(self.states) * self.rule.num_samples,
            failed_states=len(self.failed),
            **self.plan_facts,
            seconds=round(time.monotonic() - self.started, 2),
        )

    def _to_continue(self) -> dict[str, int] | None:
        """A plan that only continues pending samples; None if there are none, or if they failed before.

        It comes first, because without them only short samples would be known.
        """
        drawn = self._profiles()
        counts = {state: drawn[state]["num_samples"] if state in drawn else 0 for state in self.states["state_id"]}
        pending = {state for state, count in counts.items() if count and drawn[state]["num_pending"]}
        return counts if pending - self.failed else None

    def _next(self) -> dict[str, int] | None:
        """The next plan: the samples that each state needs; None if every state has them."""
        state_ids = [state for state in self.states["state_id"] if state not in self.failed]
        states = self._so_far(state_ids)
        plan = self._plan(state_ids, states)
        self.plan_facts = plan.facts
        if all(count <= state.rewards.num_samples for count, state in zip(plan.counts, states, strict=True)):
            return None
        asked = dict(zip(state_ids, plan.counts, strict=True))
        # Failed states are tried again together with the others, and no state waits for them.
        return {state: asked.get(state, self.planned.get(state, 0)) for state in self.states["state_id"]}

    def _plan(self, state_ids: list[str], states: list[StateSoFar]) -> Plan:
        if self.rule.rule == "exact":
            return exact_plan(states, self.rule)
        if not self.carried:
            return probabilistic_plan(states, self.rule, self.goal)
        drawn = {state for states in random_sets(self.carried, self.ids[0]) for state in states}
        pilot = [i for i, state in enumerate(state_ids) if state in drawn]
        return probabilistic_plan(states, self.rule, self.goal, pilot=pilot)

    def _so_far(self, state_ids: list[str]) -> list[StateSoFar]:
        profiles, masses = self._profiles(), demonstration_masses(self.run, *self.ids, budget=self.budget)
        decay = decay_of(self.carried, self.ids[0], profiles.values())
        beliefs = {state: decay.beta(carried) for state, carried in self.carried.items()}
        masses |= {state: carried.bounds.low for state, carried in self.carried.items()}
        known = covariates(self.run, self.states, *self.ids, budget=self.budget)
        tokens, mean_tokens = self._tokens()
        return [
            StateSoFar(
                rewards=rewards_of(profiles[state]) if state in profiles else Rewards(),
                known=_known(profiles.get(state), known[state], known),
                tokens=_shrunk(tokens.get(state), mean_tokens),
                least_mean=masses.get(state, 0.0),
                carried=beliefs.get(state),
            )
            for state in state_ids
        ]

    def _above(self) -> list[str]:
        """States that triage alone decides: they are not pivots, however often they are sampled."""
        masses = demonstration_masses(self.run, *self.ids, budget=self.budget)
        return [state for state in self.states["state_id"] if masses.get(state, 0.0) >= self.rule.max_mean]

    def _profiles(self) -> dict[str, dict[str, Any]]:
        path = self.run / "scores" / self.ids[0] / self.ids[1] / "profiles.parquet"
        rows = with_bounds(rundir.scan(self.run, "profiles", [path] if path.exists() else []).collect())
        return {row["state_id"]: row for row in rows.select("state_id", *REWARDS).iter_rows(named=True)}

    def _tokens(self) -> tuple[dict[str, tuple[int, int]], float]:
        """By state_id, the number of samples with known tokens and the sum of these; and the mean over all samples."""
        whole = longest_rows(stored_rows(self.run, self.policy.record).select(*ROW, "num_tokens"))
        rows = whole.drop_nulls("num_tokens").group_by("state_id")
        sums = rows.agg(pl.len(), pl.col("num_tokens").cast(pl.Int64).sum()).collect()
        found = {state: (n, total) for state, n, total in sums.iter_rows()}
        samples = sum(n for n, _ in found.values())
        return found, max(sum(total for _, total in found.values()) / samples, 1.0) if samples else 1.0


def _known(profile: dict[str, Any] | None, own: Observed, known: dict[str, Observed]) -> Observed:
    return observed(profile, known) if profile is not None and profile["num_scored"] else own


def _shrunk(own: tuple[int, int] | None, mean: float) -> float:
    """Expected tokens of a state's next sample: its own mean, shrunk towards the run's."""
    n, total = own or (0, 0)
    return (total + _PRIOR_SAMPLES * mean) / (n + _PRIOR_SAMPLES)
