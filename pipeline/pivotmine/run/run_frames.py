"""A run for Python: each table a polars lazy frame, and SQL."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pivotmine.run import run_format, rundir, sql
from pivotmine.run.tables import TABLES


class Run:
    """An opened run. Each table is an attribute, read when it is collected; `data/README.md` has the columns."""

    trajectories: pl.LazyFrame
    segments: pl.LazyFrame
    messages: pl.LazyFrame
    tools: pl.LazyFrame
    turns: pl.LazyFrame
    gates: pl.LazyFrame
    rollouts: pl.LazyFrame
    scores: pl.LazyFrame
    profiles: pl.LazyFrame
    triage: pl.LazyFrame
    carried: pl.LazyFrame
    pivots: pl.LazyFrame
    demonstrations: pl.LazyFrame
    rejects: pl.LazyFrame
    audit_trials: pl.LazyFrame
    audit_errors: pl.LazyFrame
    audit_constants: pl.LazyFrame

    def __init__(self, path: Path) -> None:
        """UserError if `path` is not a run that this version reads."""
        rundir.require_run(path)
        self.path = path
        self.format = run_format.read_format(path)
        """Version of the run's tables and of its rules for ids."""

    def __getattr__(self, table: str) -> pl.LazyFrame:
        if table not in TABLES:
            raise AttributeError(f"a run has no table {table!r}; it has {', '.join(TABLES)}, and the view states")
        return rundir.scan(self.path, table)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *TABLES]

    def __repr__(self) -> str:
        return f"open_run({str(self.path)!r})"

    @property
    def states(self) -> pl.LazyFrame:
        """One row per state: a view of `turns`."""
        return self.sql("select * from states").lazy()

    def sql(self, statement: str) -> pl.DataFrame:
        """The answer to one SQL statement over the tables and `states`; UserError if DuckDB refuses it."""
        answer = pl.from_arrow(sql.query(self.path, statement))
        assert isinstance(answer, pl.DataFrame)
        return answer
