"""extract: sources -> trajectories, segments, messages, tools, turns (and rejects).

Everything is written into a separate folder and moved into the run when it is whole; the manifest comes last.
"""

from __future__ import annotations

import gc
import math
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pivotmine import messages
from pivotmine.actions.conventions import require_action_format
from pivotmine.errors import UserError
from pivotmine.progress import progress, track
from pivotmine.readers import all_readers, detect, grouped
from pivotmine.readers.conventions import require_calls, settle
from pivotmine.readers.record_fields import read_tools_file
from pivotmine.readers.trajectory import BadTrajectory, Trajectory, text_or_none
from pivotmine.readers.whole_context import prepare
from pivotmine.run import run_format, rundir
from pivotmine.sources.json_records import Record
from pivotmine.sources.sources import (
    TEXT_SUFFIXES,
    SkippedFiles,
    Source,
    content_hash,
    find_sources,
    lies_in,
    read_source,
)
from pivotmine_stages.command import to_json
from pivotmine_stages.extract import merge
from pivotmine_stages.extract.demonstrations import least_outcome
from pivotmine_stages.extract.labels import read_words, with_label, with_numbers
from pivotmine_stages.extract.merge import BlockTotals
from pivotmine_stages.extract.options import ExtractConfig
from pivotmine_stages.extract.rows import Place, Rows, num_assistant, store_trajectory
from pivotmine_stages.extract.summary import ExtractSummary, from_json, nothing_usable, summarise
from pivotmine_stages.parallel import Block, ParallelMap, into_blocks, process_map

Labels = Counter[tuple[float | None, float]]
"""Trajectories by (outcome, the format's failure label)."""


class Found(NamedTuple):
    """What a block of records held."""

    num_records: int
    num_bytes: int
    """Of the records' texts, or of their rows."""
    num_domains: int
    """Records with the column that names the domain."""
    labels: Labels
    states_without_user: frozenset[bytes]
    """Ids of states without a user message."""


def extract(config: ExtractConfig, run: Path) -> ExtractSummary:
    """Run the stage; returns the summary that the command prints. The same command again does nothing."""
    if config.min_outcome is not None and math.isnan(config.min_outcome):
        raise UserError("--min-outcome nan: a number, such as 1")
    if config.outcome_words and config.outcome_column is None:
        raise UserError("--outcome-words needs --outcome-column: the column that holds the words")
    read_words(config.outcome_words)
    if config.action_format is not None:
        require_action_format(config.action_format)
    require_calls(config.calls)
    rundir.check_new_run(run, config.sources)
    files = [path for path in find_sources(config.sources) if not lies_in(path, run)]
    tools = read_tools_file(config.tools_file) if config.tools_file else None
    identity = _identity(config, files, tools)
    with rundir.stage_lock(run, "extract"):
        # A run without a demonstration is of no use to anybody: another extract may take its place.
        done = [one for one in rundir.read_manifests(run, "extract") if one["summary"]["demonstrations"]]
        if done and done[-1]["config"] != identity:
            difference = rundir.difference(identity, done[-1]["config"])
            raise UserError(f"{run} was extracted with other settings ({difference}): choose another --run")
        return from_json(done[-1]["summary"]) if done else _extract(config, run, files, tools, identity)


def _identity(config: ExtractConfig, files: list[Source], tools: list[Any] | None) -> dict[str, Any]:
    """What decides the result: settings, and the sources by name and content, wherever they lie."""
    settings = {k: v for k, v in asdict(config).items() if k not in ("sources", "tools_file", "num_processes")}
    # Earlier versions did not have these options: a run of theirs stays the same run.
    named = ("action_format", "calls", "outcome_column", "outcome_words")
    settings = {k: v for k, v in settings.items() if v is not None or k not in named}
    read = [path for path in files if not isinstance(path, SkippedFiles)]
    sources = [f"{_readable(path.name)} {content_hash(path)}" for path in read]
    return {**settings, "sources": sources, "tools": messages.tools_id(tools) if tools else None}


def _readable(name: str) -> str:
    """A file's name may hold bytes that are not text: no table could store them."""
    return name.encode("utf-8", "backslashreplace").decode()


def _extract(
    config: ExtractConfig, run: Path, files: list[Source], tools: list[Any] | None, identity: dict[str, Any]
) -> ExtractSummary:
    started = time.monotonic()
    folder = run / rundir.UNFINISHED
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with process_map(config.num_processes) as over:
            num_blocks, labels, num_without_user = _read_all(over, config, tools, folder, files)
            min_outcome = least_outcome(labels) if config.min_outcome is None else config.min_outcome
            done = _merge(over, folder, num_blocks, min_outcome)
        summary = summarise(folder, done, num_without_user, min_outcome, started)
        rejects = _move_in(run, folder, identity)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # on a full disk it would keep what the next start needs
    rundir.write_text(run / run_format.FILE, run_format.format_text())
    rejected = f"{rejects.relative_to(run).as_posix()}/"
    parts = {name.replace("rejects/", rejected, 1): digest for name, digest in sorted(done.digests.items())}
    given = [str(source) for source in config.sources if "://" not in str(source)]
    if any(any("\ud800" <= sign <= "\udfff" for sign in name) for name in given):
        given = []  # a name that is not text cannot be written: `verify --repair` asks for the sources
    rundir.write_manifest(run, "extract", identity, {"summary": to_json(summary), "given": given, "parts": parts})
    from pivotmine.run import sql

    sql.write_views(run)
    if not summary.demonstrations:
        raise nothing_usable(summary, rejects)
    return summary


def _read_all(
    over: ParallelMap,
    config: ExtractConfig,
    tools: list[Any] | None,
    folder: Path,
    files: list[Source],
) -> tuple[int, Labels, int]:
    """Write every block as it comes; returns the number of blocks, the labels, and how many states hold no user."""
    num_blocks, num_records, num_domains, labels = 0, 0, 0, Labels()
    without_user = set[bytes]()
    with progress("extract", _num_bytes(files, config)) as shown:
        for found in over(partial(write_block, config, tools, folder), into_blocks(_records(files, config))):
            shown.advance(bytes=found.num_bytes, records=found.num_records)
            num_blocks, labels = num_blocks + 1, labels + found.labels
            num_records, num_domains = num_records + found.num_records, num_domains + found.num_domains
            without_user |= found.states_without_user
    if not num_records:
        raise UserError("the sources hold no record at all")
    if config.outcome_column and labels and not any(outcome is not None for outcome, _ in labels):
        raise UserError(f"--outcome-column {config.outcome_column}: no record has a label there; name another key")
    if config.domain_column and not num_domains:
        raise UserError(f"--domain-column {config.domain_column}: no record has that key; name one of a record's keys")
    return num_blocks, labels, len(without_user)


def _num_bytes(files: list[Source], config: ExtractConfig) -> int | None:
    """Bytes of text to read; None where sizes do not tell: of packed files, of remote ones, and with --max-records."""
    texts = [path for path in files if isinstance(path, Path) and path.suffix in TEXT_SUFFIXES]
    others = [path for path in files if not isinstance(path, SkippedFiles) and path not in texts]
    return None if others or config.limit is not None else sum(path.stat().st_size for path in texts)


def write_block(config: ExtractConfig, tools: list[Any] | None, folder: Path, block: Block) -> Found:
    """Write the rows of a block of records."""
    gc.disable()  # rows are many, and hold no cycles: they are gone before it is enabled again
    try:
        return _write_block(config, tools, folder, block)
    finally:
        gc.enable()


def _write_block(config: ExtractConfig, tools: list[Any] | None, folder: Path, block: Block) -> Found:
    rows, labels, num_records, num_domains = Rows(), Labels(), len(block.records), 0
    num_bytes = sum(record.num_bytes for _, record in block.records)
    block.records.reverse()
    while block.records:  # each is let go of when it is stored: what it was read into is larger than its text
        source, record = block.records.pop()
        num_domains += _named_domain(record, config) is not None
        _add_record(rows, labels, record, Place(source, record.index), config, tools)
    merge.write_block(folder, block.number, rows.arrow())
    rows.known.end_block()
    return Found(num_records, num_bytes, num_domains, labels, rows.states_without_user())


def _add_record(
    rows: Rows, labels: Labels, record: Record, place: Place, config: ExtractConfig, tools: list[Any] | None
) -> None:
    try:
        found, reader = _trajectory(record, config, tools)
    except BadTrajectory as bad:
        rows.reject(bad.reason, place, num_turns=_num_turns(record.value), detail=bad.detail)
        return
    if store_trajectory(rows, found, reader=reader, place=place):
        labels[found.outcome, found.failure_outcome] += 1


def _merge(over: ParallelMap, folder: Path, num_blocks: int, min_outcome: float | None) -> BlockTotals:
    """Write every block as the run will have it; returns what all of them hold."""
    floor = -math.inf if min_outcome is None else min_outcome
    whole = merge.NOTHING
    blocks = over(merge.merge_block, merge.block_jobs(folder, num_blocks, floor))
    for done in track(blocks, "extract", "blocks", num_blocks):
        whole = merge.add(whole, done)
    for name in (merge.BLOCKS, merge.SPILLED):
        shutil.rmtree(folder / name, ignore_errors=True)
    return whole


def _records(files: list[Source], config: ExtractConfig) -> Iterator[tuple[str, Record]]:
    count = 0
    for path in files:
        source = _readable(str(path))
        for record in grouped(read_source(path, config.messages_column), config.format):
            if config.limit is not None and count >= config.limit:
                return
            count += 1
            yield source, record


def _trajectory(record: Record, config: ExtractConfig, tools: list[Any] | None) -> tuple[Trajectory, str]:
    if record.problem:
        raise BadTrajectory(*record.problem)
    name = config.format or detect(record.value)
    value, words = record.value, read_words(config.outcome_words)
    if config.outcome_column is not None:
        value = with_numbers(value, config.outcome_column, words)
    found = all_readers()[name].read(value)
    found = prepare(settle(found, tools=tools, calls=config.calls, action_format=config.action_format))
    if config.outcome_column is not None:
        found = with_label(found, value, config.outcome_column, words)
    domain = config.domain or _named_domain(record, config) or found.domain
    return found if domain == found.domain else replace(found, domain=domain), name


def _named_domain(record: Record, config: ExtractConfig) -> str | None:
    """The domain under the column that names it; None: the record has no such column."""
    if config.domain_column is None or not isinstance(record.value, dict):
        return None
    return text_or_none(record.value.get(config.domain_column))


def _num_turns(record: Any) -> int | None:
    """Assistant messages of a record that became no trajectory; None where it holds no messages."""
    found = record.get("messages", record.get("traj")) if isinstance(record, dict) else record
    return num_assistant(found) if isinstance(found, list) else None


def _move_in(run: Path, folder: Path, identity: dict[str, Any]) -> Path:
    """Move the tables into the run; returns the folder of the rejects."""
    for old in (run / "manifests").glob("extract-*.json"):
        old.unlink()
    for table in rundir.EXTRACT_TABLES:
        shutil.rmtree(run / table, ignore_errors=True)
        (folder / table).rename(run / table)
    rejects = rundir.rejects_dir(run, "extract", identity)
    shutil.rmtree(rejects.parent, ignore_errors=True)
    rejects.parent.mkdir()
    (folder / "rejects").rename(rejects)
    folder.rmdir()
    return rejects
