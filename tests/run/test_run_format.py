"""Tables grow: parts of older versions are read by column name, and newer formats are refused."""

import math
import shlex
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pivotmine.errors import UserError
from pivotmine.run import run_format, rundir, sql, tables
from pivotmine_stages.extract.stage import ExtractConfig, extract

FIXTURE = Path(__file__).parents[1] / "fixtures" / "old_run" / "run"


def added(name: str, kind: pa.DataType, absent: float | str | None) -> pa.Field:
    return tables._column(name, kind, "a test's column", since=tables.FORMAT + 1, absent=absent)  # pyright: ignore[reportPrivateUsage]


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURE, tmp_path / "old [run] *"))


def test_an_added_column_has_its_stated_value_in_older_parts(old_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [added("x", pa.float64(), math.nan), added("y", pa.string(), None), added("z", pa.string(), "it's")]
    grown = pa.schema([*columns, *tables.PROFILES])
    monkeypatch.setitem(tables.TABLES, "profiles", grown)
    (path,) = rundir.table_files(old_run, "profiles")
    newer = pa.Table.from_pylist([{"state_id": "s", "x": 1.5, "y": "new", "z": None}], schema=grown)
    rundir.write_table(path.parent.parent / "another" / "profiles.parquet", newer)

    seen = rundir.scan(old_run, "profiles").collect()
    asked = sql.query(old_run, "select * from profiles")
    for table in (seen.to_arrow(), asked):
        assert table.column_names == grown.names
        rows = {row["state_id"]: [row["x"], row["y"], row["z"]] for row in table.to_pylist()}
        assert len(rows) == 74
        assert rows.pop("s") == [1.5, "new", None]
        assert {(math.isnan(x), y, z) for x, y, z in rows.values()} == {(True, None, "it's")}


def test_a_column_that_a_part_has_and_the_contract_lacks_is_not_read(old_run: Path) -> None:
    (path,) = rundir.table_files(old_run, "profiles")
    table = pq.read_table(path)
    rundir.write_table(path, table.append_column("later", pa.nulls(len(table), pa.string())))
    assert rundir.scan(old_run, "profiles").collect().columns == tables.PROFILES.names
    assert sql.query(old_run, "select * from profiles").column_names == tables.PROFILES.names


def test_a_run_carries_its_format(tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n')
    extract(ExtractConfig(sources=(source,)), tmp_path / "run")
    assert run_format.read_format(tmp_path / "run") == tables.FORMAT
    assert run_format.read_format(FIXTURE) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'{{"format": {tables.FORMAT + 1}}}', "update pivotmine"),
        ("{}", "run.json is damaged"),
        ("[]", "run.json is damaged"),
        ('{"format": true}', "run.json is damaged"),
        ('{"form', "run.json is damaged"),
    ],
)
def test_another_format_is_refused_in_one_line(old_run: Path, text: str, message: str) -> None:
    (old_run / "run.json").write_text(text)
    with pytest.raises(UserError, match=message) as refused:
        rundir.require_run(old_run)
    assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match=message):
        sql.query(old_run, "select 1")


def test_extract_into_an_older_run_names_the_command_for_a_new_one(old_run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in old_run.rglob("*")}
    with pytest.raises(UserError) as refused:
        extract(ExtractConfig(sources=(Path("my logs.jsonl"),)), old_run)
    new = shlex.quote(f"{old_run}-format-{tables.FORMAT}")
    assert str(refused.value) == (
        f"{old_run} has format 1, and extract writes format {tables.FORMAT}: "
        f"make a new run with `pivotmine extract 'my logs.jsonl' --run {new}`"
    )
    assert {path: path.stat().st_mtime_ns for path in old_run.rglob("*")} == before


def test_what_null_means_in_an_added_column_is_one_thing() -> None:
    for name, schema in tables.TABLES.items():
        for column in schema:
            assert tables.since(column) <= tables.FORMAT, (name, column.name)
            if tables.since(column) > 1 and tables.absent_value(column) is None:
                assert "null:" not in column.metadata[b"doc"].decode(), (name, column.name)
