"""TRL's parser, with the options of a --config file treated like those on the command line."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn, get_args, get_type_hints

from trl.scripts.utils import TrlParser

from pivotmine.errors import UserError
from pivotmine_trainer.cli.console import silence_other_ranks


class Parser(TrlParser):
    """A TrlParser that accepts a file's options under all their names and reads them by their types."""

    def error(self, message: str) -> NoReturn:
        silence_other_ranks()
        super().error(message)

    def set_defaults_with_config(self, **said: Any) -> list[str]:
        options = {
            name.removeprefix("--"): action
            for action in self._actions
            for name in action.option_strings
            if action.nargs != 0  # a flag such as `--no_gradient_checkpointing` negates another option
        }
        read = {options[name].dest: _as_typed(value, options[name]) for name, value in said.items() if name in options}
        for name, value in said.items():
            if name in options and value is None and not self._may_be_null(options[name].dest):
                raise UserError(
                    f"{name}: null, and it must have a value; give one in the --config file, or leave it out"
                )
        unknown = {name: value for name, value in said.items() if name not in options}
        return super().set_defaults_with_config(**read, **unknown)

    def _may_be_null(self, dest: str) -> bool:
        hints: list[Any] = [get_type_hints(kind).get(dest) for kind in self.dataclass_types]
        return any(type(None) in get_args(hint) for hint in hints)


def _as_typed(value: Any, action: argparse.Action) -> Any:
    """A YAML value as one would type it: YAML reads `eval_strategy: no` as False, but the word is meant."""
    if action.nargs == "+" or not isinstance(value, int | float):
        return value
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
