"""Forms: hashable stand-ins for JSON values, equal for values that a tool with this schema takes for the same."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pivotmine.verifiers.tool_calls.schema import NO_DEFAULT, Schema
from pivotmine.verifiers.tool_calls.string_formats import one_spelling

MAX_DEFAULT_CHAIN = 4
"""So many levels of defaults inside defaults are read: hostile ones lie inside themselves."""
MAX_UNORDERED = 1000
"""Longer lists are compared in order: a hostile one of values with one hash would take quadratic time."""

_TRUE, _FALSE, _UNORDERED = object(), object(), object()  # Python takes True for 1


@dataclass(frozen=True, slots=True)
class _Measure:
    """A number that need not be hit exactly."""

    value: float


def canonical_form(value: Any, schema: Schema, chain: int = MAX_DEFAULT_CHAIN) -> Any:
    """The form of a JSON value; raises TypeError for what is not JSON."""
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


def _text_form(text: str, schema: Schema) -> str:
    rule = schema.text_rule
    if rule == "trim":
        trimmed = text.strip()
        # Of several lines the first one's indentation counts: code, a file, a diff.
        return text if "\n" in trimmed else trimmed
    if rule == "exact":
        return text
    if rule == "free_text":
        return " ".join(text.casefold().split())
    return one_spelling(rule, text)


def default_form(schema: Schema, name: str, chain: int = MAX_DEFAULT_CHAIN) -> Any:
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


def near(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two forms are the same but for measures that differ by no more than the tolerance.

    A measure that is a whole number on both sides counts or names something, and is hit exactly; so are the
    elements of unordered lists.
    """
    if one == other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, _Measure):
        return _close(one.value, other.value, tolerance)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(near(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if isinstance(one, frozenset):
        left, right = dict(one), dict(other)
        return left.keys() == right.keys() and all(near(left[name], right[name], tolerance) for name in left)
    return False


def _close(one: float, other: float, tolerance: float) -> bool:
    if one == int(one) and other == int(other):
        return False
    try:
        return math.isclose(one, other, rel_tol=tolerance)
    except OverflowError:  # an integer beyond every float
        return False
