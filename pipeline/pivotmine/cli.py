"""The command line: flags become a configuration, a stage runs, its summary is printed. Nothing else happens here.

Heavy packages are imported inside the commands, so that `pivotmine --help` is quick.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pivotmine import __version__
from pivotmine.config import command_options, read_config, verifier_options
from pivotmine.errors import UserError

app = typer.Typer(
    help="Mine the turns worth training on from recorded agent trajectories.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _from_file(context: typer.Context, path: Path | None) -> Path | None:
    """`--config FILE`: its table for this command becomes the flags' defaults."""
    if path is not None and context.info_name != "run":
        known = {parameter.name or "" for parameter in context.command.params}
        context.default_map = command_options(read_config(path), context.info_name or "", known)
    return path


Run = Annotated[Path, typer.Argument(help="Directory of the run.", metavar="RUN")]
RunOption = Annotated[Path, typer.Option("--run", help="Directory of the run, new or extracted by the same command.")]
Sources = Annotated[list[Path], typer.Argument(help="Files or folders of trajectories.", metavar="SOURCE...")]
Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file of options.", is_eager=True, callback=_from_file)
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]
Tools = Annotated[Path | None, typer.Option(help="JSON list of tool definitions, for sources that carry none.")]
Format = Annotated[str | None, typer.Option(help="Reader's name; by default told from each record.")]
Domain = Annotated[str | None, typer.Option(help="Domain of every trajectory.")]
DomainColumn = Annotated[str | None, typer.Option(help="Key of a record that names its domain.")]
MinOutcome = Annotated[
    float | None,
    typer.Option(help="Least outcome label of a demonstration; by default the sources' best, never a failure."),
]
Model = Annotated[str, typer.Option(help="Folder or hub id of the policy; on a server, the served model's name.")]
Engine = Annotated[str | None, typer.Option(help="vllm, openai or transformers; vllm by default where there is a GPU.")]
Adapter = Annotated[str | None, typer.Option(help="Folder of a LoRA adapter.")]
PolicyName = Annotated[str | None, typer.Option(help="Readable part of the policy's id; a server's policy needs one.")]
NumSamples = Annotated[int, typer.Option(help="Samples a state (K).", min=1)]
Temperature = Annotated[float, typer.Option(help="Sampling temperature; 0 is greedy.", min=0)]
TopP = Annotated[float, typer.Option(help="Nucleus mass in (0, 1].", min=0, max=1)]
TopK = Annotated[int, typer.Option(help="Most likely tokens kept; 0 keeps all.", min=0)]
MaxNewTokens = Annotated[int, typer.Option(help="Token budget of one action.", min=1)]
MaxModelLen = Annotated[int | None, typer.Option(help="Prompt and reply together, in tokens; by default the model's.")]
Seed = Annotated[int, typer.Option(help="Seed of the sampling.")]
Tokenizer = Annotated[str | None, typer.Option(help="Folder or hub id of the tokenizer; by default the model's.")]
TemplateOptions = Annotated[
    str | None, typer.Option(help='Options of the chat template as JSON, e.g. {"enable_thinking": false}.')
]
Parser = Annotated[str | None, typer.Option(help="Action parser; by default told from the chat template.")]
BaseUrl = Annotated[list[str] | None, typer.Option(help="Server's URL with its /v1; repeat for several.")]
Api = Annotated[str, typer.Option(help="completions (token ids) or chat (the server renders).")]
Verifier = Annotated[str, typer.Option(help="Verifier's name; its options come from [verifiers.NAME] in --config.")]
StateLimit = Annotated[int | None, typer.Option("--limit", help="Most states sampled.", min=0)]
MaxMean = Annotated[float, typer.Option(help="A pivot's mean reward is below it (the paper's lambda).")]
Name = Annotated[str, typer.Option(help="Name of the pivot dataset.")]


@app.command()
def extract(
    sources: Sources,
    run: RunOption,
    tools: Tools = None,
    format: Format = None,
    domain: Domain = None,
    domain_column: DomainColumn = None,
    min_outcome: MinOutcome = None,
    limit: Annotated[int | None, typer.Option(help="Most records read.", min=0)] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Trajectories to tables: turns, states, demonstrations, and every reject with its reason."""
    _emit(
        "extract",
        _extract(sources, run, tools, format, domain, domain_column, min_outcome, limit),
        as_json=as_json,
    )


def _extract(
    sources: list[Path],
    run: Path,
    tools: Path | str | None = None,
    format: str | None = None,
    domain: str | None = None,
    domain_column: str | None = None,
    min_outcome: float | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    from pivotmine.readers import READERS
    from pivotmine_stages.extract import ExtractConfig
    from pivotmine_stages.extract import extract as stage

    if format is not None and format not in READERS:
        raise UserError(f"--format {format}: choose from {', '.join(READERS)}")
    settings = ExtractConfig(
        sources=tuple(sources),
        tools_file=Path(tools) if tools else None,
        format=format,
        domain=domain,
        domain_column=domain_column,
        min_outcome=min_outcome,
        limit=limit,
    )
    return stage(settings, run)


@app.command()
def rollout(
    run: Run,
    model: Model,
    engine: Engine = None,
    num_samples: NumSamples = 8,
    temperature: Temperature = 1.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    max_new_tokens: MaxNewTokens = 512,
    max_model_len: MaxModelLen = None,
    seed: Seed = 0,
    adapter: Adapter = None,
    tokenizer: Tokenizer = None,
    template_options: TemplateOptions = None,
    parser: Parser = None,
    policy_name: PolicyName = None,
    verifier: Verifier = "tool_call",
    limit: StateLimit = None,
    shard: Annotated[str, typer.Option(help="i/n: only the i-th of n shares of the trajectories, i from 0.")] = "0/1",
    plan: Annotated[Path | None, typer.Option(help="File with state_id and num_samples: exactly these.")] = None,
    base_url: BaseUrl = None,
    api: Api = "completions",
    concurrency: Annotated[int, typer.Option(help="Requests in flight (vllm, openai).", min=1)] = 64,
    batch_size: Annotated[int, typer.Option(help="Samples decoded side by side (transformers).", min=1)] = 128,
    tensor_parallel_size: Annotated[int, typer.Option(help="GPUs that share one model (vllm).", min=1)] = 1,
    gpu_memory_utilization: Annotated[float, typer.Option(help="Share of a GPU's memory (vllm).")] = 0.9,
    timeout_s: Annotated[float, typer.Option(help="Longest wait for one reply (openai).")] = 600.0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Sample K actions of the policy in every demonstrated state; started again, only what is missing."""
    options = {k: v for k, v in locals().items() if k not in ("as_json", "config")}
    _emit("rollout", _rollout(**options, tables=read_config(config)), as_json=as_json)


def _rollout(
    run: Path,
    model: str,
    *,
    tables: dict[str, Any],
    engine: str | None = None,
    num_samples: int = 8,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    max_new_tokens: int = 512,
    max_model_len: int | None = None,
    seed: int = 0,
    adapter: str | None = None,
    tokenizer: str | None = None,
    template_options: str | dict[str, Any] | None = None,
    parser: str | None = None,
    policy_name: str | None = None,
    verifier: str = "tool_call",
    limit: int | None = None,
    shard: str = "0/1",
    plan: Path | str | None = None,
    base_url: list[str] | None = None,
    **engine_settings: Any,
) -> dict[str, Any]:
    from pivotmine_stages.engines.options import EngineOptions

    from pivotmine_stages.engines import ENGINES
    from pivotmine_stages.engines.protocol import Sampling
    from pivotmine_stages.rollout import RolloutConfig
    from pivotmine_stages.rollout import rollout as stage

    if engine is not None and engine not in ENGINES:
        raise UserError(f"--engine {engine}: choose from {', '.join(ENGINES)}")
    sampling = Sampling(temperature=temperature, top_p=top_p, top_k=top_k, max_new_tokens=max_new_tokens)
    options = EngineOptions(
        model=model,
        adapter=adapter,
        sampling=sampling,
        seed=seed,
        max_model_len=max_model_len,
        base_urls=tuple(base_url or ()),
        template_options=_template_options(template_options),
        **engine_settings,
    )
    settings = RolloutConfig(
        engine=options,
        engine_name=engine,
        verifier=_verifier(verifier, tables),
        num_samples=num_samples,
        tokenizer=tokenizer,
        parser=parser,
        policy_name=policy_name,
        limit=limit,
        shard=_shard(shard),
        plan=Path(plan) if plan else None,
    )
    return stage(settings, run)


def _template_options(given: str | dict[str, Any] | None) -> dict[str, Any]:
    try:
        options = json.loads(given) if isinstance(given, str) else given or {}
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise UserError(f'--template-options {given}: a JSON object, e.g. {{"enable_thinking": false}}')
    return options


def _shard(text: str) -> tuple[int, int]:
    i, _, n = text.partition("/")
    if not (i.isdecimal() and n.isdecimal()):
        raise UserError(f"--shard {text}: i/n with i from 0, for example 0/4")
    return int(i), int(n)


def _verifier(name: str, tables: dict[str, Any]) -> Any:
    from pivotmine.verifiers import make_spec

    return make_spec(name, verifier_options(tables, name))


@app.command()
def score(
    run: Run,
    verifier: Verifier = "tool_call",
    policy: Annotated[str | None, typer.Option(help="Policy id or a part of it, where there are several.")] = None,
    parser: Parser = None,
    num_processes: Annotated[int | None, typer.Option(help="By default one a core.", min=1)] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Verify the sampled actions and profile every state: mean, variance, outcomes."""
    summary = _score(
        run,
        tables=read_config(config),
        verifier=verifier,
        policy=policy,
        parser=parser,
        num_processes=num_processes,
    )
    _emit("score", summary, as_json=as_json)


def _score(run: Path, *, tables: dict[str, Any], verifier: str = "tool_call", **settings: Any) -> dict[str, Any]:
    from pivotmine_stages.score import ScoreConfig
    from pivotmine_stages.score import score as stage

    return stage(ScoreConfig(verifier=_verifier(verifier, tables), **settings), run)


@app.command()
def select(
    run: Run,
    name: Name = "default",
    strategy: Annotated[
        str | None,
        typer.Option(help="pivots (the paper's rule), mixed, random or all; mixed with --variance-share."),
    ] = None,
    max_mean: MaxMean = 0.6,
    min_scored: Annotated[int, typer.Option(help="Least scored samples of a state.", min=1)] = 2,
    variance_share: Annotated[
        float | None,
        typer.Option(help="Keep the states that carry this share of the reward variance (RAGEN-2)."),
    ] = None,
    max_per_trajectory: Annotated[int | None, typer.Option(help="Most states of one trajectory.", min=1)] = None,
    max_per_domain: Annotated[int | None, typer.Option(help="Most states of one domain.", min=1)] = None,
    max_message_share: Annotated[float | None, typer.Option(help="Greatest share of message turns.")] = None,
    limit: Annotated[int | None, typer.Option(help="Most states.", min=0)] = None,
    max_prompt_tokens: Annotated[int | None, typer.Option(help="Longest prompt.", min=1)] = None,
    validation_share: Annotated[float, typer.Option(help="Share of the tasks held out.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Salt of the random order and of the split.")] = 0,
    tokenizer: Tokenizer = None,
    policy: Annotated[str | None, typer.Option(help="Policy id or a part of it, where there are several.")] = None,
    verifier: Annotated[str | None, typer.Option(help="Verifier id or a part of it, where there are several.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Choose the states worth training on and write them as a dataset with a card."""
    options = {k: v for k, v in locals().items() if k not in ("run", "as_json", "config")}
    _emit("select", _select(run, **options), as_json=as_json)


def _select(run: Path, *, strategy: str | None = None, **settings: Any) -> dict[str, Any]:
    from pivotmine_stages.pivots import select as stage
    from pivotmine_stages.selection import SelectConfig

    strategy = strategy or ("mixed" if settings.get("variance_share") is not None else "pivots")
    return stage(SelectConfig(strategy=strategy, **settings), run)


@app.command()
def run(
    context: typer.Context,
    sources: Sources,
    run: RunOption,
    model: Model,
    tools: Tools = None,
    format: Format = None,
    domain: Domain = None,
    min_outcome: MinOutcome = None,
    engine: Engine = None,
    num_samples: NumSamples = 8,
    temperature: Temperature = 1.0,
    max_new_tokens: MaxNewTokens = 512,
    max_model_len: MaxModelLen = None,
    seed: Seed = 0,
    adapter: Adapter = None,
    tokenizer: Tokenizer = None,
    template_options: TemplateOptions = None,
    parser: Parser = None,
    policy_name: PolicyName = None,
    base_url: BaseUrl = None,
    api: Api = "completions",
    verifier: Verifier = "tool_call",
    limit: StateLimit = None,
    max_mean: MaxMean = 0.6,
    name: Name = "default",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """All four stages, then a summary; further options of each stage come from --config."""
    given = {key: value for key, value in context.params.items() if _given(context, key)}
    summaries = _run_all(sources, run, model, given, read_config(config), quiet=as_json)
    if as_json:
        print(json.dumps(summaries, ensure_ascii=False))
    else:
        from pivotmine_stages.reporting import closing

        print(closing(run, summaries))


def _given(context: typer.Context, key: str) -> bool:
    source = context.get_parameter_source(key)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


# Which flags of `run` each stage takes; where a stage has the same word for something else, it is not passed on.
_STAGE_FLAGS = {
    "extract": ("tools", "format", "domain", "min_outcome"),
    "rollout": (
        *(
            "engine",
            "num_samples",
            "temperature",
            "max_new_tokens",
            "max_model_len",
            "seed",
            "adapter",
            "tokenizer",
        ),
        *("template_options", "parser", "policy_name", "base_url", "api", "verifier", "limit"),
    ),
    "score": ("verifier",),
    "select": ("max_mean", "name"),
}


def _run_all(
    sources: list[Path], run: Path, model: str, given: dict[str, Any], tables: dict[str, Any], *, quiet: bool
) -> dict[str, Any]:
    def options(command: str, function: Callable[..., None]) -> dict[str, Any]:
        known = set(inspect.signature(function).parameters) - {"run", "sources", "model", "config", "as_json"}
        chosen = {key: given[key] for key in _STAGE_FLAGS[command] if key in given}
        return {**command_options(tables, command, known), **chosen}

    summaries: dict[str, Any] = {}

    def done(command: str, summary: dict[str, Any]) -> None:
        summaries[command] = summary
        if not quiet:
            _emit(command, summary, as_json=False)

    done("extract", _extract(sources, run, **options("extract", extract)))
    done("rollout", _rollout(run, model, tables=tables, **options("rollout", rollout)))
    policy_id = summaries["rollout"]["policy_id"]
    done("score", _score(run, tables=tables, **{**options("score", score), "policy": policy_id}))
    chosen = {**options("select", select), "policy": policy_id, "verifier": summaries["score"]["verifier_id"]}
    done("select", _select(run, **chosen))
    return summaries


@app.command()
def sql(
    run: Run,
    statement: Annotated[str, typer.Argument(help="One SQL statement; every table is a view.", metavar="STATEMENT")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a row.")] = False,
) -> None:
    """Ask DuckDB about the run."""
    from pivotmine.sql import query
    from pivotmine_stages.reporting import as_json_lines, as_text_table

    table = query(run, statement)
    print(as_json_lines(table) if as_json else as_text_table(table))


def _emit(command: str, summary: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary, ensure_ascii=False))
    else:
        from pivotmine_stages.reporting import REPORTS

        print(REPORTS[command](summary))


def _version(*, value: bool) -> None:
    if value:
        print(f"pivotmine {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=lambda value: _version(value=value), is_eager=True)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point: bad input or configuration is one line and exit code 1; a bug keeps its traceback."""
    try:
        app()
    except UserError as error:
        print(f"pivotmine: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("pivotmine: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
