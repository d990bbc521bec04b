"""What the names and tables of a run's TOML file mean."""

import json
import tomllib
from typing import Any

import pytest

from pivotmine.actions import Action, ToolCall
from pivotmine.errors import UserError
from pivotmine.verifiers import State, VerifierSpec, make_spec, resolve, verify
from pivotmine.verifiers.composed.auto import Rule
from pivotmine.verifiers.configured import configured_spec


def configured(text: str, name: str = "auto") -> VerifierSpec:
    tables: dict[str, Any] = tomllib.loads(text)
    return configured_spec(name, tables.get("verifiers", {}), tables.get("choose", ()))


def test_rules_stand_before_the_defaults_and_all_have_the_options_of_the_file() -> None:
    found = configured(
        """
        [verifiers.tool_call]
        free_text = ["*.body"]
        [verifiers.loose]
        verifier = "tool_call"
        free_text = ["*.note"]
        [[choose]]
        domain = "mail"
        tool = ["send", "reply"]
        verifier = "loose"
        [[choose]]
        tool = "pay"
        kind = "tool_call"
        verifier = "exact"
        """
    )
    loose, plain = make_spec("tool_call", {"free_text": ["*.note"]}), make_spec("tool_call", {"free_text": ["*.body"]})
    rules = found.options.rules
    assert rules[:2] == (
        Rule(verifier=loose, domains=("mail",), tools=("send", "reply")),
        Rule(verifier=make_spec("exact", {}), tools=("pay",), kind="tool_call"),
    )
    assert Rule(verifier=plain, kind="tool_call") in rules
    assert [(rule.kind, rule.verifier.name) for rule in rules[2:]] == [
        ("keystrokes", "terminal"),
        ("edit", "edit"),
        ("command", "shell"),
        ("query", "sql"),
        ("code", "python"),
        ("tool_call", "tool_call"),
        ("message", "text"),
    ]


def test_a_name_of_ones_own_can_be_used_like_any_other() -> None:
    text = '[verifiers.loose]\nverifier = "tool_call"\nfree_text = ["*.note"]\n'
    assert configured(text, "loose") == make_spec("tool_call", {"free_text": ["*.note"]})
    assert configured(text, "tool_call") == make_spec("tool_call", {})
    assert configured("", "auto") == make_spec("auto", {})
    assert configured("", "own_verifiers:half") == make_spec("own_verifiers:half", {})
    many = '[verifiers."own_verifiers:MANY"]\nnum_calls = 2\n'
    assert configured(many, "own_verifiers:MANY") == make_spec("own_verifiers:MANY", {"num_calls": 2})


def test_verifiers_made_of_others() -> None:
    text = """
        [verifiers.loose]
        verifier = "tool_call"
        free_text = ["*.note"]
        [verifiers.either]
        any = ["exact", "loose"]
        [verifiers.blend]
        weights = { either = 3, tool_call = 1.5 }
    """
    loose, exact = make_spec("tool_call", {"free_text": ["*.note"]}), make_spec("exact", {})
    either = make_spec("any", {"members": [exact, loose]})
    assert configured(text, "either") == either
    blend = make_spec("weighted", {"members": [either, make_spec("tool_call", {})], "weights": [3, 1.5]})
    assert configured(text, "blend") == blend


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[verifiers.a]\nall = ['b']\n[verifiers.b]\nany = ['a']", "verifier a is made of itself: a of b of a"),
        ("[verifiers.a]\nall = ['b']\nany = ['b']", "[verifiers.a] must have exactly one of"),
        ("[verifiers.a]\nall = 'exact'", "[verifiers.a] all: a list of names, not 'exact'"),
        ("[verifiers.a]\nweights = ['exact']", "[verifiers.a] weights: a table of names and numbers, not ['exact']"),
        ("[verifiers.a]\nall = ['exact']\nfree_text = []", "[verifiers.a] has all and also free_text: "),
        ("[verifiers.a]\nweights = { exact = 'x' }", "option weights[0]: must be a number, is 'x'"),
        (
            "[verifiers.a]\nall = ['text', 'exact']",
            "[verifiers.a] all judges no turn, because its members share no kind: text only message turns, exact only "
            "tool_call turns",
        ),
        (
            "[verifiers.a]\nweights = { edit = 1, text = 1 }",
            "[verifiers.a] weights judges no turn, because its members share no kind: edit only tool_call turns, text",
        ),
    ],
)
def test_a_verifier_made_of_nothing_is_a_user_error(text: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        configured(text, "a")
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[choose]]\ntool = 'a'", '[[choose]] needs the name of a verifier: verifier = "..."'),
        ("[[choose]]\ntools = 'a'", "[[choose]] has no key 'tools': it has verifier, domain, tool, kind"),
        ("[[choose]]\nkind = 'call'\nverifier = 'exact'", "kind 'call': choose one of keystrokes, edit, command"),
        ("[[choose]]\ntool = 3\nverifier = 'exact'", "option tools: must be a list of strings, is 3"),
        ("[[choose]]\nverifier = 'exakt'", 'no verifier "exakt": choose one of '),
        ("[[choose]]\nverifier = 'auto'", "verifier auto is made of itself: auto of auto"),
        (
            "[[choose]]\nkind = 'tool_call'\nverifier = 'text'",
            '[[choose]] verifier = "text" with kind = "tool_call" fits no turn: text judges only message turns; take a '
            "verifier that judges tool_call turns, such as tool_call",
        ),
        ("[[choose]]\nkind = 'message'\nverifier = 'edit'", "take a verifier that judges message turns, such as text"),
        ("[[choose]]\nkind = 'query'\nverifier = 'text'", "a verifier that judges tool_call turns, such as sql"),
        ("[[choose]]\ntool = ['pay']\nverifier = 'text'", "with tool = ['pay'] fits no turn"),
        ("[[choose]]\ntool = 'pay'\nkind = 'message'\nverifier = 'judge'", "fits no turn: a message calls no tool"),
        (
            "[verifiers.a]\nany = ['exact', 'edit']\n[[choose]]\nkind = 'message'\nverifier = 'a'",
            '[[choose]] verifier = "a" with kind = "message" fits no turn: a judges only tool_call turns',
        ),
        (
            "[verifiers.a]\nfirst_decided = ['text']\n[[choose]]\nkind = 'command'\nverifier = 'a'",
            "a judges only message turns; take a verifier that judges tool_call turns, such as shell",
        ),
        (
            "[verifiers.a]\nall = ['text', 'judge']\n[[choose]]\ntool = 'pay'\nverifier = 'a'",
            "a judges only message turns",
        ),
        ("[verifiers.auto]\nrules = []", "[verifiers.auto] has only the option unproven: its rules"),
    ],
)  # fmt: skip
def test_a_rule_that_means_nothing_is_a_user_error(text: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        configured(text)
    assert message in str(raised.value)


def test_what_unproven_is_worth_is_an_option_of_the_outermost_table() -> None:
    text = """
        [verifiers.commands]
        first_decided = ["shell", "exact"]
        unproven = "null"
        [verifiers.auto]
        unproven = "zero"
        [verifiers.strict]
        verifier = "shell"
        unproven = "null"
    """
    members = {"members": [make_spec("shell", {}), make_spec("exact", {})]}
    assert configured(text, "commands") == make_spec("first_decided", {**members, "unproven": "null"})
    assert configured(text, "strict") == make_spec("shell", {"unproven": "null"})
    assert (configured(text, "auto").unproven, configured("", "auto").unproven) == ("zero", "by_kind")
    with pytest.raises(UserError, match="only the outermost verifier applies"):
        configured('[verifiers.shell]\nunproven = "null"\n[verifiers.a]\nany = ["shell"]', "a")


CALLS = {
    "shell": ToolCall(name="bash", arguments={"command": "ls", "note": "Look"}),
    "sql": ToolCall(name="run_sql", arguments={"query": "select a from t", "note": "Look"}),
    "python": ToolCall(name="python", arguments={"code": "x = 1", "note": "Look"}),
    "edit": ToolCall(name="edit", arguments={"path": "/a", "old_str": "x", "new_str": "y", "note": "Look"}),
    "search_query": ToolCall(name="search", arguments={"query": "red cars", "note": "Look"}),
}


def accepts(spec: VerifierSpec, call: ToolCall, note: Any) -> bool:
    given = ToolCall(name=call.name, arguments={**call.arguments, "note": note})
    alone, other = Action(tool_calls=(call,)), Action(tool_calls=(given,))
    return verify(spec, State(), [alone], other).reward == 1.0


@pytest.mark.parametrize("name", CALLS)
def test_the_options_of_tool_call_hold_for_the_other_arguments(name: str) -> None:
    call = CALLS[name]
    tables = {"tool_call": {"any_case": ["*.note"], "unproven": "null"}}
    for verifier in (name, "auto"):
        chosen = configured_spec(verifier, {"tool_call": {"any_case": ["*.note"]}})
        assert accepts(chosen, call, "LOOK")
        assert not accepts(chosen, call, "see")
        assert not accepts(configured_spec(verifier, {}), call, "LOOK")
        resolved = resolve(chosen, None, [Action(tool_calls=(call,))])
        assert resolved is not None
        assert make_spec(resolved.name, json.loads(resolved.options_json)) == resolved
    own = configured_spec(name, {**tables, name: {"rest": {"ignore": ["*.note"]}}})
    assert (accepts(own, call, "see"), own.unproven) == (True, "by_kind")
    named = configured_spec("mine", {**tables, "mine": {"verifier": name}})
    assert (accepts(named, call, "LOOK"), accepts(named, call, "see")) == (True, False)
    assert configured_spec(name, tables).verifier_id != configured_spec(name, {}).verifier_id


def test_calls_side_by_side_share_the_options() -> None:
    looked = ToolCall(name="find", arguments={"id": 1, "note": "Look"})
    for kinds in (("shell",), ("shell", "sql")):
        calls = [CALLS[kind] for kind in kinds]
        demonstration = Action(tool_calls=(*calls, looked))
        loud = [ToolCall(name=call.name, arguments={**call.arguments, "note": "LOOK"}) for call in (looked, *calls)]
        loose = configured_spec("auto", {"tool_call": {"any_case": ["*.note"]}})
        assert verify(loose, State(), [demonstration], Action(tool_calls=tuple(loud))).reward == 1.0
        assert (
            verify(configured_spec("auto", {}), State(), [demonstration], Action(tool_calls=tuple(loud))).reward == 0.0
        )


def test_rest_must_be_a_table_of_options() -> None:
    with pytest.raises(UserError, match=r"option rest: must be a table of options of tool_call, is 3"):
        make_spec("shell", {"rest": 3})
    with pytest.raises(UserError, match=r'option rest has no option "ignored": its options are '):
        make_spec("shell", {"rest": {"ignored": ["a.b"]}})
