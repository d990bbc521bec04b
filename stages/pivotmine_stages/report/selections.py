"""What the selections of a run chose: the states of each, and why it left out the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine_stages.report.aggregates import dicts
from pivotmine_stages.report.subject import differing

MAX_SELECTIONS = 16
"""Maximum number of selections that a page compares, the latest ones."""
SPLITS = ("train", "validation")


def selection_folders(run: Path) -> list[Path]:
    """Return the folders of the run's finished selections, sorted by name."""
    folders = (path for path in sorted((run / "pivots").glob("*")))
    return [path for path in folders if any((path / f"{split}.parquet").exists() for split in SPLITS)]


def chosen_states(run: Path, name: str) -> pl.DataFrame:
    """Return the states of a selection: state_id, split (`train` or `validation`), domain; UserError if unknown."""
    # The name only picks one of the existing folders. It is never used as a path.
    folder = next((path for path in selection_folders(run) if path.name == name), None)
    if folder is None:
        known = ", ".join(path.name for path in selection_folders(run)) or "none"
        raise UserError(f"no selection pivots/{name}: {run} has {known}")
    parts = [
        rundir.scan(run, "pivots", [path]).select("state_id", pl.lit(split).alias("split"), "domain")
        for split in SPLITS
        if (path := folder / f"{split}.parquet").exists()
    ]
    return pl.concat(parts).unique("state_id", keep="first", maintain_order=True).collect()


def selections(connection: duckdb.DuckDBPyConnection, run: Path) -> dict[str, Any]:
    """Return the run's selections, for a page: {names: [{name, train, validation, words}], groups}.

    A group is {selected, class, domain, states, examples}. `selected` has bit i set if selection i holds the states.
    `class` is from the connection's profile; null if it lacks the states. The connection gets the tables `chosen`
    (state_id, name, split) and `left_out` (state_id, name, reason), and the column `selected` of `state_index`.
    """
    folders = sorted(selection_folders(run), key=lambda path: path.stat().st_mtime_ns)[-MAX_SELECTIONS:]
    names = sorted(path.name for path in folders)
    chosen = [
        chosen_states(run, name).with_columns(name=pl.lit(name), bit=pl.lit(1 << i)) for i, name in enumerate(names)
    ]
    left_out = [_left_out(run, name) for name in names]
    _register(connection, "chosen", chosen, ("state_id", "split", "domain", "name", "bit"))
    _register(connection, "left_out", left_out, ("state_id", "reason", "name"))
    for statement in _SELECTED:
        connection.execute(statement)
    configs = {one["config"]["name"]: one["config"] for one in rundir.read_manifests(run, "select")}
    words = differing([{**configs.get(name, {}), "name": ""} for name in names])
    sizes = {(name, split): states for name, split, states in connection.execute(_SIZES).fetchall()}
    return {
        "names": [
            {"name": name, **{split: sizes.get((name, split), 0) for split in SPLITS}, "words": text}
            for name, text in zip(names, words, strict=True)
        ],
        "groups": dicts(connection, _GROUPS),
    }


def choices(connection: duckdb.DuckDBPyConnection, state_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return what each selection did with a state, by state: {name, split, reason}; split or reason is null."""
    found: dict[str, list[dict[str, Any]]] = {}
    for state_id, *choice in connection.execute(_CHOICES, [list(state_ids)]).fetchall():
        found.setdefault(state_id, []).append(dict(zip(("name", "split", "reason"), choice, strict=True)))
    return found


def _left_out(run: Path, name: str) -> pl.DataFrame:
    files = sorted(rundir.rejects_dir(run, "select", {"name": name}).glob("*.parquet"))
    rejects = rundir.scan(run, "rejects", files).filter(pl.col("state_id").is_not_null())
    reasons = rejects.group_by("state_id").agg(reason=pl.col("reason").min())
    return reasons.with_columns(name=pl.lit(name)).collect()


def _register(
    connection: duckdb.DuckDBPyConnection, table: str, frames: list[pl.DataFrame], columns: Sequence[str]
) -> None:
    types = {name: pl.Int64 if name == "bit" else pl.String for name in columns}
    whole = pl.concat(
        [pl.DataFrame(schema=types), *(frame.select(pl.col(n).cast(types[n]) for n in types) for frame in frames)]
    )
    connection.register("given", whole.to_arrow())
    connection.execute(f"create or replace temp table {table} as select * from given")
    connection.unregister("given")


_SELECTED = (
    "alter table state_index add column if not exists selected bigint default 0",
    """
    with held as (select state_id, sum(bit)::bigint as bits from chosen group by state_id)
    update state_index i set selected = held.bits from held where i.state_id = held.state_id
    """,
)
_SIZES = "select name, split, count(*) from chosen group by all"
_GROUPS = """
    with whole as (
        select state_id, sum(bit)::bigint as selected, any_value(domain) as domain from chosen group by state_id
    )
    select w.selected, i.class, coalesce(w.domain, '') as domain, count(*) as states,
        list_slice(list(state_id order by state_id), 1, 3) as examples
    from whole w left join state_index i using (state_id) group by all order by all
"""
_CHOICES = """
    with asked as (select unnest(?) as state_id)
    select state_id, name, any_value(split), any_value(reason) from (
        select state_id, name, split, null as reason from chosen
        union all select state_id, name, null, reason from left_out
    ) join asked using (state_id) group by all order by state_id, name
"""
