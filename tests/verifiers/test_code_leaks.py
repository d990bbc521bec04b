"""Published verifiers of coding turns pay for these actions: each test is one of their leaks, closed here.

They compare the category of a tool, the first word of a command, parts of paths and the likeness of texts. The last
tests are demonstrations that fail there against themselves.
"""

from __future__ import annotations

from typing import Any

import pytest

from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers import Outcome, State, make_spec, passes_gate, verify


def call(name: str, **arguments: Any) -> Action:
    return Action(tool_calls=(ToolCall(name=name, arguments=arguments),))


def outcome(verifier: str, demonstrated: Action, given: Action) -> Outcome:
    assert passes_gate(make_spec(verifier, {}), State(), demonstrated).reward == 1.0
    return verify(make_spec(verifier, {}), State(), [demonstrated], given).outcome


ARGUMENTS = {"shell": "command", "sql": "query", "python": "code", "search_query": "query"}
GOLD = {"shell": "pytest tests/a.py", "sql": "select a from t", "python": "x = 1", "search_query": "weather Paris"}


@pytest.mark.parametrize("verifier", sorted(ARGUMENTS))
def test_leak_a_call_without_what_is_compared(verifier: str) -> None:
    gold = call("tool", **{ARGUMENTS[verifier]: GOLD[verifier]})
    assert outcome(verifier, gold, call("tool")) == Outcome.MISSING_ARGUMENTS
    for empty in ("", " ", None, [], {}):
        given = call("tool", **{ARGUMENTS[verifier]: empty})
        assert outcome(verifier, gold, given) in (Outcome.WRONG_ARGUMENTS, Outcome.UNPROVEN)


@pytest.mark.parametrize("verifier", sorted(ARGUMENTS))
def test_leak_another_argument_in_place_of_the_one_that_is_compared(verifier: str) -> None:
    gold = call("tool", **{ARGUMENTS[verifier]: GOLD[verifier]})
    for name in ("cmd", "sql", "source", "q", "commands"):
        given = call("tool", **{name: GOLD[verifier]})
        assert outcome(verifier, gold, given) in (Outcome.MISSING_ARGUMENTS, Outcome.UNKNOWN_ARGUMENTS)


@pytest.mark.parametrize("verifier", sorted(ARGUMENTS))
def test_leak_another_tool_with_the_same_arguments(verifier: str) -> None:
    arguments = {ARGUMENTS[verifier]: GOLD[verifier]}
    assert outcome(verifier, call("tool", **arguments), call("other", **arguments)) == Outcome.WRONG_TOOL


@pytest.mark.parametrize("verifier", sorted(ARGUMENTS))
def test_leak_the_right_call_among_many(verifier: str) -> None:
    gold = call("tool", **{ARGUMENTS[verifier]: GOLD[verifier]})
    wrong = call("tool", **{ARGUMENTS[verifier]: "x"})
    many = Action(tool_calls=(*wrong.tool_calls, *gold.tool_calls))
    assert outcome(verifier, gold, many) == Outcome.SURPLUS_CALLS


def test_leak_an_edit_with_no_arguments() -> None:
    gold = call("edit", path="/a.py", old_str="x", new_str="y")
    assert outcome("edit", gold, call("edit")) == Outcome.MISSING_ARGUMENTS


def test_leak_an_edit_that_is_much_like_the_demonstrated_one() -> None:
    old, new = "def save(self, path):\n    return write(path)", "def save(self, path):\n    return write(path, True)"
    gold = call("edit", path="/a.py", old_str=old, new_str=new)
    for other in (new.replace("True", "False"), new + " ", new.replace("path, True", "True, path"), old):
        assert outcome("edit", gold, call("edit", path="/a.py", old_str=old, new_str=other)) == Outcome.WRONG_ARGUMENTS


def test_leak_an_edit_that_differs_behind_its_first_two_thousand_characters() -> None:
    start = "x = 1\n" * 400
    gold = call("write_file", path="/a.py", content=f"{start}a")
    assert outcome("edit", gold, call("write_file", path="/a.py", content=f"{start}b")) == Outcome.WRONG_ARGUMENTS


def test_leak_a_file_whose_path_ends_alike() -> None:
    gold = call("edit", path="/repo/src/core/user.py", old_str="x", new_str="y")
    given = call("edit", path="/other/core/user.py", old_str="x", new_str="y")
    assert outcome("edit", gold, given) == Outcome.WRONG_ARGUMENTS


def test_leak_a_command_of_the_same_first_word_and_path() -> None:
    gold = call("bash", command="grep -rn 'def save' src/models/user.py")
    for other in ("grep -rn 'def load' src/models/user.py", "grep -rn . src/models/user.py"):
        assert outcome("shell", gold, call("bash", command=other)) == Outcome.WRONG_ARGUMENTS
    assert outcome("shell", gold, call("bash", command="grep src/models/user.py")) == Outcome.UNPROVEN


def test_leak_the_words_of_a_command_in_another_order() -> None:
    gold = call("bash", command="cp a.txt b.txt")
    assert outcome("shell", gold, call("bash", command="cp b.txt a.txt")) == Outcome.WRONG_ARGUMENTS


def test_leak_a_command_and_more() -> None:
    gold = call("bash", command="pytest tests/a.py")
    for more in ("; exit 0", " || true", " && git push --force", " | tail -1", " > /dev/null", "\nrm -rf /"):
        given = call("bash", command=f"pytest tests/a.py{more}")
        assert outcome("shell", gold, given) in (Outcome.WRONG_ARGUMENTS, Outcome.UNPROVEN)


def test_leak_an_answer_in_place_of_a_query() -> None:
    # Its rows are those of the demonstrated query, which shows that somebody knew them.
    state = State(messages=({"role": "system", "content": "CREATE TABLE t (a INT, b TEXT)"},))
    gold = call("run", query="select count(*) from t")
    for answer in ("select 0", "select 0 from t", "select count(*) from (select 1)", "values (0)"):
        assert verify(make_spec("sql", {}), state, [gold], call("run", query=answer)).reward == 0.0


def test_leak_a_query_without_rows_for_another_without_rows() -> None:
    state = State(messages=({"role": "system", "content": "CREATE TABLE t (a INT, b TEXT)"},))
    gold = call("run", query="select a from t where b = 'x' and 1 = 0")
    given = call("run", query="select a from t where 1 = 0 and a < 'x'")
    assert verify(make_spec("sql", {}), state, [gold], given).reward == 0.0


@pytest.mark.parametrize("view_range", [[1, -1], [5, 5], [1, 100]])
def test_a_view_is_itself_and_no_other(view_range: list[int]) -> None:
    gold = call("editor", command="view", path="/a.py", view_range=view_range)
    assert outcome("edit", gold, gold) == Outcome.CORRECT
    other = call("editor", command="view", path="/a.py", view_range=[view_range[0], view_range[1] + 1])
    assert outcome("edit", gold, other) == Outcome.WRONG_ARGUMENTS
