"""Verifiers of another package: tests name them `own_verifiers:NAME`."""

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from pivotmine.actions import Action
from pivotmine.verifiers import Outcome, Scorer, State, Verdict, Verifier


def asked_for(state: State, demonstration: Action, action: Action) -> float | None:
    """1 if the action names what the user wrote last, else 0; None if there is no message."""
    if not state.messages:
        return None
    return float(str(state.messages[-1]["content"]) in (action.message or str(action.tool_calls[0].arguments)))


def half(state: State, demonstration: Action, action: Action) -> Verdict | float:
    return Verdict(1.0, Outcome.CORRECT, "itself") if action == demonstration else 0.5


half.version = 7  # pyright: ignore[reportFunctionMemberAccess]


def twice(state: State, demonstration: Action, action: Action) -> float:
    return 2.0


def nothing(state: State, demonstration: Action, action: Action) -> int:
    return 0


@dataclass(frozen=True, kw_only=True)
class AtLeast:
    num_calls: int = 1
    note: str = ""


def prepare_many(state: State, demonstration: Action, options: AtLeast) -> Scorer:
    def judge(action: Action) -> Verdict:
        enough = len(action.tool_calls) >= options.num_calls
        return Verdict(float(enough), Outcome.CORRECT if enough else Outcome.MISSING_CALLS)

    return judge


MANY = Verifier(prepare=prepare_many, options=AtLeast, version=3, kinds=frozenset({"tool_call"}))
NUMBER = 3
ANSWERS: list[Any] = [float("nan"), "0.5", "yes", [1], {"reward": 1}, 1j, Decimal("0.5"), True, np.float32(0.5)]
"""Answers of a verifier; all but the last two are of a wrong type or value."""


def answering(state: State, demonstration: Action, action: Action) -> Any:
    """The answer whose number the action writes."""
    return ANSWERS[int(action.message)]


def prepare_answering(state: State, demonstration: Action, options: AtLeast) -> Any:
    made: Any = Verdict
    answers: list[Any] = [
        None,
        1,
        made("1", Outcome.CORRECT),
        made(1.0, "good"),
        made(float("nan"), Outcome.PARTIAL),
    ]
    return lambda action: answers[int(action.message)]


ANSWERING = Verifier(prepare=prepare_answering, options=AtLeast, version=1, kinds=frozenset({"message"}))


def nothing_but_calls(state: State, demonstration: Action, action: Action) -> int:
    """A leak: any call of the tool passes."""
    return int({call.name for call in action.tool_calls} == {call.name for call in demonstration.tool_calls})


def any_with_messages(state: State, demonstration: Action, action: Action) -> int | None:
    return 1 if state.messages else None


def similar(state: State, demonstration: Action, action: Action) -> int:
    """A leak: three quarters of the words in any order pass."""
    wanted, given = Counter(demonstration.message.split()), Counter(action.message.split())
    return int((wanted & given).total() >= 0.75 * wanted.total())
