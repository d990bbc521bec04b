"""Hostile statements, and the databases on which statements are tried."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sql_queries import DDL, outcome

from pivotmine.verifiers import Outcome
from pivotmine.verifiers.sql import sql_worker

HOSTILE = [
    "attach database '/tmp/pivotmine_attached' as x",
    "select * from users where load_extension('x')",
    "copy users to '/tmp/pivotmine_copied'",
    "select * from users; drop table users",
    "with recursive r(n) as (select 1 union all select n + 1 from r) select n from r, users",
    "with recursive r(n) as (select 1 union all select n + 1 from r) select count(*) from r, users",
    "with recursive r(s) as (select name from users union all select s || s from r) select length(s) from r",
    "select count(*) from users a, users b, users c, users d, users e, users f, users g",
    "select replace(hex(zeroblob(100000000)), '0', 'aaaaaaaaaa') from users",
    "select printf('%1000000000d', 1) from users",
    "pragma writable_schema = 1",
    "select readfile('/etc/passwd') from users",
    "select name from users into outfile '/tmp/pivotmine_copied'",
    "vacuum into '/tmp/pivotmine_copied'",
    "explain select name from users",
    "select name from users where name like '" + "%a" * 2_000 + "'",
    "select " + "(" * 3_000 + "1" + ")" * 3_000,
    "select " + "case when " * 900 + "1" + " then 1 end" * 900,
    "select " + "not " * 2_000 + "1",
    "select " + " and ".join(["a"] * 500),
    "select a from t where " + "b in (1, " * 900,
    "select '" + "x" * 10_000_000,
    "select " + "[" * 5_000,
    "select \ud800 from users",
    "select '\0' from users",
    "/*" * 5_000,
    "\"" * 9_999,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:60].encode("unicode_escape").decode())
def test_hostile_statements_are_neither_run_for_long_nor_passed(text: str) -> None:
    assert outcome(text, text, DDL) == Outcome.CORRECT
    for other in ("select name from users", f"x{text}", f"{text} limit 7"):
        assert outcome(text, other, DDL) in (Outcome.WRONG_ARGUMENTS, Outcome.UNPROVEN)
    assert not list(Path("/tmp").glob("pivotmine_*ed"))


@pytest.mark.parametrize("text", HOSTILE[:14], ids=lambda text: text[:60])
def test_the_worker_refuses_or_gives_up(text: str) -> None:
    # In the process itself, without the parser and the rules before it.
    database = sql_worker.generated({"users": [["id", "integer"], ["name", "text"]]}, [], 5)
    sql_worker.restrict(database)
    with pytest.raises((sqlite3.Error, sqlite3.Warning, ValueError, MemoryError)):
        sql_worker.run(database, text, is_ordered=False)
    database.close()


def test_the_worker_is_deterministic() -> None:
    def rows(number: int) -> list[Any]:
        database = sql_worker.generated({"t": [["a", "integer"], ["b", "text"], ["c", "date"]]}, ["Rome", 30], number)
        found = database.execute("select * from t").fetchall()
        database.close()
        return found

    assert [rows(number) for number in range(24)] == [rows(number) for number in range(24)]
    values = {value for number in range(24) for row in rows(number) for value in row}
    assert {29, 30, 31, "Rome", "rOME", "Romex", "Rom", None} <= values
