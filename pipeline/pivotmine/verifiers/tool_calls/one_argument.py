"""Compare one part of a call (a command, a query, an edit) in its own way, and the rest by `tool_call`.

A verifier of this kind makes a form of the arguments that it understands. Two calls are the same if their forms are,
and if `tool_call`, with the options `rest`, finds no other difference. `tool_call` sees the given call with the
demonstrated values in the arguments that were read. It finds another tool, a missing or unknown argument, or another
value elsewhere, so every argument is compared.

An action may also be code in a message, for harnesses without tools. Exactly one fenced block is the code, and the
text around it does not count. A message without a fence is code as a whole. Both sides must use the same fence,
including the word behind it, because the harness looks for that fence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers.base import Outcome, State, Verdict, shown_text, unproven
from pivotmine.verifiers.tool_calls import call_diff, tool_call
from pivotmine.verifiers.tool_calls.matching import maximum_matching
from pivotmine.verifiers.tool_calls.schema import parameters_by_tool
from pivotmine.verifiers.tool_calls.tool_call import ToolCallOptions

MAX_PARALLEL = 32
"""If more calls are demonstrated, `tool_call` alone compares them; a value that differs is then unproven."""

_FENCE = "```"
_INFO = re.compile(r"[^\s`]*")


class Reading(NamedTuple):
    form: Any
    """What is compared."""
    names: frozenset[str]
    """The arguments that the form stands for."""


Read = Callable[[ToolCall], Reading | None]
"""The part of a call that is compared in its own way; None if there is none."""
ReadValue = Callable[[Any], Any]
"""The form of one argument's value or of a block of code; None if it cannot be compared in its own way."""
Compare = Callable[[Any, Any], Outcome]
"""Demonstrated form, given form: CORRECT, or why not."""
ArgumentScorer = Callable[[Action], Verdict]


class _Wanted(NamedTuple):
    call: ToolCall
    reading: Reading | None
    judge: ArgumentScorer


def prepare_code(
    state: State,
    demonstration: Action,
    names: Sequence[str],
    read_value: ReadValue,
    compare: Compare,
    rest: ToolCallOptions,
) -> ArgumentScorer:
    """Return a scorer for code in an argument or in a message. The first of `names` that a call has holds its code."""
    if not demonstration.tool_calls:
        return _prepare_message(demonstration.message, read_value, compare)

    def read(call: ToolCall) -> Reading | None:
        name = next((name for name in names if name in call.arguments), None)
        form = None if name is None else read_value(call.arguments[name])
        return None if name is None or form is None else Reading(form, frozenset([name]))

    return prepare_calls(state, demonstration, read, compare, rest)


def prepare_calls(
    state: State,
    demonstration: Action,
    read: Read,
    compare: Compare,
    rest: ToolCallOptions,
    *,
    same_names: bool = True,
) -> ArgumentScorer:
    """Return a scorer for one demonstration with at least one call.

    rest: options of `tool_call`, for the other arguments and for calls from which nothing is read.
    same_names: whether both forms must come from the same arguments. If not, the given call's form may come from any
    arguments that the tool's schema knows.
    """
    demonstrated = demonstration.tool_calls
    if len(demonstrated) > MAX_PARALLEL:
        plain = tool_call.prepare(state, demonstration, rest)
        return lambda action: _undecided(plain(action))
    wanted = [_wanted(state, call, read, rest) for call in demonstrated]

    def judge_pair(want: _Wanted, call: ToolCall, reading: Reading | None) -> Verdict:
        if want.reading is None or reading is None:
            return want.judge(Action(tool_calls=(call,)))
        if reading.names != want.reading.names:
            if same_names:
                return want.judge(Action(tool_calls=(call,)))
            if fault := _fault(state, call, rest):
                return fault
        return _compare(want, call, reading, compare)

    def judge(action: Action) -> Verdict:
        given = action.tool_calls
        verdict = call_diff.in_number(demonstrated, given) or call_diff.in_names(demonstrated, given)
        if verdict is not None:
            return verdict
        readings = [read(call) for call in given]
        verdicts = [
            [judge_pair(want, call, reading) for call, reading in zip(given, readings, strict=True)] for want in wanted
        ]
        return best_matching(verdicts)

    return judge


def _undecided(verdict: Verdict) -> Verdict:
    unknown = verdict.outcome == Outcome.WRONG_ARGUMENTS
    return answer(Outcome.UNPROVEN, verdict.detail) if unknown else verdict


def _wanted(state: State, call: ToolCall, read: Read, rest: ToolCallOptions) -> _Wanted:
    alone = Action(tool_calls=(call,))
    return _Wanted(call, read(call), tool_call.prepare(state, alone, rest))


def _fault(state: State, call: ToolCall, rest: ToolCallOptions) -> Verdict | None:
    """Why the state's own tools forbid a call; a tool without a schema forbids every new argument."""
    if call.name not in parameters_by_tool(state.tools):
        return Verdict(0.0, Outcome.UNKNOWN_ARGUMENTS, f"{shown_text(call.name)}: no schema for other arguments")
    alone = Action(tool_calls=(call,))
    verdict = tool_call.prepare(state, alone, rest)(alone)
    return None if verdict.outcome == Outcome.CORRECT else verdict


def _compare(wanted: _Wanted, call: ToolCall, reading: Reading, compare: Compare) -> Verdict:
    assert wanted.reading is not None
    names = wanted.reading.names
    rest = {name: value for name, value in call.arguments.items() if name not in reading.names}
    if not names.isdisjoint(rest):  # the given form leaves out an argument that the demonstrated form stands for
        return wanted.judge(Action(tool_calls=(call,)))
    shown = {name: wanted.call.arguments[name] for name in names}
    verdict = wanted.judge(Action(tool_calls=(ToolCall(name=call.name, arguments=rest | shown),)))
    if verdict.outcome != Outcome.CORRECT:
        return verdict
    outcome = compare(wanted.reading.form, reading.form)
    return verdict if outcome == Outcome.CORRECT else answer(outcome, _detail(wanted.call, call, reading))


def _detail(demonstrated: ToolCall, given: ToolCall, reading: Reading) -> str:
    name = min(reading.names)
    if len(reading.names) > 1 or name not in demonstrated.arguments:
        return f"{shown_text(given.name)}: another result than the demonstrated one"
    values = call_diff.shown(given.arguments[name]), call_diff.shown(demonstrated.arguments[name])
    return f"{call_diff.place(given.name, f'.{name}')}: {values[0]}, demonstrated {values[1]}"


def best_matching(verdicts: list[list[Verdict]]) -> Verdict:
    """The verdict on all calls, from one verdict for each demonstrated call (row) and given call (column).

    Same if every row can have its own column that is the same. Unproven if this needs unproven pairs. Otherwise the
    reason why one row has no column.
    """
    if len(verdicts) == 1:
        return verdicts[0][0]
    if len(_matching(verdicts, Outcome.CORRECT)) == len(verdicts):
        return Verdict(1.0, Outcome.CORRECT)
    row_of = _matching(verdicts, Outcome.CORRECT, Outcome.UNPROVEN)
    if len(row_of) == len(verdicts):
        return next(verdict for row in verdicts for verdict in row if verdict.outcome == Outcome.UNPROVEN)
    free_row = next(row for row in range(len(verdicts)) if row not in row_of.values())
    return next(verdict for column, verdict in enumerate(verdicts[free_row]) if column not in row_of)


def _matching(verdicts: list[list[Verdict]], *accepted: Outcome) -> dict[int, int]:
    """Column -> row, for a largest matching of the pairs that have an accepted outcome."""
    return maximum_matching([[at for at, one in enumerate(row) if one.outcome in accepted] for row in verdicts])


def _prepare_message(demonstrated: str, read_value: ReadValue, compare: Compare) -> ArgumentScorer:
    block = code_block(demonstrated)
    form = None if block is None else read_value(block[1])

    def judge(action: Action) -> Verdict:
        if action.tool_calls:
            called = shown_text(action.tool_calls[0].name)
            return Verdict(0.0, Outcome.WRONG_KIND, f"calls {called}, demonstrated a message")
        if action.message == demonstrated:
            return Verdict(1.0, Outcome.CORRECT)
        if block is None:
            return answer(Outcome.UNPROVEN, "the demonstration has not exactly one fenced block")
        found = code_block(action.message)
        if found is None:
            return Verdict(0.0, Outcome.INVALID_CALL, "not exactly one fenced block")
        if found[0] != block[0]:
            return Verdict(0.0, Outcome.INVALID_CALL, f"fenced as {_kind(found[0])}, demonstrated {_kind(block[0])}")
        given = read_value(found[1])
        outcome = Outcome.UNPROVEN if form is None or given is None else compare(form, given)
        words = f"{call_diff.shown(found[1])}, demonstrated {call_diff.shown(block[1])}"
        return Verdict(1.0, outcome) if outcome == Outcome.CORRECT else answer(outcome, words)

    return judge


def answer(outcome: Outcome, detail: str) -> Verdict:
    """The verdict on an action that is not shown to be the same: different or unproven."""
    return unproven(detail) if outcome == Outcome.UNPROVEN else Verdict(0.0, outcome, detail)


def _kind(info: str | None) -> str:
    return "no block" if info is None else call_diff.shown(info)


def code_block(message: str) -> tuple[str | None, str] | None:
    """The word behind the fence, and the code, of the only fenced block; (None, message) if there is no fence.

    None if there is more than one block or a fence that does not end.
    """
    if _FENCE not in message:
        return None, message
    before, _, rest = message.partition(_FENCE)
    block, closed, after = rest.partition(_FENCE)
    info, newline, code = block.partition("\n")
    info = info.rstrip(" \t\r")
    alone = not before or before.endswith("\n")
    ended = (code.endswith("\n") or not code) and (not after or after[0] in " \t\r\n")
    if not (closed and newline and alone and ended) or _FENCE in after or not _INFO.fullmatch(info):
        return None
    return info, code
