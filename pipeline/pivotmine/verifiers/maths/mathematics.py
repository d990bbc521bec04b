"""`math`: final answers that are equal, by math-verify (1/2 and 0.5, the order of a set, an expanded product).

The answer is the content of a text's box. Without a box it comes from the last line that is not empty: the formula
in dollar signs or display brackets, the text behind "answer is", "answer:" or "####", or the last number
(`final_answers`). A text that states several answers, or doubts its answer, states none. The text is the message, or
the call argument that `argument` names; then the other arguments must be equal as JSON.

Words that change a number belong to it (`quantities`): "2 million" is 2,000,000. "3 pm", "1010 in base 2" or "at least
5" is unproven against an answer without those words.

Rational numbers are compared exactly. A decimal of four or more significant digits may round a fraction: 0.3333 is
1/3, but 0.001 is not 0.0010004. Known units are converted: 5 m is 500 cm and never 5 kg. If only one side has a unit,
it does not count. A set, a tuple and a ratio are never equal.

All other answers are compared in a separate process (`math_worker`), one per thread, with limits on CPU time and
memory. An answer that exceeds them, or `MAX_CHARS`, is unproven, and it is not computed again. Symmetric: math-verify
compares both ways.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from pivotmine import strict_json
from pivotmine.actions.action import Action
from pivotmine.errors import UserError
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier, shown_text, unproven
from pivotmine.verifiers.maths.final_answers import final_answer
from pivotmine.verifiers.maths.quantities import (
    MAX_CHARS,
    UNITS,
    Answer,
    equal_numbers,
    is_hostile,
    kind_of,
    notation_of,
    number_of,
    read_answer,
)

START_S = 300.0
"""Maximum wait for a worker to start, and for its reply after the CPU time is over, because the machine may be busy."""
MAX_REMEMBERED = 10_000
"""Maximum number of answers that are remembered because they ended a worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MathOptions:
    argument: str = ""
    """The argument with the answer, as "tool.argument"; empty means the message."""
    cpu_s: float = 4.0
    """Maximum CPU time of one comparison, in seconds."""

    def __post_init__(self) -> None:
        tool, dot, argument = self.argument.partition(".")
        if self.argument and not (tool and dot and argument):
            raise UserError(
                f'verifier math, option argument: "{self.argument}" names no argument: write "tool.argument"'
            )
        if not 0 < self.cpu_s <= 3600:
            raise UserError(f"verifier math, option cpu_s: must be above 0 and at most 3600, is {self.cpu_s}")


def prepare(state: State, demonstration: Action, options: MathOptions) -> Callable[[Action], Verdict]:
    """Return a scorer for one demonstration that states an answer."""
    read = _read_argument if options.argument else _read_message
    gold = read(demonstration, options.argument)
    if isinstance(gold, Verdict):
        fault = Verdict(0.0, gold.outcome, f"demonstrated: {gold.detail}")
        return lambda action: fault

    def judge(action: Action) -> Verdict:
        given = read(action, options.argument)
        if isinstance(given, Verdict):
            return given
        if given.rest != gold.rest:
            return Verdict(
                0.0, Outcome.WRONG_ARGUMENTS, f"{shown_text(given.rest)}, demonstrated {shown_text(gold.rest)}"
            )
        return compare(gold.answer, given.answer, options.cpu_s)

    return judge


@dataclass(frozen=True, slots=True)
class _StatedAnswer:
    answer: str
    rest: str
    """Tool and other arguments, as canonical JSON."""


def _read_message(action: Action, argument: str) -> _StatedAnswer | Verdict:
    if action.tool_calls:
        return Verdict(0.0, Outcome.WRONG_KIND, f"a call of {shown_text(action.tool_calls[0].name)}")
    return _stated_answer(action.message, "")


def _read_argument(action: Action, argument: str) -> _StatedAnswer | Verdict:
    name, _, key = argument.partition(".")
    if len(action.tool_calls) > 1:
        return Verdict(0.0, Outcome.SURPLUS_CALLS, f"calls: {len(action.tool_calls)}, needed 1")
    call = next(iter(action.tool_calls), None)
    if call is None:
        return Verdict(0.0, Outcome.WRONG_KIND, f"a message, needed {shown_text(name)}")
    if call.name != name:
        return Verdict(0.0, Outcome.WRONG_TOOL, f"{shown_text(call.name)}, needed {shown_text(name)}")
    if key not in call.arguments:
        return Verdict(0.0, Outcome.MISSING_ARGUMENTS, f"{shown_text(argument)}: missing")
    rest = {other: value for other, value in call.arguments.items() if other != key}
    value = call.arguments[key]
    return _stated_answer(value if isinstance(value, str) else strict_json.dumps(value), strict_json.canonical(rest))


def _stated_answer(text: str, rest: str) -> _StatedAnswer | Verdict:
    answer = final_answer(text)
    return _StatedAnswer(answer, rest) if answer else Verdict(0.0, Outcome.WRONG_TEXT, "states no answer, or not one")


def compare(demonstrated: str, given: str, cpu_s: float) -> Verdict:
    """The verdict on two answers."""
    same = Verdict(1.0, Outcome.CORRECT)
    different = Verdict(0.0, Outcome.WRONG_TEXT, f"{shown_text(given)}, demonstrated {shown_text(demonstrated)}")
    if demonstrated == given:
        return same
    if max(len(demonstrated), len(given)) > MAX_CHARS:
        return unproven(f"more than {MAX_CHARS:,} characters, and not the same")
    one, other = read_answer(demonstrated), read_answer(given)
    if one == other:
        return same
    scales = _scales(one, other)
    if scales is None:
        return different
    if one.mark != other.mark:
        return unproven(f"{_shown(other.mark)}, demonstrated {_shown(one.mark)}")
    if one.name and other.name and one.name != other.name:
        return unproven(f"the value of {other.name}, demonstrated that of {one.name}")
    if {one.unit, other.unit} - UNITS.keys() - {""} and "" not in (one.unit, other.unit) and one.unit != other.unit:
        return unproven(f"units: {shown_text(other.unit)}, demonstrated {shown_text(one.unit)}")
    numbers = number_of(one.text), number_of(other.text)
    if numbers[0] is not None and numbers[1] is not None:
        scaled = [(n[0] * s, n[1] if s == 1 else None) for n, s in zip(numbers, scales, strict=True) if n is not None]
        exact = scaled[0][0] == scaled[1][0]
        return same if exact or (scales == (1, 1) and equal_numbers(*scaled)) else different
    kinds = {kind_of(one.text), kind_of(other.text)}
    if len(kinds) > 1 and kinds != {"list", "set"}:
        return unproven("a list without brackets") if "list" in kinds else different
    if kinds == {"ratio"}:
        return _compare_ratios(one.text, other.text, same, different)
    if one.text.count("=") > 1 or other.text.count("=") > 1:
        parts = [sorted("".join(part.split()) for part in text.text.split(",")) for text in (one, other)]
        return same if parts[0] == parts[1] else unproven("several equations")
    if _only_case_differs(one.text, other.text):
        return unproven("letters in another case")
    if notation_of(one.text) != notation_of(other.text):
        same = unproven("primes, names or fractions that algebra reads over")  # math-verify would call them equal
    return _ask_worker(_scaled(one.text, scales[0]), _scaled(other.text, scales[1]), cpu_s, same, different)


def _shown(mark: str) -> str:
    return shown_text(mark) if mark else "plain"


def _scales(one: Answer, other: Answer) -> tuple[Fraction, Fraction] | None:
    """The factors of the two formulas in one unit; None if their units measure different things."""
    known, given = UNITS.get(one.unit), UNITS.get(other.unit)
    if known is None or given is None:
        return one.scale, other.scale
    return (one.scale * known[1], other.scale * given[1]) if known[0] == given[0] else None


def _only_case_differs(one: str, other: str) -> bool:
    """Whether the variables of two formulas differ only in letter case. A single A to H is a choice, not a variable."""
    letters = [set(re.findall(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])", text)) for text in (one, other)]
    if len(one) == 1 and one.upper() in "ABCDEFGH":
        return False
    return letters[0] != letters[1] and {x.lower() for x in letters[0]} == {x.lower() for x in letters[1]}


def _scaled(text: str, scale: Fraction) -> str:
    return text if scale == 1 else rf"({text}) \cdot \frac{{{scale.numerator}}}{{{scale.denominator}}}"


def _compare_ratios(one: str, other: str, same: Verdict, different: Verdict) -> Verdict:
    parts = [[number_of(part) for part in text.split(":")] for text in (one, other)]
    if parts[0] == parts[1] and None not in parts[0]:
        return same
    return unproven("a time or a ratio") if None in (*parts[0], *parts[1]) else different


def _ask_worker(one: str, other: str, cpu_s: float, same: Verdict, different: Verdict) -> Verdict:
    if is_hostile(one) or is_hostile(other) or one in _deadly or other in _deadly:
        return unproven("too large to compute")
    found = _ask(one, other, cpu_s)
    if found is not None:
        return same if found else different
    if len(_deadly) >= MAX_REMEMBERED:
        _deadly.clear()
    # The demonstration meets many answers. It counts as deadly only if a second one ends a worker with it.
    _deadly.update((other, one) if one in _suspected else (other,))
    _suspected.add(one)
    return unproven(f"not compared within {cpu_s:g} s of CPU time")


_deadly: set[str] = set()
"""Answers that ended a worker; they are not computed again."""
_suspected: set[str] = set()
"""Demonstrations that a worker compared when it ended."""
_local = threading.local()


def _ask(demonstrated: str, given: str, cpu_s: float) -> bool | None:
    """Whether two answers are equal; None if the worker ended at one of its limits."""
    worker = getattr(_local, "worker", None)
    # A forked process must not talk to its parent's worker.
    if worker is None or worker.process_id != os.getpid() or worker.process.poll() is not None:
        worker = _local.worker = _Worker()
    return worker.ask({"demonstrated": demonstrated, "given": given, "cpu_s": cpu_s})


class _Worker:
    """A running `math_worker`; it ends when its standard input is closed."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("math_worker.py")
        # -P: Python must not import from the folder of the script, whose module names may clash.
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.process_id = os.getpid()
        if self._receive(START_S) is None:
            raise RuntimeError("the process that compares mathematical answers does not start")

    def ask(self, request: dict[str, str | float]) -> bool | None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{json.dumps(request)}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        answer = self._receive(START_S + float(request["cpu_s"]))
        return None if answer is None else answer["same"]

    def _receive(self, timeout_s: float) -> dict[str, bool] | None:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                self.close()
                raise TimeoutError(f"no answer within {timeout_s:g} s")
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.close()
        return None

    def close(self) -> None:
        """End the process and wait for it."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def __del__(self) -> None:
        # The thread has ended, so nobody will ask again.
        if getattr(self, "process_id", None) == os.getpid():
            self.close()


VERIFIER = Verifier(
    prepare=prepare,
    options=MathOptions,
    version=4,
    kinds=frozenset({"message", "tool_call"}),
    abstains=True,
    requires=("math_verify",),
    extra="verifiers",
)
