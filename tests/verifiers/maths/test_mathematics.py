"""Equal final answers pass in any notation; the kernel ends hostile ones."""

import threading
from typing import Any

import pytest

from pivotmine.actions.action import Action, ToolCall
from pivotmine.errors import UserError
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, passes_gate, verify
from pivotmine.verifiers.maths import mathematics
from pivotmine.verifiers.maths.final_answers import final_answer

pytest.importorskip("math_verify")


def verdict(demonstrated: str, message: str, **options: Any) -> Verdict:
    spec = make_spec("math", options)
    return verify(spec, State(), [Action(message=demonstrated)], Action(message=message))


ANSWERS = {
    "So it is \\boxed{\\frac{1}{2}}.": "\\frac{1}{2}",
    "\\boxed{1} is wrong, hence \\boxed{ 2 }": "",
    "So \\boxed{2}. To repeat: \\boxed{ 2 }": "2",
    "\\boxed{8}\n\nWait, the answer is 9.": "",
    "\\boxed{8}\n\nThe answer is 9.": "",
    "\\boxed{\\frac{8}{2} or less, not sure}": "",
    "The smallest $k$ is 17.": "17",
    "\\[ y = 17 \\]": "y = 17",
    "So\n$$\n17\n$$": "17",
    "Thus \\( z = 4 \\).": "z = 4",
    "The answer is 3 or 9.": "",
    "The answer is 3, not 9.": "",
    "No clue, see line9": "",
    "ROOM7B": "",
    "The answer is 3 and 9": "",
    "It takes 12 km": "12 km",
    "They sold 4 million tickets.": "4 million tickets",
    "The meeting is at 7 p.m.": "7 p.m",
    "It is 1101 in base 2.": "1101 in base 2",
    "The answer is negative 9.": "-9",
    "−9": "-9",
    "It is at least 9.": "at least 9",
    "There are 7 hens left in the yard.": "7 hens",
    "It costs €9": "€9",
    "The answer is not \\boxed{9}.": "",
    "It cannot be 9.": "",
    "It isn’t 9.": "",
    "9 is wrong.": "",
    "A common mistake is \\boxed{9}.": "",
    "Perhaps \\boxed{9}": "",
    "Is it \\boxed{9}?": "",
    "$x \\neq \\boxed{9}$": "",
    "$2 + \\boxed{9}$": "",
    "$10^{\\boxed{9}}$": "",
    "$\\boxed{9}^2$": "",
    "\\boxed{9}0": "",
    "$y = -\\boxed{9}$": "-9",
    "$-\\boxed{x + 2}$": "-(x + 2)",
    "- \\boxed{9}": "9",
    "The answer: **\\boxed{9}**!": "9",
    "\\boxed{9} million": "9 million",
    "$\\boxed{9}$ cats sleep.": "9 cats sleep",
    "Since $n$ is not even, we have $\\boxed{9}$.": "9",
    "$1 + 8 = \\boxed{9}$": "9",
    "There are 12 in total.": "12",
    "It holds.\n\nThe answer is 42.": "42",
    "**Answer:** x + 1": "x + 1",
    "#### 1,234": "1,234",
    "We get $x=3$ and finally $y = 5$.": "y = 5",
    "She has 3 bags and pays 20 dollars": "20 dollars",
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
    ("31 percent", "\\boxed{31\\%}"),
    ("31 per cent", "0.31"),
    ("\\boxed{7 \\text{ cm}}", "The answer is 7 centimeters."),
    ("\\boxed{7 \\text{ m}}", "\\boxed{700 \\text{ cm}}"),
    ("2 hours", "120 minutes"),
    ("4 million", "4,000,000"),
    ("\\boxed{4 \\text{ million}}", "$\\boxed{4}$ million"),
    ("3 dozen eggs", "36 eggs"),
    ("1 hour 40 minutes", "It takes 1 hour 40 minutes."),
    ("\\boxed{x = 3, y = 4}", "\\boxed{y=4,x=3}"),
    ("\\boxed{B}", "b"),
    ("5 thousand dollars", "\\$5000"),
    ("minus 9", "\\boxed{-9}"),
    ("−9", "-9"),
    ("7 PM", "7 p.m."),
    ("$x = -\\boxed{9}$", "The answer is -9"),
    ("7 hens", "There are 7 hens left."),
    ("7", "There are 7 hens left."),
    ("2 1/3", "7/3"),
    ("\\boxed{60^\\circ}", "$\\boxed{60}^\\circ$"),
    ("7 cm", "7"),
    ("0.6667", "2/3"),
    ("1e-7", "0.0000001"),
    ("\\boxed{10^{-7}}", "0.0000001"),
    ("\\boxed{\\pi}", "3.141593"),
    ("\\boxed{1, 2}", "\\boxed{\\{2, 1\\}}"),
    ("4:05", "4:05"),
    ("\\boxed{2e3}", "2000"),
    ("\\boxed{2xy}", "\\boxed{2yx}"),
    ("\\$12", "12"),
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
    ("7 cm", "7 m"),
    ("7 cm", "7 kg"),
    ("7 dollars", "7 cents"),
    ("4 million", "4"),
    ("4 billion", "4 million"),
    ("\\boxed{4}", "$\\boxed{4}$ thousand"),
    ("4 dozen", "4"),
    ("9", "$-\\boxed{9}$"),
    ("9", "negative 9"),
    ("9", "−9"),
    ("9", "The answer is not \\boxed{9}"),
    ("9", "It cannot be 9"),
    ("9", "$\\boxed{9}^2$"),
    ("€9", "\\$9"),
    ("4 7", "47"),
    ("1/3", "2 1/3"),
    ("3e-7", "4e-7"),
    ("\\boxed{10^{-8}}", "\\boxed{3 \\cdot 10^{-8}}"),
    ("0.002", "0.0020003"),
    ("\\boxed{\\{3, 4\\}}", "\\boxed{(3, 4)}"),
    ("\\boxed{[3, 4]}", "\\boxed{(3, 4)}"),
    ("4:30", "2/15"),
    ("4:30", "4:31"),
    ("0.67", "2/3"),
    ("8", "N0 clue, see line8"),
    ("8", "The answer is 9 or 8"),
    ("8", "\\boxed{8} ... Actually the answer is 9"),
    ("8", "\\boxed{9} \\boxed{8}"),
    ("4", "\\boxed{\\frac{8}{2} but not sure}"),
    ("7", "ROOM7B"),
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
    assert verdict("42", "no idea").detail == "states no answer, or not one"
    assert verdict("no idea", "42") == Verdict(0.0, Outcome.WRONG_TEXT, "demonstrated: states no answer, or not one")


HOSTILE = ["\\boxed{7^{7^{9}}}", "\\boxed{(99999999 + 0)!}"]


@pytest.mark.parametrize("answer", HOSTILE)
def test_an_answer_without_end_is_ended(answer: str) -> None:
    found = verdict("\\boxed{1}", answer, cpu_s=1)
    assert found == Verdict(None, Outcome.UNPROVEN, "not compared within 1 s of CPU time")
    # What is the same as it is written needs no algebra; and the next question finds a new worker.
    assert passes_gate(make_spec("math", {}), State(), Action(message=answer)).reward == 1.0
    assert verdict("0.5", "\\boxed{1/2}").reward == 1.0


def test_answers_that_are_too_large_are_never_computed() -> None:
    for answer in ("\\boxed{8^{8^{8^{8}}}}", "\\boxed{7^7^7^7}", "\\boxed{88888888!}", "\\boxed{2^{9999999}}"):
        assert verdict("\\boxed{1}", answer).detail == "too large to compute"
        assert verdict(answer, "\\boxed{1}").detail == "too large to compute"


def test_a_deadly_answer_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def ask(one: str, other: str, cpu_s: float) -> None:
        asked.append((one, other))

    monkeypatch.setattr(mathematics, "_ask", ask)
    for sample in range(5):
        verdict("\\boxed{x + 1}", "\\boxed{y + deadly}".replace("deadly", "z"))
        verdict("\\boxed{x + y}", f"\\boxed{{y + {sample}}}")
    assert asked == [("x + 1", "y + z"), ("x + y", "y + 0"), ("x + y", "y + 1")]


UNPROVEN = [
    ("\\boxed{7 \\text{ apples}}", "\\boxed{7 \\text{ pears}}"),
    ("7 hens", "7 geese"),
    ("7 hens", "7 hens per week"),
    ("2 cups of rice", "2 cups of salt"),
    ("40 km per hour", "40 km"),
    ("20 degrees C", "20 degrees F"),
    ("7 pm", "7 am"),
    ("7 pm", "7"),
    ("7:15 pm", "7:15 am"),
    ("7:15 pm", "7:15"),
    ("1101 in base 2", "1101"),
    ("1101 in base 2", "13"),
    ("1101 in binary", "1101"),
    ("\\boxed{1101_2}", "\\boxed{1101}"),
    ("\\boxed{1101_{2}}", "\\boxed{1101_3}"),
    ("0x13", "13"),
    ("0", "0x13"),
    ("9", "at least 9"),
    ("9", "more than \\boxed{9}"),
    ("9", "half of 9"),
    ("9", "9 squared"),
    ("9", "9 and a half"),
    ("9", "9 more than y"),
    ("9", "from 3 to 9"),
    ("9", "\\boxed{9 \\text{ or } 8}"),
    ("room 9", "gate 9"),
    ("March 9", "April 9"),
    ("490 BC", "490"),
    ("It takes 1 hour 40 minutes", "40 minutes"),
    ("6 feet 2 inches", "2 inches"),
    ("6'", '6"'),
    ("The shelf is 6' long", 'The shelf is 6" long'),
    ("a loss of 9", "a profit of 9"),
    ("It fell by 9", "It rose by 9"),
    ("\\boxed{x = 3, y = 4}", "\\boxed{x = 4, y = 3}"),
    ("$r^2$", "$R^2$"),
    ("\\boxed{DEF}", "\\boxed{FED}"),
    ("\\boxed{\\text{DEF}}", "\\boxed{\\text{EFD}}"),
    ("\\boxed{\\text{listen}}", "\\boxed{\\text{silent}}"),
    ("$g'(x)$", "$g(x)$"),
    ("$g''$", "$g'$"),
    ("\\boxed{1/3y}", "\\boxed{\\frac{1}{3y}}"),
    ("\\boxed{x = 9}", "\\boxed{y = 9}"),
    ("\\boxed{(1, 2)}", "\\boxed{1, 2}"),
]


def test_what_is_not_proven() -> None:
    for one, other in UNPROVEN:
        assert verdict(one, other).outcome == verdict(other, one).outcome == Outcome.UNPROVEN, (one, other)
        assert verdict(one, one).reward == verdict(other, other).reward == 1.0
    assert verdict("\\boxed{7 \\text{ apples}}", "\\boxed{7 \\text{ apple}}").reward == 1.0
    assert verdict("1101 in base 2", "\\boxed{1101_2}").reward == 1.0


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
