"""The command line: flags become options, a stage runs, its summary is printed. Nothing else happens here.

Heavy packages are imported inside the commands, so that `pivotmine --help` is quick.
"""

from __future__ import annotations

import errno
import json
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pivotmine import __version__
from pivotmine.errors import UserError
from pivotmine.escape import one_line
from pivotmine_stages.cli.config_file import COMMANDS, command_options, read_config

app = typer.Typer(
    help="Mine the turns worth training on from recorded agent trajectories.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _from_file(context: typer.Context, path: Path | None) -> Path | None:
    """`--config FILE`: its table for this command becomes the flags' defaults (`run` hands them to its stages)."""
    if path is not None and context.info_name != "run":
        known = {parameter.name or "" for parameter in context.command.params} - {"config", "as_json"}
        context.default_map = command_options(read_config(Path(path)), context.info_name or "", known)
    return path


Run = Annotated[Path, typer.Argument(help="Directory of the run.", metavar="RUN")]
RunOption = Annotated[Path, typer.Option("--run", help="Directory of the run, new or extracted by the same command.")]
Sources = Annotated[
    list[str],
    typer.Argument(
        help="Files, folders or globs of trajectories, or hf://, s3://, gs:// or http(s):// URLs.", metavar="SOURCE..."
    ),
]
Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file of options.", is_eager=True, callback=_from_file)
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]
Tools = Annotated[Path | None, typer.Option(help="JSON list of tool definitions, for sources that carry none.")]
Format = Annotated[str | None, typer.Option(help="Reader's name; by default told from each record.")]
Domain = Annotated[str | None, typer.Option(help="Domain of every trajectory.")]
MinOutcome = Annotated[
    float | None, typer.Option(help="Least outcome label of a demonstration; by default the best, never a failure.")
]
Model = Annotated[str, typer.Option(help="Folder or hub id of the policy; on a server, the served model's name.")]
Engine = Annotated[str | None, typer.Option(help="vllm, openai, transformers or ray; vllm by default where a GPU is.")]
Adapter = Annotated[str | None, typer.Option(help="Folder of a LoRA adapter.")]
PolicyName = Annotated[str | None, typer.Option(help="Readable part of the policy's id; a server's policy needs one.")]
NumSamples = Annotated[int, typer.Option(help="Samples a state (K).", min=1)]
Temperature = Annotated[float, typer.Option(help="Sampling temperature; 0 is greedy.", min=0)]
MaxNewTokens = Annotated[int, typer.Option(help="Token budget of one action.", min=1)]
MaxModelLen = Annotated[
    int | None, typer.Option(help="Prompt and reply together, in tokens; by default the model's.", min=1)
]
SamplingSeed = Annotated[int, typer.Option("--seed", help="Seed of the sampling.")]
Tokenizer = Annotated[str | None, typer.Option(help="Folder or hub id of the tokenizer; by default the model's.")]
TemplateOptions = Annotated[
    str | None, typer.Option(help='Options of the chat template as JSON, for example {"enable_thinking": false}.')
]
Parser = Annotated[str | None, typer.Option(help="Action parser; by default told from the chat template.")]
BaseUrl = Annotated[list[str] | None, typer.Option(help="Server's URL with its /v1; repeat for several.")]
Api = Annotated[str, typer.Option(help="completions (token ids) or chat (the server renders).")]
Verifier = Annotated[
    str,
    typer.Option(
        help="auto: by the rules \\[\\[choose]] of --config; or a verifier's name, options: \\[verifiers.NAME]."
    ),
]
NumProcesses = Annotated[int | None, typer.Option(help="By default one a core.", min=1)]
StateLimit = Annotated[int | None, typer.Option("--limit", help="Most states sampled.", min=0)]
Policy = Annotated[str | None, typer.Option(help="Policy id or a part of it, where there are several.")]
MaxMean = Annotated[float, typer.Option(help="A pivot's mean reward is below it (the paper's lambda).")]
Adaptive = Annotated[
    str | None,
    typer.Option(help="exact or probabilistic: sample in rounds, --num-samples at most, no more than a state needs."),
]
Name = Annotated[str, typer.Option(help="Name of the pivot dataset.")]
ActionFormat = Annotated[
    str | None,
    typer.Option(help="How a text harness reads actions, for sources that do not say: native or a convention's name."),
]
Calls = Annotated[
    str | None, typer.Option(help="Calls written in text: native makes tool calls of all, verbatim of none.")
]


@app.command()
def extract(
    context: typer.Context,
    sources: Sources,
    run: RunOption,
    tools: Tools = None,
    format: Format = None,
    domain: Domain = None,
    domain_column: Annotated[str | None, typer.Option(help="Key of a record that names its domain.")] = None,
    messages_column: Annotated[str | None, typer.Option(help="Column or key that holds the messages.")] = None,
    outcome_column: Annotated[
        str | None, typer.Option(help="Key of a record that holds its outcome label; dots lead into objects.")
    ] = None,
    outcome_words: Annotated[
        str | None, typer.Option(help="Labels of words under --outcome-column, such as pass=1,fail=0.")
    ] = None,
    action_format: ActionFormat = None,
    calls: Calls = None,
    min_outcome: MinOutcome = None,
    limit: Annotated[int | None, typer.Option(help="Most records read.", min=1)] = None,
    num_processes: NumProcesses = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count: nothing is written into the run.")] = False,
    tokenizer: Annotated[str | None, typer.Option(help="Counts the tokens of a --dry-run: folder or hub id.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Trajectories to tables: turns, states, demonstrations, and every reject with its reason."""
    _stage(context)


@app.command()
def record(
    context: typer.Context,
    sources: Annotated[
        list[str], typer.Argument(help="Files, folders, globs or URLs of recorded actions.", metavar="SOURCE...")
    ],
    run: Annotated[Path, typer.Option("--run", help="Directory of the run, extracted before.")],
    policy_name: Annotated[str, typer.Option(help="Which policy acted.")],
    state_key: Annotated[
        str, typer.Option(help="What makes two histories one state: exact, or actions (results may differ).")
    ] = "exact",
    tools: Tools = None,
    format: Format = None,
    action_format: ActionFormat = None,
    calls: Calls = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Actions sampled elsewhere become rollouts and, where they came with rewards, scores."""
    _stage(context)


@app.command()
def rollout(
    context: typer.Context,
    run: Run,
    model: Model,
    engine: Engine = None,
    num_samples: NumSamples = 8,
    temperature: Temperature = 1.0,
    top_p: Annotated[float, typer.Option(help="Nucleus mass in (0, 1].", min=0, max=1)] = 1.0,
    top_k: Annotated[int, typer.Option(help="Most likely tokens kept; 0 keeps all.", min=0)] = 0,
    max_new_tokens: MaxNewTokens = 512,
    max_model_len: MaxModelLen = None,
    seed: SamplingSeed = 0,
    adapter: Adapter = None,
    tokenizer: Tokenizer = None,
    template_options: TemplateOptions = None,
    parser: Parser = None,
    policy_name: PolicyName = None,
    verifier: Verifier = "auto",
    limit: StateLimit = None,
    shard: Annotated[str, typer.Option(help="i/n: the i-th of n shares of the trajectories, i from 0.")] = "0/1",
    plan: Annotated[Path | None, typer.Option(help="File with state_id and num_samples: exactly these.")] = None,
    base_url: BaseUrl = None,
    api: Api = "completions",
    concurrency: Annotated[int, typer.Option(help="Requests in flight (vllm; openai: for each server).", min=1)] = 64,
    batch_size: Annotated[int, typer.Option(help="Samples decoded side by side (transformers).", min=1)] = 128,
    tensor_parallel_size: Annotated[int, typer.Option(help="GPUs that share one model (vllm).", min=1)] = 1,
    gpu_memory_utilization: Annotated[float, typer.Option(help="Share of a GPU's memory (vllm).")] = 0.9,
    timeout_s: Annotated[
        float, typer.Option(help="Longest wait for a reply or for any server (openai), for a worker's place (ray).")
    ] = 600.0,
    num_replicas: Annotated[int, typer.Option(help="Workers, each with an engine of its own (ray).", min=1)] = 1,
    replica_engine: Annotated[str, typer.Option(help="A worker's engine, vllm or transformers (ray).")] = "vllm",
    cpus_per_replica: Annotated[float, typer.Option(help="CPUs of a worker (ray).", min=0.01)] = 1.0,
    gpus_per_replica: Annotated[
        float | None, typer.Option(help="GPUs of a worker; by default --tensor-parallel-size (ray).", min=0)
    ] = None,
    states_per_block: Annotated[
        int, typer.Option(help="States a worker is given at a time, in whole trajectories (ray).", min=1)
    ] = 64,
    ray_address: Annotated[
        str | None, typer.Option(help="auto, or host:port of a Ray cluster; by default one is started here (ray).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and sample nothing.")] = False,
    pilot: Annotated[int, typer.Option(help="States that a dry run samples all the same, and keeps.", min=0)] = 0,
    tokens_per_second: Annotated[
        float | None, typer.Option(help="Generated tokens a second and GPU, for a dry run's GPU-hours.", min=1e-9)
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Sample K actions of the policy in every demonstrated state; started again, only what is missing."""
    _stage(context)


@app.command()
def score(
    context: typer.Context,
    run: Run,
    verifier: Verifier = "auto",
    policy: Policy = None,
    parser: Parser = None,
    num_processes: NumProcesses = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Verify the sampled actions and profile every state: mean, variance, outcomes."""
    _stage(context)


@app.command()
def select(
    context: typer.Context,
    run: Run,
    name: Name = "default",
    strategy: Annotated[
        str | None, typer.Option(help="pivots (the paper's rule), mixed, random or all; mixed with --variance-share.")
    ] = None,
    max_mean: MaxMean = 0.6,
    min_scored: Annotated[int, typer.Option(help="Least scored samples of a state.", min=1)] = 2,
    min_pivot_probability: Annotated[
        float | None, typer.Option(help="Least chance that a new profile would make the state a pivot.")
    ] = None,
    holdout: Annotated[
        str, typer.Option(help="none, or half: choose by half of the samples, report the rest.")
    ] = "none",
    variance_share: Annotated[
        float | None, typer.Option(help="Keep the states that carry this share of the reward variance (RAGEN-2).")
    ] = None,
    max_per_trajectory: Annotated[int | None, typer.Option(help="Most states of one trajectory.", min=1)] = None,
    max_per_domain: Annotated[int | None, typer.Option(help="Most states of one domain.", min=1)] = None,
    max_message_share: Annotated[float | None, typer.Option(help="Greatest share of message turns.")] = None,
    limit: Annotated[int | None, typer.Option(help="Most states.", min=0)] = None,
    max_prompt_tokens: Annotated[int | None, typer.Option(help="Longest prompt.", min=1)] = None,
    validation_share: Annotated[float, typer.Option(help="Share of the tasks held out.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Salt of the random order and of the split.")] = 0,
    tokenizer: Annotated[str | None, typer.Option(help="By default the rollouts' own.")] = None,
    policy: Policy = None,
    verifier: Annotated[str | None, typer.Option(help="Verifier id or a part of it, where there are several.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Choose the states worth training on and write them as a dataset with a card."""
    _stage(context)


@app.command()
def audit(
    context: typer.Context,
    run: Run,
    verifier: Verifier = "auto",
    policy: Policy = None,
    limit: Annotated[int | None, typer.Option(help="Most states tried.", min=0)] = None,
    num_examples: Annotated[int, typer.Option(help="Most examples of an error or a disagreement.", min=0)] = 5,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Put the verifier on trial: mutations that must fail or pass, and where stored scores disagree."""
    _stage(context)


@app.command()
def export(
    context: typer.Context,
    run: Run,
    name: Name = "default",
    format: Annotated[str, typer.Option(help="nemo_gym (JSON lines) or verl (Parquet).")] = "nemo_gym",
    agent: Annotated[
        str | None, typer.Option(help="nemo_gym: agent_ref's name, in rows whose source names no agent.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write a pivot dataset in the form of another trainer, beside the TRL one."""
    _stage(context)


@app.command()
def run(
    context: typer.Context,
    sources: Sources,
    run: RunOption,
    model: Model,
    tools: Tools = None,
    format: Format = None,
    domain: Domain = None,
    action_format: ActionFormat = None,
    calls: Calls = None,
    min_outcome: MinOutcome = None,
    engine: Engine = None,
    num_samples: NumSamples = 8,
    temperature: Temperature = 1.0,
    max_new_tokens: MaxNewTokens = 512,
    max_model_len: MaxModelLen = None,
    seed: SamplingSeed = 0,
    adapter: Adapter = None,
    tokenizer: Tokenizer = None,
    template_options: TemplateOptions = None,
    parser: Parser = None,
    policy_name: PolicyName = None,
    base_url: BaseUrl = None,
    api: Api = "completions",
    verifier: Verifier = "auto",
    limit: StateLimit = None,
    max_mean: MaxMean = 0.6,
    name: Name = "default",
    adaptive: Adaptive = None,
    target_recall: Annotated[
        float, typer.Option(help="Share of what --num-samples of every state would give (probabilistic).")
    ] = 0.95,
    sample_budget: Annotated[int | None, typer.Option(help="Most samples in all (probabilistic).", min=1)] = None,
    triage: Annotated[
        bool,
        typer.Option("--triage", help="First the demonstrations' probabilities, one prefill a segment (adaptive)."),
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """All four stages, then a summary; each stage's further options come from --config."""
    from pivotmine_stages.cli.pivot_preview import show_pivot
    from pivotmine_stages.cli.reports import closing
    from pivotmine_stages.cli.run_all import mine

    given = {key: value for key, value in context.params.items() if _is_given(context, key)}
    tables = read_config(config)
    from_file = {command: _table_options(context, tables, command) for command in COMMANDS}
    summaries = mine(given, from_file, tables, None if as_json else _print_report)
    if as_json:
        print(json.dumps(summaries))
        return
    if (pivot := show_pivot(run, summaries["select"]["name"])) is not None:
        print(pivot)
    print(closing(run, summaries, _program()))


def _program() -> str:
    """How a person types this program here: by its name, or by its path where the name is not found."""
    called = Path(sys.argv[0])
    if shutil.which("pivotmine") or called.name != "pivotmine":
        return "pivotmine"
    return shlex.quote(str(called.relative_to(Path.cwd()) if called.is_relative_to(Path.cwd()) else called))


def _table_options(context: typer.Context, tables: dict[str, Any], command: str) -> dict[str, Any]:
    """A stage's options from `--config`, checked and converted as its flags are."""
    assert context.parent is not None
    group: Any = context.parent.command
    parameters = {p.name: p for p in group.commands[command].params if p.name not in ("config", "as_json")}
    options = command_options(tables, command, parameters)
    return {name: parameters[name].process_value(context, value) for name, value in options.items()}


def _is_given(context: typer.Context, key: str) -> bool:
    source = context.get_parameter_source(key)
    return source is not None and not source.name.startswith("DEFAULT")


@app.command()
def sql(
    run: Run,
    statement: Annotated[str, typer.Argument(help="One SQL statement; every table is a view.", metavar="STATEMENT")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a row.")] = False,
) -> None:
    """Ask DuckDB about the run. Cells are cut at 80 characters, answers at 200 rows: --json prints all of them."""
    from pivotmine.run.sql import query
    from pivotmine_stages.cli.reports import as_json_lines, as_text_table

    table = query(run, statement)
    print(as_json_lines(table) if as_json else as_text_table(table))


def _stage(context: typer.Context) -> None:
    """Run the stage that the command is named after, with the command's options."""
    from pivotmine_stages.cli.options import STAGES

    options = dict(context.params)
    config, as_json = options.pop("config"), options.pop("as_json")
    command = context.info_name or ""
    summary = STAGES[command](read_config(config and Path(config)), **options)
    if as_json:
        print(json.dumps(summary))
    else:
        _print_report(command, summary)


def _print_report(command: str, summary: dict[str, Any]) -> None:
    from pivotmine_stages.cli.reports import REPORTS

    print(REPORTS[command](summary), flush=True)


def _print_version(asked: bool) -> None:  # noqa: FBT001  (typer calls it so)
    if asked:
        print(f"pivotmine {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


_DISK_TROUBLE = (errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.EROFS)


_INTERRUPTED, _TERMINATED = 130, 143


def main() -> None:
    """Entry point: bad input or configuration is one line and exit code 1; a bug keeps its traceback."""
    # A cluster that takes the machine back sends SIGTERM first: time to write what is sampled.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    try:
        app()
    except UserError as error:
        print(f"pivotmine: {one_line(str(error))}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno not in _DISK_TROUBLE:
            raise
        print(f"pivotmine: {one_line(str(error))}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as done:
        # typer turns Ctrl-C into this exit code.
        if done.code in (_INTERRUPTED, _TERMINATED):
            print("pivotmine: stopped; the same command goes on from here", file=sys.stderr)
        raise
