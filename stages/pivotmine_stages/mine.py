"""`pivotmine run`: the four stages one after the other, each with its own table of the TOML file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pivotmine.config import COMMANDS, command_options
from pivotmine_stages.commands import STAGES

# The flags of `run` that each stage takes. A flag that means something else to a stage is not handed to it.
FLAGS = {
    "extract": ("sources", "run", "tools", "format", "domain", "min_outcome"),
    "rollout": (
        *("run", "model", "engine", "num_samples", "temperature", "max_new_tokens", "max_model_len", "seed"),
        *("adapter", "tokenizer", "template_options", "parser", "policy_name", "base_url", "api", "verifier", "limit"),
    ),
    "score": ("run", "verifier"),
    "select": ("run", "max_mean", "name"),
}


def mine(
    given: Mapping[str, Any],
    tables: Mapping[str, Any],
    known: Mapping[str, set[str]],
    report: Callable[[str, dict[str, Any]], None] | None,
) -> dict[str, Any]:
    """Run all stages; returns their summaries by name.

    given: the flags of the command line that were set. tables: those of `--config`. known: the options that each
    command has. report: called after each stage with its summary.
    """
    summaries: dict[str, Any] = {}
    options = {command: _options(command, given, tables, known[command]) for command in COMMANDS}
    for command in COMMANDS:
        mined = {k: summaries["rollout"][k] for k in ("policy_id", "verifier_id")} if "rollout" in summaries else {}
        if command in ("score", "select"):
            options[command]["policy"] = mined["policy_id"]
        if command == "select":
            options[command]["verifier"] = summaries["score"]["verifier_id"]
        summaries[command] = STAGES[command](tables, **options[command])
        if report is not None:
            report(command, summaries[command])
    return summaries


def _options(command: str, given: Mapping[str, Any], tables: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    flags = {key: given[key] for key in FLAGS[command] if key in given}
    return {**command_options(tables, command, known - {"config", "as_json"}), **flags}
