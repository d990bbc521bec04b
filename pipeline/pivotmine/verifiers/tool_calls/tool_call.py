"""`tool_call`: calls that do the same according to the schemas of the state's tools. An equivalence, not a similarity.

Parallel calls are compared as a multiset: their order does not count. A call is its name and its arguments:

- The order of keys in an object does not count. Lists are compared in order, unless their schema says `uniqueItems`
  or the option `unordered` names them. Numbers compare by value (1 is 1.0; `true` is never 1), within `tolerance`.
- An optional argument at its schema's default is the same as an absent one, also inside nested objects.
- Strings under an `enum` or a `const`, and strings that `exact` names, are compared as they are. `free_text` drops
  case and inner white space. `dates` and the `format`s in FORMATS compare what a string means (instants, hosts, UUIDs).
  All other strings are compared without their outer white space.
- Outer white space stays if it may count: in arguments named like file contents, edits, keys or secrets
  (`white_space_counts`), in text of several lines, under a `pattern`, and in strings without a letter or digit (" ",
  ", ", a tab).
- An argument that a closed schema does not know fails. So does a missing required one, and a tool that the state does
  not offer. This holds even if the demonstration has the same fault; then it fails its own gate. Without a schema, the
  arguments must be exactly those of the demonstration.
- `ignore` names arguments whose value does not count. `alternatives` lists values of an argument that count as one.

`schema.py` says which parts of a schema are read. Values are not validated: a demonstration that breaks its
schema's types or enums is matched by the same values only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pivotmine import strict_json
from pivotmine.actions.action import Action, ToolCall
from pivotmine.errors import UserError
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier, shown_text
from pivotmine.verifiers.tool_calls import call_diff
from pivotmine.verifiers.tool_calls.canonical import canonical_form, default_form
from pivotmine.verifiers.tool_calls.matching import num_matched
from pivotmine.verifiers.tool_calls.schema import (
    Alternatives,
    Path,
    Schema,
    parameters_by_tool,
    paths_after,
    shared_schema,
)

_PATHS = ("free_text", "any_case", "exact", "dates", "unordered", "ignore")


@dataclass(frozen=True, slots=True, kw_only=True)
class SameValues:
    """Values of one argument that count as one."""

    argument: str
    """The argument, as in the other options."""
    values: tuple[Any, ...]
    """At least two: strings, numbers, booleans, null, and lists of them (here: tuples)."""

    def __post_init__(self) -> None:
        _check_path("alternatives", self.argument)
        if len(self.values) < 2:
            raise UserError(f"verifier tool_call, option alternatives: {self.argument} needs at least two values")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallOptions:
    free_text: tuple[str, ...] = ()
    """Arguments in which case and inner white space do not count: "tool.argument", or "tool.argument.name" for a value
    inside an object, also through lists. `*` stands for any name; at the end of a path it includes the values inside.
    "*.note" is an argument of any tool, "*.*" every argument. A path to a list covers the strings in it. All options
    with paths are written like this."""
    any_case: tuple[str, ...] = ()
    """Arguments in which case does not count."""
    exact: tuple[str, ...] = ()
    """Arguments in which outer white space counts."""
    dates: tuple[str, ...] = ()
    """Dates and times, compared as instants: "2024-05-01T10:00:00Z" is "2024-05-01T12:00:00+02:00"."""
    unordered: tuple[str, ...] = ()
    """Lists whose order does not count."""
    ignore: tuple[str, ...] = ()
    """Arguments whose value does not count, such as "think.thought". An optional one may also be absent."""
    alternatives: tuple[SameValues, ...] = ()
    """Values that count as one: [{argument = "book.city", values = ["NYC", "New York"]}]."""
    tolerance: float = 0.0
    """Maximum difference of two equal numbers, as a share of the larger one. Two whole numbers must be equal, and so
    must arguments of type integer: they count or name something."""
    parallel: str = "strict"
    """`strict`: 0 unless all calls match. Others give partial credit if m of g given calls match d demonstrated ones:
    `fractional` m / max(g, d), `f1` 2m / (g + d). A surplus call lowers both."""

    def __post_init__(self) -> None:
        for option in _PATHS:
            for path in getattr(self, option):
                _check_path(option, path)
        if self.parallel not in _CREDIT:
            raise UserError(
                f"verifier tool_call, option parallel: must be one of {', '.join(_CREDIT)}, is {self.parallel!r}"
            )
        if not 0 <= self.tolerance < 1:
            raise UserError(
                f"verifier tool_call, option tolerance: must be at least 0 and below 1, is {self.tolerance}"
            )


def _check_path(option: str, path: str) -> None:
    tool, _, argument = path.partition(".")
    if not tool or not argument:
        raise UserError(
            f'verifier tool_call, option {option}: "{path}" names no argument: write "tool.argument" or "*.argument"'
        )


_CREDIT: dict[str, Callable[[int, int, int], float]] = {
    "strict": lambda matched, given, demonstrated: 0.0,
    "fractional": lambda matched, given, demonstrated: matched / max(given, demonstrated),
    "f1": lambda matched, given, demonstrated: 2 * matched / (given + demonstrated),
}
"""Partial credit if some calls match, but not all."""


def prepare(state: State, demonstration: Action, options: ToolCallOptions) -> Callable[[Action], Verdict]:
    """Return a scorer for one demonstration with at least one call."""
    parameters = parameters_by_tool(state.tools)
    demonstrated = demonstration.tool_calls
    schemas = {c.name: shared_schema(parameters.get(c.name), _declared(options, c.name)) for c in demonstrated}

    def form(call: ToolCall) -> tuple[str, Any]:
        return call.name, canonical_form(call.arguments, schemas[call.name])

    wanted = [form(call) for call in demonstrated]
    matched = _fault(demonstrated, parameters, schemas) or Verdict(1.0, Outcome.CORRECT)

    def judge_strictly(given: tuple[ToolCall, ...]) -> Verdict:
        verdict = call_diff.in_number(demonstrated, given) or call_diff.in_names(demonstrated, given)
        if verdict is not None:
            return verdict
        if len(demonstrated) == 1 and not options.tolerance:
            # Faster than making two forms, with the same result.
            return call_diff.in_arguments(demonstrated[0], given[0], schemas[given[0].name], canonical_form) or matched
        found = [form(call) for call in given]
        if num_matched(wanted, found, options.tolerance) == len(wanted):
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
        num = num_matched(wanted, found, options.tolerance)
        if not num or matched.reward != 1:
            return verdict
        reward = _CREDIT[options.parallel](num, len(given), len(demonstrated))
        detail = f"calls: {num} match, {len(given)} given, {len(demonstrated)} demonstrated"
        return Verdict(reward, Outcome.PARTIAL, detail)

    return judge


def _declared(options: ToolCallOptions, tool: str) -> tuple[Path, ...]:
    paths: list[Path] = [(option, path) for option in _PATHS for path in getattr(options, option)]
    paths += [(Alternatives(tuple(map(_canonical, same.values))), same.argument) for same in options.alternatives]
    measure: tuple[Path, ...] = (("measure", ""),) if options.tolerance else ()
    return (*paths_after(paths, tool), *measure)


def _canonical(value: Any) -> str:
    return strict_json.canonical(_with_lists(value))


def _with_lists(value: Any) -> Any:
    return [_with_lists(item) for item in value] if isinstance(value, tuple) else value


def _fault(demonstrated: Sequence[ToolCall], parameters: dict[str, Any], schemas: dict[str, Schema]) -> Verdict | None:
    """The verdict on actions equal to a demonstration that its own tools forbid; None if the tools allow it."""
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
            # A value at its default is the same as an absent one, so it cannot be wrong.
            elif not below.ignored and canonical_form(inner, below) != default_form(schema, name):
                yield from _faults(inner, below, f"{path}.{name}")


VERIFIER = Verifier(prepare=prepare, options=ToolCallOptions, version=4, kinds=frozenset({"tool_call"}))
