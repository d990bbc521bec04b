import pytest
from pivotmine.actions import Action, ToolCall, parse_action
from pivotmine.actions.reasoning import END_TOKENS

CALL = '<tool_call>{"name": "a", "arguments": {}}</tool_call>'


@pytest.mark.parametrize(
    ("text", "opened", "action"),
    [
        ("<think>\nhm\n</think>\n\nyes", False, Action(reasoning="hm", message="yes")),
        ("<think></think>yes", False, Action(message="yes")),
        ("\n[THINK]hm[/THINK]yes", False, Action(reasoning="hm", message="yes")),
        ("<think>[/THINK]</think>yes", False, Action(reasoning="[/THINK]", message="yes")),
        ("hm\n</think>\nyes", True, Action(reasoning="hm", message="yes")),
        ("hm[/THINK]yes", True, Action(reasoning="hm", message="yes")),
        ("<think>hm</think>yes", True, Action(reasoning="hm", message="yes")),
        (f"<think>hm {CALL}", False, Action(reasoning=f"hm {CALL}")),
        (f"hm {CALL}", True, Action(reasoning=f"hm {CALL}")),
        (f"{CALL}</think>yes", True, Action(reasoning=CALL, message="yes")),
        (
            f"hm</think>{CALL}",
            True,
            Action(reasoning="hm", tool_calls=(ToolCall(name="a", arguments={}),)),
        ),
        ("hm</think>yes", False, Action(message="hm</think>yes")),
        ("yes <think>hm</think>", False, Action(message="yes <think>hm</think>")),
    ],
)
def test_reasoning_is_told_from_the_answer(text: str, opened: bool, action: Action) -> None:  # noqa: FBT001
    assert parse_action(text, parser="hermes", opened_reasoning=opened) == action


@pytest.mark.parametrize("token", END_TOKENS)
def test_end_of_turn_tokens_at_the_end_are_no_text(token: str) -> None:
    assert parse_action(f"a {token} b{token}\n{token} ", parser="mistral") == Action(message=f"a {token} b")


def test_an_end_token_does_not_hide_in_reasoning() -> None:
    assert parse_action("<think>hm<|im_end|>", parser="hermes") == Action(reasoning="hm")
