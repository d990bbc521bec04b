"""`recorded`: the reward that came with the data."""

import pytest

from pivotmine.actions import Action, ToolCall, Unparsed, action_to_json
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, passes_gate, verify

CALL = Action(tool_calls=(ToolCall(name="f", arguments={}),))
SAID = Action(message="hello")
RECORDED = make_spec("recorded", {})


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Action(message="x", recorded_reward=1.0), Verdict(1.0, Outcome.CORRECT)),
        (Action(message="x", recorded_reward=0.0), Verdict(0.0, Outcome.WRONG_KIND)),
        (Action(tool_calls=CALL.tool_calls, recorded_reward=0.0), Verdict(0.0, Outcome.WRONG_ARGUMENTS)),
        (Action(tool_calls=CALL.tool_calls, recorded_reward=0.3), Verdict(0.3, Outcome.PARTIAL)),
        (Action(truncated=True, recorded_reward=0.0), Verdict(0.0, Outcome.TRUNCATED)),
        (Action(truncated=True, recorded_reward=1.0), Verdict(1.0, Outcome.CORRECT)),
        (Action(unparsed=(Unparsed(text="<", reason="no"),), recorded_reward=1.0), Verdict(1.0, Outcome.CORRECT)),
        (Action(tool_calls=CALL.tool_calls), Verdict(None, Outcome.ERROR, "no reward was recorded for this sample")),
        (
            Action(message="x", recorded_reward=7.0),
            Verdict(None, Outcome.ERROR, "ValueError: a reward of 7.0 is not in [0, 1]"),
        ),
        (
            Action(message="x", recorded_reward=float("nan")),
            Verdict(None, Outcome.ERROR, "ValueError: a reward of nan is not in [0, 1]"),
        ),
    ],
)
def test_a_sample_is_worth_what_was_recorded(action: Action, expected: Verdict) -> None:
    assert verify(RECORDED, State(), [CALL], action) == expected


def test_every_demonstration_passes_its_gate() -> None:
    for demonstration in (CALL, SAID):
        assert passes_gate(RECORDED, State(), demonstration) == Verdict(1.0, Outcome.CORRECT)


def test_the_reward_is_no_part_of_what_was_done() -> None:
    assert Action(message="x", recorded_reward=1.0) == Action(message="x")
    assert action_to_json(Action(message="x", recorded_reward=1.0)) == '{"message":"x"}'
