"""`pivotmine run`: the four stages one after the other, each with its own table of the TOML file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pivotmine.errors import UserError
from pivotmine_stages.cli.config_file import COMMANDS
from pivotmine_stages.cli.options import STAGES, profile
from pivotmine_stages.cli.preflight import check_ahead
from pivotmine_stages.rollout.stage import require_samples

# The flags of `run` that each stage takes. A flag that means something else to a stage is not handed to it.
FLAGS = {
    "extract": ("sources", "run", "tools", "format", "domain", "action_format", "calls", "min_outcome"),
    "rollout": (
        *("run", "model", "engine", "num_samples", "temperature", "max_new_tokens", "max_model_len", "seed"),
        *("adapter", "tokenizer", "template_options", "parser", "policy_name", "base_url", "api", "verifier", "limit"),
    ),
    "score": ("run", "verifier"),
    "select": ("run", "max_mean", "name"),
}

GOAL = ("adaptive", "target_recall", "sample_budget", "triage")
"""Flags of `run` that replace rollout and score by rounds of both."""


def mine(
    given: Mapping[str, Any],
    from_file: Mapping[str, Mapping[str, Any]],
    tables: Mapping[str, Any],
    report: Callable[[str, dict[str, Any]], None] | None,
) -> dict[str, Any]:
    """Run all stages; returns their summaries by name.

    given: the flags of the command line that were set. from_file: each command's options of `--config`, which these
    flags win over. tables: the file itself, for the verifiers' options. report: called after each stage.
    """
    summaries: dict[str, Any] = {}
    own = {command: _own(command, given, from_file) for command in COMMANDS}
    goal = {key: given[key] for key in GOAL if key in given}
    if goal and "adaptive" not in goal:
        raise UserError(f"--{next(iter(goal)).replace('_', '-')} goes with --adaptive exact or probabilistic")
    check_ahead(tables, own, goal)
    for command in COMMANDS:
        if command == "rollout" and goal:
            summaries |= profile(tables, own, report=report, **goal)
        if command in summaries:
            continue
        options = {**own[command], **_mined(command, summaries)}
        summaries[command] = STAGES[command](tables, **options)
        if report is not None:
            report(command, summaries[command])
        if command == "rollout":
            require_samples(summaries[command])
    return summaries


def _own(command: str, given: Mapping[str, Any], from_file: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A command's options from the file and, over them, the flags that it takes."""
    return {**from_file[command], **{key: given[key] for key in FLAGS[command] if key in given}}


def _mined(command: str, summaries: Mapping[str, Any]) -> dict[str, str]:
    """Each stage goes on with what the stage before it made, whatever else the run holds."""
    if command == "score":
        return {"policy": summaries["rollout"]["policy_id"]}
    if command == "select":
        return {"policy": summaries["rollout"]["policy_id"], "verifier": summaries["score"]["verifier_id"]}
    return {}
