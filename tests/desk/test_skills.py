"""The general skills' generators and checkers."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine_desk import skills
from pivotmine_desk.names import split_of


@pytest.mark.parametrize("skill", skills.SKILLS)
@given(seed=st.integers(0, 10**6), data=st.data())
@settings(deadline=None, max_examples=30)
def test_checker_accepts_the_answer_and_rejects_a_changed_one(skill: str, seed: int, data: st.DataObject) -> None:
    asked = skills.question(skill, "test", random.Random(seed))
    said = f"<tool_call>{asked.answer}</tool_call>" if skill == "tools" else asked.answer
    assert skills.check(asked, said)
    place = data.draw(st.integers(0, len(said) - 1))
    for changed in (said[:place] + said[place + 1 :], said[:place] + "§" + said[place:], "", said + " 1"):
        assert not skills.check(asked, changed)


def test_call_is_checked_by_value_not_by_spelling() -> None:
    asked = skills.question("tools", "test", random.Random(0))
    spaced = json.dumps(json.loads(asked.answer), indent=1)
    assert skills.check(asked, f"<tool_call>\n{spaced}\n</tool_call>")


@given(text=st.text())
def test_checker_survives_any_reply(text: str) -> None:
    asked = skills.question("tools", "test", random.Random(0))
    assert not skills.check(asked, f"<tool_call>{text}</tool_call>")
    assert not skills.check(asked, "<tool_call>" + "[" * 100_000 + text + "</tool_call>")


def test_answers_follow_from_the_questions() -> None:
    rng = random.Random(3)
    asked = {skill: skills.question(skill, "test", rng) for skill in skills.TEXT_SKILLS}
    words = {skill: question.messages[0]["content"].rstrip(".?").split() for skill, question in asked.items()}
    answers = {skill: question.answer for skill, question in asked.items()}
    assert answers["add"] == str(int(words["add"][1]) + int(words["add"][3]))
    assert answers["sort"].split() == sorted(words["sort"][1:])
    assert answers["largest"] == max(words["largest"][2:])
    assert answers["copy"].split() == words["copy"][1:]
    assert answers["reverse"].split() == words["reverse"][:0:-1]
    listed, wanted = asked["recall"].messages[0]["content"].rstrip("?").split(". Which number has ")
    table = dict(pair.split() for pair in listed.split(", "))
    assert answers["recall"] == ", ".join(f"{word} {table[word]}" for word in wanted.split(", "))


def test_questions_are_held_out() -> None:
    rng = random.Random(0)
    for skill in skills.SKILLS:
        for split in ("pretrain", "test"):
            asked = skills.question(skill, split, rng)
            assert split_of(asked.messages[0]["content"]) == split
