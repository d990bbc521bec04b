"""Published verifiers of single turns pay for these actions: each test is one of their leaks, closed here.

The first group scores 1 there without doing what was demonstrated; the second fails there although it is the
demonstration itself. `test_gym_single_step.py` and `test_gym_terminus_string.py` show that the published behaviour has
them.
"""

import json
from typing import Any

import pytest

from pivotmine.actions.action import Action, ToolCall, Unparsed
from pivotmine.verifiers import Outcome, State, make_spec, passes_gate, verify


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


def tool(name: str, *required: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


STRING = {"type": "string"}
EDITOR = tool(
    "str_replace_editor", "command", "path",
    command=STRING, path=STRING, old_str=STRING, new_str=STRING, view_range={"type": "array"},
)  # fmt: skip
STATE = State(
    tools=(
        tool("bash", "command", command=STRING),
        EDITOR,
        tool("search", "query", query=STRING, limit={"type": "integer"}),
        tool("grep", "pattern", "path", pattern=STRING, path=STRING),
        tool("finish", "message", message=STRING),
        tool("set_flag", "on", on={"type": "integer"}),
    )
)


def outcome(demonstrated: ToolCall, *given: ToolCall, state: State = STATE, message: str = "") -> Outcome:
    action = Action(tool_calls=given, message=message)
    verdict = verify(make_spec("tool_call", {}), state, [Action(tool_calls=(demonstrated,))], action)
    assert (verdict.reward == 1.0) == (verdict.outcome == Outcome.CORRECT)
    return verdict.outcome


def test_leak_many_calls_that_contain_the_right_one() -> None:
    right = call("search", query="red shoes")
    wrong = [call("search", query=f"shoes {i}") for i in range(19)]
    assert outcome(right, *wrong, right) == Outcome.SURPLUS_CALLS
    assert outcome(right, right, right) == Outcome.SURPLUS_CALLS


def test_leak_a_wrong_call_before_the_right_one() -> None:
    right = call("search", query="red shoes")
    assert outcome(right, call("grep", pattern="x", path="."), right) == Outcome.SURPLUS_CALLS
    assert outcome(right, right, call("grep", pattern="x", path=".")) == Outcome.SURPLUS_CALLS


def test_leak_half_of_the_words() -> None:
    # Twice the shared words over all words is 0.5 here: enough for a threshold of 0.1.
    gold = call("search", query="cheap red running shoes")
    assert outcome(gold, call("search", query="cheap red winter boots")) == Outcome.WRONG_ARGUMENTS


def test_leak_no_word_in_common() -> None:
    # A threshold of 0 lets every text of several words pass for every other.
    gold = call("bash", command="rm -rf build")
    assert outcome(gold, call("bash", command="echo all done")) == Outcome.WRONG_ARGUMENTS


def test_leak_the_same_words_in_another_order() -> None:
    gold = call("bash", command="delete bob keep alice")
    assert outcome(gold, call("bash", command="delete alice keep bob")) == Outcome.WRONG_ARGUMENTS


def test_leak_a_similar_command() -> None:
    gold = call("bash", command="pytest tests/test_models.py -k test_save")
    assert outcome(gold, call("bash", command="pytest tests/test_models.py -k test_load")) == Outcome.WRONG_ARGUMENTS


def test_leak_true_for_one() -> None:
    assert outcome(call("set_flag", on=1), call("set_flag", on=True)) == Outcome.WRONG_ARGUMENTS
    assert outcome(call("set_flag", on=True), call("set_flag", on=1)) == Outcome.WRONG_ARGUMENTS
    assert outcome(call("set_flag", on=0), call("set_flag", on=False)) == Outcome.WRONG_ARGUMENTS
    assert outcome(call("set_flag", on=[1, {"a": 0}]), call("set_flag", on=[True, {"a": False}])) == (
        Outcome.WRONG_ARGUMENTS
    )


def test_leak_a_command_call_without_its_command() -> None:
    assert outcome(call("bash", command="ls"), call("bash")) == Outcome.MISSING_ARGUMENTS


def test_leak_an_edit_call_with_no_arguments() -> None:
    gold = call("str_replace_editor", command="str_replace", path="/a.py", old_str="x", new_str="y")
    assert outcome(gold, call("str_replace_editor")) == Outcome.MISSING_ARGUMENTS


def test_leak_another_file_of_the_same_name() -> None:
    gold = call("str_replace_editor", command="view", path="/repo/src/core/models/user.py")
    given = call("str_replace_editor", command="view", path="/other/core/models/user.py")
    assert outcome(gold, given) == Outcome.WRONG_ARGUMENTS


def test_leak_a_range_that_mostly_overlaps() -> None:
    gold = call("str_replace_editor", command="view", path="/a.py", view_range=[1, 100])
    given = call("str_replace_editor", command="view", path="/a.py", view_range=[1, 90])
    assert outcome(gold, given) == Outcome.WRONG_ARGUMENTS


def test_leak_an_unknown_tool_with_any_arguments() -> None:
    gold = call("browse", url="https://a")
    assert outcome(gold, call("browse", url="https://b"), state=State()) == Outcome.WRONG_ARGUMENTS
    assert outcome(gold, call("browse"), state=State()) == Outcome.MISSING_ARGUMENTS
    # Where the state offers no such tool, even the demonstrated call is invalid.
    assert outcome(gold, gold) == Outcome.WRONG_TOOL


def test_leak_finish_with_another_text() -> None:
    assert outcome(call("finish", message="Done: 3 files"), call("finish", message="ok")) == Outcome.WRONG_ARGUMENTS


def test_leak_a_search_with_another_pattern() -> None:
    gold = call("grep", pattern="def save", path="src")
    assert outcome(gold, call("grep", pattern="def load", path="src")) == Outcome.WRONG_ARGUMENTS


def test_leak_another_tool_of_the_same_category() -> None:
    assert outcome(call("grep", pattern="x", path="."), call("search", query="x")) == Outcome.WRONG_TOOL


def test_leak_an_argument_with_null() -> None:
    assert outcome(call("search", query="x"), call("search", query="x", limit=None)) == Outcome.WRONG_ARGUMENTS
    assert outcome(call("search", query="x"), call("search", query="x", extra=None)) == Outcome.UNKNOWN_ARGUMENTS


def test_leak_extra_arguments_are_free() -> None:
    assert outcome(call("search", query="x"), call("search", query="x", limit=5)) == Outcome.WRONG_ARGUMENTS


def test_leak_numbers_within_a_tolerance() -> None:
    assert outcome(call("set_flag", on=0.0), call("set_flag", on=9e-7)) == Outcome.WRONG_ARGUMENTS


def test_leak_a_call_that_a_parser_repaired_or_dropped() -> None:
    gold = Action(tool_calls=(call("bash", command="ls"),))
    broken = Unparsed(text='{"name": "bash", "arguments": {"command": }}', reason="not JSON")
    for action in (Action(unparsed=(broken,)), Action(tool_calls=gold.tool_calls, unparsed=(broken,))):
        verdict = verify(make_spec("tool_call", {}), STATE, [gold], action)
        assert (verdict.reward, verdict.outcome, verdict.detail) == (0.0, Outcome.INVALID_CALL, "not JSON")


@pytest.mark.parametrize("message", ["", "I call bash with ls.", '{"name": "bash"}'])
def test_leak_text_or_nothing_in_place_of_a_call(message: str) -> None:
    expected = Outcome.WRONG_KIND if message else Outcome.EMPTY
    assert outcome(call("bash", command="ls"), message=message) == expected


@pytest.mark.parametrize("message", ["", " ", "anything", "I cancelled your order.", "Which country do you live in?"])
def test_leak_any_text_passes_for_a_demonstrated_message(message: str) -> None:
    gold = Action(message="Which order do you mean?")
    for name in ("exact", "tool_call"):
        assert not make_spec(name, {}).handles(gold.kind)
        assert verify(make_spec(name, {}), STATE, [gold], Action(message=message)).reward in (None, 0.0)
        assert passes_gate(make_spec(name, {}), STATE, gold).reward is None
    assert verify(make_spec("text", {}), STATE, [gold], Action(message=message)).reward in (None, 0.0)


def test_leak_a_truncated_or_unreadable_action_is_a_message() -> None:
    gold = Action(message="Which order do you mean?")
    broken = Unparsed(text="<tool_call>{", reason="not JSON")
    for given in (Action(truncated=True), Action(unparsed=(broken,)), Action(message=gold.message, truncated=True)):
        assert verify(make_spec("text", {}), STATE, [gold], given).reward == 0.0


def test_leak_the_easiest_call_alone_and_junk_beside_them() -> None:
    easy, other = call("bash", command="ls"), call("search", query="x")
    gold = Action(tool_calls=(easy, other))
    for given in ((easy,), (easy, other, *(call("search", query=str(i)) for i in range(20)))):
        assert verify(make_spec("tool_call", {}), STATE, [gold], Action(tool_calls=given)).reward == 0.0


LONG = "python train.py --config configs/base.yaml --epochs 10 --out runs/exp-1 --seed 7 --device cpu"


def terminal(demonstrated: list[str], *given: str, complete: bool = False, repeat: str = "") -> Outcome:
    def batch(keystrokes: list[str], *, complete: bool) -> str:
        commands = [{"keystrokes": k} for k in keystrokes]
        return json.dumps({"analysis": "", "plan": "", "commands": commands, "task_complete": complete})

    action = Action(message=batch(list(given), complete=complete).replace('"plan": "",', f'"plan": "",{repeat}'))
    gold = Action(message=batch(demonstrated, complete=False))
    assert passes_gate(make_spec("terminal", {}), STATE, gold).reward == 1.0
    return verify(make_spec("terminal", {}), STATE, [gold], action).outcome


def test_leak_a_task_called_complete_too_early() -> None:
    assert terminal(["ls\n"], "ls\n") == Outcome.CORRECT
    assert terminal(["ls\n"], "ls\n", complete=True) == Outcome.WRONG_ARGUMENTS


def test_leak_another_path_or_number_in_a_long_command() -> None:
    for old, new in (("exp-1", "exp-2"), ("10", "19"), ("--seed 7 ", "")):
        assert terminal([f"{LONG}\n"], f"{LONG.replace(old, new)}\n") == Outcome.WRONG_ARGUMENTS


def test_leak_a_command_without_its_enter() -> None:
    assert terminal([f"{LONG}\n"], LONG) == Outcome.WRONG_ARGUMENTS


def test_leak_keys_joined_to_text() -> None:
    assert terminal(["C-c", "ls\n"], "C-c", "ls\n") == Outcome.CORRECT
    assert terminal(["C-c", "ls\n"], "C-cls\n") == Outcome.WRONG_ARGUMENTS


def test_leak_a_key_given_twice() -> None:
    assert terminal(["ls\n"], "ls\n", repeat='"commands": [{"keystrokes": "rm a\\n"}],') == Outcome.INVALID_CALL


GOLD = [
    call("str_replace_editor", command="view", path="/a.py", view_range=[1, -1]),
    call("str_replace_editor", command="view", path="/a.py", view_range=[5, 5]),
    call("search", query="identical strings of several words"),
    call("search", query=""),
    call("search", query=" "),
    call("set_flag", on=1),
    call("set_flag", on=1.0),
    call("set_flag", on=True),
    call("set_flag", on=1e308),
    call("str_replace_editor", command="insert", path="/a.py", new_str="x" * 5000),
]


@pytest.mark.parametrize("gold", GOLD, ids=lambda gold: str(gold.arguments)[:60])
def test_a_demonstration_is_itself(gold: ToolCall) -> None:
    assert outcome(gold, gold) == Outcome.CORRECT


def test_whole_numbers_written_either_way_are_one() -> None:
    assert outcome(call("set_flag", on=1), call("set_flag", on=1.0)) == Outcome.CORRECT
    assert outcome(call("set_flag", on=1.0), call("set_flag", on=1)) == Outcome.CORRECT
