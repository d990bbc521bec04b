"""One row of the dataset: its name in messages, and a check that training can read its columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pivotmine.actions import CONVENTIONS, NATIVE, PARSERS, is_text
from pivotmine.errors import UserError
from pivotmine.verifiers.dataset_rows import demonstrated_actions, tools_of

MOST_NESTED = 100
"""Maximum nesting of JSON in a column: far above that of tools and messages, far below the recursion limit."""


def source_of(name: str, split: str) -> str:
    """Name of a split in messages: its file, or the dataset's hub id."""
    file = Path(name) / f"{split}.parquet"
    return str(file) if file.is_file() else f"{name}, split {split},"


def where(row: dict[str, Any], source: str) -> str:
    """Name of a row in messages."""
    return f"row {row['row']} of {source} (state {row['state_id']})"


def check_row(row: dict[str, Any], source: str) -> None:
    """Raise UserError for the row's first unreadable column."""
    for column, check in _CHECKS.items():
        try:
            check(row)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{where(row, source)}: {column} cannot be read: {error}") from None


def _check_parser(row: dict[str, Any]) -> None:
    if row["parser"] not in PARSERS:
        raise ValueError(f"unknown action parser {row['parser']!r}, known are {', '.join(PARSERS)}")


def _check_demonstrations(row: dict[str, Any]) -> None:
    _objects(json.loads(row["demonstrations"]))
    if not demonstrated_actions(row):
        raise ValueError("it has no demonstration")


def _check_template_options(row: dict[str, Any]) -> None:
    if not isinstance(json.loads(row["template_options"] or "{}"), dict):
        raise ValueError("it is not an object")


def _check_prompt_ids(row: dict[str, Any]) -> None:
    if wrong := [one for one in row["prompt_ids"] if one is None or one < 0]:
        raise ValueError(f"{'null' if wrong[0] is None else wrong[0]} is not a token id")


def _objects(found: Any) -> None:
    """Raise ValueError if JSON is not a list of objects, or is nested too deeply for the libraries' recursion."""
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):  # pyright: ignore[reportUnknownVariableType]
        raise ValueError("it is not a list of objects")
    level: list[Any] = [found]
    for _ in range(MOST_NESTED):
        inside = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [value for values in inside for value in values]
    if level:
        raise ValueError(f"it is nested more than {MOST_NESTED} levels deep")


def _check_action_format(row: dict[str, Any]) -> None:
    if is_text(name := row.get("action_format")) and name not in CONVENTIONS:
        raise ValueError(f"unknown action format {name!r}, known are {NATIVE}, {', '.join(CONVENTIONS)}")


_CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "parser": _check_parser,
    "demonstrations": _check_demonstrations,
    "action_format": _check_action_format,
    "action_tools": lambda row: _objects(json.loads(row.get("action_tools") or "[]")),
    "tools": lambda row: _objects(tools_of(row)),
    "prompt_messages": lambda row: _objects(json.loads(row["prompt_messages"])),
    "template_options": _check_template_options,
    "prompt_ids": _check_prompt_ids,
}
"""Column -> function that reads it as training does, and raises if it cannot."""
