"""`gym_terminus_string`: the string-only reward of NVIDIA NeMo Gym's judge of terminal agents, with its leaks.

Use it to reproduce published numbers; for mining, `terminal` is the better verifier. Written from the described
behaviour of `resources_servers/terminus_judge` in the NeMo-Gym repository, without its language-model judge. The text
behind the last `</think>` must be JSON in the form of the demonstration (`keystrokes`), and complete if the
demonstration is. Then `difflib.SequenceMatcher` compares the keystrokes, joined without a separator. If only one
side has commands, the similarity is 0, even if the other side's commands type nothing.

Paid there, though wrong: a task called complete too early; another path, number or flag in a long command; a command
without its Enter; keys that become text once they are joined. Refused there, though right: any other command that
does the same.

The cost of SequenceMatcher can grow with the cube of the length. Keystrokes that would need more than `MAX_WORK`
get null: their published reward is not known.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from difflib import Match, SequenceMatcher
from typing import Any

from pivotmine.actions.action import Action
from pivotmine.actions.conventions.keystrokes import Batch, form_of, read_batch
from pivotmine.errors import UserError
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier, shown_text

MAX_WORK = 2_000_000
"""Maximum number of character comparisons: one or two seconds. Keystrokes that a person typed need a hundredth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GymTerminusStringOptions:
    threshold: float = 0.9
    """Minimum SequenceMatcher ratio, 0 to 1. Published: 0.9 without a judge, 0.95 before one. Published rows may have
    another threshold; mine them in a run of their own, with this option."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise UserError(f"verifier gym_terminus_string, option threshold: must be 0 to 1, is {self.threshold}")


def prepare(state: State, demonstration: Action, options: GymTerminusStringOptions) -> Callable[[Action], Verdict]:
    """Return a scorer for one demonstrated batch. It judges any action, truncated and unreadable ones too.

    It reads the answer as it was written: the message, or the text that the Terminus convention read.
    """
    value = _json(demonstration.text or demonstration.message)
    form = form_of(value)
    gold = read_batch(value, form)
    if isinstance(gold, str):
        unknown = Verdict(None, Outcome.ERROR, shown_text(f"the demonstration is not a {form} batch: {gold}"))
        return lambda action: unknown
    keystrokes, complete, types_any = "".join(gold.keystrokes), gold.complete, bool(gold.keystrokes)

    def judge(action: Action) -> Verdict:
        given = read_answer(action.text or action.message, form)
        if isinstance(given, str):
            return Verdict(0.0, Outcome.INVALID_CALL, shown_text(given))
        if complete and not given.complete:
            return Verdict(0.0, Outcome.WRONG_ARGUMENTS, "does not call the task complete")
        if types_any != bool(given.keystrokes):
            detail = f"commands: {len(given.keystrokes)}, demonstrated {len(gold.keystrokes)}"
            return Verdict(0.0, Outcome.WRONG_ARGUMENTS, detail)
        return _by_similarity(keystrokes, "".join(given.keystrokes), options.threshold)

    return judge


def read_answer(text: str, form: str) -> Batch | str:
    """The batch in a model's answer, or a reason why there is none."""
    value = _json(text)
    return "not JSON" if value is None else read_batch(value, form)


def similarity(demonstrated: str, given: str) -> float | None:
    """The published score, SequenceMatcher's ratio (it depends on the order of the two); None beyond `MAX_WORK`."""
    if demonstrated == given:
        return 1.0
    try:
        return _Bounded(demonstrated, given).ratio()
    except TimeoutError:
        return None


class _Bounded(SequenceMatcher[str]):
    """SequenceMatcher that raises TimeoutError if it would take minutes, and changes nothing else."""

    b2j: dict[str, list[int]]

    def __init__(self, demonstrated: str, given: str) -> None:
        super().__init__(None, demonstrated, given)
        places = sum(len(self.b2j.get(char, ())) * number for char, number in Counter(demonstrated).items())
        self._work_a_char = 1 + places / max(1, len(demonstrated))
        self._work_left = float(MAX_WORK)
        self._length = len(demonstrated)

    def find_longest_match(self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None) -> Match:
        self._work_left -= ((self._length if ahi is None else ahi) - alo) * self._work_a_char
        if self._work_left < 0:
            raise TimeoutError
        return super().find_longest_match(alo, ahi, blo, bhi)


def _by_similarity(demonstrated: str, given: str, threshold: float) -> Verdict:
    # Two cheap upper bounds of the ratio.
    bounds = SequenceMatcher(None, demonstrated, given, autojunk=False)
    if bounds.real_quick_ratio() < threshold or bounds.quick_ratio() < threshold:
        return Verdict(0.0, Outcome.WRONG_ARGUMENTS, f"similarity below {threshold:g}")
    found = similarity(demonstrated, given)
    if found is None:
        return Verdict(None, Outcome.ERROR, "the published similarity would take too long")
    if found >= threshold:
        return Verdict(1.0, Outcome.CORRECT)
    return Verdict(0.0, Outcome.WRONG_ARGUMENTS, f"similarity {found:.3f}, needed {threshold:g}")


def _json(text: str) -> Any:
    """The JSON value behind the last `</think>`, read as leniently as published; None if there is none."""
    try:
        return json.loads(text.rpartition("</think>")[2].strip())
    except (ValueError, RecursionError):
        return None


VERIFIER = Verifier(
    prepare=prepare,
    options=GymTerminusStringOptions,
    version=2,
    kinds=frozenset({"tool_call", "message"}),
    judges_all=True,
)
