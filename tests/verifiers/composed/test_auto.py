"""`auto`: which verifier judges which turn."""

import json
import subprocess
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivotmine.actions import Action, ToolCall
from pivotmine.verifiers import (
    Outcome,
    State,
    Verdict,
    VerifierSpec,
    base,
    make_spec,
    passes_gate,
    prepare,
    resolve,
    verify,
)
from pivotmine.verifiers.composed.auto import Rule, left_out

EXACT, TOOL_CALL = make_spec("exact", {}), make_spec("tool_call", {})
HALF, NOTHING = make_spec("own_verifiers:half", {}), make_spec("own_verifiers:nothing", {})


def call(*names: str) -> Action:
    return Action(tool_calls=tuple(ToolCall(name=name, arguments={"a": 1}) for name in names))


SAID = Action(message="hello")


def auto(*rules: Rule) -> VerifierSpec:
    return make_spec("auto", {"rules": rules})


def test_the_first_rule_that_fits_counts() -> None:
    spec = auto(
        Rule(verifier=EXACT, domains=("shop", "bank"), tools=("pay", "refund")),
        Rule(verifier=HALF, kind="message"),
        Rule(verifier=EXACT, domains=("bank",)),
        Rule(verifier=TOOL_CALL),
    )
    for domain, demonstration, expected in [
        ("shop", call("pay"), EXACT),
        ("shop", call("refund", "pay"), EXACT),
        ("shop", call("pay", "find"), TOOL_CALL),
        ("shop", call("find"), TOOL_CALL),
        ("bank", call("find"), EXACT),
        (None, call("pay"), TOOL_CALL),
        ("bank", SAID, HALF),
        (None, SAID, HALF),
    ]:
        assert resolve(spec, domain, [demonstration]) == expected, (domain, demonstration)


def test_a_rule_whose_verifier_cannot_judge_the_turn_does_not_fit() -> None:
    assert resolve(auto(Rule(verifier=TOOL_CALL), Rule(verifier=HALF)), None, [SAID]) == HALF
    assert resolve(auto(Rule(verifier=TOOL_CALL)), None, [SAID]) is None
    assert resolve(auto(Rule(verifier=HALF, tools=("f",))), None, [SAID]) is None


def test_one_verifier_for_everything_is_itself() -> None:
    assert resolve(TOOL_CALL, "shop", [call("f")]) == TOOL_CALL
    assert resolve(TOOL_CALL, "shop", [SAID]) is None
    assert resolve(TOOL_CALL, "shop", [SAID, call("f")]) == TOOL_CALL


def test_demonstrations_of_two_verifiers_are_each_compared_by_their_own() -> None:
    spec = auto(
        Rule(verifier=NOTHING, domains=("other",)),
        Rule(verifier=EXACT, tools=("pay",), domains=("shop",)),
        Rule(verifier=TOOL_CALL, kind="tool_call"),
        Rule(verifier=HALF, kind="message"),
    )
    demonstrations = [call("pay"), call("find"), SAID]
    one = resolve(spec, "shop", demonstrations)
    assert one is not None
    assert one.name == "auto"
    assert resolve(one, None, [call("pay")]) == EXACT, "the row's verifier needs no domain"
    assert make_spec(one.name, json.loads(one.options_json)) == one
    judge = prepare(one, State(), demonstrations)
    spaced = Action(tool_calls=(ToolCall(name="find", arguments={"a": 1.0}),))
    assert judge(spaced).reward == 1.0
    assert judge(Action(tool_calls=(ToolCall(name="pay", arguments={"a": 1.0}),))).reward == 0.5, "exact: not for pay"
    assert judge(call("pay")).reward == 1.0
    assert judge(SAID) == Verdict(1.0, Outcome.CORRECT, "itself")


def test_a_demonstration_that_no_rule_fits_is_a_null() -> None:
    judge = prepare(auto(Rule(verifier=HALF, tools=("pay",)), Rule(verifier=TOOL_CALL, tools=("f",))), State(), [SAID])
    assert judge(SAID) == Verdict(None, Outcome.ERROR, "ValueError: no rule for this message turn")


BATCH = json.dumps({"analysis": "", "plan": "", "commands": [{"keystrokes": "ls\n"}]})


@pytest.mark.parametrize(
    ("demonstration", "expected"),
    [
        (call("f"), "tool_call"),
        (SAID, "text"),
        (Action(message=BATCH), "terminal"),
        (Action(message=f"```json\n{BATCH}\n```"), "terminal"),
        (Action(message=BATCH[:-1]), "text"),
        (Action(message=BATCH.replace("plan", "plans")), "text"),
        (Action(message=BATCH, tool_calls=call("f").tool_calls), "tool_call"),
    ],
)
def test_without_rules_each_kind_has_its_default(demonstration: Action, expected: str) -> None:
    assert resolve(make_spec("auto", {}), None, [demonstration]) == make_spec(expected, {})


def test_a_rule_for_keystrokes_is_for_no_other_message() -> None:
    spec = auto(Rule(verifier=HALF, kind="keystrokes"), Rule(verifier=NOTHING))
    assert resolve(spec, None, [Action(message=BATCH)]) == HALF
    assert resolve(spec, None, [SAID]) == NOTHING
    assert resolve(spec, None, [call("f")]) == NOTHING


def test_the_id_is_of_the_rules_and_of_every_member() -> None:
    one, other = auto(Rule(verifier=EXACT)), auto(Rule(verifier=EXACT, domains=("shop",)))
    assert one.verifier_id != other.verifier_id
    raised = replace(EXACT, verifier=replace(EXACT.verifier, version=99))
    assert auto(Rule(verifier=raised)).verifier_id != one.verifier_id
    assert make_spec(one.name, json.loads(one.options_json)) == one


def test_messages_are_needed_where_a_member_needs_them() -> None:
    assert auto(Rule(verifier=TOOL_CALL), Rule(verifier=HALF)).needs_messages
    assert not auto(Rule(verifier=TOOL_CALL)).needs_messages


def named(tool: str, **arguments: Any) -> Action:
    return Action(tool_calls=(ToolCall(name=tool, arguments=arguments),))


def together(*actions: Action) -> Action:
    return Action(tool_calls=tuple(c for action in actions for c in action.tool_calls))


ROUTED = [
    # by the tool's name, or by a content that is hardly anything else
    (named("bash", command="ls -la"), "shell"),
    (named("execute_bash", cmd="ls"), "shell"),
    (named("container.exec", cmd=["bash", "-lc", "ls"]), "shell"),
    (named("RunTerminalCommand", command="make"), "shell"),
    (named("sandbox", command="grep -rn foo ."), "shell"),
    (named("robot", command="find the door"), "tool_call"),
    (named("lamp", command="turn on"), "tool_call"),
    (named("bash", restart=True), "tool_call"),
    (named("sql_db_query", query="select a from t"), "sql"),
    (named("run", sql="SELECT 1 FROM t"), "sql"),
    (named("ask", query="SELECT name FROM users WHERE id = 3"), "sql"),
    (named("run_sql", query="SELECT 1"), "sql"),
    (named("run_sql", query="select count(*)"), "sql"),
    (named("runSQL", query="-- all of them\nWITH t AS (SELECT 1) SELECT * FROM t"), "sql"),
    (named("mysql_query", query="SHOW TABLES"), "sql"),
    (named("sqlite", query="PRAGMA table_info(users)"), "sql"),
    (named("postgres.query", query="(SELECT 1) UNION (SELECT 2)"), "sql"),
    (named("postgres.query", sql="explain select a from t"), "sql"),
    (named("query_database", query="select max(3, 4)"), "sql"),
    (named("ask", sql="values (1)"), "sql"),
    (named("execute_query", query="SELECT 1"), "sql"),
    (named("query_database", query="select everything that is red"), "tool_call"),
    (named("query_database", query="show me all users"), "tool_call"),
    (named("search", query="select 1 hotel"), "tool_call"),
    (named("run_sql", query="how many users are there"), "tool_call"),
    (named("search", query="select a hotel from these"), "tool_call"),
    (named("search", query="weather in Paris"), "tool_call"),
    (named("db_search", query="red shoes"), "tool_call"),
    (named("python", code="x=1"), "python"),
    (named("execute", code="x = 1"), "python"),
    (named("execute", code="print(1)"), "python"),
    (named("redeem", code="SAVE-10"), "tool_call"),
    (named("verify", code="1e3"), "tool_call"),
    (named("run_javascript", code="x = 1"), "tool_call"),
    (named("run", code="x = 1", language="ruby"), "tool_call"),
    (named("str_replace_editor", command="str_replace", path="/a", old_str="x", new_str="y"), "edit"),
    (named("str_replace_editor", command="view", path="/a"), "tool_call"),
    (named("write_file", path="/a", content="x"), "edit"),
    (named("send", file="/a", content="x"), "tool_call"),
    (together(named("bash", command="ls"), named("think", thought="hm")), "shell"),
    (together(named("bash", command="ls"), named("python", code="x=1")), "auto"),
]


@pytest.mark.parametrize(("demonstration", "expected"), ROUTED)
def test_a_call_goes_to_the_verifier_that_can_prove_it(demonstration: Action, expected: str) -> None:
    found = resolve(make_spec("auto", {}), None, [demonstration])
    assert found is not None
    assert (found.name, passes_gate(found, State(), demonstration).reward) == (expected, 1.0)
    assert make_spec(found.name, json.loads(found.options_json)) == found


SAME = [
    (named("bash", command="ls -la"), named("bash", command="ls -al")),
    (named("bash", command="grep -rn foo ."), named("bash", command='grep -rn "foo" .')),
    (named("run_sql", query="select a from t;"), named("run_sql", query="SELECT a FROM t")),
    (named("run_sql", query="SELECT 1"), named("run_sql", query="select 1;")),
    (named("python", code="x=1"), named("python", code="x = 1")),
    (
        together(named("bash", command="ls -la"), named("python", code="x=1")),
        together(named("python", code="x = 1"), named("bash", command="ls -al")),
    ),
]


@pytest.mark.parametrize(("demonstration", "action"), SAME)
def test_forms_that_differ_pass_where_they_are_proved_the_same(demonstration: Action, action: Action) -> None:
    spec = resolve(make_spec("auto", {}), None, [demonstration])
    assert spec is not None
    for judge in (spec, make_spec("auto", {})):
        assert prepare(judge, State(), [demonstration])(action) == Verdict(1.0, Outcome.CORRECT)


def test_a_turn_with_calls_of_several_kinds_says_what_its_calls_say() -> None:
    gold = together(named("bash", command="ls"), named("python", code="x=1"))
    judge = prepare(make_spec("auto", {"unproven": "null"}), State(), [gold])
    for command, code, expected in [
        ("ls", "x = 1", Outcome.CORRECT),
        ("ls -a", "x = 1", Outcome.UNPROVEN),
        ("rm -r a", "x = 1", Outcome.WRONG_ARGUMENTS),
        ("ls -a", "x = 2", Outcome.WRONG_ARGUMENTS),
    ]:
        action = together(named("bash", command=command), named("python", code=code))
        assert judge(action).outcome == expected, (command, code)
    assert judge(named("bash", command="ls")).outcome == Outcome.MISSING_CALLS


TEXTS = {
    "bash": ("command", ("ls", "ls -la", "ls -al", "rm -r a", "cd a && ls", "(")),
    "run_sql": ("query", ("select a from t", "SELECT a FROM t;", "select b from t", "delete from t")),
    "python": ("code", ("x=1", "x = 1", "x = 2", "print(x)", "!ls")),
    "find": ("id", ("7", " 7", "8")),
}
CALLS = st.sampled_from(
    [ToolCall(name=tool, arguments={name: text}) for tool, (name, texts) in TEXTS.items() for text in texts]
)
TURNS = st.lists(CALLS, min_size=1, max_size=3).map(lambda calls: Action(tool_calls=tuple(calls)))


@given(TURNS, TURNS)
def test_it_never_accepts_more_than_its_parts(demonstration: Action, action: Action) -> None:
    spec = resolve(make_spec("auto", {}), None, [demonstration])
    assert spec is not None
    accepted = prepare(spec, State(), [demonstration])(action).reward == 1
    parts = [make_spec(name, {}) for name in ("shell", "sql", "python", "tool_call")]

    def same(one: ToolCall, other: ToolCall) -> bool:
        gold, given = Action(tool_calls=(one,)), Action(tool_calls=(other,))
        return any(prepare(part, State(), [gold])(given).reward == 1 for part in parts)

    calls, others = demonstration.tool_calls, list(action.tool_calls)
    matched = len(calls) == len(others) and matches(calls, others, same)
    assert not accepted or matched


def matches(calls: tuple[ToolCall, ...], others: list[ToolCall], same: Any) -> bool:
    """Whether every call has one of the others for itself."""
    if not calls:
        return True
    return any(
        same(calls[0], other) and matches(calls[1:], others[:i] + others[i + 1 :], same)
        for i, other in enumerate(others)
    )


def test_a_default_whose_packages_are_missing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, find_spec = make_spec("auto", {}), base.find_spec

    def without_bash(name: str) -> ModuleSpec | None:
        return None if name.startswith("tree_sitter") else find_spec(name)

    assert left_out() == {}
    monkeypatch.setattr(base, "find_spec", without_bash)
    light = make_spec("auto", {})
    assert left_out() == {"shell": ["tree_sitter", "tree_sitter_bash"]}
    assert resolve(light, None, [named("bash", command="ls -la")]) == TOOL_CALL
    assert light.verifier_id != whole.verifier_id
    assert [rule.kind for rule in light.options.rules] == [r.kind for r in whole.options.rules if r.kind != "command"]


@pytest.mark.parametrize(("rule", "worth"), [("shell", 0.0), ("text", None)])
def test_an_unproven_message_is_worth_what_the_rule_that_judges_it_says(rule: str, worth: float | None) -> None:
    """A command in a fence is a command if `shell` judges it, and a message if `text` does."""
    listing, other = (Action(message=f"```\nls {flag}\n```") for flag in ("-l", "-a"))
    verdict = verify(auto(Rule(verifier=make_spec(rule, {}), kind="message")), State(), [listing], other)
    assert (verdict.outcome, verdict.reward) == (Outcome.UNPROVEN, worth)


def test_what_unproven_is_worth_goes_to_the_verifier_of_the_state() -> None:
    spec = make_spec("auto", {"unproven": "zero"})
    assert resolve(spec, None, [SAID]) == make_spec("text", {"unproven": "zero"})
    assert resolve(spec, None, [named("bash", command="ls")]) == make_spec("shell", {"unproven": "zero"})


LIGHT = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name.startswith("tree_sitter") else found(name, *rest)
from pivotmine.verifiers import make_spec
from pivotmine.verifiers.configured import configured_spec
for spec in (configured_spec("auto", {}), make_spec("auto", {})):
    print([rule.verifier.name for rule in spec.options.rules])
"""


def test_a_light_install_does_without_the_parser_of_commands() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['terminal', 'edit', 'sql', 'python', 'tool_call', 'text']"] * 2
