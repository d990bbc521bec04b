"""`tool_call`: calls that do the same, by the schemas of the state's tools; an equivalence, no similarity.

Calls are compared as a multiset (the order of parallel calls is free); a surplus or missing call fails. A
call is its name and the form of its arguments:

- objects without regard to key order, lists in order, numbers by value (1 is 1.0; `true` is never 1);
- an optional argument that stands at its schema's default is the same as none, inside nested objects too;
- strings after trimming outer white space; case and inner white space count, except in arguments that the
  option `free_text` names;
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
from typing import Any

from pivotmine.actions.action import Action, ToolCall
from pivotmine.errors import UserError
from pivotmine.verifiers import mismatch
from pivotmine.verifiers.schema import NO_DEFAULT, Schema, parameters_by_tool, paths_after
from pivotmine.verifiers.verdict import Outcome, State, Verdict

MAX_DEFAULT_CHAIN = 4
"""So many levels of defaults inside defaults are read: hostile ones lie inside themselves."""

_TRUE, _FALSE = object(), object()  # Python takes True for 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallOptions:
    free_text: tuple[str, ...] = ()
    """Arguments in which case and inner white space do not count: "tool.argument", or "*.argument" for any
    tool; "tool.argument.name" for a value inside an object, through lists. A declared list covers the strings
    in it."""

    def __post_init__(self) -> None:
        for path in self.free_text:
            tool, _, argument = path.partition(".")
            if not tool or not argument:
                raise UserError(
                    f'verifier tool_call, option free_text: "{path}" names no argument: '
                    'write "tool.argument" or "*.argument"'
                )


def prepare(state: State, demonstration: Action, options: ToolCallOptions) -> Callable[[Action], Verdict]:
    """A judge of actions against one demonstration with at least one call."""
    parameters = parameters_by_tool(state.tools)
    demonstrated = demonstration.tool_calls
    schemas = {
        name: Schema(
            parameters.get(name),
            (*paths_after(options.free_text, name), *paths_after(options.free_text, "*")),
        )
        for name in {call.name for call in demonstrated}
    }

    def form(call: ToolCall) -> tuple[str, Any]:
        return call.name, canonical_form(call.arguments, schemas[call.name])

    wanted = [form(call) for call in demonstrated]
    matched = _fault(demonstrated, parameters, schemas) or Verdict(1.0, Outcome.CORRECT)

    def judge(action: Action) -> Verdict:
        given = action.tool_calls
        verdict = mismatch.in_number(demonstrated, given) or mismatch.in_names(demonstrated, given)
        if verdict is not None:
            return verdict
        found = [form(call) for call in given]
        if found == wanted or Counter(found) == Counter(wanted):
            return matched
        surplus = next(iter(Counter(found) - Counter(wanted)))
        missing = next(form for form in Counter(wanted) - Counter(found) if form[0] == surplus[0])
        pair = demonstrated[wanted.index(missing)], given[found.index(surplus)]
        return mismatch.in_arguments(*pair, schemas[surplus[0]], canonical_form)

    return judge


def canonical_form(value: Any, schema: Schema, chain: int = MAX_DEFAULT_CHAIN) -> Any:
    """A hashable stand-in for a JSON value: equal for values that a tool with this schema takes for the same.

    Raises TypeError for what is not JSON.
    """
    kind = type(value)
    if kind is str:
        return " ".join(value.casefold().split()) if schema.free_text else value.strip()
    if kind is int or kind is float or value is None:
        return value
    if kind is bool:
        return _TRUE if value else _FALSE
    if kind is list:
        items = schema.items()
        return tuple([canonical_form(item, items, chain) for item in value])
    if kind is dict:
        pairs: list[tuple[str, Any]] = []
        for name, inner in value.items():
            form = canonical_form(inner, schema.argument(name), chain)
            if form != _default_form(schema, name, chain):
                pairs.append((name, form))
        return frozenset(pairs)
    raise TypeError(f"{kind.__name__} is not a JSON value")


def _default_form(schema: Schema, name: str, chain: int) -> Any:
    """The form of an argument's default, without the defaults inside it: the value's form has none either."""
    forms = schema.default_forms
    if (name, chain) in forms:
        return forms[name, chain]
    default = schema.default(name) if chain else NO_DEFAULT
    if default is not NO_DEFAULT:
        default = canonical_form(default, schema.argument(name), chain - 1)
    if schema.knows(name):  # names that only a policy wrote must not pile up
        forms[name, chain] = default
    return default


def _fault(
    demonstrated: Sequence[ToolCall], parameters: dict[str, Any], schemas: dict[str, Schema]
) -> Verdict | None:
    """The verdict on whatever equals a demonstration that is wrong by the state's own tools."""
    for call in demonstrated:
        if parameters and call.name not in parameters:
            detail = f"{mismatch.shown_text(call.name)}: no tool of this state, though demonstrated"
            return Verdict(0.0, Outcome.WRONG_TOOL, detail)
        for outcome, path, words in _faults(call.arguments, schemas[call.name], ""):
            return Verdict(0.0, outcome, f"{mismatch.place(call.name, path)}: {words}, as demonstrated")
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
            elif canonical_form(inner, below) != _default_form(schema, name, MAX_DEFAULT_CHAIN):
                yield from _faults(inner, below, f"{path}.{name}")
