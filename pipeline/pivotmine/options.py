"""An option is declared once: a field of a dataclass. The command line and the config file read that field.

    @dataclass(frozen=True, kw_only=True)
    class ScoreConfig:
        num_processes: Annotated[int | None, Option(panel="Output", min=1)] = None
        \"\"\"Number of worker processes; by default one per core.\"\"\"

The field's name is the flag, its annotation the type, its default the default, and the docstring below it the help. A
`Literal` is a choice. A field of another dataclass of options adds the options of that dataclass.
"""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import itertools
import json
import math
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pivotmine.errors import UserError

T = TypeVar("T")
_MAX_NAME = 100
_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._-]{{0,{_MAX_NAME - 1}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What an annotation says about an option beyond its type: `Annotated[int, Option(min=1)]`."""

    panel: str = "Options"
    """Heading in the help under which the option is listed."""
    flag: str = ""
    """Name of the flag and of the config key, with underscores; by default the field's name."""
    was: str = ""
    """Name of the flag in the previous version; it still works, with a notice."""
    min: float | None = None
    """Smallest value that is allowed."""
    max: float | None = None
    """Largest value that is allowed."""
    below: float | None = None
    """The value must be smaller than this."""
    above: float | None = None
    """The value must be larger than this."""
    choices: Callable[[], Iterable[str]] | None = None
    """Allowed words, if they come from a table and not from a `Literal`; called only when they are needed."""
    read: Callable[[str], Any] | None = None
    """Converts a text to the field's value; ValueError with a message if it cannot."""
    metavar: str = ""
    """What the help shows in place of the value."""
    is_set: bool = True
    """False if the program sets this field and there is no flag."""
    spelling: str = ""
    """The flag as it is typed, if its name cannot be a parameter's: `--class`, `-n`."""
    is_argument: bool = False
    """Whether it is a positional argument instead of a flag."""


@dataclass(frozen=True, slots=True)
class Declared:
    """One option as it was declared."""

    name: str
    """Name of the flag and of the config key, with underscores."""
    field: str
    """Name of the dataclass field."""
    type: Any
    """Type of one value: bool, int, float, str, Path, dict, or the class of what `Option.read` returns."""
    is_list: bool
    """Whether the option may be given several times."""
    literals: tuple[str, ...]
    """Words of its `Literal`; empty without one."""
    default: Any
    """MISSING if a value is required."""
    help: str
    option: Option

    def words(self) -> tuple[str, ...]:
        """The words that the option allows; empty if it takes any value."""
        return self.literals or tuple(self.option.choices() if self.option.choices else ())

    @property
    def flag(self) -> str:
        """`--num-samples`."""
        return self.option.spelling or f"--{self.name.replace('_', '-')}"


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for the most similar known name; empty if none is similar."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def name_problem(flag: str, name: str) -> str | None:
    """Why a name cannot be a folder's name, with an example that can; None if it can."""
    if _NAME.fullmatch(name):
        return None
    example = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:_MAX_NAME]
    hint = f", for example {example}" if example else ""
    most = f"at most {_MAX_NAME} " if len(name) > _MAX_NAME else ""
    return f"{flag} {name!r}: {most}letters, digits, dots, - and _{hint}"


def not_one_of(what: str, name: str, known: Iterable[str]) -> str:
    """The message for a word that is not among the known ones."""
    listed = list(known)
    return f"{what} {name}: choose from {', '.join(listed)}{nearest(name, listed)}"


@functools.cache
def declared(kind: type[Any]) -> tuple[Declared, ...]:
    """The options of a dataclass, including those of nested dataclasses, in the order of the fields."""
    hints, helps = typing.get_type_hints(kind, include_extras=True), _docstrings(kind)
    found: list[Declared] = []
    for one in fields(kind):
        hint, option = _unwrap(hints[one.name])
        if option is None and is_dataclass(hint):
            found += declared(typing.cast(type[Any], hint))
        elif option is None or option.is_set:
            found.append(_declared(one, hint, option or Option(), helps.get(one.name, "")))
    return tuple(found)


def _declared(one: Field[Any], hint: Any, option: Option, words: str) -> Declared:
    hint = _without_none(hint)
    is_list = typing.get_origin(hint) is tuple and option.read is None
    value = typing.get_args(hint)[0] if is_list else hint
    literals = tuple(map(str, typing.get_args(value))) if typing.get_origin(value) is Literal else ()
    if literals:
        value = str
    elif typing.get_origin(value) is not None and option.read is None:
        value = dict
    default = one.default_factory() if one.default_factory is not MISSING else one.default
    return Declared(option.flag or one.name, one.name, value, is_list, literals, default, words, option)


def _unwrap(hint: Any) -> tuple[Any, Option | None]:
    if typing.get_origin(hint) is not typing.Annotated:
        return hint, None
    inner, *rest = typing.get_args(hint)
    return inner, next((item for item in rest if isinstance(item, Option)), None)


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return hint
    rest = [one for one in typing.get_args(hint) if one is not types.NoneType]
    return str if str in rest else rest[0]


@functools.cache
def _module_tree(module: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _docstrings(kind: type[Any]) -> dict[str, str]:
    """The text below each field. Python itself drops it, so the source is read."""
    body = _module_tree(kind.__module__)[kind.__name__].body
    found: dict[str, str] = {}
    for above, below in itertools.pairwise(body):
        if (
            isinstance(above, ast.AnnAssign)
            and isinstance(above.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            found[above.target.id] = " ".join(below.value.value.split())
    return found


def convert(one: Declared, value: Any, where: str) -> Any:
    """A value from a flag or a file as the field's type; UserError that begins with `where` if it is invalid."""
    if one.is_list:
        values = list(value) if isinstance(value, list | tuple) else [value]
        return tuple(_convert_one(one, item, where) for item in values)
    return _convert_one(one, value, where)


def _convert_one(one: Declared, value: Any, where: str) -> Any:
    if one.option.read is not None:
        if not isinstance(value, str):
            return value
        try:
            return one.option.read(value)
        except ValueError as error:
            raise UserError(f"{where} {value}: {error}") from None
    value = _of_type(one, value, where)
    words = one.words()
    if words and value not in words:
        raise UserError(not_one_of(where, value, words))
    if problem := _out_of_range(one.option, value):
        raise UserError(f"{where} {value}: {problem}")
    return value


def _of_type(one: Declared, value: Any, where: str) -> Any:
    if one.type is dict:
        try:
            found = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, Mapping):
            raise UserError(f'{where} {value}: a JSON object, for example {{"enable_thinking": false}}')
        return dict(typing.cast(Mapping[str, Any], found))
    if one.type is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise UserError(f"{where} {value}: too large a number") from None
    if one.type is Path and isinstance(value, str):
        return Path(value)
    if one.type is str and isinstance(value, Path):
        return str(value)
    if not isinstance(value, one.type) or (one.type is not bool and isinstance(value, bool)):
        raise UserError(f"{where} {value!r:.80}: must be {_TYPE_WORDS.get(one.type, one.type.__name__)}")
    return value


_TYPE_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
}


def _out_of_range(option: Option, value: Any) -> str:
    """The allowed range in words, if the value is outside it; infinity and NaN are outside every range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    low, high, above, below = option.min, option.max, option.above, option.below
    inside = (low is None or value >= low) and (high is None or value <= high)
    inside = inside and (above is None or value > above) and (below is None or value < below)
    return "" if inside and math.isfinite(value) else range_words(option) or "a number"


def range_words(option: Option) -> str:
    """The allowed range in words; empty if there is none."""
    low, high, above, below = option.min, option.max, option.above, option.below
    if (low is not None or above is not None) and (high is not None or below is not None):
        left = f"[{low:g}" if low is not None else f"({above:g}"
        return f"in {left}, " + (f"{high:g}]" if high is not None else f"{below:g})")
    if low is not None:
        return f"at least {low:g}"
    if high is not None:
        return f"at most {high:g}"
    return f"a number above {above:g}" if above is not None else ""


def problem(config: Any) -> str | None:
    """A message about the first invalid value in a dataclass of options; None if all are valid."""
    for one in declared(type(config)):
        value = getattr(config, one.field, None)  # a nested dataclass checks its own
        if value is None or one.option.read is not None:
            continue
        try:
            convert(one, value, one.flag)
        except UserError as error:
            return str(error)
    return None


def build(kind: type[T], given: Mapping[str, Any], **fixed: Any) -> T:
    """Make an instance from values by the options' names; a missing or None value keeps the default.

    fixed: fields that are not options, by their names. UserError for an invalid value, an unknown name, or a missing
    required option.
    """
    known = {name: one for one in declared(kind) for name in (one.option.was, one.name) if name}
    if unknown := [name for name in given if name not in known]:
        names = sorted(one.name for one in declared(kind))
        raise UserError(f"no option {unknown[0]!r}; there are {', '.join(names)}{nearest(unknown[0], names)}")
    values = {
        known[name].name: convert(known[name], value, known[name].flag)
        for name, value in given.items()
        if value is not None
    }
    for one in declared(kind):
        if one.default is MISSING and one.name not in values:
            raise UserError(f"{one.flag} is missing: {one.help}")
    return _fill(kind, values, fixed)


def _fill(kind: type[T], values: Mapping[str, Any], fixed: Mapping[str, Any]) -> T:
    hints = typing.get_type_hints(kind, include_extras=True)
    arguments: dict[str, Any] = dict(fixed)
    for one in fields(typing.cast(Any, kind)):
        hint, option = _unwrap(hints[one.name])
        name = (option.flag if option else "") or one.name
        if option is None and is_dataclass(hint):
            arguments[one.name] = _fill(typing.cast(type[Any], hint), values, {})
        elif name in values:
            arguments[one.name] = values[name]
    return kind(**arguments)
