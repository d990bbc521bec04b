"""Tool schemas as the verifiers read them: lazily, without trust, and never raising.

A schema comes with a trajectory and may be anything. A malformed part counts as absent. A subschema is expanded
only when a value is compared with it, so a large or cyclic schema costs nothing. This is not a validator. It says
which argument names a schema knows and requires, what their defaults are, how values are compared, and which
subschema describes a value inside a value.

It reads `properties`, `required`, `additionalProperties`, `items`, `default`, `enum`, `const`, `pattern`, `format`,
`type: integer`, `uniqueItems`, and `$ref` within the tool's own parameters (next to a `$ref`, only `default`). It reads
nothing inside `anyOf`, `oneOf` and `allOf`: values there compare as JSON. An object with one of `CONDITIONS` keeps its
subschemas, but its defaults are not applied, because the presence of one argument may depend on the others. Only
`additionalProperties: false` closes such an object.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from pivotmine.verifiers.tool_calls.string_formats import FORMATS

CONDITIONS = frozenset((
    "allOf", "anyOf", "dependencies", "dependentRequired", "dependentSchemas", "if", "minProperties", "not", "oneOf",
    "patternProperties",
))  # fmt: skip
"""Keywords by which the rules for one argument depend on its name or on the rest of the object."""

MAX_REF_HOPS = 16
"""Maximum length of a chain of `$ref`; a longer one counts as a cycle."""

WHITE_SPACE_NAMES = frozenset((
    "code", "data", "input", "keystrokes", "replace", "script", "source", "stdin",
    "new_code", "new_source", "new_str", "new_string", "old_code", "old_source", "old_str", "old_string",
))  # fmt: skip
"""White space counts in arguments of these names (`newString` is `new_string`): file contents, edits, keys, secrets."""
WHITE_SPACE_WORDS = frozenset((
    "content", "contents", "delimiter", "diff", "indent", "indentation", "keys", "lines", "passphrase", "password",
    "patch", "pattern", "prefix", "regex", "replacement", "separator", "snippet", "suffix", "text",
))  # fmt: skip
"""And in arguments whose name ends with one of these words: `replacement_text`, `fileContents`, `db_password`."""

NO_DEFAULT: Any = object()
"""Marks an argument without a default. None cannot: null is a default like any other."""

_NOTHING: dict[str, Any] = {}
_PLAIN_NAMES = frozenset(name.replace("_", "") for name in WHITE_SPACE_NAMES | WHITE_SPACE_WORDS)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


class Alternatives(NamedTuple):
    """A declaration that the values of an argument count as one."""

    values: tuple[str, ...]
    """As canonical JSON."""


Path = tuple[str | Alternatives, str]
"""A declaration, and the dotted path from here to its values."""


class Schema:
    """The schema of one value inside one tool's arguments, with the declarations for it and the values below."""

    __slots__ = (
        "_children",
        "_interned",
        "_node",
        "_paths",
        "_properties",
        "_root",
        "alternatives",
        "any_case",
        "closed",
        "default_forms",
        "ignored",
        "is_special",
        "measure",
        "required",
        "text_rule",
        "unordered",
    )

    def __init__(
        self,
        node: Any,
        paths: tuple[Path, ...] = (),
        root: Any = None,
        interned: dict[Any, Schema] | None = None,
    ) -> None:
        """Take a tool's `parameters`, which may be anything, and the declarations for its arguments.

        Declarations: `free_text`, `any_case`, `exact`, `dates`, `unordered`, `ignore`, `measure`, Alternatives.
        `root` (where a `$ref` starts) and `interned` (the schemas made so far) are passed to subschemas only.
        """
        self._root = node if root is None else root
        self._interned = {} if interned is None else interned
        self._node = _resolve(_dict(node), self._root)
        self._paths = paths
        self._properties = _dict(self._node.get("properties"))
        self._children: dict[str, Schema] = {}
        declared = {d for d, path in paths if not path and isinstance(d, str)}
        self.text_rule = _text_rule(self._node, declared)
        """How a string is compared: `free_text`, `exact`, `trim`, or a name from FORMATS."""
        self.any_case = "any_case" in declared and not ("exact" in declared or _says_exactly(self._node))
        """Letter case does not count."""
        self.ignored = "ignore" in declared
        """The value does not count."""
        self.alternatives = tuple(
            [frozenset(d.values) for d, path in paths if not path and isinstance(d, Alternatives)]
        )
        """Groups of values that count as one, each value as canonical JSON."""
        self.is_special = self.ignored or bool(self.alternatives)
        """Values of every type are compared as a whole."""
        self.unordered = "unordered" in declared or self._node.get("uniqueItems") is True
        """The order of a list's elements does not count."""
        self.measure = "measure" in declared and not _says_exactly(self._node) and self._node.get("type") != "integer"
        """A number is compared with the tolerance."""
        self.required = _names(self._node.get("required"))
        """Names of the required arguments."""
        self.closed = _closed(self._node)
        """Only known names are allowed."""
        self.default_forms: dict[tuple[str, int], Any] = {}
        """A cache: the form of each default."""

    def knows(self, name: str) -> bool:
        """Whether this object schema mentions an argument name."""
        return name in self._properties or name in self.required

    def may_be_absent(self, name: str) -> bool:
        """Whether the schema allows an object with and without this argument."""
        return name not in self.required and (self.knows(name) or not self.closed)

    def argument(self, name: str) -> Schema:
        """The schema of one value of an object; an empty one if the schema does not describe it."""
        found = self._children.get(name)
        if found is None:
            paths = paths_after(self._paths, name)
            if white_space_counts(name):
                paths = (*paths, ("white_space", ""))
            found = self._below(self._properties.get(name, self._rest()), paths)
            if name in self._properties:  # names that only a policy wrote must not accumulate
                self._children[name] = found
        return found

    def items(self) -> Schema:
        """The schema of a list's elements, with its declarations other than `unordered` and alternatives."""
        whole = [(d, path) for d, path in self._paths if not path and (d == "unordered" or isinstance(d, Alternatives))]
        paths = tuple([path for path in self._paths if path not in whole])
        return self._below(None if "prefixItems" in self._node else self._node.get("items"), paths)

    def default(self, name: str) -> Any:
        """The value that an absent argument has, or NO_DEFAULT. A required argument has no default."""
        if name in self.required or name not in self._properties or not CONDITIONS.isdisjoint(self._node):
            return NO_DEFAULT
        return self.argument(name)._node.get("default", NO_DEFAULT)

    def _rest(self) -> Any:
        """The subschema of arguments that `properties` does not list."""
        return None if "patternProperties" in self._node else self._node.get("additionalProperties")

    def _below(self, node: Any, paths: tuple[Path, ...]) -> Schema:
        node = _dict(node)
        # By identity, which is safe because the root keeps every node alive. A schema that refers to itself
        # becomes a graph that is not larger than its text.
        key = (id(node), paths)
        found = self._interned.get(key)
        if found is None:
            found = self._interned[key] = Schema(node, paths, self._root, self._interned)
        return found


MAX_SHARED = 512
_shared: dict[tuple[int, tuple[Path, ...]], Schema] = {}


def shared_schema(parameters: Any, paths: tuple[Path, ...]) -> Schema:
    """The schema of a tool's parameters, made once for all states that hold the same object."""
    key = (id(parameters), paths)  # safe because the schema keeps the object alive
    found = _shared.get(key)
    if found is None:
        if len(_shared) >= MAX_SHARED:
            _shared.clear()
        found = _shared[key] = Schema(parameters, paths)
    return found


def white_space_counts(name: str) -> bool:
    """Whether outer white space counts in an argument of this name."""
    words = _WORDS.findall(name)
    return bool(words) and ("".join(words).lower() in _PLAIN_NAMES or words[-1].lower() in WHITE_SPACE_WORDS)


def parameters_by_tool(tools: Iterable[Any]) -> dict[str, Any]:
    """The `parameters` of each tool that has a readable name; the first of two equal names counts."""
    found: dict[str, Any] = {}
    for tool in tools:
        function = _dict(_dict(tool).get("function"))
        name = function.get("name")
        if isinstance(name, str):
            found.setdefault(name, function.get("parameters"))
    return found


def paths_after(paths: Iterable[Path], name: str) -> tuple[Path, ...]:
    """The rest of the dotted paths that begin with a name or with `*`; "" for a path that ends there.

    Names may contain dots. A `*` at the end of a path holds for everything below it, too. A measure holds everywhere.
    """
    after: list[Path] = []
    for declaration, path in paths:
        if declaration == "measure" or path == "*":
            after.append((declaration, path))
        if path == "*":
            after.append((declaration, ""))
        elif path.startswith("*."):
            after.append((declaration, path[2:]))
        if path and f"{path}.".startswith(f"{name}."):
            after.append((declaration, path[len(name) + 1 :]))
    return tuple(dict.fromkeys(after))


def _text_rule(node: dict[str, Any], declared: set[str]) -> str:
    if "exact" in declared or _says_exactly(node):
        return "exact"
    if "free_text" in declared:
        return "free_text"
    if "dates" in declared:
        return "date-time"
    if isinstance(named := node.get("format"), str) and named in FORMATS:
        return named
    return "exact" if "white_space" in declared or "pattern" in node else "trim"


def _says_exactly(node: dict[str, Any]) -> bool:
    return "enum" in node or "const" in node


def _closed(node: dict[str, Any]) -> bool:
    rest = node.get("additionalProperties")
    if rest is False:
        return "patternProperties" not in node
    listed = isinstance(node.get("properties"), dict)
    return listed and rest is not True and not isinstance(rest, dict) and CONDITIONS.isdisjoint(node)


def _resolve(node: dict[str, Any], root: Any) -> dict[str, Any]:
    for _ in range(MAX_REF_HOPS):
        if "$ref" not in node:
            return node
        # Only a validator could combine the two descriptions of the object: neither is read.
        target = _NOTHING if "properties" in node else _target(node["$ref"], root)
        node = {**target, "default": node["default"]} if "default" in node else target
    return _NOTHING


def _target(reference: Any, root: Any) -> dict[str, Any]:
    if not isinstance(reference, str) or not f"{reference}/".startswith("#/"):
        return _NOTHING
    node = root
    for part in reference.split("/")[1:]:
        node = _dict(node).get(part.replace("~1", "/").replace("~0", "~"))
    return _dict(node)


def _names(value: Any) -> frozenset[str]:
    names: list[Any] = value if isinstance(value, list) else []
    return frozenset(name for name in names if isinstance(name, str))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else _NOTHING
