"""The command line: flags become options, a stage runs, its summary is printed. Nothing else happens here.

The commands of `commands.py` are made from their declarations. Heavy packages are imported when a stage runs, so
`pivotmine --help` is quick.
"""

from __future__ import annotations

import errno
import inspect
import json
import logging
import os
import shlex
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pivotmine import __version__
from pivotmine.errors import UserError
from pivotmine.escape import one_line
from pivotmine.options import not_one_of
from pivotmine.progress import announced
from pivotmine.verifiers import VerifierSpec
from pivotmine.verifiers.composed.third_party import trust
from pivotmine_stages.cli import listings
from pivotmine_stages.cli.commands import COMMANDS
from pivotmine_stages.cli.fitting import fitted
from pivotmine_stages.cli.parameters import given, parameters
from pivotmine_stages.cli.usable_result import require_usable
from pivotmine_stages.command import Command, load, to_json
from pivotmine_stages.policy.differences import ask
from pivotmine_stages.termination import TERMINATED, is_asked, on_sigterm

log = logging.getLogger("pivotmine")

if os.environ.get("NO_COLOR"):
    from typer import rich_utils

    rich_utils.COLOR_SYSTEM = None  # rich prints bold under NO_COLOR, unless it has no colour system

app = typer.Typer(
    help="Mine the turns worth training on from recorded agent trajectories.",
    epilog="Example: pivotmine run my.jsonl --run runs/mine --model Qwen/Qwen3-0.6B",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Run = Annotated[Path, typer.Argument(help="Directory of the run.", metavar="RUN", show_default=False)]
RunOption = Annotated[Path, typer.Option("--run", help="Directory of the run.", show_default=False)]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file with a table of options per command.", rich_help_panel="Output"),
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.", rich_help_panel="Output")]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-verifier",
        help="Verifier of another package, PACKAGE.MODULE:NAME, that a file may import. Repeat it for several.",
        metavar="NAME",
        rich_help_panel="Output",
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only results and errors.", rich_help_panel="Output")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Continue without asking.", rich_help_panel="Output")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also print the engine's log.", rich_help_panel="Output")
]


def _sources(text: str) -> Any:
    return Annotated[list[str], typer.Argument(help=text, metavar="SOURCE...", show_default=False)]


def _keyword(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def add_command(name: str, command: Command, body: Callable[..., None]) -> None:
    """Make a command from its declaration. `body` gets the options that the user gave."""
    options = command.declared()

    def run_command(**values: Any) -> None:
        fixed = {key: values[key] for key in ("run", "sources", "config", "as_json") if key in values}
        _set_up_log(quiet=values["quiet"], verbose=values["verbose"])
        chosen = given(options, values)
        typed = [
            chosen[one.name] for one in options if one.type is VerifierSpec and isinstance(chosen.get(one.name), str)
        ]
        # A verifier of another package is trusted if the user typed its name.
        trust(*(values["trust_verifier"] or ()), *(name for name in typed if ":" in name))
        if sys.stdin.isatty() and sys.stderr.isatty() and not values["yes"]:
            ask.set(lambda: typer.confirm("Continue?", err=True))
        with announced(f"{name} in {fixed['run']} ..."):
            try:
                body(chosen, **fixed)
            except (UserError, SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # a panic of polars is a BaseException
                if str(error) != _DUCKDB_INTERRUPTED and (damage := _damage(fixed["run"])):
                    raise UserError(damage) from None
                raise

    places = [_keyword("run", Run)]
    if command.sources:
        places = [_keyword("sources", _sources(command.sources)), _keyword("run", RunOption)]
    common = [_keyword("config", Config, None), _keyword("as_json", Json, False)]
    common += [_keyword("trust_verifier", Trust, None)]
    common += [_keyword("yes", Yes, False), _keyword("quiet", Quiet, False), _keyword("verbose", Verbose, False)]
    run_command.__signature__ = inspect.Signature([*places, *parameters(options), *common])  # type: ignore[attr-defined]
    run_command.__annotations__ = {one.name: one.annotation for one in [*places, *parameters(options), *common]}
    examples = "\n\n".join(f"  {example}" for example in command.examples)
    app.command(name, help=command.help, epilog=f"Examples:\n\n{examples}" if examples else None)(run_command)


def _damage(run: Path) -> str | None:
    """Return the damage in a run that may explain why a command failed; None if there is none: then it is a bug."""
    from pivotmine.run.parts import first_problem

    return first_problem(run) if run.is_dir() else None


def _stage_body(name: str, command: Command) -> Callable[..., None]:
    def body(options: dict[str, Any], *, config: Path | None, as_json: bool, **places: Any) -> None:
        from pivotmine_stages.cli.config_file import read_config
        from pivotmine_stages.cli.options import run_stage

        tables = read_config(config)
        summary = run_stage(name, tables, **places, **{**tables.get(name, {}), **options})
        _print_summary(command.report, summary, as_json=as_json)
        require_usable(name, summary)

    return body


def _run_body(options: dict[str, Any], *, config: Path | None, as_json: bool, sources: list[str], run: Path) -> None:
    from pivotmine_stages.cli.config_file import read_config
    from pivotmine_stages.cli.pivot_preview import show_pivot
    from pivotmine_stages.cli.reports import closing
    from pivotmine_stages.cli.run_all import mine

    summary = mine(options, read_config(config), sources=sources, run=run, report=None if as_json else _print_report)
    if as_json:
        print(json.dumps(to_json(summary)))
    else:
        if (pivot := show_pivot(run, summary.select.name)) is not None:
            print(fitted(pivot))
        print(fitted(closing(run, summary, _program())), flush=True)
    require_usable("select", summary.select)


def _print_report(name: str, summary: Any) -> None:
    from pivotmine_stages.cli.reports import REPORTS

    print(fitted(REPORTS[name](summary)), flush=True)


def _print_summary(report: str, summary: Any, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(to_json(summary)))
    else:
        print(fitted(load(report)(summary)), flush=True)


def _program() -> str:
    """Return how a person runs this program here: by its name, or by its path if the name is not found."""
    called = Path(sys.argv[0])
    if shutil.which("pivotmine") or called.name != "pivotmine":
        return "pivotmine"
    return shlex.quote(str(called.relative_to(Path.cwd()) if called.is_relative_to(Path.cwd()) else called))


def _set_up_log(*, quiet: bool, verbose: bool) -> None:
    """Log lines go to standard error."""
    log.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    if not any(isinstance(handler, _ToStandardError) for handler in log.handlers):
        log.addHandler(_ToStandardError())
    if verbose:
        os.environ["VLLM_LOGGING_LEVEL"] = "INFO"


class _ToStandardError(logging.Handler):
    """One inert line per record."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"pivotmine: {one_line(record.getMessage())}", file=sys.stderr, flush=True)


for _name, _command in COMMANDS.items():
    add_command(_name, _command, _stage_body(_name, _command))


def _add_run() -> None:
    from pivotmine_stages.cli.run_all import RUN

    add_command("run", RUN, _run_body)


_add_run()


@app.command(epilog='Example:\n\n  pivotmine sql runs/mine "select reward_class, count(*) from profiles group by all"')
def sql(
    run: Run,
    statement: Annotated[
        str, typer.Argument(help="SQL statements; every table is a view.", metavar="STATEMENT", show_default=False)
    ] = "",
    example: Annotated[
        str, typer.Option("--example", help="Run a named query; --example list names them.", metavar="NAME")
    ] = "",
    unsafe: Annotated[
        bool, typer.Option("--unsafe", help="Allow statements that write, and files outside the run.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per row.")] = False,
) -> None:
    """Query the run with DuckDB. It prints 200 rows, and 80 characters of a cell; --json prints everything."""
    from pivotmine.run.example_queries import EXAMPLES
    from pivotmine.run.sql import query_all
    from pivotmine_stages.cli.text_tables import as_json_lines, as_text_table

    if example == "list":
        listings.print_names({name: one.title for name, one in EXAMPLES.items()}, as_json=as_json)
        return
    if example and example not in EXAMPLES:
        raise UserError(not_one_of("--example", example, EXAMPLES))
    if not example and not statement:
        raise UserError('sql: give a statement, such as "select count(*) from turns", or --example NAME')
    for table in query_all(run, EXAMPLES[example].statement if example else statement, unsafe=unsafe):
        print(as_json_lines(table) if as_json else as_text_table(table))


@app.command()
def formats(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the trajectory formats that can be read."""
    listings.print_names(listings.formats(), as_json=as_json)


@app.command()
def verifiers(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the verifiers."""
    listings.print_names(listings.verifiers(), as_json=as_json)


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show installed and missing packages, and the engine that would be used."""
    listings.print_names(listings.installation(), as_json=as_json)


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


_DISK_TROUBLE = (errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EROFS, errno.ESTALE)
_INTERRUPTED = 130
_DUCKDB_INTERRUPTED = "Query interrupted"
"""DuckDB raises this RuntimeError for a signal during a query, in place of what the signal's handler raised."""


def main() -> None:
    """Entry point: bad input or configuration is one line and exit code 1; a bug keeps its traceback."""
    on_sigterm()
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
    except KeyboardInterrupt:  # before typer has begun
        _end(_INTERRUPTED)
    except RuntimeError as error:
        if str(error) != _DUCKDB_INTERRUPTED:
            raise
        _end(TERMINATED if is_asked() else _INTERRUPTED)
    except SystemExit as done:
        # typer turns Ctrl-C into this exit code.
        if done.code in (_INTERRUPTED, TERMINATED):
            _end(done.code)
        raise


def _end(code: int) -> None:
    word = "interrupted" if code == _INTERRUPTED else "stopped"
    print(f"pivotmine: {word}; the same command continues from here", file=sys.stderr)
    _leave_threads(code)
    sys.exit(code)


def _leave_threads(code: int) -> None:
    """Exit at once if threads still wait for a reply, such as a verdict, because Python would wait for them.

    Finished work is already stored.
    """
    others = [one for one in threading.enumerate() if one is not threading.current_thread() and not one.daemon]
    if others:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
