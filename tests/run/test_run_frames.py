"""A run in Python: tables as lazy frames, SQL, and an import that stays light."""

import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import pivotmine
from pivotmine import open_run
from pivotmine.errors import UserError
from pivotmine.run.run_frames import Run
from pivotmine.run.tables import STATES, TABLES

FIXTURE = Path(__file__).parents[1] / "fixtures" / "old_run" / "run"


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURE, tmp_path / "run"))


def test_every_table_is_a_lazy_frame(old_run: Path) -> None:
    run = open_run(old_run)
    assert set(Run.__annotations__) == set(TABLES)
    for table, schema in TABLES.items():
        frame = getattr(run, table)
        assert isinstance(frame, pl.LazyFrame)
        assert frame.collect_schema().names() == schema.names
        assert table in dir(run)
    assert run.states.collect_schema().names() == STATES.names
    assert (run.format, run.path, repr(run)) == (1, old_run, f"open_run({str(old_run)!r})")
    assert not hasattr(run, "pivot")


def test_sql_answers_with_a_frame(old_run: Path) -> None:
    run = open_run(str(old_run))
    assert run.sql("select count(*) as n from turns").to_dicts() == [{"n": run.turns.collect().height}]
    with pytest.raises(UserError, match="DuckDB"):
        run.sql("select nothing from turns")


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run"):
        open_run(tmp_path)


def test_all_names_what_is_there() -> None:
    assert pivotmine.__all__ == ["__version__", "open_run"]
    assert all(hasattr(pivotmine, name) for name in pivotmine.__all__)


@pytest.mark.parametrize("package", ["pivotmine", "pivotmine_stages"])
def test_the_import_is_light(package: str) -> None:
    heavy = "{'polars', 'pyarrow', 'duckdb', 'torch', 'transformers', 'vllm'}"
    script = f"import sys, {package}; sys.exit(str({heavy} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
