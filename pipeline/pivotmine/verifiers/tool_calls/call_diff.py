"""Why calls differ from the demonstrated ones, as a verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pivotmine import strict_json
from pivotmine.actions.action import ToolCall
from pivotmine.verifiers.base import MAX_SHOWN, Outcome, Verdict, shown_text
from pivotmine.verifiers.tool_calls.schema import Schema

Form = Callable[[Any, Schema], Any]
"""What a verifier compares instead of a value: two values are the same if their forms are equal."""

MAX_DIFFERENCES = 1_000
"""Maximum number of differences among which one is chosen for the report: long lists may differ everywhere."""

_ABSENT: Any = object()
_SCALARS = frozenset({str, int, bool, type(None)})  # floats have two zeros


class _Difference(NamedTuple):
    outcome: Outcome
    path: str
    demonstrated: Any
    given: Any


# A missing or unknown argument says more than a value that differs.
_REPORT_ORDER = (Outcome.MISSING_ARGUMENTS, Outcome.UNKNOWN_ARGUMENTS, Outcome.WRONG_ARGUMENTS)


def in_number(demonstrated: Sequence[ToolCall], given: Sequence[ToolCall]) -> Verdict | None:
    """The verdict if the number of calls differs from the demonstrated one; None if it is the same."""
    if not given:
        return Verdict(0.0, Outcome.WRONG_KIND, f"a message, demonstrated {shown_text(demonstrated[0].name)}")
    if len(given) == len(demonstrated):
        return None
    outcome = Outcome.SURPLUS_CALLS if len(given) > len(demonstrated) else Outcome.MISSING_CALLS
    return Verdict(0.0, outcome, f"calls: {len(given)}, demonstrated {len(demonstrated)}")


def in_names(demonstrated: Sequence[ToolCall], given: Sequence[ToolCall]) -> Verdict | None:
    """The verdict if the calls, as many as demonstrated, name other tools in any order; None if they do not."""
    if len(given) == 1:
        name, only = given[0].name, demonstrated[0].name
        return None if name == only else wrong_tool(name, only)
    names, wanted = [call.name for call in given], [call.name for call in demonstrated]
    if names == wanted or Counter(names) == Counter(wanted):
        return None
    surplus, missing = Counter(names) - Counter(wanted), Counter(wanted) - Counter(names)
    return wrong_tool(next(iter(surplus)), next(iter(missing)))


def wrong_tool(name: str, demonstrated: str) -> Verdict:
    """The verdict on a call of another tool."""
    return Verdict(0.0, Outcome.WRONG_TOOL, f"{shown_text(name)}, demonstrated {shown_text(demonstrated)}")


def in_arguments(demonstrated: ToolCall, given: ToolCall, schema: Schema, form: Form) -> Verdict | None:
    """The verdict on two calls of one tool if the forms of their arguments differ; None if they are equal."""
    differences: list[_Difference] = []
    _in_objects(demonstrated.arguments, given.arguments, schema, form, "", differences)
    if not differences:
        return None
    found = min(differences, key=_rank) if len(differences) > 1 else differences[0]
    if found.given is _ABSENT:
        words = f"missing, demonstrated {shown(found.demonstrated)}"
    elif found.demonstrated is _ABSENT:
        words = f"{shown(found.given)}, not demonstrated"
    else:
        words = f"{shown(found.given)}, demonstrated {shown(found.demonstrated)}"
    return Verdict(0.0, found.outcome, f"{place(given.name, found.path)}: {words}")


def _rank(difference: _Difference) -> int:
    return _REPORT_ORDER.index(difference.outcome)


def place(tool: str, path: str) -> str:
    """Tool and argument as a detail names them; `path` begins with a dot or a bracket."""
    return f"{shown_text(tool)}{shown_text(path)}"


def shown(value: Any) -> str:
    """A JSON value on one line, cut if it is long, without control characters."""
    if isinstance(value, str):
        value = value[: MAX_SHOWN + 1]
    return shown_text(strict_json.dumps(value, ordinary=True if type(value) in _SCALARS else None))


def _compare(demonstrated: Any, given: Any, schema: Schema, form: Form, path: str, found: list[_Difference]) -> None:
    if type(demonstrated) in _SCALARS or schema.is_special:
        if form(demonstrated, schema) != form(given, schema):
            found.append(_Difference(Outcome.WRONG_ARGUMENTS, path, demonstrated, given))
    elif isinstance(demonstrated, dict) and isinstance(given, dict):
        _in_objects(demonstrated, given, schema, form, path, found)
    elif _are_lists_in_order(demonstrated, given, schema):
        items = schema.items()
        for index, (one, other) in enumerate(zip(demonstrated, given, strict=True)):
            if len(found) >= MAX_DIFFERENCES:
                break
            if not _plainly_same(one, other):
                _compare(one, other, items, form, f"{path}[{index}]", found)
    elif form(demonstrated, schema) != form(given, schema):
        found.append(_Difference(Outcome.WRONG_ARGUMENTS, path, demonstrated, given))


def _plainly_same(one: Any, other: Any) -> bool:
    """Whether two values are the same under any schema; a quick check for the common case."""
    kind = type(one)
    return kind is type(other) and kind in _SCALARS and one == other


def _are_lists_in_order(demonstrated: Any, given: Any, schema: Schema) -> bool:
    both = isinstance(demonstrated, list) and isinstance(given, list)
    return both and len(demonstrated) == len(given) and not schema.unordered


def _in_objects(
    demonstrated: dict[str, Any],
    given: dict[str, Any],
    schema: Schema,
    form: Form,
    path: str,
    found: list[_Difference],
) -> None:
    for name, value in demonstrated.items():
        if name in given:
            if not _plainly_same(value, given[name]):
                _compare(value, given[name], schema.argument(name), form, f"{path}.{name}", found)
        elif form({name: value}, schema) != form({}, schema):  # equal forms: the value is its default, or ignored
            found.append(_Difference(Outcome.MISSING_ARGUMENTS, f"{path}.{name}", value, _ABSENT))
    for name, value in given.items():
        if name not in demonstrated and form({name: value}, schema) != form({}, schema):
            outcome = Outcome.WRONG_ARGUMENTS if schema.knows(name) else Outcome.UNKNOWN_ARGUMENTS
            found.append(_Difference(outcome, f"{path}.{name}", _ABSENT, value))
