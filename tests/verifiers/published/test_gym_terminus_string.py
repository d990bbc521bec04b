"""The published string-only reward of terminal agents: every rule, every leak, and the recorded scores."""

import json
import os
import random
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine.actions.action import Action
from pivotmine.actions.conventions.keystrokes import Batch
from pivotmine.errors import UserError
from pivotmine.verifiers import Outcome, State, make_spec, passes_gate, verify
from pivotmine.verifiers.published.gym_terminus_string import read_answer, similarity

NAME = "gym_terminus_string"
LONG = "python train.py --config configs/base.yaml --epochs 10 --out runs/exp-1 --seed 7 --device cpu\n"


def batch(*keystrokes: str, complete: bool = False) -> str:
    commands = [{"keystrokes": k} for k in keystrokes]
    return json.dumps({"analysis": "", "plan": "", "commands": commands, "task_complete": complete})


def outcome(demonstrated: str, message: str, **options: Any) -> Outcome:
    verdict = verify(make_spec(NAME, options), State(), [Action(message=demonstrated)], Action(message=message))
    assert (verdict.reward == 1.0) == (verdict.outcome == Outcome.CORRECT)
    assert (verdict.reward is None) == (verdict.outcome == Outcome.ERROR)
    return verdict.outcome


# What only the judge of the default could see; `tests/verifiers/test_leaks.py` shows the same for `terminal`.


def test_leak_a_task_called_complete_too_early() -> None:
    assert outcome(batch("ls\n"), batch("ls\n", complete=True)) == Outcome.CORRECT
    assert outcome(batch("ls\n", complete=True), batch("ls\n")) == Outcome.WRONG_ARGUMENTS


def test_leak_another_path_or_number_in_a_long_command() -> None:
    for old, new in (("exp-1", "exp-2"), ("10", "19"), ("--seed 7 ", "")):
        assert outcome(batch(LONG), batch(LONG.replace(old, new))) == Outcome.CORRECT


def test_leak_a_command_without_its_enter() -> None:
    assert outcome(batch(LONG), batch(LONG.strip()), threshold=0.95) == Outcome.CORRECT


def test_leak_keys_joined_to_text() -> None:
    assert outcome(batch("C-c", "ls\n"), batch("C-cls\n")) == Outcome.CORRECT


def test_leak_a_key_given_twice() -> None:
    twice = (
        '{"analysis": "", "plan": "", "commands": [{"keystrokes": "rm a\\n"}], "commands": [{"keystrokes": "ls\\n"}]}'
    )
    assert outcome(batch("ls\n"), twice) == Outcome.CORRECT


def test_reasoning_is_cut_off() -> None:
    assert outcome(batch("ls\n"), f"{batch('pwd')}</think>x</think>\n {batch('ls')}", threshold=0.8) == Outcome.CORRECT


@pytest.mark.parametrize("message", ["", "ls", "[]", "[" * 100_000, f"```\n{batch('ls')}\n```", batch("ls")[:-1]])
def test_what_is_no_batch_fails(message: str) -> None:
    assert outcome(batch("ls\n"), message) == Outcome.INVALID_CALL


def test_a_demonstration_that_is_no_batch_is_null() -> None:
    assert outcome("ls", batch("ls")) == Outcome.ERROR
    assert outcome("{}", batch("ls")) == Outcome.ERROR


def test_the_threshold_is_inclusive_and_checked() -> None:
    assert outcome(batch("abcd"), batch("abce"), threshold=0.75) == Outcome.CORRECT
    assert outcome(batch("abcd"), batch("abce"), threshold=0.76) == Outcome.WRONG_ARGUMENTS
    with pytest.raises(UserError, match="option threshold: must be 0 to 1, is 90"):
        make_spec(NAME, {"threshold": 90})


@settings(max_examples=60, deadline=None)
@given(st.text("ab c", max_size=300), st.text("ab cd", max_size=300))
def test_the_score_is_the_standard_librarys(one: str, other: str) -> None:
    expected = SequenceMatcher(None, one, other).ratio()
    assert similarity(one, other) == expected
    assert outcome(batch(one), batch(other), threshold=expected) == Outcome.CORRECT
    if expected < 1:
        assert outcome(batch(one), batch(other), threshold=min(1.0, expected + 1e-9)) == Outcome.WRONG_ARGUMENTS
    assert passes_gate(make_spec(NAME, {"threshold": 1.0}), State(), Action(message=batch(one))).reward == 1.0


def test_long_scripts_are_scored_as_published() -> None:
    words = random.Random(0).choices(["cat", "file_1", "grep -n", "\n", "|", "a/b/c"], k=2000)
    one, other = " ".join(words), " ".join([*words[:1000], "x", *words[1000:]])
    assert similarity(one, other) == SequenceMatcher(None, one, other).ratio()


def test_keystrokes_that_would_take_for_ever_are_null() -> None:
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 6_000)))
    assert outcome(batch(letters), batch(letters)) == Outcome.CORRECT
    assert outcome(batch(letters), batch(letters[::2] + letters[1::2])) == Outcome.ERROR
    assert outcome(batch(letters), batch("z" * 6_000)) == Outcome.WRONG_ARGUMENTS
    assert outcome(batch("ls\n"), batch("ls\n" * 200_000)) == Outcome.WRONG_ARGUMENTS


@pytest.mark.skipif("PIVOTMINE_REAL_DATA" not in os.environ, reason="needs the real data folder")
def test_the_recorded_schema_verdicts_and_scores_agree() -> None:
    path = Path(os.environ["PIVOTMINE_REAL_DATA"]) / "nemo-gym/terminus_judge/example_rollouts.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {row["metadata"]["harness"] for row in rows} == {"terminus_1", "terminus_2"}
    for row in rows:
        gold = read_answer(row["expected_answer"], row["metadata"]["harness"])
        answer = read_answer(row["model_output"], row["metadata"]["harness"])
        assert isinstance(gold, Batch)
        assert isinstance(answer, Batch) == row["schema_check_passed"]
        assert isinstance(answer, Batch)
        assert (answer.complete or not gold.complete) == row["task_complete_check_passed"]
        score = similarity("".join(gold.keystrokes), "".join(answer.keystrokes))
        assert score == row["similarity_score"]
        passed = outcome(row["expected_answer"], row["model_output"]) == Outcome.CORRECT
        assert passed == row["string_similarity_passed"]
        # No row passed the string check, and none the judge behind it: the rewards agree too.
        assert float(passed) == row["reward"]
        assert outcome(row["expected_answer"], row["model_output"], threshold=score) == Outcome.CORRECT


def test_no_command_is_not_an_empty_command() -> None:
    assert outcome(batch(), batch()) == Outcome.CORRECT
    assert outcome(batch(""), batch("")) == Outcome.CORRECT
    assert outcome(batch(), batch("")) == outcome(batch(""), batch()) == Outcome.WRONG_ARGUMENTS
