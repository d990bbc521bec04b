"""What a command is. Each stage's `options.py` ends with its `COMMAND`; `cli/commands.py` lists them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from pivotmine.options import Declared, declared


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    help: str
    """What it does, in one sentence."""
    stage: str
    """`module:function`, imported when the command runs. It is called with an instance of each of `options`, in their
    order, and then with the run's directory; it returns a summary."""
    report: str
    """`module:function`: the text that a person reads, from the summary."""
    options: tuple[type[Any], ...] = ()
    """Dataclasses of options; their fields, all together, are the command's flags and its table in --config."""
    examples: tuple[str, ...] = ()
    """Commands to type, shown at the end of the help."""
    sources: str = ""
    """Help of the argument SOURCE...; the run is then the option --run. Empty: the command's first argument is RUN."""

    def declared(self) -> tuple[Declared, ...]:
        """All options."""
        return tuple(one for kind in self.options for one in declared(kind))

    def function(self) -> Callable[..., Any]:
        """The stage, imported."""
        return load(self.stage)


OMITTED = {"omitted": True}
"""Metadata of a summary's field that is left out of the JSON if it is None."""
EMPTY = {"empty": True}
"""Metadata of a summary's field that is {} in its JSON if it is false."""


def to_json(value: Any) -> Any:
    """A summary as JSON values. Summaries are dataclasses and may contain others, also in lists and mappings."""
    if isinstance(value, dict):
        return {name: to_json(one) for name, one in value.items()}
    if isinstance(value, list):
        return [to_json(one) for one in value]
    if not is_dataclass(value):
        return value
    found: dict[str, Any] = {}
    for one in fields(value):
        inner = getattr(value, one.name)
        if inner is not None or not one.metadata.get("omitted"):
            found[one.name] = {} if not inner and one.metadata.get("empty") else to_json(inner)
    return found


def load(name: str) -> Callable[..., Any]:
    """The function `module:function`."""
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)
