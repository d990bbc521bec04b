"""rollout --dry-run: estimate the cost of sampling.

Prompts are rendered and tokenised as in rollout, segment by segment. Distinct prefix tokens are the nodes of the tree
of all prompts, which an engine with an endless prefix cache prefills. In sorted order, each prompt adds the tokens that
it does not share with the one before. Only prompts that the next one does not extend are held, 4 bytes per token.
Generated tokens and the cost of adaptive profiling are estimated from stored samples, including those of a pilot.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.errors import UserError
from pivotmine.options import declared
from pivotmine.progress import track
from pivotmine.run import rundir
from pivotmine.run.states import demonstrated_turns, state_messages
from pivotmine.sampling.prefix_tree import sortable, tree_tokens
from pivotmine_stages.adaptive.options import AdaptiveOptions
from pivotmine_stages.adaptive.planning import Goal, StateSoFar, probabilistic_plan
from pivotmine_stages.adaptive.rounds import AdaptiveConfig, profile_adaptively
from pivotmine_stages.adaptive.summary import CarriedRollout, CostEstimate
from pivotmine_stages.policy.prompts import Renderer
from pivotmine_stages.policy.record import PolicyRecord
from pivotmine_stages.policy.session import PolicySession, open_policy
from pivotmine_stages.profiles.budgets import ROW, budget_of, longest_rows, samples_under, stored_rows
from pivotmine_stages.profiles.covariates import covariates
from pivotmine_stages.profiles.posteriors import observed
from pivotmine_stages.profiles.stopping import Rewards, StoppingRule, plans_dir, rewards_of
from pivotmine_stages.rollout.missing import Eligible, eligible_states, missing_samples, wanted_samples
from pivotmine_stages.rollout.options import CarryOptions, CostOptions, RolloutConfig
from pivotmine_stages.rollout.stage import RolloutSummary, rollout
from pivotmine_stages.score.options import ScoreConfig
from pivotmine_stages.score.stage import score
from pivotmine_stages.select.options import SelectConfig

PREFILL_SPEED = 10
"""How many times faster a GPU prefills than it generates, if --prompt-tokens-per-second is not given. This is cautious:
prefill is limited by arithmetic, decoding by memory."""


def rollout_or_estimate(
    config: RolloutConfig, cost: CostOptions, again: CarryOptions, run: Path
) -> RolloutSummary | CostEstimate:
    """`pivotmine rollout`: sample, or with --dry-run only estimate the cost."""
    if cost.dry_run and again.earlier:
        raise UserError("--dry-run counts the samples of --num-samples: leave --from out")
    if cost.dry_run:
        return estimate(config, run, cost)
    for kind, given, needed in ((CostOptions, cost, "--dry-run"), (CarryOptions, again, "--from")):
        if not again.earlier or kind is CostOptions:
            _require_defaults(kind, given, needed)
    return rollout_from(config, again, run) if again.earlier else rollout(config, run)


def _require_defaults(kind: type[Any], given: Any, needed: str) -> None:
    default = kind()
    if changed := [one for one in declared(kind) if getattr(given, one.field) != getattr(default, one.field)]:
        raise UserError(f"{changed[0].flag} goes with {needed}")


def rollout_from(config: RolloutConfig, again: CarryOptions, run: Path) -> CarriedRollout:
    """`rollout --from`: carry earlier policies over, then sample and score in rounds what is still open."""
    if config.shard != (0, 1) or config.plan is not None:
        raise UserError("--from makes plans for the whole run by itself: leave --shard and --plan out")
    adaptive = AdaptiveConfig(
        options=AdaptiveOptions(
            adaptive="probabilistic", target_recall=again.target_recall, sample_budget=again.sample_budget
        ),
        rollout=config,
        max_mean=again.max_mean,
        min_scored=SelectConfig().min_scored,
        earlier=again.earlier,
        completions=again.completions,
    )
    found = profile_adaptively(adaptive, run)
    assert found.carried is not None
    rolled = {one.name: getattr(found.rollout, one.name) for one in fields(found.rollout)}
    return CarriedRollout(**rolled, adaptive=found.adaptive, carried=found.carried, score=found.score)


def estimate(config: RolloutConfig, run: Path, cost: CostOptions) -> CostEstimate:
    """The estimated cost. `cost.pilot`: number of states that are sampled and scored first; their samples are kept.

    `gpu_hours` counts `generated_tokens` at `tokens_per_second` and `distinct_prefix_tokens` at
    `prompt_tokens_per_second`. `price` is those hours at `price_per_hour`. `CostEstimate` explains the other fields.
    """
    rundir.require_run(run)
    if cost.price_per_hour is not None and cost.tokens_per_second is None:
        raise UserError("--price-per-hour prices GPU-hours: add --tokens-per-second")
    with open_policy(config.policy, run) as policy:
        if policy.renderer is None:
            raise UserError("--dry-run counts prompt tokens: name the server's tokenizer with --tokenizer")
        eligible = eligible_states(run, config.verifier, config.shard, plan=config.plan, limit=config.limit)
        wanted = wanted_samples(
            eligible.states, num_samples=config.num_samples, plan=config.plan, limit=config.limit, shard=config.shard
        )
        if cost.pilot:
            _sample_pilot(config, run, policy, eligible, wanted, cost.pilot)
        stored = samples_under(run, policy.record, policy.record.budget)
        missing = missing_samples(stored, wanted)
        max_model_len = policy.context_length()
        budget = config.policy.engine.sampling.max_new_tokens
        counts, too_long = _prompt_counts(run, missing, policy.renderer, max_model_len, budget)
    fitting = missing.filter(~pl.col("state_id").is_in(too_long))
    samples = int(fitting["missing"].list.len().sum())
    # A cut sample has used all of its old budget, so it costs at most the rest of the new one.
    asked = fitting.select("state_id", sample_index="pending").explode("sample_index").drop_nulls()
    continued = stored.join(asked, on=["state_id", "sample_index"], how="semi")["budget"]
    rest, tokens = int((budget - continued).sum()), _tokens_per_sample(run, policy.record)
    generated = samples * (budget if tokens is None else tokens) + rest
    hours = _gpu_hours(cost, generated, counts["distinct_prefix_tokens"] + int(continued.sum()))
    return CostEstimate(
        policy_id=policy.record.policy_id,
        verifier_id=config.verifier.verifier_id,
        states=len(fitting),
        samples=samples,
        continued=len(continued),
        max_model_len=max_model_len,
        too_long=len(too_long),
        **counts,
        tokens_per_sample=tokens,
        generated_tokens=generated,
        adaptive_share=_adaptive_share(config, run, policy, wanted),
        gpu_hours=hours,
        price=None if hours is None or cost.price_per_hour is None else hours * cost.price_per_hour,
    )


def _gpu_hours(cost: CostOptions, generated: float, prompt_tokens: int) -> float | None:
    if cost.tokens_per_second is None:
        return None
    prefill = cost.prompt_tokens_per_second or PREFILL_SPEED * cost.tokens_per_second
    return (generated / cost.tokens_per_second + prompt_tokens / prefill) / 3600


def _sample_pilot(
    config: RolloutConfig,
    run: Path,
    policy: PolicySession,
    eligible: Eligible,
    wanted: pl.DataFrame,
    num_states: int,
) -> None:
    """Sample and score evenly spread states as ordinary rollouts, with as many samples each as in a round."""
    size = min(num_states, len(wanted))
    chosen = wanted["state_id"].gather([i * len(wanted) // size for i in range(size)])
    count = math.ceil(config.num_samples / 4)
    plan = pl.DataFrame({"state_id": chosen}).with_columns(num_samples=pl.lit(count, pl.Int32))
    path = plans_dir(run, policy.record.policy_id, config.verifier.verifier_id) / f"pilot-{size}.parquet"
    rundir.write_table(path, plan.to_arrow())
    if rollout(replace(config, plan=path), run, policy, eligible).stored.samples:
        budget = policy.record.budget
        score(ScoreConfig(verifier=config.verifier, policy=policy.record.policy_id, max_new_tokens=budget), run)


def _prompt_counts(
    run: Path, states: pl.DataFrame, renderer: Renderer, max_model_len: int | None, budget: int
) -> tuple[dict[str, Any], list[str]]:
    """Counts over the prompts that can be sampled, and the states whose prompt leaves no room for `budget` tokens.

    Prompt tokens (each state's prompt once), distinct prefix tokens, prompts that the template refuses, and the tokens
    of the longest prompt, also if it cannot be sampled, with its reply.
    """
    counts, longest, too_long = Counter[str](prompt_tokens=0, unrendered=0, longest=0), list[bytes](), list[str]()
    for state in track(state_messages(run, states), "dry run", "states", len(states)):
        try:
            token_ids = renderer.render(state.messages, state.tools).token_ids
        except UserError:
            raise
        except Exception:  # a foreign template may raise anything; rollout makes it a reject
            counts["unrendered"] += 1
            continue
        counts["longest"] = max(counts["longest"], len(token_ids) + budget)
        if max_model_len is not None and len(token_ids) + budget > max_model_len:
            too_long.append(state.turn["state_id"])
            continue
        counts["prompt_tokens"] += len(token_ids)
        prompt = sortable(token_ids)
        if longest and prompt.startswith(longest[-1]):
            longest[-1] = prompt
        else:
            longest.append(prompt)
    return {**counts, "distinct_prefix_tokens": tree_tokens(longest)}, too_long


def _tokens_per_sample(run: Path, record: PolicyRecord) -> float | None:
    """Mean tokens of the stored samples, with equal weight per state; None if there are none."""
    whole = longest_rows(stored_rows(run, record).select(*ROW, "num_tokens"))
    states = whole.drop_nulls("num_tokens").group_by("state_id")
    return states.agg(pl.col("num_tokens").mean()).select(pl.col("num_tokens").mean()).collect().item()


def _adaptive_share(config: RolloutConfig, run: Path, policy: PolicySession, wanted: pl.DataFrame) -> float | None:
    """Expected samples of `--adaptive probabilistic`, relative to all; None if nothing is scored at this budget."""
    record, ids = policy.record, (policy.record.policy_id, config.verifier.verifier_id)
    path = run / "scores" / ids[0] / ids[1] / "profiles.parquet"
    rows = rundir.scan(run, "profiles", [path] if path.exists() else []).filter(pl.col("num_scored") > 0).collect()
    if budget_of(rows, record) != record.budget:
        return None
    profiles = {row["state_id"]: row for row in rows.iter_rows(named=True)}
    if not profiles or wanted.is_empty():
        return None
    known = covariates(run, demonstrated_turns(run), *ids, budget=record.budget)
    states = [
        StateSoFar(rewards=rewards_of(profiles[state]), known=observed(profiles[state], known))
        if state in profiles
        else StateSoFar(rewards=Rewards(), known=known[state])
        for state in wanted["state_id"]
    ]
    chosen = SelectConfig()
    rule = StoppingRule(
        rule="probabilistic",
        num_samples=config.num_samples,
        max_mean=chosen.max_mean,
        min_scored=chosen.min_scored,
    )
    facts = probabilistic_plan(states, rule, Goal(), pilot_states=0).facts
    return facts["expected_samples"] / (config.num_samples * len(states))
