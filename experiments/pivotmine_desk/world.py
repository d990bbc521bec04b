"""The simulated desk: typed tools over tables. Any call gets an answer, and the final tables decide success.

A domain is a module with

    TOOLS                      its tools, in the order in which a task lists them
    make(rng, names) -> Draft  make a task: the user's message, the tables, and facts for the script
    script(task, agent)        work on a task: `agent.call` acts, `agent.choose` decides

An episode succeeds if its final tables equal those that the script leaves if every decision is right. Calls that change
nothing do no harm; an extra call that changes a table does.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Tables = dict[str, dict[str, dict[str, Any]]]
"""Table -> id -> row."""

MAX_TURNS = 10
"""Maximum number of assistant turns in an episode; the longest task takes 8."""


class Refused(Exception):
    """The desk refuses a call; the message is its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    kind: str = "string"
    """JSON type: `string`, `integer` or `boolean`."""
    default: Any = None
    """Value if the argument is left out; None makes the argument required."""
    options: tuple[str, ...] = ()
    """The only values allowed; empty allows all."""
    free_text: bool = False
    """Words for a person: case and amount of white space do not matter."""

    def schema(self) -> dict[str, Any]:
        """The parameter as JSON schema."""
        schema: dict[str, Any] = {"type": self.kind}
        if self.options:
            schema["enum"] = list(self.options)
        if self.default is not None:
            schema["default"] = self.default
        return schema

    def read(self, name: str, value: Any) -> Any:
        """Bring a value into the form that is stored; refuse it if the schema does not allow it."""
        if self.kind == "string" and isinstance(value, str):
            text = value.strip()
            if self.options and value not in self.options:
                raise Refused(f"bad {name}")
            return fold(text) if self.free_text else text
        if self.kind == "boolean" and isinstance(value, bool):
            return value
        if self.kind == "integer" and type(value) in (int, float) and abs(value) < 1e6 and value == int(value):
            return int(value)
        raise Refused(f"bad {name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    description: str
    """One line for a person; the chat template leaves it out."""
    params: dict[str, Param]
    """Parameters in the usual order of a call."""
    run: Callable[..., Any]
    """(tables, **arguments) -> JSON value; may change the tables or raise Refused."""

    def definition(self, name: str) -> dict[str, Any]:
        """The tool in OpenAI form."""
        parameters = {
            "type": "object",
            "properties": {key: param.schema() for key, param in self.params.items()},
            "required": [key for key, param in self.params.items() if param.default is None],
        }
        function = {"name": name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A task as its domain makes it; `tasks.make_task` adds the rest."""

    request: str
    """The user's message."""
    tables: Tables
    """The desk before the first call."""
    facts: dict[str, Any]
    """Facts of the request that the script uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    task_id: str
    """`<domain>-<split>-<number>`."""
    domain: str
    split: str
    request: str
    """The user's message."""
    tables: Tables = field(repr=False)
    """The desk before the first call; never changed, because `Desk` copies it."""
    facts: dict[str, Any]
    """Facts of the request that the script uses."""
    entities: frozenset[str] = field(repr=False)
    """Every name and id in the task, all from its split."""


class Desk:
    """One episode's tables, and the calls on them."""

    def __init__(self, tables: Tables, tools: dict[str, Tool]) -> None:
        self.tables = copy.deepcopy(tables)
        self._tools = tools

    def call(self, name: Any, arguments: Any) -> str:
        """Execute any call and answer in compact JSON; never raises."""
        try:
            return dumps(self._execute(name, arguments))
        except Refused as refusal:
            return dumps({"error": str(refusal)})

    def _execute(self, name: Any, arguments: Any) -> Any:
        tool = self._tools.get(name) if isinstance(name, str) else None
        if tool is None:
            raise Refused("no such tool")
        if not isinstance(arguments, dict) or set(arguments) - set(tool.params):
            raise Refused("bad arguments")
        values: dict[str, Any] = {}
        for key, param in tool.params.items():
            if key not in arguments and param.default is None:
                raise Refused(f"{key} missing")
            values[key] = param.read(key, arguments.get(key, param.default))
        return tool.run(self.tables, **values)


def one(table: dict[str, dict[str, Any]], key: str, kind: str) -> dict[str, Any]:
    """The row of an id; Refused if the id is unknown."""
    if key not in table:
        raise Refused(f"no such {kind}")
    return table[key]


def find(table: dict[str, dict[str, Any]], field_name: str, value: str, kind: str) -> str:
    """The id of the row with this value; Refused if there is none."""
    for key, row in table.items():
        if row[field_name] == value:
            return key
    raise Refused(f"no such {kind}")


def fold(text: str) -> str:
    """Free text as it is compared: lower case, single spaces."""
    return " ".join(text.casefold().split())


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
