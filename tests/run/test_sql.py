import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pivotmine.errors import UserError
from pivotmine.escape import inert
from pivotmine.run import rundir, sql
from pivotmine.run.tables import STATES, TABLES
from pivotmine_stages.cli.text_tables import as_json_lines, as_text_table
from pivotmine_stages.extract.stage import ExtractConfig, extract

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ODD = "a 'run' [of] *?{1,2}"


def make_run(run: Path) -> Path:
    """One trajectory of two turns."""
    source = run.parent / f"{run.name}.jsonl"
    source.parent.mkdir(parents=True, exist_ok=True)
    messages = [{"role": role, "content": role} for role in ("user", "assistant", "user", "assistant")]
    source.write_text(json.dumps({"messages": messages}) + "\n")
    extract(ExtractConfig(sources=(source,)), run)
    return run


def write_later_stages(run: Path) -> None:
    """A row in every table that the later stages write."""
    rollout = {
        "policy_id": "p",
        "state_id": "s",
        "sample_index": 0,
        "text": "hi",
        "token_ids": [1, 2],
        "logprobs": [-0.5, 0.0],
    }
    rundir.write_rows(run / "rollouts" / "p" / "part-0of1-000000.parquet", "rollouts", [rollout])
    scored = {"policy_id": "p", "verifier_id": "v", "state_id": "s"}
    rundir.write_rows(run / "scores" / "p" / "v" / "part-0of1-000000.parquet", "scores", [{**scored, "reward": 1.0}])
    rundir.write_rows(run / "scores" / "p" / "v" / "profiles.parquet", "profiles", [{**scored, "mean": 1.0}])
    for split in ("train", "validation"):
        rundir.write_rows(run / "pivots" / "mine" / f"{split}.parquet", "pivots", [{"state_id": split}])
    rundir.write_rows(run / "pivots" / "mine" / "demonstrations.parquet", "demonstrations", [{"state_id": "any"}])
    rundir.write_rows(run / "rejects" / "score-abc" / "rejects.parquet", "rejects", [{"stage": "score", "reason": "x"}])


def type_name(kind: pa.DataType) -> str:
    return f"list of {kind.value_type}" if isinstance(kind, pa.ListType) else str(kind)


def counts(run: Path) -> dict[str, int]:
    names = [*TABLES, "states"]
    query = " union all ".join(f"select '{name}' as name, count(*) as rows from \"{name}\"" for name in names)
    return {row["name"]: row["rows"] for row in sql.query(run, query).to_pylist()}


EXTRACTED = {
    "trajectories": 1,
    "segments": 1,
    "messages": 2,
    "tools": 0,
    "turns": 2,
    "gates": 0,
    "rollouts": 0,
    "scores": 0,
    "profiles": 0,
    "triage": 0,
    "carried": 0,
    "pivots": 0,
    "demonstrations": 0,
    "rejects": 0,
    "states": 2,
    "audit_trials": 0,
    "audit_errors": 0,
    "audit_constants": 0,
}
FINISHED = {**EXTRACTED, "rollouts": 1, "scores": 1, "profiles": 1, "pivots": 2, "demonstrations": 1, "rejects": 1}


def test_every_table_can_be_asked_at_every_stage(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert counts(run) == EXTRACTED
    write_later_stages(run)
    assert counts(run) == FINISHED


@pytest.mark.parametrize("finished", [False, True])
def test_views_have_the_columns_and_types_of_the_contract(tmp_path: Path, *, finished: bool) -> None:
    run = make_run(tmp_path / "run")
    if finished:
        write_later_stages(run)
    for name, schema in {**TABLES, "states": STATES}.items():
        found = sql.query(run, f'select * from "{name}"').schema
        more = ["pivots_name"] if name in ("pivots", "demonstrations") else []
        assert found.names == [*schema.names, *more]
        assert [type_name(f.type) for f in found][: len(schema)] == [type_name(f.type) for f in schema]


def test_a_pivots_row_says_which_dataset_it_is_of(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write_later_stages(run)
    rundir.write_rows(run / "pivots" / "other one" / "train.parquet", "pivots", [{"state_id": "x"}])
    query = "select pivots_name, count(*) as rows from pivots group by all order by all"
    assert sql.query(run, query).to_pylist() == [
        {"pivots_name": "mine", "rows": 2},
        {"pivots_name": "other one", "rows": 1},
    ]


def test_a_state_shows_the_first_of_its_turns(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    turn = {
        "trajectory_id": "t",
        "segment_id": "g",
        "turn_index": 0,
        "position": 7,
        "state_id": "s",
        "kind": "message",
        "demonstration": "{}",
    }
    more = [
        {**turn, "turn_id": "b", "domain": "d", "segment_id": "h"},
        {**turn, "turn_id": "a", "reject_reason": "masked"},
        {**turn, "turn_id": "c", "trajectory_id": "u", "position": 8, "domain": "d"},
    ]
    rundir.write_rows(run / "turns" / "part-00001.parquet", "turns", more)
    assert sql.query(run, "select * from states where state_id = 's'").to_pylist() == [
        {
            "state_id": "s",
            "num_turns": 3,
            "num_trajectories": 2,
            "num_demonstrations": 2,
            "turn_id": "a",
            "segment_id": "g",
            "position": 7,
            "tools_id": None,
            "domain": None,
            "demonstration": "{}",
        }
    ]


@pytest.mark.parametrize("name", [ODD, "plain", "ünï", "q?", "[", "a]b", "**"])
def test_a_run_may_lie_at_an_odd_path(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / name)
    assert counts(run) == EXTRACTED
    write_later_stages(run)
    assert counts(run) == FINISHED


def test_a_moved_run_is_asked_where_it_is_now(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    moved = run.rename(tmp_path / "moved")
    assert counts(moved) == EXTRACTED
    assert str(run) + "/" not in (moved / "views.sql").read_text()


def test_a_run_on_a_read_only_disk_can_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run")

    def refuse(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(rundir, "write_text", refuse)
    assert counts(run) == EXTRACTED


def duckdb_cli() -> str:
    beside = Path(sys.executable).parent / "duckdb"
    found = str(beside) if beside.exists() else shutil.which("duckdb")
    assert found, "no duckdb command next to this Python or on the path: pip install duckdb-cli (the dev extra has it)"
    return found


@pytest.mark.parametrize("name", ["run", ODD])
def test_plain_duckdb_sees_every_table_from_another_directory(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / name)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def ask(query: str) -> str:
        command = [duckdb_cli(), "-init", str(run / "views.sql"), "-csv", "-noheader", "-c", query]
        done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "Error" not in done.stderr
        return done.stdout

    query = " union all ".join(f"select '{table}' as name, count(*) from \"{table}\"" for table in (*TABLES, "states"))
    assert ask(f"{query} order by all") == "".join(f"{table},{rows}\n" for table, rows in sorted(EXTRACTED.items()))
    write_later_stages(run)
    sql.write_views(run)
    assert ask(f"{query} order by all") == "".join(f"{table},{rows}\n" for table, rows in sorted(FINISHED.items()))
    assert ask("select pivots_name, count(*) from pivots group by all") == "mine,2\n"


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("selec 1", 'DuckDB: Parser Error: syntax error at or near "selec"'),
        ("select * from nope", "DuckDB: Catalog Error: Table with name nope does not exist!"),
        ("select reward from turns", 'DuckDB: Binder Error: Referenced column "reward" not found'),
        ("select error('\x1b[2J\nx')", r"DuckDB: Invalid Input Error: \x1b[2J x"),
        (
            "select cast('\x1b]0;owned\x07' as int)",
            r"DuckDB: Conversion Error: Could not convert string '\x1b]0;owned\x07'",
        ),
        ("", "the statement returns no table: use select"),
    ],
)
def test_a_bad_statement_is_one_clear_line(tmp_path: Path, statement: str, message: str) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(UserError) as raised:
        sql.query(run, statement)
    assert str(raised.value).startswith(message)
    assert str(raised.value).isprintable()


def test_several_statements_give_an_answer_each(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert [table.to_pylist() for table in sql.query_all(run, "select 1 as a; select 2 as b;")] == [
        [{"a": 1}],
        [{"b": 2}],
    ]
    assert sql.query(run, "explain select 1").num_rows == 1


@pytest.mark.parametrize(
    "statement",
    [
        "copy (select 1) to '{run}/turns/part-9.parquet'",
        "explain analyze copy (select 1) to '{run}/x.csv'",
        "explain /* */ analyze copy (select 1) to '{run}/x.csv'",
        "select 1; copy (select 1) to '{run}/x.csv'",
        "create table t (a int)",
        "attach '{run}/x.db'",
        "export database '{run}/x'",
        "install httpfs",
        "load httpfs",
        "set lock_configuration = false",
        "pragma database_list",
        "select * from read_text('{outside}')",
        "select * from read_text('{run}/../secret.txt')",
        "select * from read_text('{run}/link.txt')",
        "select * from glob('{run}/../*')",
        "select * from read_csv('http://127.0.0.1:9/a.csv')",
    ],
)
def test_nothing_is_written_and_nothing_outside_the_run_is_read(tmp_path: Path, statement: str) -> None:
    run = make_run(tmp_path / "run")
    (tmp_path / "secret.txt").write_text("secret")
    (run / "link.txt").symlink_to(tmp_path / "secret.txt")
    sql.write_views(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(UserError) as raised:
        sql.query(run, statement.format(run=run, outside=tmp_path / "secret.txt"))
    assert "secret\n" not in str(raised.value)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_unsafe_lifts_both(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (tmp_path / "a.txt").write_text("b")
    statement = f"create table t as select content from read_text('{tmp_path / 'a.txt'}'); select * from t"
    assert sql.query(run, statement, unsafe=True).to_pylist() == [{"content": "b"}]


def test_a_folder_that_is_no_run_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run: no finished extract there; make one with `pivotmine extract"):
        sql.query(tmp_path, "select 1")
    assert list(tmp_path.iterdir()) == []


def test_columns_of_one_name_are_all_there(tmp_path: Path) -> None:
    table = sql.query(make_run(tmp_path / "run"), "select 1 as a, 2 as a, 3 as a_1, 4 as a")
    assert table.to_pylist() == [{"a": 1, "a_2": 2, "a_1": 3, "a_3": 4}]


def test_hostile_text_is_printed_inert(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    hostile = "\x1b[2J\r\n\x00\u202eevil\x9b31m\U000e0041 " + "x" * 100
    table = sql.query(
        run, f"select '{hostile.replace(chr(0), '')}' as \"na\x1bme\", 1.0 / 3 as third, null as n, [1, 2] as l"
    )
    shown = r"\x1b[2J\x0d\x0a\u202eevil\x9b31m\U000e0041 "
    assert as_text_table(table).splitlines() == [
        r"na\x1bme".ljust(80) + "  third     n     l",
        f"{'-' * 80}  {'-' * 8}  ----  ------",
        f"{shown}{'x' * (77 - len(shown))}...  0.333333  null  [1, 2]",
        "(1 row, cells cut; --json prints all)",
    ]
    uncut = pa.table({"c": ["x" * 80, "...", "y" * 77 + ".."]})
    assert as_text_table(uncut).splitlines()[-1] == "(3 rows)"


@PROPERTY
@given(st.text())
def test_inert_text_prints_and_keeps_what_printed(text: str) -> None:
    assert inert(text).isprintable()
    assert inert(text) == text or not text.isprintable()


def test_a_long_answer_is_cut_for_a_person_and_whole_for_a_program() -> None:
    table = pa.table({"n": list(range(1234))})
    lines = as_text_table(table).splitlines()
    assert lines[:3] == ["n", "---", "0"]
    assert lines[-2:] == ["199", "(1,234 rows, the first 200 shown; --json prints all)"]
    assert [json.loads(line) for line in as_json_lines(table).splitlines()] == [{"n": n} for n in range(1234)]


def test_json_lines_are_json_whatever_the_values() -> None:
    table = pa.table({"f": [float("nan"), 1.5], "l": [[float("inf")], []], "b": [b"\xff", None], "t": ["\x1b\n", "ü"]})
    lines = as_json_lines(table).splitlines()
    assert lines == [
        '{"f": null, "l": [null], "b": "b\'\\\\xff\'", "t": "\\u001b\\n"}',
        '{"f": 1.5, "l": [], "b": null, "t": "\\u00fc"}',
    ]


def test_dates_beyond_those_of_python_are_told(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for statement in ("select date '99999-01-01' as d", "select [timestamp '290000-01-01'] as t"):
        for shown in (as_text_table, as_json_lines):
            with pytest.raises(UserError, match="a date outside Python's range: turn it into text with ::varchar"):
                shown(sql.query(run, statement))
    text = sql.query(run, "select date '99999-01-01'::varchar as d, date '2020-01-01' as e")
    assert as_json_lines(text) == '{"d": "99999-01-01", "e": "2020-01-01"}'


def test_an_empty_answer_has_its_columns() -> None:
    assert (
        as_text_table(pa.table({"a": pa.array([], pa.int32()), "bb": pa.array([], pa.string())}))
        == "a  bb\n-  --\n(0 rows)"
    )
    assert as_json_lines(pa.table({"a": pa.array([], pa.int32())})) == ""
