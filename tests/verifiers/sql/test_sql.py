"""`sql`: pairs of equal and of different statements, and hostile ones."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sql_queries import DDL, outcome, query

from pivotmine.actions.action import Action, ToolCall
from pivotmine.errors import UserError
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, passes_gate, verify
from pivotmine.verifiers.sql import sql_worker
from pivotmine.verifiers.sql.sql_schema import Keys, read_keys, read_schema

SAME = [
    ("select a from t", "SELECT  a\nFROM t ;", "case of keywords, white space"),
    ("select A from T", "select a from t", "case of names without quotes"),
    ("select a from t -- all", "/* all */ select a from t", "comments"),
    ("select a as b from t as u", "select a b from t u", "AS may be left out"),
    ("select u.a from t as u", "select v.a from t v", "an alias's name"),
    ("select t.a from t where t.b > 1", "select a from t where b > 1", "the table of a lone table's column"),
    ("select u.a, v.b from t u join s v on u.id = v.id", "select x.a, y.b from t x join s y on x.id = y.id", "aliases"),
    ("select a from t where b <> 1", "select a from t where b != 1", "either sign"),
    ("select a from t where b = 1 and c = 2", "select a from t where c = 2 and b = 1", "order of conditions"),
    ("select a from t where b = 1 or c = 2 or d = 3",
     "select a from t where d = 3 or (c = 2 or b = 1)", "a chain of OR"),
    ("select a from t where b = 1", "select a from t where 1 = b", "sides of an equation"),
    ("select a from t where b > 1", "select a from t where 1 < b", "sides of a comparison"),
    ("select a from t where (b >= 1)", "select a from t where 1 <= b", "parentheses"),
    ("select a from t where b between 1 and 5", "select a from t where b >= 1 and b <= 5", "between"),
    ("select a from t where c and b between 1 and 5",
     "select a from t where b <= 5 and c and 1 <= b", "between in a chain"),
    ("select a from t where b in (1, 2)", "select a from t where b in (2, 1)", "order of a list of literals"),
    ("select a from t where not b in (1)", "select a from t where b not in (1)", "NOT before or behind"),
    ("select a from t join s on t.i = s.i", "select a from t inner join s on s.i = t.i", "INNER"),
    ("select a from t left join s on t.i = s.i", "select a from t left outer join s on t.i = s.i", "OUTER"),
    ("select a from t order by a", "select a from t order by a asc", "ASC"),
    ("select cast(a as int) from t", "select a::int from t", "either cast"),
    ("insert into t (a) values ('x')", "INSERT INTO t(a) VALUES('x');", "a statement that writes"),
    ("update t set a = 1 where b = 2 and c = 3", "update t set a = 1 where c = 3 and b = 2", "order of conditions"),
    ("delete from t where a = 1", "DELETE FROM t WHERE (a = 1)", "parentheses"),
    ("select 1; select 2", "select 1;\nselect 2;", "two statements"),
    ("select from where", "select from where", "the same text, though no SQL"),
    ("select count(1) from t", "select count(*) from t", "counted rows"),
    ("select a from t limit 3 offset 0", "select a from t limit 3", "no offset"),
    ("select `a` from `t`", "select a from t", "backticks"),
    ('select "a" from t', "select a from t", "quotes that are not needed"),
    ("select a from t where b = 7 or b = 8 or c = 1", "select a from t where c = 1 or b in (8, 7)", "a list"),
    ("select a from t where b <> 7 and b <> 8", "select a from t where b not in (8, 7)", "a negated list"),
    ("select a from t where b in (7)", "select a from t where b = 7", "a list of one"),
    ("update t set a = 1, b = 'x' where c = 3", "update t set b = 'x', a = 1 where c = 3", "order of assignments"),
    ("insert into t (a, b) values (1, 'x'), (2, 'y')", "insert into t (b, a) values ('x', 1), ('y', 2)",
     "order of columns"),
]  # fmt: skip

SAME_BY_TRIAL = [
    ("select name from users where age > 30", "select u.name from users u where not u.age <= 30", "negated"),
    ("select name from users where id in (select user_id from orders)",
     "select name from users u where exists (select * from orders o where o.user_id = u.id)", "IN or EXISTS"),
    ("select u.name, o.total from users u join orders o on o.user_id = u.id",
     "select u.name, o.total from orders o, users u where u.id = o.user_id", "join or condition"),
    ("select city, count(*) from users group by city",
     "select city, count(*) as n from users group by users.city", "an output's name"),
    ("select distinct city from users", "select city from users group by city", "distinct or group"),
    ("select name from users where age > 30 and city = 'Rome'",
     "with r as (select * from users where city = 'Rome') select name from r where age > 30", "a common table"),
    ("select count(id) from users where age between 18 and 65",
     "select count(id) from users where not (age < 18 or age > 65)", "De Morgan"),
    ("select name from users order by age desc, name", "select u.name from users as u order by u.age desc, u.name asc",
     "aliases in an order"),
    ("select coalesce(city, 'x') from users",
     "select case when city is null then 'x' else city end from users", "case"),
    ("select name from users where city like 'R%'",
     "select name from users where (city) like 'R%' and city is not null",
     "null is never like anything"),
    ("select sum(total) from orders where status = 'paid'",
     "select sum(case when status = 'paid' then total end) from orders", "a sum of cases"),
]  # fmt: skip

DIFFERENT = [
    ("select a from t", "select b from t", "another column"),
    ("select a from t", "select a from s", "another table"),
    ("select a, b from t", "select b, a from t", "order of columns"),
    ("select a from t", "select distinct a from t", "doubles"),
    ("select a from t", "select * from t", "all columns"),
    ("select a from t where b = 1", "select a from t", "a condition less"),
    ("select a from t where b = 1", "select a from t where b = 2", "another number"),
    ("select a from t where b = '1'", "select a from t where b = 1", "text or number"),
    ("select a from t where b = 'x'", "select a from t where b = 'X'", "case of a text"),
    ("select a from t where b = 'x'", "select a from t where b = 'x '", "a blank in a text"),
    ("select a from t where b = 'x'", "select a from t where b = \"x\"", "a text or a name"),
    ("select a from t where b > 1", "select a from t where b >= 1", "the bound itself"),
    ("select a from t where b > 1", "select a from t where b < 1", "the other side"),
    ("select a from t where b - 1 > 0", "select a from t where 1 - b > 0", "order of a difference"),
    ("select a from t where b = 1 and c = 2", "select a from t where b = 1 or c = 2", "and, or"),
    ("select a from t where b = 1 and (c = 2 or d = 3)",
     "select a from t where (b = 1 and c = 2) or d = 3", "grouping"),
    ("select a from t where b = 1 and c = 2", "select a from t where b = 2 and c = 1", "values changed places"),
    ("select a from t where b in (1, 2)", "select a from t where b not in (1, 2)", "the opposite"),
    ("select a from t where b is null", "select a from t where b = null", "never true"),
    ("select a from t where b like 'x%'", "select a from t where b = 'x%'", "a pattern or a text"),
    ("select a from t where b like 'x'", "select a from t where b ilike 'x'", "case of what is matched"),
    ("select a from t order by a", "select a from t order by a desc", "the other way round"),
    ("select a from t order by a", "select a from t", "no order"),
    ("select a from t order by a, b", "select a from t order by b, a", "order of an order"),
    ("select a from t limit 5", "select a from t limit 6", "another number"),
    ("select a from t limit 5", "select a from t", "all of them"),
    ("select a from t limit 5 offset 10", "select a from t limit 10 offset 5", "numbers changed places"),
    ("select count(*) from t", "select count(a) from t", "nulls do not count"),
    ("select count(a) from t", "select count(distinct a) from t", "doubles do not count"),
    ("select sum(a) from t", "select avg(a) from t", "another function"),
    ("select a from t group by a", "select a from t group by b", "another group"),
    ("select a from t join s on t.i = s.i", "select a from t left join s on t.i = s.i", "rows without a match"),
    ("select a from t left join s on t.i = s.i", "select a from s left join t on t.i = s.i", "the other side's rows"),
    ("select a from t join s on t.i = s.i", "select a from t join s on t.i = s.j", "another key"),
    ("select u.a from t u join t v on u.i = v.j",
     "select v.a from t u join t v on u.i = v.j", "the other one's column"),
    ("select a from t as a", "select a from t as b", "perhaps the whole row"),
    ("select a from t union select a from s", "select a from t union all select a from s", "doubles"),
    ("select a from t intersect select a from s", "select a from t except select a from s", "another operation"),
    ("select lower(a) as a from t order by a", "select lower(a) as a from t order by t.a", "an output's name"),
    ("select \"A\" from t", "select a from t", "case of a name in quotes"),
    ("insert into t (a, b) values (1, 2)", "insert into t (b, a) values (1, 2)", "columns changed places"),
    ("insert into t (a) values ('x')", "insert into t (a) values ('y')", "another value"),
    ("insert into t values (1)", "replace into t values (1)", "replaces"),
    ("update t set a = 1 where b = 2", "update t set a = 1", "all rows"),
    ("update t set a = 1 where b = 2", "update t set b = 2 where a = 1", "the other way round"),
    ("delete from t where a = 1", "delete from t where a = 2", "other rows"),
    ("delete from t", "drop table t", "more than rows"),
    ("update t set a = b", "update t set b = a", "the other way round"),
    ("update t set a = b, b = 1", "update t set b = 1, a = b", "engines differ in which b is read"),
    ("insert into t (a, b) values (1, 2)", "insert into t (b, a) values (1, 2)", "changed places"),
    ("select a from t where b = 7 or c = 8", "select a from t where b in (7, 8)", "another column"),
    ("select a from t where b = 7 and b = 8", "select a from t where b in (7, 8)", "never"),
    ("select count(null) from t", "select count(*) from t", "nothing is counted"),
    ("select a from t limit 3 offset 1", "select a from t limit 3", "an offset"),
    ("drop table t", "drop table if exists t", "an error or none"),
    ("select 1; select 2", "select 2; select 1", "another order"),
    ("select 1", "select 1; drop table t", "a statement more"),
    ("select a from t for update", "select a from t", "locked"),
    ("select а from t", "select a from t", "letters that look alike"),
    ("select N'x'", "select N'X'", "case of a text"),
    ("select case when a then 1 else 2 end from t", "select case when a then 2 else 1 end from t", "changed places"),
    ("select sum(a) over (order by b) from t", "select sum(a) over (partition by b) from t", "another window"),
    ("select", "select a", "no SQL"),
    ("", "select 1", "nothing"),
]  # fmt: skip

DIFFERENT_BY_TRIAL = [
    ("select name from users limit 100", "select name from users limit 200", "more rows than any database here has"),
    ("select name from users", "select name from users order by name", "an order"),
    ("select name from users", "select name from users where id = id or id is null or id in (select id from orders)",
     "another table is read"),
    ("select name from users where city like 'rome'", "select name from users where lower(city) = 'rome'",
     "only where LIKE does not mind letter case"),
    ("select max(age) from users", "select age from users order by age desc limit 1", "only the one gives an order"),
    ("select 17 from users", "select count(*) from users having count(*) = 17", "a constant"),
    ("select name from users where age > 30", "select name from users where age >= 30", "the bound itself"),
    ("select name from users where not age > 30", "select name from users where age < 30", "the bound itself"),
    ("select count(*) from users", "select count(age) from users", "nulls do not count"),
    ("select distinct city from users", "select city from users", "doubles"),
    ("select name from users where city = 'Rome'", "select name from users where city like 'Rome'", "letter case"),
    ("select name from users where lower(city) = 'rome'", "select name from users where city = 'rome'", "letter case"),
    ("select u.name from users u join orders o on o.user_id = u.id",
     "select u.name from users u left join orders o on o.user_id = u.id", "rows without a match"),
    ("select name from users where id in (select user_id from orders)",
     "select u.name from users u join orders o on o.user_id = u.id", "as often as they match"),
    ("select name from users where id not in (select user_id from orders)",
     "select name from users u where not exists (select 1 from orders o where o.user_id = u.id)", "nulls in a list"),
    ("select city, max(age) from users group by city", "select city, min(age) from users group by city", "the least"),
    ("select city from users group by city having count(*) > 3",
     "select city from users group by city having count(*) >= 3",
     "the bound itself"),
    ("select name from users where age > 18 or city = 'Rome' and joined < '2020-01-01'",
     "select name from users where (age > 18 or city = 'Rome') and joined < '2020-01-01'", "grouping"),
    ("select name from users where joined < '2020-01-01'",
     "select name from users where joined <= '2020-01-01'", "a day"),
    ("select name from users order by age", "select name from users order by age, name", "ties"),
    ("select sum(total) from orders", "select total(total) from orders", "nothing is null or 0"),
    ("select name from users union all select city from users",
     "select city from users union all select city from users",
     "another column"),
    ("select 1 from users where 1 = 0",
     "select 1 from users where 0 = 1 and age > age", "never a row: nothing is shown"),
    ("select name from users where id = 17", "select name from users where age = 17", "another column"),
    ("select name from users limit 17", "select name from users where id < 17", "not by number"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "why"), SAME)
def test_the_same(one: str, other: str, why: str) -> None:
    assert outcome(one, other) == Outcome.CORRECT, why


@pytest.mark.parametrize(("one", "other", "why"), DIFFERENT)
def test_not_the_same(one: str, other: str, why: str) -> None:
    assert outcome(one, other) in (Outcome.WRONG_ARGUMENTS, Outcome.UNPROVEN), why
    assert outcome(one, one) == outcome(other, other) == Outcome.CORRECT


@pytest.mark.parametrize(("one", "other", "why"), SAME_BY_TRIAL)
def test_the_same_rows_on_every_database(one: str, other: str, why: str) -> None:
    assert outcome(one, other, DDL) == Outcome.CORRECT, why


@pytest.mark.parametrize(("one", "other", "why"), DIFFERENT_BY_TRIAL)
def test_other_rows_on_some_database(one: str, other: str, why: str) -> None:
    assert outcome(one, other, DDL) in (Outcome.WRONG_ARGUMENTS, Outcome.UNPROVEN), why


def test_without_tables_rows_are_not_tried() -> None:
    for one, other, _ in SAME_BY_TRIAL:
        assert outcome(one, other) in (Outcome.CORRECT, Outcome.UNPROVEN)
    one, other, _ = SAME_BY_TRIAL[0]
    assert outcome(one, other) == Outcome.UNPROVEN
    assert outcome(one, other, DDL, by_result=False) == Outcome.UNPROVEN
    assert outcome(one, other, DDL, dialect="postgres") == Outcome.UNPROVEN
    assert outcome(one, other, DDL, dialect="sqlite") == Outcome.CORRECT
    assert outcome(one, other, DDL.replace("users", "people")) == Outcome.UNPROVEN


def test_what_means_now_is_not_tried() -> None:
    for when in ("date('now')", "current_date", "date()", "datetime('NOW', '-1 day')", "strftime('%Y')"):
        one = f"select name from users where joined > {when}"
        assert outcome(one, f"{one} and joined is not null", DDL) == Outcome.UNPROVEN
    tried, said = "select name from users where age > 30", "select name from users where not age <= 30 -- now"
    assert {outcome(tried, said, DDL), outcome(said, tried, DDL)} == {
        Outcome.UNPROVEN
    }  # a word of one of them is enough
    assert outcome("select random() from users", "select random() + 0 from users", DDL) != Outcome.CORRECT


def make_database(folder: Path) -> str:
    path = folder / "shop.sqlite"
    with sqlite3.connect(path) as database:
        database.executescript("create table users (id integer, name text, age int);")
        database.executemany("insert into users values (?, ?, ?)", [(1, "Ann", 31), (2, "Bob", 20), (3, "Cem", None)])
    database.close()
    return str(path)


def test_a_database_file_is_read_and_left_alone(tmp_path: Path) -> None:
    known = {"database": make_database(tmp_path)}
    before = (tmp_path / "shop.sqlite").read_bytes()
    assert outcome("select name from users where age > 30", "select name from users where not age <= 30", **known) == (
        Outcome.CORRECT
    )
    # The file's own rows are the same for both, and only the generated ones are not.
    assert outcome("select name from users where age > 30", "select name from users where age >= 30", **known) == (
        Outcome.WRONG_ARGUMENTS
    )
    assert outcome("delete from users", "delete from users where 1", **known) == Outcome.UNPROVEN
    assert outcome("select a from nothing", "select a from nothing where a = a", **known) == Outcome.UNPROVEN
    assert (tmp_path / "shop.sqlite").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["shop.sqlite"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dialect": "nonsense"}, 'verifier sql, option dialect: sqlglot knows no "nonsense": try "sqlite"'),
        ({"database": "/nowhere"}, "verifier sql, option database: /nowhere is not a file of at most 64 MiB"),
        ({"database": __file__, "dialect": "mysql"},
         'verifier sql, option database: leave out dialect "mysql", or the database'),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        make_spec("sql", options)
    assert str(raised.value) == message


def test_a_dialect_says_what_names_and_quotes_mean() -> None:
    assert outcome("select a from Users", "select a from users") == Outcome.CORRECT
    assert outcome("select a from Users", "select a from users", dialect="mysql") != Outcome.CORRECT
    assert outcome('select "a" from t', "select 'a' from t", dialect="mysql") == Outcome.CORRECT
    assert outcome('select "a" from t', "select 'a' from t", dialect="postgres") != Outcome.CORRECT


def test_the_rest_of_a_call_is_compared_as_tool_call_does() -> None:
    spec, gold = make_spec("sql", {}), query("select a from t", limit=5)
    for action, expected in (
        (query("SELECT a FROM t", limit=5), Outcome.CORRECT),
        (query("SELECT a FROM t", limit=6), Outcome.WRONG_ARGUMENTS),
        (query("SELECT a FROM t"), Outcome.MISSING_ARGUMENTS),
        (query(None, limit=5), Outcome.WRONG_ARGUMENTS),
        (Action(tool_calls=(ToolCall(name="run_sql", arguments={"limit": 5}),)), Outcome.MISSING_ARGUMENTS),
        (Action(tool_calls=(ToolCall(name="run_sql", arguments={"sql": "select a from t", "limit": 5}),)),
         Outcome.MISSING_ARGUMENTS),
        (Action(message="select a from t"), Outcome.WRONG_KIND),
    ):  # fmt: skip
        assert verify(spec, State(), [gold], action).outcome == expected
    fenced = Action(message="Let me see.\n```sql\nselect a from t\n```")
    assert verify(spec, State(), [fenced], Action(message="```sql\nSELECT a\nFROM t;\n```")).reward == 1.0
    assert verify(spec, State(), [fenced], Action(message="```sql\nSELECT b\nFROM t;\n```")).reward == 0.0


def test_the_tables_of_a_state_are_those_of_its_messages_and_tools() -> None:
    tool = {"function": {"name": "run_sql", "description": "Tables: CREATE TABLE t (a INT, b TEXT)"}}
    schema = read_schema([{"role": "system", "content": DDL}, {"content": None}], [tool])
    assert schema == {
        "t": (("a", "integer"), ("b", "text")),
        "users": (("id", "integer"), ("name", "text"), ("age", "integer"), ("city", "text"), ("joined", "date")),
        "orders": (("id", "integer"), ("user_id", "integer"), ("total", "real"), ("status", "text")),
    }
    assert read_schema([{"content": "CREATE TABLE t (a INT); CREATE TABLE t (b INT)"}], []) == {}
    assert read_schema([{"content": "create table t (a int"}, {"content": "create table"}, {"content": "("}], []) == {}


# By search.

NAMES = st.sampled_from(["a", "b", "c"])
CONDITIONS = st.recursive(
    st.builds("{} {} {}".format, NAMES, st.sampled_from(["=", "<", ">=", "<>"]), st.sampled_from(["1", "2", "'x'"])),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner),
    max_leaves=4,
)


@settings(max_examples=40)
@given(CONDITIONS, CONDITIONS)
def test_forms_are_equal_only_where_rows_are(one: str, other: str) -> None:
    queries = [f"select a, b from t where {condition}" for condition in (one, other)]
    same = outcome(*queries) == Outcome.CORRECT
    assert outcome(queries[0], queries[0].upper().replace("'X'", "'x'")) == Outcome.CORRECT
    if same:
        for number in range(12):
            database = sql_worker.generated(
                {"t": [["a", "integer"], ["b", "text"], ["c", "text"]]}, [1, 2, "x"], number
            )
            assert len({repr(sql_worker.run(database, query, is_ordered=False)) for query in queries}) == 1
            database.close()


def test_gold_passes_its_gate_whatever_it_is() -> None:
    for text in ("", " ", "no sql at all", "select", "'", "select 1"):
        assert passes_gate(make_spec("sql", {}), State(), query(text)) == Verdict(1.0, Outcome.CORRECT)


# Trials.

SHELF = """CREATE TABLE tool (id INTEGER PRIMARY KEY, name TEXT NOT NULL, shelf TEXT, weight INT);
CREATE TABLE rent (tool_id INT REFERENCES tool(id), days INT);"""

PAID_WITHOUT_WITNESSES = [
    ("select name from tool where shelf = 'B2' and weight > 4",
     "select distinct name from tool where shelf = 'B2' and weight > 4", "doubles"),
    ("select name from tool where shelf = 'B2' except select name from tool where weight > 4",
     "select a.name from tool a left join tool b on a.id = b.id and b.weight > 4 where a.shelf = 'B2' and b.id is null",
     "by row"),
    ("select shelf from tool where weight > 90 intersect select shelf from tool where weight < 2",
     "select distinct shelf from tool where weight > 90 and shelf in (select shelf from tool where weight < 2)",
     "a null on both sides"),
    ("select tool_id from rent where days > 9 intersect select id from tool where weight < 2",
     "select tool_id from rent where days > 9 and tool_id in (select id from tool where weight < 2)", "doubles"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "why"), PAID_WITHOUT_WITNESSES)
def test_rows_that_satisfy_the_conditions_show_the_difference(one: str, other: str, why: str) -> None:
    assert outcome(one, other, SHELF, dialect="sqlite") == Outcome.WRONG_ARGUMENTS, why


def test_keys_decide_what_is_the_same() -> None:
    keyless = SHELF.replace(" PRIMARY KEY", "").replace(" NOT NULL", "")
    for one, other in (
        ("select count(id) from tool", "select count(*) from tool"),
        ("select count(name) from tool", "select count(*) from tool"),
        ("select distinct id, shelf from tool", "select id, shelf from tool"),
    ):
        assert outcome(one, other, SHELF) == Outcome.CORRECT
        assert outcome(one, other, keyless) == Outcome.WRONG_ARGUMENTS


def test_a_condition_that_no_row_tells_from_its_mutant_is_unproven() -> None:
    one = "select name from tool where shelf = 'B2' or weight * weight = 50"
    other = "select name from tool where not (not shelf = 'B2' and not 50 = weight * weight)"
    assert outcome(one, other, SHELF) == Outcome.UNPROVEN


def test_in_sqlite_and_mysql_double_quotes_may_hold_a_string() -> None:
    one, other = 'select name from tool where shelf = "B2"', "select name from tool where shelf = 'B2'"
    assert outcome(one, other, SHELF, dialect="sqlite") == Outcome.CORRECT
    assert outcome(one, other, dialect="mysql") == Outcome.CORRECT
    for options in ({}, {"dialect": "postgres"}):
        assert outcome(one, other, SHELF, **options) != Outcome.CORRECT
    # Nobody knows the columns of a table that was not described.
    assert outcome(one, other, dialect="sqlite") == Outcome.UNPROVEN
    column = 'select name from tool where shelf = "name"'
    assert outcome(column, "select name from tool where shelf = 'name'", SHELF, dialect="sqlite") != Outcome.CORRECT
    assert outcome(column, "select name from tool where shelf = name", SHELF, dialect="sqlite") == Outcome.CORRECT


def test_the_columns_of_a_file_say_what_is_a_string(tmp_path: Path) -> None:
    known = {"database": make_database(tmp_path)}
    one, other = 'select age from users where name = "Ann"', "select age from users where name = 'Ann'"
    assert outcome(one, other, **known) == Outcome.CORRECT
    assert outcome('select age from users where name = "age"', "select age from users where name = 'age'", **known) != (
        Outcome.CORRECT
    )


def test_the_keys_of_a_state() -> None:
    ddl = "CREATE TABLE t (a INT NOT NULL, b TEXT UNIQUE, c INT, PRIMARY KEY (a, c))"
    assert read_keys([{"content": ddl}], []) == {"t": Keys(("a", "c"), (("a", "c"), ("b",)))}
    assert read_keys([{"content": "CREATE TABLE t (a INT"}], []) == {}
