"""`pivotmine run`, before its first stage: what a later one would refuse is refused now, not after a night's sampling.

Only what can be told without the stages before it: options, names, what is installed, the model's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pivotmine.actions import require_parser
from pivotmine.errors import UserError
from pivotmine_stages.adaptive import rounds
from pivotmine_stages.cli.options import Tables, adaptive_config, rollout_config, score_config, select_config
from pivotmine_stages.policy.session import check_policy, open_policy
from pivotmine_stages.rollout.stage import RolloutConfig
from pivotmine_stages.score.stage import ScoreConfig
from pivotmine_stages.select import rule, stopped_profiles
from pivotmine_stages.select.rule import SelectConfig
from pivotmine_stages.select.stage import check_name

_DRY = {"extract": ("dry_run", "tokenizer"), "rollout": ("dry_run", "pilot", "tokens_per_second")}
"""Options of stages that only count."""


def check_ahead(tables: Tables, options: Mapping[str, Mapping[str, Any]], goal: Mapping[str, Any]) -> None:
    """UserError for the first thing that a stage would refuse. options: of each stage; goal: those of `--adaptive`."""
    for command, dry in _DRY.items():
        if given := [key for key in dry if options[command].get(key)]:
            raise UserError(f"[{command}] {given[0]} is for a dry run of `pivotmine {command}`: leave it out of `run`")
    own = {command: {k: v for k, v in options[command].items() if k != "run"} for command in options}
    rolled, scored = rollout_config(tables, **own["rollout"]), score_config(tables, **own["score"])
    chosen = select_config(**own["select"])
    if problem := rule.check(chosen):
        raise UserError(problem)
    if scored.parser is not None:
        require_parser(scored.parser)
    if goal:
        _check_adaptive(tables, options, goal, scored, chosen)
        scored = ScoreConfig(verifier=rolled.verifier)
    engine = check_policy(rolled)
    if engine == "openai" and rolled.engine.api == "chat" and not (rolled.tokenizer or chosen.tokenizer):
        raise UserError("a chat server renders by itself, select does not: give the policy's tokenizer by --tokenizer")
    _check_name(Path(options["select"]["run"]), rolled, scored, chosen)


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
        raise UserError("--adaptive scores with rollout's verifier: give [score] no other one")
    if problem := stopped_profiles.unfit(chosen, config.stopping()):
        raise UserError(f"{problem}: leave it out, or sample without --adaptive")


def _check_name(run: Path, rolled: RolloutConfig, scored: ScoreConfig, chosen: SelectConfig) -> None:
    """The name of other settings, other verifiers or other policies; weights are hashed only where it is taken."""
    if (run / "pivots" / chosen.name).exists():
        with open_policy(rolled) as policy:
            check_name(chosen, run, policy.record.policy_id, scored.verifier.verifier_id)
