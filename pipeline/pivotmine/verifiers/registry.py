"""All verifiers by name, and how one is made from its name and a table of options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from pivotmine.errors import MissingPackage, UserError
from pivotmine.verifiers import python, recorded, search_query
from pivotmine.verifiers.base import BY_KIND, WORTHS, Verifier, VerifierSpec
from pivotmine.verifiers.composed import auto, combinators, third_party
from pivotmine.verifiers.edits import edit
from pivotmine.verifiers.llm_judge import llm_judge
from pivotmine.verifiers.maths import mathematics
from pivotmine.verifiers.published import gym_single_step, gym_terminus_string
from pivotmine.verifiers.shell import shell
from pivotmine.verifiers.sql import sql
from pivotmine.verifiers.terminals import terminal
from pivotmine.verifiers.texts import text
from pivotmine.verifiers.tool_calls import exact, tool_call, tool_name

# To add a verifier: write a module that ends with its `VERIFIER`, and add a line here.
VERIFIERS: dict[str, Verifier] = {
    "all": combinators.ALL,
    "any": combinators.ANY,
    "auto": auto.VERIFIER,
    "edit": edit.VERIFIER,
    "exact": exact.VERIFIER,
    "first_decided": combinators.FIRST_DECIDED,
    "gym_single_step": gym_single_step.VERIFIER,
    "gym_terminus_string": gym_terminus_string.VERIFIER,
    "judge": llm_judge.VERIFIER,
    "math": mathematics.VERIFIER,
    "python": python.VERIFIER,
    "recorded": recorded.VERIFIER,
    "search_query": search_query.VERIFIER,
    "shell": shell.VERIFIER,
    "sql": sql.VERIFIER,
    "terminal": terminal.VERIFIER,
    "text": text.VERIFIER,
    "tool_call": tool_call.VERIFIER,
    "tool_name": tool_name.VERIFIER,
    "weighted": combinators.WEIGHTED,
}


def make_spec(name: str, options: Mapping[str, Any]) -> VerifierSpec:
    """Make a verifier from its name and its options, as TOML or `options_json` gives them.

    Every verifier has the option `unproven` (`VerifierSpec.unproven`). Raise UserError if the name, an option or a
    value is wrong.
    """
    verifier = find_verifier(name)
    _require(name, verifier)
    kind, given = verifier.options, dict(options)
    worth = given.pop("unproven", BY_KIND)
    if worth not in WORTHS:
        raise UserError(f"verifier {name}, option unproven: choose one of {', '.join(WORTHS)}, not {worth!r:.80}")
    return VerifierSpec(name, kind(**_read_fields(f"verifier {name}", kind, given)), verifier, worth)


def _read_fields(what: str, kind: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    # In a module without `from __future__ import annotations`, the annotation is a type instead of its name.
    annotations = {f.name: f.type.__name__ if type(f.type) is type else str(f.type) for f in fields(kind)}
    values: dict[str, Any] = {}
    for option, value in given.items():
        if option not in annotations:
            allowed = ", ".join(sorted(annotations)) or "none"
            raise UserError(f'{what} has no option "{option}": its options are {allowed}')
        if annotations[option] not in _READERS:
            raise UserError(f"{what}, option {option}: {annotations[option]} is not a type that an option can have")
        values[option] = _READERS[annotations[option]](f"{what}, option {option}", value)
    return values


def find_verifier(name: str) -> Verifier:
    """The verifier of that name. Raise UserError if there is none."""
    if ":" in name:
        return third_party.load(name)
    if name not in VERIFIERS:
        raise UserError(f'no verifier "{name}": choose one of {", ".join(sorted(VERIFIERS))}')
    return VERIFIERS[name]


def _require(name: str, verifier: Verifier) -> None:
    if missing := verifier.missing_modules:
        extra = verifier.extra
        what = f"'.[{extra}]'" if extra else "."
        words = f"in the project's folder, `pip install -c constraints.txt {what}`"
        raise MissingPackage(f"verifier {name} needs the package {', '.join(missing)}: {words}")


def _of_type(kind: type, words: str) -> Callable[[str, Any], Any]:
    def read(where: str, value: Any) -> Any:
        given = float(value) if kind is float and type(value) is int else value
        if type(given) is not kind:
            raise UserError(f"{where}: must be {words}, is {value!r:.80}")
        return given

    return read


def _list_of(read: Callable[[str, Any], Any], words: str) -> Callable[[str, Any], tuple[Any, ...]]:
    def read_list(where: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise UserError(f"{where}: must be a list of {words}, is {value!r:.80}")
        return tuple(read(f"{where}[{i}]", item) for i, item in enumerate(value))

    return read_list


def _strings(where: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise UserError(f"{where}: must be a list of strings, is {value!r:.80}")
    return tuple(value)


def _spec(where: str, value: Any) -> VerifierSpec:
    spec = value if isinstance(value, VerifierSpec) else _read_spec(where, value)
    if spec.unproven != BY_KIND:
        raise UserError(
            f"{where}: {spec.name} sets unproven = {spec.unproven!r}, which only the outermost verifier applies; "
            "set it there"
        )
    return spec


def _read_spec(where: str, value: Any) -> VerifierSpec:
    if not isinstance(value, dict) or set(value) != {"name", "options"} or not isinstance(value["options"], dict):
        raise UserError(f"{where}: must be a verifier, {{name, options}}, is {value!r:.80}")
    return make_spec(str(value["name"]), value["options"])


def _table_of(kind: type[Any], words: str, *required: str) -> Callable[[str, Any], Any]:
    def read(where: str, value: Any) -> Any:
        if isinstance(value, kind):
            return value
        if not isinstance(value, dict) or not value.keys() >= set(required):
            raise UserError(f"{where}: must be {words}, is {value!r:.80}")
        return kind(**_read_fields(where, kind, value))

    return read


def _json_value(where: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple([_json_value(where, item) for item in value])
    if not isinstance(value, str | int | float | bool | None):
        raise UserError(f"{where}: must be a string, a number, true, false, null or a list of them, is {value!r:.80}")
    return value


# Annotation of an option's field -> reader of its value from TOML.
_READERS: dict[str, Callable[[str, Any], Any]] = {
    "ToolCallOptions": _table_of(tool_call.ToolCallOptions, "a table of options of tool_call"),
    "VerifierSpec": _spec,
    "bool": _of_type(bool, "true or false"),
    "float": _of_type(float, "a number"),
    "int": _of_type(int, "a whole number"),
    "str": _of_type(str, "a string"),
    "tuple[Any, ...]": _list_of(_json_value, "values"),
    "tuple[SameValues, ...]": _list_of(
        _table_of(tool_call.SameValues, "a table with argument and values", "argument", "values"),
        "tables with argument and values",
    ),
    "tuple[Rule, ...]": _list_of(_table_of(auto.Rule, "a rule with a verifier", "verifier"), "rules"),
    "tuple[VerifierSpec, ...]": _list_of(_spec, "verifiers"),
    "tuple[float, ...]": _list_of(_of_type(float, "a number"), "numbers"),
    "tuple[str, ...]": _strings,
}
