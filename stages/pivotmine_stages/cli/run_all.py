"""`pivotmine run`: the four stages one after the other, each with its own table of the TOML file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotmine.errors import UserError
from pivotmine.options import Declared, declared
from pivotmine.progress import announced
from pivotmine_stages.adaptive.options import AdaptiveOptions
from pivotmine_stages.cli.commands import COMMANDS, STAGES
from pivotmine_stages.cli.usable_result import require_usable
from pivotmine_stages.command import OMITTED, Command
from pivotmine_stages.rollout.options import RolloutConfig

if TYPE_CHECKING:
    from pivotmine_stages.adaptive.summary import AdaptiveSummary
    from pivotmine_stages.extract.summary import ExtractSummary
    from pivotmine_stages.rollout.stage import RolloutSummary
    from pivotmine_stages.score.stage import ScoreSummary
    from pivotmine_stages.select.summary import SelectSummary

GOAL = tuple(one.name for one in declared(AdaptiveOptions))
"""Options of `--adaptive`, which replaces rollout and score by rounds of both."""
FLAGS = {
    "extract": ("tools", "format", "domain", "action_format", "calls", "min_outcome"),
    "rollout": tuple(one.name for one in declared(RolloutConfig) if one.name not in ("shard", "plan")),
    "score": ("verifier",),
    "select": ("max_mean", "name"),
}
"""The flags of `run` that each stage takes; its other options come from --config."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The summaries of the stages of one `run`."""

    extract: ExtractSummary
    adaptive: AdaptiveSummary | None = field(default=None, metadata=OMITTED)
    """Summary of all rounds; None without `--adaptive`."""
    rollout: RolloutSummary
    score: ScoreSummary
    select: SelectSummary


class _RunCommand(Command):
    def declared(self) -> tuple[Declared, ...]:
        """The options of FLAGS, each once, and those of `--adaptive`."""
        found = {one.name: one for name in STAGES for one in COMMANDS[name].declared() if one.name in FLAGS[name]}
        return (*found.values(), *declared(AdaptiveOptions))


RUN = _RunCommand(
    help="All four stages, then a summary. Further options of a stage come from --config.",
    stage="",
    report="",
    sources=COMMANDS["extract"].sources,
    examples=(
        "pivotmine run my.jsonl --run runs/mine --model Qwen/Qwen3-0.6B",
        "pivotmine run my.jsonl --run runs/mine --model Qwen/Qwen3-8B --config run.toml --adaptive exact",
    ),
)


def mine(
    given: Mapping[str, Any],
    tables: Mapping[str, Any],
    *,
    sources: list[Any],
    run: Path | str,
    report: Callable[[str, Any], None] | None = None,
) -> RunSummary:
    """Run all stages.

    given: the flags of the command line. tables: the config file, as `read_config` gives it; flags win over it.
    report: called after each stage.
    """
    from pivotmine_stages.cli.options import profile, run_stage
    from pivotmine_stages.cli.preflight import check_ahead

    summaries: dict[str, Any] = {}
    own = {name: {**tables.get(name, {}), **{k: v for k, v in given.items() if k in FLAGS[name]}} for name in STAGES}
    goal = {key: given[key] for key in GOAL if given.get(key)}
    if goal and "adaptive" not in goal:
        raise UserError(f"--{next(iter(goal)).replace('_', '-')} goes with --adaptive exact or probabilistic")
    check_ahead(tables, own, goal, run=Path(run))
    for name in STAGES:
        if name == "rollout" and goal:
            found = profile(tables, own, run=run, report=report, **goal)
            summaries |= {"adaptive": found.adaptive, "rollout": found.rollout, "score": found.score}
        if name in summaries:
            continue
        options = {**own[name], **_mined(name, summaries)}
        places: dict[str, Any] = {"run": run, "sources": sources} if name == "extract" else {"run": run}
        with announced(f"{name} in {run} ..."):
            summaries[name] = run_stage(name, tables, **places, **options)
        if report is not None:
            report(name, summaries[name])
        if name != STAGES[-1]:
            require_usable(name, summaries[name])
    return RunSummary(**summaries)


def _mined(name: str, summaries: Mapping[str, Any]) -> dict[str, str]:
    """Return the options that bind a stage to the result of the previous one, because a run may hold others."""
    if name == "score":
        return {"policy": summaries["rollout"].policy_id}
    if name == "select":
        return {"policy": summaries["rollout"].policy_id, "verifier": summaries["score"].verifier_id}
    return {}
