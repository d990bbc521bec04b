"""`exact`: the strict baseline, reward 1 only if the action is the demonstration (PivotRL's r_strict).

The same calls in the same order, with the same names and with arguments that are identical as JSON: 1 and 1.0 differ,
and so do `true` and 1, or "a" and "a ". The order of keys does not count, because not every serialisation keeps it.
The state's tools and their schemas are not read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pivotmine import strict_json
from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier
from pivotmine.verifiers.tool_calls import call_diff
from pivotmine.verifiers.tool_calls.schema import Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactOptions:
    """It has no options."""


def prepare(state: State, demonstration: Action, options: ExactOptions) -> Callable[[Action], Verdict]:
    """Return a scorer for one demonstration with at least one call."""
    demonstrated = demonstration.tool_calls
    forms = [_form(call) for call in demonstrated]

    def judge(action: Action) -> Verdict:
        if [_form(call) for call in action.tool_calls] == forms:
            return Verdict(1.0, Outcome.CORRECT)
        return _mismatch(demonstrated, action.tool_calls)

    return judge


def _form(call: ToolCall) -> tuple[str, str]:
    return call.name, strict_json.canonical(call.arguments)


def _mismatch(demonstrated: tuple[ToolCall, ...], given: tuple[ToolCall, ...]) -> Verdict:
    in_number = call_diff.in_number(demonstrated, given)
    if in_number is not None:
        return in_number
    wanted, found = next(pair for pair in zip(demonstrated, given, strict=True) if _form(pair[0]) != _form(pair[1]))
    if wanted.name != found.name:
        return call_diff.wrong_tool(found.name, wanted.name)
    verdict = call_diff.in_arguments(wanted, found, Schema(None), _value_form)
    assert verdict is not None, "what differs as a whole differs somewhere"
    return verdict


def _value_form(value: Any, schema: Schema) -> str:
    return strict_json.canonical(value)


VERIFIER = Verifier(prepare=prepare, options=ExactOptions, version=1, kinds=frozenset({"tool_call"}))
