"""Make typer parameters from declared options.

typer parses numbers. `pivotmine.options` checks ranges and choices; its errors name the value and what is allowed.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING
from typing import Annotated, Any

import typer

from pivotmine.options import Declared, range_words

log = logging.getLogger("pivotmine")
OLD = "old_"
"""Prefix of the hidden parameter for the old name of a flag."""


def parameters(options: Iterable[Declared]) -> list[inspect.Parameter]:
    """Return a parameter per option. Its default is None: then the dataclass supplies the value."""
    found: list[inspect.Parameter] = []
    for one in options:
        found.append(_parameter(one.name, one, one.flag, hidden=False))
        if one.option.was:
            found.append(_parameter(OLD + one.name, one, f"--{one.option.was.replace('_', '-')}", hidden=True))
    return found


def _parameter(name: str, one: Declared, flag: str, *, hidden: bool) -> inspect.Parameter:
    text = one.type not in (bool, int, float)
    if one.option.is_argument:
        place = typer.Argument(help=_help(one), metavar=one.option.metavar or one.name.upper(), show_default=False)
        found: Any = Annotated[str if one.default is MISSING else str | None, place]
        default = inspect.Parameter.empty if one.default is MISSING else None
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=found)
    words = one.words() if one.literals or not one.option.metavar else ()
    metavar = f"[{'|'.join(words)}]" if words else one.option.metavar or ("TEXT" if text else None)
    info = typer.Option(
        flag,
        help=_help(one),
        rich_help_panel=one.option.panel,
        metavar=metavar,
        autocompletion=_completion(one) if one.literals or one.option.choices else None,
        show_default=False,
        hidden=hidden,
    )
    kind = str if text else one.type
    hint: Any = list[kind] | None if one.is_list else kind | None
    # One annotation per parameter, made at run time.
    annotation: Any = Annotated[hint, info]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _completion(one: Declared) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [word for word in one.words() if word.startswith(incomplete)]

    return complete


def _help(one: Declared) -> str:
    """Return the help with the default. Brackets are escaped, because typer reads them as markup."""
    default = one.default
    is_shown = default is not None and default is not False and default not in ((), {})
    if default is MISSING:
        end = "" if one.option.is_argument else " [required]"  # typer adds this to arguments by itself
    else:
        end = f" [default: {_word(default)}]" if is_shown else ""
    limits = f" [{allowed}]" if (allowed := range_words(one.option)) else ""
    return f"{one.help}{limits}{end}".replace("[", "\\[")


def _word(default: Any) -> str:
    return "/".join(map(str, default)) if isinstance(default, tuple) else str(getattr(default, "name", default))


def given(options: Iterable[Declared], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given on the command line. An old name works, and the log tells the new one."""
    found: dict[str, Any] = {}
    for one in options:
        if one.option.was and (old := values.get(OLD + one.name)) is not None:
            log.warning("--%s is now %s", one.option.was.replace("_", "-"), one.flag)
            found[one.name] = old
        value = values.get(one.name)
        if value is not None and value != []:
            found[one.name] = value
    return found
