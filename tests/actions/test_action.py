from pivotmine import actions
from pivotmine.actions import Action, ToolCall, Unparsed, action_from_json, action_to_json, parse_action


def test_the_stored_form_leaves_out_what_is_empty() -> None:
    action = Action(
        reasoning="hm",
        tool_calls=(ToolCall(name="a", arguments={"x": [1, None]}),),
        unparsed=(Unparsed(text="{", reason="not JSON"),),
        truncated=True,
    )
    text = (
        '{"reasoning":"hm","tool_calls":[{"name":"a","arguments":{"x":[1,null]}}],'
        '"unparsed":[{"text":"{","reason":"not JSON"}],"truncated":true}'
    )
    assert action_to_json(action) == text
    assert action_from_json(text) == action
    assert action_to_json(Action()) == "{}"
    assert action_from_json("{}") == Action()


def test_kind_follows_the_calls() -> None:
    assert Action(message="a", tool_calls=(ToolCall(name="a", arguments={}),)).kind == "tool_call"
    assert Action(message="a").kind == "message"


def test_the_deepest_arguments_that_are_read_can_be_stored_and_read_again() -> None:
    nested = "[" * 63 + "1" + "]" * 63
    action = parse_action(
        f'<tool_call>{{"name": "a", "arguments": {{"x": {nested}}}}}</tool_call>', parser="hermes"
    )
    assert [call.name for call in action.tool_calls] == ["a"]
    assert action_from_json(action_to_json(action)) == action


def test_the_exported_names() -> None:
    assert actions.__all__ == sorted(
        actions.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name)
    )
    assert all(hasattr(actions, name) for name in actions.__all__)
