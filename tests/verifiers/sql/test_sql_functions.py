"""`sql`: extra functions, collations or DISTINCT, decided by trial; functions with different names in engines."""

from __future__ import annotations

import pytest
import sqlglot

from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers import Outcome, State, make_spec, verify
from pivotmine.verifiers.sql.sql_mutants import mutants
from pivotmine.verifiers.sql.sql_worker import generated

PARTS = """CREATE TABLE part (id INTEGER PRIMARY KEY, name TEXT NOT NULL, maker TEXT, weight INT, price REAL,
    made DATE);
CREATE TABLE stock (part_id INTEGER REFERENCES part(id), shelf TEXT, amount INT, code VARCHAR(9));"""


def outcome(one: str, other: str, schema: str = PARTS, dialect: str = "sqlite") -> Outcome:
    """The outcome of two queries, either of them the demonstrated one."""
    spec = make_spec("sql", {"dialect": dialect})
    state = State(messages=({"role": "system", "content": schema},))
    calls = [Action(tool_calls=(ToolCall(name="run_sql", arguments={"query": text}),)) for text in (one, other)]
    there, back = verify(spec, state, calls[:1], calls[1]), verify(spec, state, calls[1:], calls[0])
    assert there.outcome == back.outcome
    return there.outcome


DIFFERENT = [
    ("select abs(weight) from part", "select weight from part"),
    ("select name from part where abs(weight) > 3", "select name from part where weight > 3"),
    ("select sum(abs(amount)) from stock", "select sum(amount) from stock"),
    ("select name from part where abs(weight) = 3", "select name from part where weight = 3"),
    ("select trim(name) from part", "select name from part"),
    ("select trim(name) from part", "select rtrim(name) from part"),
    ("select ltrim(maker), count(*) from part group by 1", "select maker, count(*) from part group by 1"),
    ("select id from part where trim(maker) = 'Acme'", "select id from part where maker = 'Acme'"),
    ("select id from part where lower(maker) = 'acme'", "select id from part where maker = 'acme'"),
    ("select id from part where upper(maker) = 'ACME'", "select id from part where maker = 'ACME'"),
    ("select count(distinct lower(maker)) from part", "select count(distinct maker) from part"),
    ("select name from part order by lower(name)", "select name from part order by name"),
    ("select name from part order by name collate nocase", "select name from part order by name"),
    ("select id from part where maker = 'Acme' collate nocase", "select id from part where maker = 'Acme'"),
    ("select id from part where maker like 'Acme'", "select id from part where maker = 'Acme'"),
    ("select round(price) from part", "select price from part"),
    ("select count(*) from part where round(price) = 3", "select count(*) from part where price = 3"),
    ("select avg(coalesce(weight, 0)) from part", "select avg(weight) + 0 from part"),
    ("select coalesce(maker, name) from part", "select maker from part"),
    ("select cast(price as integer) from part", "select round(price) from part"),
    ("select shelf from stock order by cast(code as integer)", "select shelf from stock order by code"),
    ("select substr(name, 1, 3) from part", "select substr(name, 3, 1) from part"),
    ("select name from part where length(trim(name)) = 5", "select name from part where length(name) = 5"),
    ("select name from part where length(name) = 40", "select name from part where length(trim(name)) = 40"),
    ("select sum(distinct amount) from stock", "select sum(amount) from stock"),
    ("select group_concat(distinct shelf) from stock", "select group_concat(shelf) from stock"),
    ("select name from part p join stock s on lower(p.maker) = lower(s.code)",
     "select name from part p join stock s on p.maker = s.code"),
    ("select name from part p join stock s on trim(p.maker) = s.code",
     "select name from part p join stock s on p.maker = s.code"),
    ("select upper(name) from part where name = 'Bolt'", "select name from part where name = 'Bolt'"),
    ("select weight % 7 from part", "select abs(weight) % 7 from part"),
    ("select name, rank() over (partition by maker order by weight) from part",
     "select name, rank() over (order by weight) from part"),
    ("select name from part where strftime('%Y', made) = '1987'",
     "select name from part where strftime('%Y', made) <= '1987'"),
]  # fmt: skip

UNPROVEN = [
    ("select substr(name, 400, 500) from part", "select substr(name, 500, 400) from part"),
    ("select id from part where substr(name, 90, 80) = 'a'", "select id from part where substr(name, 80, 90) = 'a'"),
]  # fmt: skip

SAME = [
    ("select distinct lower(maker) from part", "select lower(maker) from part group by lower(maker)"),
    ("select coalesce(weight, 0) from part", "select case when weight is null then 0 else weight end from part"),
    ("select round(avg(price), 2) from part", "select round(sum(price) / count(price), 2) from part"),
    ("select trim(name) from part", "select ltrim(rtrim(name)) from part"),
    ("select cast(weight as integer) from part", "select weight from part"),
    ("select cast(maker as text) from part", "select maker from part"),
    ("select name from part where length(name) > 4",
     "select a.name from part a join part b on a.id = b.id where length(b.name) > 4"),
    ("select max(weight) - min(weight) from part", "select -(min(weight) - max(weight)) from part"),
    ("select name from part where coalesce(weight, 0) > 3", "select name from part where ifnull(weight, 0) > 3"),
    ("select name from part where strftime('%Y', made) = '2020'",
     "select x.name from (select id, name from part where strftime('%Y', made) = '2020') x"),
    ("select sum(case when weight > 5 then 1 else 0 end) from part", "select sum(iif(weight > 5, 1, 0)) from part"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_a_trial_sees_a_function_less(one: str, other: str) -> None:
    assert outcome(one, other) == Outcome.WRONG_ARGUMENTS


@pytest.mark.parametrize(("one", "other"), UNPROVEN)
def test_a_function_that_no_row_shows_is_unproven(one: str, other: str) -> None:
    assert outcome(one, other) == Outcome.UNPROVEN


@pytest.mark.parametrize(("one", "other"), SAME)
def test_functions_that_give_the_same_pass(one: str, other: str) -> None:
    assert outcome(one, other) == Outcome.CORRECT


def test_functions_that_are_one_in_some_engines_count_by_name() -> None:
    for one, other in (
        ("select length(a) from t", "select char_length(a) from t"),
        ("select len(a) from t", "select length(a) from t"),
        ("select variance(a) from t", "select var_samp(a) from t"),
        ("select a from t order by rand()", "select a from t order by random()"),
        ("select a from t order by a nulls first", "select a from t order by a"),
        ("create table t (a int primary key)", "create table t (a integer primary key)"),
        ("select cast(a as real) from t", "select cast(a as float) from t"),
    ):
        assert outcome(one, other, "", "") == Outcome.UNPROVEN
    for one, other in (
        ("select substr(a, 1, 2) from t", "select SUBSTRING(a, 1, 2) from t"),
        ("select ifnull(a, 'length(x)') from t", "select coalesce(a, 'length(x)') from t"),
        ("select length(a) from t", "select LENGTH (a) from t -- char_length(a)"),
    ):
        assert outcome(one, other, "", "") == Outcome.CORRECT


def test_the_mutants_of_functions() -> None:
    kinds = {"t": {"a": "integer", "b": "text"}}
    columns = {table: frozenset(found) for table, found in kinds.items()}

    def with_less(text: str) -> list[str]:
        return sorted(mutants(sqlglot.parse_one(text, dialect="sqlite"), columns, kinds).with_less)

    assert with_less("select trim(b) from t") == ["SELECT LTRIM(b) FROM t", "SELECT RTRIM(b) FROM t", "SELECT b FROM t"]
    assert with_less("select abs(-a) from t") == ["SELECT -a FROM t", "SELECT ABS(a) FROM t"]
    assert with_less("select cast(a as int), cast(b as text) from t") == []
    assert with_less("select cast(b as int) from t") == ["SELECT b FROM t"]
    assert with_less("select b collate nocase from t") == ["SELECT b FROM t"]
    assert with_less("select foo(b, 1) from t") == ["SELECT b FROM t"]
    assert with_less("select coalesce(count(*), 0), sum(a) from t") == []


def test_generated_rows_hold_twins() -> None:
    schema = {"t": [["a", "integer"], ["b", "real"], ["c", "text"]]}
    rows = [row for number in range(1, 24) for row in generated(schema, [3, "Bolt"], number).execute("select * from t")]
    numbers, reals, texts = ({row[place] for row in rows} - {None} for place in range(3))
    assert {3, -3, -1} <= numbers
    assert all(isinstance(number, int) for number in numbers)
    assert {3.25, -3, 2.125} <= reals
    assert {"Bolt", "bOLT", "bolt", "BOLT", " Bolt", "Bolt ", "10", "9", "A", "a"} <= texts
