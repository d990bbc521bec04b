import pytest

from pivotmine.actions import Action, ToolCall
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, passes_gate, verify
from pivotmine.verifiers.recorded import recorded_verdict

SPEC = make_spec("recorded", {})
CALL = Action(tool_calls=(ToolCall(name="f", arguments={"a": 1}),))
TEXT = Action(message="done")


def test_what_was_not_recorded_is_not_known() -> None:
    unknown = Verdict(None, Outcome.ERROR, "no reward was recorded for this action")
    assert verify(SPEC, State(), [CALL], TEXT) == unknown == verify(SPEC, State(), [TEXT], CALL)
    assert [passes_gate(SPEC, State(), demonstration).reward for demonstration in (CALL, TEXT)] == [1, 1]


@pytest.mark.parametrize(
    ("reward", "verdict"),
    [
        (None, (None, Outcome.ERROR)),
        (0.0, (0.0, Outcome.UNPROVEN)),
        (0.67, (0.67, Outcome.PARTIAL)),
        (1, (1.0, Outcome.CORRECT)),
        (1.5, (None, Outcome.ERROR)),
        (-0.1, (None, Outcome.ERROR)),
    ],
)
def test_a_recorded_reward_as_a_verdict(reward: float | None, verdict: tuple[float | None, Outcome]) -> None:
    found = recorded_verdict(reward)
    assert (found.reward, found.outcome) == verdict
