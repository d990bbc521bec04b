"""Run a stage by the names of its options, as the command line does. Programs can do so too.

An omitted option has the default of the dataclass that declares it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotmine.errors import UserError
from pivotmine.options import build, declared
from pivotmine.verifiers import VerifierSpec
from pivotmine_stages.adaptive.options import AdaptiveOptions
from pivotmine_stages.cli.commands import COMMANDS
from pivotmine_stages.cli.config_file import verifier as configured
from pivotmine_stages.policy.record import stored_verifier
from pivotmine_stages.rollout.options import RolloutConfig
from pivotmine_stages.score.options import ScoreConfig
from pivotmine_stages.select.options import SelectConfig

if TYPE_CHECKING:
    from pivotmine_stages.adaptive.summary import Profiled
    from pivotmine_stages.extract.summary import ExtractSummary
    from pivotmine_stages.score.stage import ScoreSummary

Tables = Mapping[str, Any]
"""The tables of `--config`, as `read_config` gives them."""
Options = Mapping[str, Any]
"""Values by the names of their options."""


def run_stage(name: str, tables: Tables, /, *, run: Path | str, sources: Any = None, **options: Any) -> Any:
    """Run the stage of a command and return its summary. options: by the names of the flags, with underscores."""
    command = COMMANDS[name]
    fixed = {} if sources is None else {"sources": tuple(str(source) for source in sources)}
    if name == "audit" and not options.get("verifier") and not tables.get("verifiers") and not tables.get("choose"):
        options["verifier"] = _of_the_scores(Path(run), options.get("policy"))
    return command.function()(*configs(name, tables, options, **fixed), Path(run))


def _of_the_scores(run: Path, policy: str | None) -> VerifierSpec | None:
    """Return the verifier that gave the run's scores if there is only one; None stands for the default verifier.

    A verifier with other options has another id, so an audit of the default one would not be about these scores.
    """
    paths = [path for path in sorted(run.glob("scores/*/*/verifier.json")) if (policy or "") in path.parts[-3]]
    if len({path.parent.name for path in paths}) != 1:
        return None
    spec, _ = stored_verifier(paths[0].parent)
    return spec


extract: Callable[..., ExtractSummary] = partial(run_stage, "extract")
record: Callable[..., Any] = partial(run_stage, "record")
rollout: Callable[..., Any] = partial(run_stage, "rollout")
score: Callable[..., ScoreSummary] = partial(run_stage, "score")
select: Callable[..., Any] = partial(run_stage, "select")
audit: Callable[..., Any] = partial(run_stage, "audit")
export: Callable[..., Any] = partial(run_stage, "export")


def configs(name: str, tables: Tables, options: Options, **fixed: Any) -> list[Any]:
    """Build the dataclasses of a command's options. fixed: fields of the first one that are not options."""
    rest, found = dict(options), list[Any]()
    for place, kind in enumerate(COMMANDS[name].options):
        names = {spelt for one in declared(kind) for spelt in (one.name, one.option.was) if spelt}
        own = {key: rest.pop(key) for key in names & rest.keys()}
        found.append(build(kind, _resolved(kind, tables, own), **({} if place else fixed)))
    if rest:
        raise UserError(f"{name} has no option {next(iter(rest))!r}")
    return found


def _resolved(kind: type[Any], tables: Tables, own: dict[str, Any]) -> dict[str, Any]:
    """Replace names of verifiers by verifiers, whose options come from the tables."""
    for one in declared(kind):
        if one.type is VerifierSpec and not isinstance(own.get(one.name), VerifierSpec):
            name = one.default.name if own.get(one.name) in (None, "") else own[one.name]
            if not isinstance(name, str):
                raise UserError(f"{one.name}: the name of a verifier, not {name!r:.80}")
            own[one.name] = configured(tables, name)
    if kind is SelectConfig and (own.get("variance_share") is not None or own.get("target_mean") is not None):
        # RAGEN-2's rule has no bound on the mean, and weights replace the bound.
        own["strategy"] = own.get("strategy") or "mixed"
    return own


def rollout_config(tables: Tables, **options: Any) -> RolloutConfig:
    """Build the config of `pivotmine rollout`."""
    return configs("rollout", tables, options)[0]


def score_config(tables: Tables, **options: Any) -> ScoreConfig:
    """Build the config of `pivotmine score`."""
    return configs("score", tables, options)[0]


def select_config(**options: Any) -> SelectConfig:
    """Build the config of `pivotmine select`."""
    return configs("select", {}, options)[0]


def profile(
    tables: Tables,
    options: Mapping[str, Options],
    *,
    run: Path | str,
    report: Callable[[str, Any], None] | None = None,
    **goal: Any,
) -> Profiled:
    """Run rollout and score in rounds, for `run --adaptive`. options: of rollout, score and select, by stage."""
    from pivotmine_stages.adaptive.rounds import profile_adaptively

    return profile_adaptively(adaptive_config(tables, options, **goal), Path(run), report)


def adaptive_config(tables: Tables, options: Mapping[str, Options], **goal: Any) -> Any:
    """Build an `AdaptiveConfig` from the options of `--adaptive` and of rollout, score and select."""
    from pivotmine_stages.adaptive.rounds import AdaptiveConfig
    from pivotmine_stages.select.strategies import STRATEGIES

    sampled, scored, chosen = options["rollout"], options["score"], select_config(**options["select"])
    config = rollout_config(tables, **sampled)
    if config.shard != (0, 1) or config.plan is not None:
        raise UserError("--adaptive makes plans for the whole run by itself: leave --shard and --plan out")
    return AdaptiveConfig(
        options=build(AdaptiveOptions, goal),
        rollout=config,
        parser=scored.get("parser"),
        num_processes=scored.get("num_processes"),
        max_mean=bound(chosen) if (bound := STRATEGIES[chosen.strategy].max_mean) else chosen.max_mean,
        min_scored=chosen.min_scored,
    )
