"""What a command is. Each stage's `options.py` ends with its `COMMAND`; `cli/commands.py` lists them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
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
    """What SOURCE... is; empty: the command's first argument is RUN. With sources, the run is the option --run."""

    def declared(self) -> tuple[Declared, ...]:
        """All options."""
        return tuple(one for kind in self.options for one in declared(kind))

    def function(self) -> Callable[..., Any]:
        """The stage, imported."""
        return load(self.stage)


OMITTED = {"omitted": True}
"""Metadata of a summary's field that its JSON lacks if it is None."""


def to_json(summary: Any) -> dict[str, Any]:
    """A summary, which is a dataclass, as a JSON object."""
    omitted = {one.name for one in fields(summary) if one.metadata.get("omitted")}
    return {name: value for name, value in asdict(summary).items() if value is not None or name not in omitted}


def load(name: str) -> Callable[..., Any]:
    """The function `module:function`."""
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)
