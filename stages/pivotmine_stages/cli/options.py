"""From flags to a stage: each function takes a command's options by their names and returns the stage's summary.

An option that is left out has the default of the dataclass that it ends up in, whether it comes from the command line
or from a TOML file.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pivotmine.errors import UserError
from pivotmine.readers import all_readers
from pivotmine.sampling.settings import Sampling
from pivotmine_stages.adaptive.cost import estimate
from pivotmine_stages.adaptive.rounds import RULES, AdaptiveConfig, profile_adaptively
from pivotmine_stages.audit.stage import AuditConfig
from pivotmine_stages.audit.stage import audit as audit_stage
from pivotmine_stages.cli.config_file import verifier as configured
from pivotmine_stages.engines import ENGINES
from pivotmine_stages.engines.options import EngineOptions, require_room
from pivotmine_stages.export.stage import FORMATS, ExportConfig
from pivotmine_stages.export.stage import export as export_stage
from pivotmine_stages.extract.dry_run import count_sources
from pivotmine_stages.extract.stage import ExtractConfig
from pivotmine_stages.extract.stage import extract as extract_stage
from pivotmine_stages.policy.record import require_readable
from pivotmine_stages.record.stage import RecordConfig
from pivotmine_stages.record.stage import record as record_stage
from pivotmine_stages.rollout.missing import MAX_SAMPLES
from pivotmine_stages.rollout.stage import RolloutConfig
from pivotmine_stages.rollout.stage import rollout as rollout_stage
from pivotmine_stages.score.stage import ScoreConfig
from pivotmine_stages.score.stage import score as score_stage
from pivotmine_stages.select.rule import SelectConfig
from pivotmine_stages.select.stage import select as select_stage
from pivotmine_stages.select.strategies import STRATEGIES

Tables = Mapping[str, Any]
"""The tables of `--config`."""
APIS = ("completions", "chat")
REPLICA_ENGINES = ("vllm", "transformers")
LEAST_TEMPERATURE = 0.01
"""vLLM samples by this one where a lower one is asked; far below it, what is divided by it is no number any more."""


def extract(
    tables: Tables,
    *,
    sources: Iterable[Path | str],
    run: Path | str,
    tools: Path | str | None = None,
    dry_run: bool = False,
    tokenizer: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """`pivotmine extract`; with `dry_run` nothing is written into the run."""
    _one_of("--format", options.get("format"), all_readers())
    if tokenizer is not None and not dry_run:
        raise UserError("--tokenizer counts the tokens of a --dry-run: give both, or leave it to rollout")
    files = tuple(str(source) for source in sources)
    tools_file = Path(tools) if tools is not None else None
    config = ExtractConfig(sources=files, tools_file=tools_file, **options)
    return count_sources(config, tokenizer) if dry_run else extract_stage(config, Path(run))


def record(
    tables: Tables, *, sources: Iterable[Path | str], run: Path | str, tools: Path | str | None = None, **options: Any
) -> dict[str, Any]:
    """`pivotmine record`."""
    _one_of("--format", options.get("format"), all_readers())
    files = tuple(str(source) for source in sources)
    tools_file = Path(tools) if tools is not None else None
    return record_stage(RecordConfig(sources=files, tools_file=tools_file, **options), Path(run))


def rollout(
    tables: Tables,
    *,
    run: Path | str,
    dry_run: bool = False,
    pilot: int = 0,
    tokens_per_second: float | None = None,
    **options: Any,
) -> dict[str, Any]:
    """`pivotmine rollout`."""
    if dry_run:
        config = rollout_config(tables, **options)
        return estimate(config, Path(run), pilot=pilot, tokens_per_second=tokens_per_second)
    if pilot or tokens_per_second is not None:
        raise UserError(f"--{'pilot' if pilot else 'tokens-per-second'} goes with --dry-run")
    return rollout_stage(rollout_config(tables, **options), Path(run))


def rollout_config(
    tables: Tables,
    *,
    engine: str | None = None,
    verifier: str = "auto",
    shard: str = "0/1",
    plan: Path | str | None = None,
    base_url: Iterable[str] | None = None,
    template_options: str | dict[str, Any] | None = None,
    **options: Any,
) -> RolloutConfig:
    """What the options of `pivotmine rollout` say."""
    _one_of("--engine", engine, ENGINES)
    _one_of("--api", options.get("api"), APIS)
    _one_of("--replica-engine", options.get("replica_engine"), REPLICA_ENGINES)
    if not 1 <= options.get("num_samples", 1) <= MAX_SAMPLES:
        raise UserError(f"--num-samples {options['num_samples']}: from 1 to {MAX_SAMPLES}")
    if not 0 < options.get("top_p", 1) <= 1:
        raise UserError(f"--top-p {options['top_p']}: above 0, at most 1")
    if not (options.get("temperature", 1) == 0 or LEAST_TEMPERATURE <= options.get("temperature", 1) < math.inf):
        raise UserError(f"--temperature {options['temperature']}: 0 (greedy), or a number from {LEAST_TEMPERATURE}")
    _check_budget(options.get("max_new_tokens"), options.get("max_model_len"))
    require_readable("--policy-name", options.get("policy_name"))
    if not 0 < options.get("timeout_s", 1) < math.inf:
        raise UserError(f"--timeout-s {options['timeout_s']}: a number of seconds above 0")
    if base_url and engine != "openai":
        raise UserError("--base-url names a server: --engine openai goes with it")
    engine_options = EngineOptions(
        sampling=Sampling(**_pick(options, Sampling)),
        base_urls=tuple(base_url or ()),
        template_options=_template_options(template_options),
        **_pick(options, EngineOptions),
    )
    config = RolloutConfig(
        engine=engine_options,
        engine_name=engine,
        verifier=configured(tables, verifier),
        shard=_shard(shard),
        plan=Path(plan) if plan is not None else None,
        **_pick(options, RolloutConfig),
    )
    assert not options, options
    return config


def score(tables: Tables, *, run: Path | str, **options: Any) -> dict[str, Any]:
    """`pivotmine score`."""
    return score_stage(score_config(tables, **options), Path(run))


def score_config(tables: Tables, *, verifier: str = "auto", **options: Any) -> ScoreConfig:
    """What the options of `pivotmine score` say."""
    return ScoreConfig(verifier=configured(tables, verifier), **options)


def select(tables: Tables, *, run: Path | str, strategy: str | None = None, **options: Any) -> dict[str, Any]:
    """`pivotmine select`."""
    return select_stage(select_config(strategy=strategy, **options), Path(run))


def select_config(strategy: str | None = None, **options: Any) -> SelectConfig:
    """What its options say; `--variance-share` alone means RAGEN-2's rule, which knows no bound on the mean."""
    strategy = strategy or ("mixed" if options.get("variance_share") is not None else "pivots")
    return SelectConfig(strategy=strategy, **options)


def profile(
    tables: Tables,
    options: Mapping[str, Mapping[str, Any]],
    *,
    adaptive: str,
    report: Callable[[str, dict[str, Any]], None] | None,
    **goal: Any,
) -> dict[str, dict[str, Any]]:
    """`--adaptive`: rollout and score in rounds; returns their summaries. options: of rollout, score and select."""
    config = adaptive_config(tables, options, adaptive=adaptive, **goal)
    return profile_adaptively(config, Path(options["rollout"]["run"]), report)


def adaptive_config(
    tables: Tables, options: Mapping[str, Mapping[str, Any]], *, adaptive: str, **goal: Any
) -> AdaptiveConfig:
    """What `--adaptive` and the options of rollout, score and select say."""
    _one_of("--adaptive", adaptive, RULES)
    sampled = {key: value for key, value in options["rollout"].items() if key != "run"}
    if sampled.get("shard", "0/1") != "0/1" or sampled.get("plan") is not None:
        raise UserError("--adaptive makes plans for the whole run by itself: leave --shard and --plan out")
    chosen = select_config(**{key: value for key, value in options["select"].items() if key != "run"})
    return AdaptiveConfig(
        rule=adaptive,
        rollout=rollout_config(tables, **sampled),
        parser=options["score"].get("parser"),
        num_processes=options["score"].get("num_processes"),
        max_mean=bound(chosen) if (bound := STRATEGIES[chosen.strategy].max_mean) else chosen.max_mean,
        min_scored=chosen.min_scored,
        **goal,
    )


def audit(tables: Tables, *, run: Path | str, verifier: str = "auto", **options: Any) -> dict[str, Any]:
    """`pivotmine audit`."""
    return audit_stage(AuditConfig(verifier=configured(tables, verifier), **options), Path(run))


def export(tables: Tables, *, run: Path | str, **options: Any) -> dict[str, Any]:
    """`pivotmine export`."""
    _one_of("--format", options.get("format"), FORMATS)
    return export_stage(ExportConfig(**options), Path(run))


STAGES: dict[str, Callable[..., dict[str, Any]]] = {
    "extract": extract,
    "record": record,
    "rollout": rollout,
    "score": score,
    "select": select,
    "audit": audit,
    "export": export,
}


def _pick(options: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    """Take the options that are fields of a dataclass."""
    return {field.name: options.pop(field.name) for field in dataclasses.fields(kind) if field.name in options}


def _one_of(flag: str, value: str | None, known: Iterable[str]) -> None:
    if value is not None and value not in known:
        raise UserError(f"{flag} {value}: choose from {', '.join(known)}")


def _check_budget(max_new_tokens: int | None, max_model_len: int | None) -> None:
    budget = Sampling().max_new_tokens if max_new_tokens is None else max_new_tokens
    require_room(budget, max_model_len, "--max-model-len")


def _template_options(given: str | dict[str, Any] | None) -> dict[str, Any]:
    try:
        options = json.loads(given) if isinstance(given, str) else given or {}
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise UserError(f'--template-options {given}: a JSON object, for example {{"enable_thinking": false}}')
    return options


def _shard(text: str) -> tuple[int, int]:
    i, _, n = text.partition("/")
    if not (i.isdecimal() and n.isdecimal() and int(i) < int(n)):
        raise UserError(f"--shard {text}: i/n with i from 0 to n-1, for example 0/4")
    return int(i), int(n)
