"""`auto`: which verifier judges which turn."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from pivotmine.actions import Action, ToolCall
from pivotmine.verifiers import Outcome, State, Verdict, VerifierSpec, make_spec, prepare, resolve
from pivotmine.verifiers.composed.auto import Rule

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
    assert done.stdout.splitlines() == ["['terminal', 'tool_call', 'text']"] * 2
