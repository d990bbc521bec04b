"""Forms: hashable stand-ins for JSON values. Equal forms mean the same to a tool with this schema."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from pivotmine import strict_json
from pivotmine.verifiers.tool_calls.schema import NO_DEFAULT, Schema
from pivotmine.verifiers.tool_calls.string_formats import one_spelling

MAX_DEFAULT_CHAIN = 4
"""Levels of defaults inside defaults that are read. A hostile default may contain itself."""
MAX_UNORDERED = 1000
"""Longer lists are compared in order, because hostile values may share one hash, which takes quadratic time."""

_TRUE, _FALSE, _UNORDERED = object(), object(), object()  # in Python, True == 1
_MEASURE, _IGNORED, _ALTERNATIVE = object(), object(), object()


@dataclass(frozen=True, slots=True)
class _Measure:
    """A number that is compared with a tolerance."""

    value: float


def canonical_form(value: Any, schema: Schema, chain: int = MAX_DEFAULT_CHAIN) -> Any:
    """The form of a JSON value; raises TypeError for a value that is not JSON."""
    if schema.is_special:
        if schema.ignored:
            return _IGNORED
        if schema.alternatives and (number := _alternative(value, schema)) is not None:
            return _ALTERNATIVE, number
    kind = type(value)
    if kind is str:
        return _text_form(value, schema)
    if kind is int or kind is float:
        return _Measure(value) if schema.measure else value
    if value is None:
        return None
    if kind is bool:
        return _TRUE if value else _FALSE
    if kind is list:
        items = schema.items()
        forms = tuple([canonical_form(item, items, chain) for item in value])
        if schema.unordered and len(forms) <= MAX_UNORDERED:
            return (_UNORDERED, frozenset(Counter(forms).items()))
        return forms
    if kind is dict:
        pairs: list[tuple[str, Any]] = []
        for name, inner in value.items():
            form = canonical_form(inner, schema.argument(name), chain)
            if form != default_form(schema, name, chain):
                pairs.append((name, form))
        return frozenset(pairs)
    raise TypeError(f"{kind.__name__} is not a JSON value")


def _alternative(value: Any, schema: Schema) -> int | None:
    """The number of the first group of alternatives that holds the value."""
    text = strict_json.canonical(value)
    return next((number for number, group in enumerate(schema.alternatives) if text in group), None)


def _text_form(text: str, schema: Schema) -> str:
    rule = schema.text_rule
    if rule == "trim" and not schema.any_case and text[:1].strip() and text[-1:].strip():
        return text  # nothing to trim
    if rule != "exact" and not any(map(str.isalnum, text)):
        return text  # a separator, a line end, an indentation: white space is its content
    if rule == "trim":
        trimmed = text.strip()
        # Text of several lines may be code, a file or a diff: the indentation of its first line counts.
        form = text if "\n" in trimmed else trimmed
    elif rule == "exact":
        form = text
    elif rule == "free_text":
        form = " ".join(text.casefold().split())
    else:
        form = one_spelling(rule, text)
    return form.casefold() if schema.any_case else form


def default_form(schema: Schema, name: str, chain: int = MAX_DEFAULT_CHAIN) -> Any:
    """The form of an absent argument: that of its default, or NO_DEFAULT if it has none."""
    forms = schema.default_forms
    if (name, chain) in forms:
        return forms[name, chain]
    default = schema.default(name) if chain else NO_DEFAULT
    if schema.may_be_absent(name) and schema.argument(name).ignored:
        default = _IGNORED
    elif default is not NO_DEFAULT:
        default = canonical_form(default, schema.argument(name), chain - 1)
    if schema.knows(name):  # names that only a policy wrote must not accumulate
        forms[name, chain] = default
    return default


def split_measures(form: Any) -> tuple[Any, tuple[float, ...]]:
    """Split a form into its measures and the rest. The order of the measures depends only on the rest.

    Elements of unordered lists keep their measures, so they are compared exactly.
    """
    values: list[float] = []
    return _split(form, values), tuple(values)


def _split(form: Any, values: list[float]) -> Any:
    if isinstance(form, _Measure):
        values.append(form.value)
        return _MEASURE
    if isinstance(form, tuple):
        return form if form[:1] == (_UNORDERED,) else tuple([_split(item, values) for item in form])
    if isinstance(form, frozenset):
        return frozenset([(name, _split(inner, values)) for name, inner in sorted(form, key=itemgetter(0))])
    return form


def are_close(one: Sequence[float], other: Sequence[float], tolerance: float) -> bool:
    """Whether two sequences of measures differ by at most the tolerance, a share of the larger number.

    Two whole numbers count or name something, so they must be equal.
    """
    return one == other or all(a == b or _is_close(a, b, tolerance) for a, b in zip(one, other, strict=True))


def _is_close(one: float, other: float, tolerance: float) -> bool:
    if one == int(one) and other == int(other):
        return False
    try:
        return math.isclose(one, other, rel_tol=tolerance)
    except OverflowError:  # an integer beyond every float
        return False
