"""The verifiers there are, and how a name and a table of options become one with an id of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from typing import Any

from pivotmine import jsonvalues
from pivotmine.actions.action import Action
from pivotmine.errors import UserError
from pivotmine.verifiers import edit, exact, python, search_query, shell, sql, tool_call
from pivotmine.verifiers.verdict import State, Verdict

Judge = Callable[[Action], Verdict]
"""A verifier made ready for one state: what it needs of the demonstrations is computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    prepare: Callable[[State, Action, Any], Judge]
    """A judge from a state, one demonstration of a kind it handles, and the options. Pure. Hostile text may
    make it raise: `judging` turns every exception into a verdict."""
    options: type[Any]
    """A frozen dataclass, every field with a default; a value that makes no sense is a UserError."""
    version: int
    """Raised by whoever changes any verdict: scores of two versions are never mixed."""
    kinds: frozenset[str]
    """The kinds of demonstration (`Action.kind`) it can compare with."""
    needs_messages: bool = False
    """Whether it reads `State.messages`."""
    requires: tuple[str, ...] = ()
    """Modules outside the standard library that it imports inside itself; asked for before the first row."""
    extra: str = ""
    """The extra of pivotmine that installs them; empty: they come with pivotmine itself."""


# To add one: a module of its own with an options dataclass and a `prepare`, and an entry here.
VERIFIERS: dict[str, Verifier] = {
    "exact": Verifier(prepare=exact.prepare, options=exact.ExactOptions, version=1, kinds=frozenset({"tool_call"})),
    "tool_call": Verifier(
        prepare=tool_call.prepare,
        options=tool_call.ToolCallOptions,
        version=1,
        kinds=frozenset({"tool_call"}),
    ),
    "shell": Verifier(
        prepare=shell.prepare,
        options=shell.ShellOptions,
        version=1,
        kinds=frozenset({"tool_call", "message"}),
        requires=("tree_sitter", "tree_sitter_bash"),
        extra="verifiers",
    ),
    "edit": Verifier(
        prepare=edit.prepare,
        options=edit.EditOptions,
        version=1,
        kinds=frozenset({"tool_call"}),
        needs_messages=True,
    ),
    "sql": Verifier(
        prepare=sql.prepare,
        options=sql.SqlOptions,
        version=1,
        kinds=frozenset({"tool_call", "message"}),
        needs_messages=True,
        requires=("sqlglot",),
        extra="verifiers",
    ),
    "python": Verifier(
        prepare=python.prepare,
        options=python.PythonOptions,
        version=1,
        kinds=frozenset({"tool_call", "message"}),
    ),
    "search_query": Verifier(
        prepare=search_query.prepare,
        options=search_query.SearchQueryOptions,
        version=1,
        kinds=frozenset({"tool_call"}),
    ),
}


@dataclass(frozen=True, slots=True)
class VerifierSpec:
    """A verifier and its options, as a run's config names them: hashable, and quick to send to a worker."""

    name: str
    """A key of VERIFIERS."""
    options: Any
    """An instance of that verifier's options dataclass."""

    @property
    def options_json(self) -> str:
        """All options, defaults included, as canonical JSON."""
        return jsonvalues.canonical(asdict(self.options))

    @property
    def verifier_id(self) -> str:
        """Name and 8 hex digits over name, version and options: equal where every verdict is."""
        identity = f"{self.name}\n{VERIFIERS[self.name].version}\n{self.options_json}"
        return f"{self.name}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"

    def handles(self, kind: str) -> bool:
        """Whether turns of this kind can be verified; a turn that cannot is a reject, never a reward."""
        return kind in VERIFIERS[self.name].kinds


def make_spec(name: str, options: Mapping[str, Any]) -> VerifierSpec:
    """A verifier by name, its options as TOML gives them; raises UserError that names what is allowed."""
    if name not in VERIFIERS:
        raise UserError(f'no verifier "{name}": choose one of {", ".join(sorted(VERIFIERS))}')
    _require(name)
    kinds_of_field = {field.name: str(field.type) for field in fields(VERIFIERS[name].options)}
    values: dict[str, Any] = {}
    for option, value in options.items():
        if option not in kinds_of_field:
            allowed = ", ".join(sorted(kinds_of_field)) or "none"
            raise UserError(f'verifier {name} has no option "{option}": its options are {allowed}')
        values[option] = _READERS[kinds_of_field[option]](f"verifier {name}, option {option}", value)
    return VerifierSpec(name, VERIFIERS[name].options(**values))


def _require(name: str) -> None:
    missing = [module for module in VERIFIERS[name].requires if find_spec(module) is None]
    if missing:
        extra = VERIFIERS[name].extra
        package = f"pivotmine[{extra}]" if extra else "pivotmine"
        raise UserError(f'verifier {name} needs {", ".join(missing)}: pip install "{package}"')


def _strings(where: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise UserError(f"{where}: must be a list of strings, is {value!r:.80}")
    return tuple(value)


def _of_type(kind: type, words: str) -> Callable[[str, Any], Any]:
    def read(where: str, value: Any) -> Any:
        given = float(value) if kind is float and type(value) is int else value
        if type(given) is not kind:
            raise UserError(f"{where}: must be {words}, is {value!r:.80}")
        return given

    return read


# By the annotation of the option's field: TOML value to field value.
_READERS: dict[str, Callable[[str, Any], Any]] = {
    "tuple[str, ...]": _strings,
    "str": _of_type(str, "a string"),
    "bool": _of_type(bool, "true or false"),
    "int": _of_type(int, "a whole number"),
    "float": _of_type(float, "a number"),
}
