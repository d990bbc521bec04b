"""`text` on messages that are JSON."""

import json
from typing import Any

import pytest

from pivotmine.actions.action import Action
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, verify

DECISION = {"approve": False, "orders": ["A1", "B2"], "refund": 12, "why": "The parcel arrived in time and was opened."}


def said_json(**changed: Any) -> str:
    return json.dumps({**DECISION, **changed})


@pytest.mark.parametrize(
    "given",
    [
        said_json(approve=True),
        said_json(why="The parcel arrived in time and was open."),
        said_json(orders=["B2", "A1"]),
        said_json(refund=13),
        said_json(refund="12"),
        said_json(more=None),
        json.dumps({name: DECISION[name] for name in ("approve", "orders", "why")}),
        json.dumps(DECISION)[:-1],
        f"Here it is: {json.dumps(DECISION)}",
        "The parcel arrived in time and was opened.",
    ],
)
def test_json_that_says_another_thing_fails(given: str) -> None:
    """Similarity sees neither a flag in a long object nor a word in it."""
    gold = Action(message=json.dumps(DECISION))
    verdict = verify(make_spec("text", {}), State(), [gold], Action(message=given))
    assert (verdict.reward, verdict.outcome) == (0.0, Outcome.WRONG_TEXT)
    assert verify(make_spec("text", {}), State(), [Action(message=given)], gold).outcome == Outcome.WRONG_TEXT


@pytest.mark.parametrize(
    "given",
    [
        json.dumps(DECISION, indent=2),
        json.dumps(dict(reversed(DECISION.items()))),
        f"```json\n{json.dumps(DECISION)}\n```",
        f"```\n{json.dumps(DECISION)}\n```",
        said_json(refund=12.0),
        said_json(why=f" {DECISION['why']} "),
    ],
)
def test_json_in_another_spelling_passes(given: str) -> None:
    for one, other in ((json.dumps(DECISION), given), (given, json.dumps(DECISION))):
        verdict = verify(make_spec("text", {}), State(), [Action(message=one)], Action(message=other))
        assert verdict == Verdict(1.0, Outcome.CORRECT)


def test_the_detail_of_json() -> None:
    def detail(demonstrated: str, given: str) -> str:
        return verify(make_spec("text", {}), State(), [Action(message=demonstrated)], Action(message=given)).detail

    assert detail("[1]", "[2]") == "another JSON value"
    assert detail("[1]", "one of it") == "not JSON; the demonstration is JSON"
    assert detail("one of it", "[1]") == "JSON; the demonstration is not JSON"
    assert detail("[1]", "[]") == "no word"


def test_brackets_that_are_no_json_are_prose() -> None:
    one, other = (Action(message=f"[Note] your order {words}") for words in ("hasn't been sent", "has not been sent"))
    assert verify(make_spec("text", {}), State(), [one], other).reward == 1.0
