"""`tool_call`: calls that do the same, by the schemas of the state's tools; an equivalence, no similarity.

Calls are compared as a multiset (the order of parallel calls is free). A call is its name and its arguments:

- objects without regard to key order, lists in order unless their schema says `uniqueItems` or the option
  `unordered` names them; numbers by value (1 is 1.0; `true` is never 1), within `tolerance` where that is set;
- an optional argument that stands at its schema's default is the same as none, inside nested objects too;
- strings: those under an `enum` or a `const`, and what `exact` names, as they are; what `free_text` names without
  regard to case and inner white space; what `dates` names, and those with a `format` of FORMATS, by what they say
  (instants of time, hosts, UUIDs); all others after trimming outer white space;
- but nothing is trimmed where white space may count: in arguments called as file contents, edits or keys are called
  (WHITE_SPACE_COUNTS), in text of several lines, and where the schema gives a `pattern`;
- an argument that a closed schema does not know, or one that it requires and that is not there, fails even
  where the demonstration did the same: then the demonstration fails its own gate. So does a tool that the
  state does not offer. Without a schema the arguments are those of the demonstration, no more and no less.

`schema.py` says what of a schema is read. Values are not validated: a demonstration that breaks its schema's
types or enums is matched by the same values only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pivotmine.actions.action import Action, ToolCall
from pivotmine.errors import UserError
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier, shown_text
from pivotmine.verifiers.tool_calls import call_diff
from pivotmine.verifiers.tool_calls.canonical import canonical_form, default_form, near
from pivotmine.verifiers.tool_calls.matching import num_matched
from pivotmine.verifiers.tool_calls.schema import Path, Schema, parameters_by_tool, paths_after, shared_schema

_PATHS = ("free_text", "exact", "dates", "unordered")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallOptions:
    free_text: tuple[str, ...] = ()
    """Arguments in which case and inner white space do not count: "tool.argument", or "*.argument" for any
    tool; "tool.argument.name" for a value inside an object, through lists. A declared list covers the strings
    in it. So are the arguments of the next three options written."""
    exact: tuple[str, ...] = ()
    """Arguments in which outer white space counts."""
    dates: tuple[str, ...] = ()
    """Dates and times, compared as instants: "2024-05-01T10:00:00Z" is "2024-05-01T12:00:00+02:00"."""
    unordered: tuple[str, ...] = ()
    """Lists whose order does not count."""
    tolerance: float = 0.0
    """Numbers that differ by no more, as a share of the larger, are the same; never whole numbers, nor arguments
    of type integer: those count or name something."""
    parallel: str = "strict"
    """`strict`: every call and no other, or 0. Else part credit for m matching calls of g given and d demonstrated:
    `fractional` m / max(g, d), `f1` 2m / (g + d); a surplus call costs in both."""

    def __post_init__(self) -> None:
        for option in _PATHS:
            for path in getattr(self, option):
                tool, _, argument = path.partition(".")
                if not tool or not argument:
                    raise UserError(
                        f'verifier tool_call, option {option}: "{path}" names no argument: '
                        'write "tool.argument" or "*.argument"'
                    )
        if self.parallel not in _CREDIT:
            raise UserError(f"verifier tool_call, option parallel: {self.parallel!r} is none of {', '.join(_CREDIT)}")
        if not 0 <= self.tolerance < 1:
            raise UserError(f"verifier tool_call, option tolerance: from 0 to below 1, not {self.tolerance}")


_CREDIT: dict[str, Callable[[int, int, int], float]] = {
    "strict": lambda matched, given, demonstrated: 0.0,
    "fractional": lambda matched, given, demonstrated: matched / max(given, demonstrated),
    "f1": lambda matched, given, demonstrated: 2 * matched / (given + demonstrated),
}
"""Part credit for m matching calls that are not all."""


def prepare(state: State, demonstration: Action, options: ToolCallOptions) -> Callable[[Action], Verdict]:
    """A judge of actions against one demonstration with at least one call."""
    parameters = parameters_by_tool(state.tools)
    demonstrated = demonstration.tool_calls
    schemas = {c.name: shared_schema(parameters.get(c.name), _declared(options, c.name)) for c in demonstrated}
    same = partial(near, tolerance=options.tolerance) if options.tolerance else None

    def form(call: ToolCall) -> tuple[str, Any]:
        return call.name, canonical_form(call.arguments, schemas[call.name])

    wanted = [form(call) for call in demonstrated]
    matched = _fault(demonstrated, parameters, schemas) or Verdict(1.0, Outcome.CORRECT)

    def judge_strictly(given: tuple[ToolCall, ...]) -> Verdict:
        verdict = call_diff.in_number(demonstrated, given) or call_diff.in_names(demonstrated, given)
        if verdict is not None:
            return verdict
        if len(demonstrated) == 1 and same is None:
            # Walking both at once finds what differs sooner than two forms do, and the same.
            return call_diff.in_arguments(demonstrated[0], given[0], schemas[given[0].name], canonical_form) or matched
        found = [form(call) for call in given]
        if num_matched(wanted, found, same) == len(wanted):
            return matched
        surplus = next(iter(Counter(found) - Counter(wanted)))
        missing = next(form for form in Counter(wanted) - Counter(found) if form[0] == surplus[0])
        pair = demonstrated[wanted.index(missing)], given[found.index(surplus)]
        verdict = call_diff.in_arguments(*pair, schemas[surplus[0]], canonical_form)
        assert verdict is not None, "forms that differ differ somewhere"
        return verdict

    def judge(action: Action) -> Verdict:
        given = action.tool_calls
        verdict = judge_strictly(given)
        if verdict is matched or options.parallel == "strict" or not given:
            return verdict
        found = [form(call) for call in given if call.name in schemas]
        num = num_matched(wanted, found, same)
        if not num or matched.reward != 1:
            return verdict
        reward = _CREDIT[options.parallel](num, len(given), len(demonstrated))
        detail = f"calls: {num} match, {len(given)} given, {len(demonstrated)} demonstrated"
        return Verdict(reward, Outcome.PARTIAL, detail)

    return judge


def _declared(options: ToolCallOptions, tool: str) -> tuple[Path, ...]:
    paths = tuple((option, path) for option in _PATHS for path in getattr(options, option))
    measure = (("measure", ""),) if options.tolerance else ()
    return (*paths_after(paths, tool), *paths_after(paths, "*"), *measure)


def _fault(demonstrated: Sequence[ToolCall], parameters: dict[str, Any], schemas: dict[str, Schema]) -> Verdict | None:
    """The verdict on whatever equals a demonstration that is wrong by the state's own tools."""
    for call in demonstrated:
        if parameters and call.name not in parameters:
            detail = f"{shown_text(call.name)}: no tool of this state, though demonstrated"
            return Verdict(0.0, Outcome.WRONG_TOOL, detail)
        for outcome, path, words in _faults(call.arguments, schemas[call.name], ""):
            return Verdict(0.0, outcome, f"{call_diff.place(call.name, path)}: {words}, as demonstrated")
    return None


def _faults(value: Any, schema: Schema, path: str) -> Iterator[tuple[Outcome, str, str]]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _faults(item, schema.items(), f"{path}[{index}]")
    elif isinstance(value, dict):
        for name in sorted(schema.required - value.keys()):
            yield Outcome.MISSING_ARGUMENTS, f"{path}.{name}", "missing"
        for name, inner in value.items():
            below = schema.argument(name)
            if schema.closed and not schema.knows(name):
                yield Outcome.UNKNOWN_ARGUMENTS, f"{path}.{name}", "unknown to the schema"
            # What stands at its default is the same as nothing, so it cannot be wrong.
            elif canonical_form(inner, below) != default_form(schema, name):
                yield from _faults(inner, below, f"{path}.{name}")


VERIFIER = Verifier(prepare=prepare, options=ToolCallOptions, version=2, kinds=frozenset({"tool_call"}))
