"""export: a pivot dataset in the forms that other trainers read, next to the TRL one.

`nemo_gym`: JSON lines for NeMo Gym and NeMo RL. `verl`: Parquet, with the options that make verl sample and reward as
mining did. `verifiers`: an environment package of the `verifiers` library. The output depends only on `pivots/<name>/`
and the run's tables: a second command writes the same files.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pivotmine import strict_json
from pivotmine.errors import UserError
from pivotmine.options import problem
from pivotmine.progress import track
from pivotmine.run import run_format, rundir, sql
from pivotmine.run.atomic_files import settle, temporary_place
from pivotmine.run.parts import require_sound
from pivotmine.run.tables import PIVOTS, absent_value
from pivotmine_stages.export.nemo_gym import nemo_gym_row
from pivotmine_stages.export.options import ExportConfig
from pivotmine_stages.export.verifiers.package import ROWS, package_files, package_name
from pivotmine_stages.export.verl.rows import AGENT_LOOPS, VERL, verl_readme, verl_row
from pivotmine_stages.profiles.budgets import scores_of_states
from pivotmine_stages.select.dataset import ROWS_PER_GROUP, SPLITS


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSummary:
    """One pivot dataset in one form."""

    name: str
    format: str
    train: int
    """Rows."""
    validation: int
    files: list[str]
    """Paths of all files of the form."""
    seconds: float


def export(config: ExportConfig, run: Path) -> ExportSummary:
    """Run the command; returns the summary that it prints."""
    started = time.monotonic()
    rundir.require_run(run)
    if wrong := problem(config):
        raise UserError(wrong)
    folder = run / "pivots" / config.name
    if not all((folder / f"{split}.parquet").is_file() for split in SPLITS):
        known = ", ".join(sorted(path.parent.name for path in run.glob("pivots/*/train.parquet"))) or "none"
        raise UserError(f"no pivots called {config.name!r} in {run} (there are: {known}): run `pivotmine select` first")
    require_sound(run, "pivots", folder)
    for table in ("trajectories", "segments", "messages", "turns", "scores"):
        require_sound(run, table)
    write = _write_nemo_gym if config.format == "nemo_gym" else _write_parquet
    with rundir.stage_lock(run, f"export-{config.name}-{config.format}"):
        counts = {split: write(config, run, folder, split) for split in SPLITS}
        for path, text in _texts(config, folder).items():
            rundir.write_text(folder / config.format / path, text)
    files = [str(path) for path in sorted((folder / config.format).rglob("*")) if path.is_file()]
    seconds = round(time.monotonic() - started, 2)
    return ExportSummary(name=config.name, format=config.format, **counts, files=files, seconds=seconds)


def _pivots(folder: Path, split: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of one split, a batch at a time."""
    path = folder / f"{split}.parquet"
    absent = {name: absent_value(PIVOTS.field(name)) for name in run_format.lacking(path, PIVOTS)}
    for batch in pq.ParquetFile(path).iter_batches(batch_size=ROWS_PER_GROUP):
        yield [{**absent, **row} for row in batch.to_pylist()]


def _write_nemo_gym(config: ExportConfig, run: Path, folder: Path, split: str) -> int:
    def rows() -> Iterator[str]:
        for pivots in _pivots(folder, split):
            sources = _sources(run, pivots)
            rewards = _rewards(run, pivots)
            for pivot in pivots:
                key = pivot["policy_id"], pivot["scores_verifier_id"], pivot["state_id"]
                row = nemo_gym_row(pivot, sources[pivot["turn_id"]], rewards.get(key, []), config.agent)
                yield strict_json.dumps(row)

    path = folder / "nemo_gym" / f"{split}.jsonl"
    path.parent.mkdir(exist_ok=True)
    count = 0
    with temporary_place(path) as place:
        with place.open("w", encoding="utf-8") as file:
            for line in track(rows(), "export", "rows"):
                file.write(line + "\n")
                count += 1
        settle(place, path)
    return count


def _sources(run: Path, pivots: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By turn: its message, and the format and metadata of its trajectory."""
    rows = (
        sql.connect(run)
        .execute(
            """
            select t.turn_id, m.message, j.format, j.metadata
            from turns t
            join segments s using (segment_id)
            join trajectories j on j.trajectory_id = t.trajectory_id
            join messages m on m.message_id = s.message_ids[t.position + 1]
            where t.turn_id in (select unnest(?))
            """,
            [[pivot["turn_id"] for pivot in pivots]],
        )
        .fetchall()
    )
    return {turn_id: dict(zip(("message", "format", "metadata"), rest, strict=True)) for turn_id, *rest in rows}


def _rewards(run: Path, pivots: list[dict[str, Any]]) -> dict[tuple[str, str, str], list[float]]:
    """The rewards of each row's state by (policy, verifier of the scores, state), in the order of the samples."""
    states: dict[tuple[str, str, int | None], list[str]] = {}
    for pivot in pivots:
        if pivot["scores_verifier_id"] is not None:
            budget = strict_json.loads(pivot["sampling"]).get("max_new_tokens")
            states.setdefault((pivot["policy_id"], pivot["scores_verifier_id"], budget), []).append(pivot["state_id"])
    found: dict[tuple[str, str, str], list[float]] = {}
    for (policy_id, verifier_id, budget), state_ids in states.items():
        scores = scores_of_states(run, policy_id, verifier_id, budget, pl.Series(state_ids))
        for state_id, reward in scores.drop_nulls("reward").select("state_id", "reward").iter_rows():
            found.setdefault((policy_id, verifier_id, state_id), []).append(reward)
    return found


def _write_parquet(config: ExportConfig, run: Path, folder: Path, split: str) -> int:
    """Write one split for verl or for the `verifiers` library; returns the number of rows."""
    is_verl = config.format == "verl"
    schema = VERL if is_verl else ROWS
    into = folder / "verl" if is_verl else folder / "verifiers" / package_name(config.name)
    into.mkdir(parents=True, exist_ok=True)
    path = into / f"{split}.parquet"
    count = 0
    with temporary_place(path) as place:
        with pq.ParquetWriter(place, schema, compression="zstd") as writer:
            for pivots in track(_pivots(folder, split), "export", "row groups"):
                rows = [verl_row(pivot, split, count + i) for i, pivot in enumerate(pivots)] if is_verl else pivots
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                count += len(pivots)
        settle(place, path)
    return count


def _texts(config: ExportConfig, folder: Path) -> dict[str, str]:
    """The text files next to the rows, by path."""
    if config.format == "nemo_gym":
        return {}
    rows = pl.concat([pl.scan_parquet(folder / f"{split}.parquet") for split in SPLITS], how="diagonal")
    distinct = rows.select(pl.col("sampling").drop_nulls().unique()).collect()["sampling"].to_list()
    sampling = strict_json.loads(distinct[0]) if len(distinct) == 1 else {}
    if config.format == "verifiers":
        return package_files(config.name, sampling)
    longest = rows.select(pl.col("prompt_ids").list.len().max()).collect().item() or 0
    return {"agent_loops.yaml": AGENT_LOOPS, "README.md": verl_readme(folder / "verl", sampling, longest)}
