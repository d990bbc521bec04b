"""Equal final answers pass however they are written; hostile ones are ended by the kernel."""

import threading
from typing import Any

import pytest

from pivotmine.actions.action import Action, ToolCall
from pivotmine.errors import UserError
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, passes_gate, verify
from pivotmine.verifiers.maths.mathematics import final_answer

pytest.importorskip("math_verify")


def verdict(demonstrated: str, message: str, **options: Any) -> Verdict:
    spec = make_spec("math", options)
    return verify(spec, State(), [Action(message=demonstrated)], Action(message=message))


ANSWERS = {
    "So it is \\boxed{\\frac{1}{2}}.": "\\frac{1}{2}",
    "\\boxed{1} is wrong, hence \\boxed{ 2 }": "2",
    "It holds.\n\nThe answer is 42.": "42",
    "**Answer:** x + 1": "x + 1",
    "#### 1,234": "1,234",
    "We get $x=3$ and finally $y = 5$.": "y = 5",
    "She has 3 bags and pays 20 dollars": "20",
    "It rose by 15 %.": "15 %",
    "-3/4": "-3/4",
    "(1, 2)": "(1, 2)",
    "3\n\n": "3",
    "No number here": "",
    "\\boxed{1": "",
    "": "",
}


@pytest.mark.parametrize("text", ANSWERS)
def test_the_final_answer_of_a_text(text: str) -> None:
    assert final_answer(text) == ANSWERS[text]


EQUAL = [
    ("\\boxed{\\frac{1}{2}}", "Thus the answer is 0.5"),
    ("1,234", "The answer is 1234."),
    ("\\boxed{2\\sqrt{2}}", "\\boxed{\\sqrt{8}}"),
    ("\\boxed{(x-1)(x+1)}", "\\boxed{x^2 - 1}"),
    ("\\boxed{\\{1, 2\\}}", "\\boxed{\\{2, 1\\}}"),
    ("50%", "0.5"),
    ("\\boxed{50\\%}", "50 %"),
    ("\\boxed{x = 5}", "5"),
]
DIFFERENT = [
    ("42", "43"),
    ("42", "-42"),
    ("\\boxed{(1, 2)}", "\\boxed{(2, 1)}"),
    ("50%", "50"),
    ("\\boxed{x}", "\\boxed{y}"),
    ("\\boxed{1}", "\\boxed{x"),
    ("42", "It may be 42 or 43"),
    ("42", "I do not know"),
    ("42", "__import__('os').getpid()"),
    ("42", "4\u06602"),
]


def test_equal_answers_pass_both_ways() -> None:
    for one, other in EQUAL:
        assert verdict(one, other) == verdict(other, one) == Verdict(1.0, Outcome.CORRECT), (one, other)


def test_different_answers_fail_both_ways() -> None:
    for one, other in DIFFERENT:
        for found in (verdict(one, other), verdict(other, one)):
            assert (found.reward, found.outcome) == (0.0, Outcome.WRONG_TEXT), (one, other)


def test_the_detail_says_what_was_compared() -> None:
    assert verdict("42", "The answer is 43").detail == "43, demonstrated 42"
    assert verdict("42", "no idea").detail == "states no answer"
    assert verdict("no idea", "42") == Verdict(0.0, Outcome.WRONG_TEXT, "demonstrated: states no answer")


HOSTILE = ["\\boxed{9^{9^{9^{9}}}}", "\\boxed{99999999!}"]


@pytest.mark.parametrize("answer", HOSTILE)
def test_an_answer_without_end_is_ended(answer: str) -> None:
    found = verdict("\\boxed{1}", answer, cpu_s=1)
    assert found == Verdict(None, Outcome.UNPROVEN, "not compared within 1 s of CPU time")
    # What is the same as it is written needs no algebra; and the next question finds a new worker.
    assert passes_gate(make_spec("math", {}), State(), Action(message=answer)).reward == 1.0
    assert verdict("0.5", "\\boxed{1/2}").reward == 1.0


@pytest.mark.parametrize(
    "text", ["1" * 2_000_000, "\\boxed{" * 300_000, "$" * 1_000_000, "answer is " * 100_000, "\\" * 10**6]
)
def test_long_texts_are_bounded(text: str) -> None:
    found = verdict("\\boxed{1}", text)
    assert (found.reward, found.outcome) in [(None, Outcome.UNPROVEN), (0.0, Outcome.WRONG_TEXT)]


def test_it_works_in_threads() -> None:
    found: list[Verdict] = []
    threads = [threading.Thread(target=lambda: found.append(verdict("0.5", "\\boxed{1/2}"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [Verdict(1.0, Outcome.CORRECT)] * 2


def call(name: str = "submit", **arguments: Any) -> Action:
    return Action(tool_calls=(ToolCall(name=name, arguments=arguments),))


def test_the_answer_may_stand_in_an_argument() -> None:
    spec = make_spec("math", {"argument": "submit.answer"})

    def outcome(given: Action) -> Outcome:
        return verify(spec, State(), [call(answer="\\boxed{0.5}", id=1)], given).outcome

    assert outcome(call(answer="\\boxed{0.5}", id=1)) == Outcome.CORRECT
    assert outcome(call(answer=0.5, id=1)) == Outcome.CORRECT
    assert outcome(call(answer="\\frac{1}{2}", id=1)) == Outcome.CORRECT
    assert outcome(call(answer=0.5, id=2)) == Outcome.WRONG_ARGUMENTS
    assert outcome(call(answer=0.5)) == Outcome.WRONG_ARGUMENTS
    assert outcome(call(id=1)) == Outcome.MISSING_ARGUMENTS
    assert outcome(call("check", answer=0.5, id=1)) == Outcome.WRONG_TOOL
    assert outcome(Action(tool_calls=call(answer=0.5, id=1).tool_calls * 2)) == Outcome.SURPLUS_CALLS
    assert outcome(Action(message="0.5")) == Outcome.WRONG_KIND
    assert verify(make_spec("math", {}), State(), [Action(message="1")], call(answer=1)).outcome == Outcome.WRONG_KIND


def test_options_are_checked() -> None:
    with pytest.raises(UserError, match='option argument: "answer" names no argument'):
        make_spec("math", {"argument": "answer"})
    with pytest.raises(UserError, match="option cpu_s: must be above 0 and at most 3600, is 0"):
        make_spec("math", {"cpu_s": 0})
