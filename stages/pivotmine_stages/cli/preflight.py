"""Checks of `pivotmine run` before its first stage: what a later stage would refuse is refused before sampling.

They cover what needs no earlier stage: options, names, installed packages, the model's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pivotmine.actions import require_parser
from pivotmine.errors import UserError
from pivotmine.options import declared
from pivotmine_stages.adaptive import rounds
from pivotmine_stages.cli.options import Tables, adaptive_config, configs, rollout_config, score_config, select_config
from pivotmine_stages.engines import engine_spec
from pivotmine_stages.extract.options import CountOptions
from pivotmine_stages.policy.session import check_policy, open_policy
from pivotmine_stages.rollout.options import CostOptions, RolloutConfig
from pivotmine_stages.score.options import ScoreConfig
from pivotmine_stages.select import rule, stopped_profiles
from pivotmine_stages.select.options import PreviewOptions, SelectConfig
from pivotmine_stages.select.samples import no_entropy
from pivotmine_stages.select.stage import check_name
from pivotmine_stages.select.strategies import STRATEGIES

_DRY = {"extract": CountOptions, "rollout": CostOptions, "select": PreviewOptions}
"""Options of dry runs, by stage."""


def check_ahead(
    tables: Tables, options: Mapping[str, Mapping[str, Any]], goal: Mapping[str, Any], *, run: Path
) -> None:
    """Raise UserError for the first thing that a stage would refuse. options: by stage; goal: of `--adaptive`."""
    for command, kind in _DRY.items():
        if given := [one.name for one in declared(kind) if options[command].get(one.name)]:
            raise UserError(f"[{command}] {given[0]} is for a dry run of `pivotmine {command}`: leave it out of `run`")
    configs("extract", tables, options["extract"], sources=())
    rolled, scored = rollout_config(tables, **options["rollout"]), score_config(tables, **options["score"])
    chosen = select_config(**options["select"])
    if problem := rule.check(chosen):
        raise UserError(problem)
    if STRATEGIES[chosen.strategy].asks_entropy and (problem := no_entropy(asdict(rolled.policy.engine.sampling))):
        raise UserError(f"--strategy {chosen.strategy} needs {problem}")
    if scored.parser is not None:
        require_parser(scored.parser)
    if goal:
        _check_adaptive(tables, options, goal, scored, chosen)
        scored = ScoreConfig(verifier=rolled.verifier)
    engine = engine_spec(check_policy(rolled.policy))
    if engine.renders(rolled.policy.engine) and not (rolled.policy.tokenizer or chosen.tokenizer):
        raise UserError("a chat server renders the prompts, but select needs their tokens: give --tokenizer NAME")
    _check_name(run, rolled, scored, chosen)


def _check_adaptive(
    tables: Tables,
    options: Mapping[str, Mapping[str, Any]],
    goal: Mapping[str, Any],
    scored: ScoreConfig,
    chosen: SelectConfig,
) -> None:
    config = adaptive_config(tables, options, **goal)
    rounds.check(config)
    if "verifier" in options["score"] and scored.verifier != config.rollout.verifier:
        raise UserError("--adaptive scores with rollout's verifier: remove the verifier from [score]")
    if problem := stopped_profiles.unfit(chosen, config.stopping()):
        raise UserError(f"{problem}: leave it out, or sample without --adaptive")


def _check_name(run: Path, rolled: RolloutConfig, scored: ScoreConfig, chosen: SelectConfig) -> None:
    """Raise UserError if other settings, verifiers or policies have the name. Weights are hashed only if it exists."""
    if (run / "pivots" / chosen.name).exists():
        with open_policy(rolled.policy, run) as policy:
            check_name(chosen, run, policy.record.policy_id, scored.verifier.verifier_id)
