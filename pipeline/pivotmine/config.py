"""One TOML file per run: a table a command, `[extract]`, `[rollout]`, `[score]`, `[select]`, ..., keys as the flags.

    [rollout]
    num_samples = 16
    template_options = { enable_thinking = false }

    [verifiers.tool_call]
    free_text = ["send_email.body"]

Flags on the command line win.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pivotmine.errors import UserError

COMMANDS = ("extract", "rollout", "score", "select")
"""The stages, in the order of `pivotmine run`."""
OTHER_COMMANDS = ("record", "export")


def read_config(path: Path | None) -> dict[str, Any]:
    """The file's tables; UserError where it cannot be read or names a table that nothing reads."""
    if path is None:
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"--config {path} cannot be read: {error}") from None
    _check_names(path, tables, (*COMMANDS, *OTHER_COMMANDS, "verifiers"), "")
    if verifiers := tables.get("verifiers"):
        from pivotmine.verifiers import VERIFIERS

        _check_names(path, verifiers, VERIFIERS, "verifiers.")
    return tables


def _check_names(path: Path, tables: Mapping[str, Any], known: Collection[str], prefix: str) -> None:
    for name, table in tables.items():
        if name not in known or not isinstance(table, dict):
            listed = ", ".join(prefix + other for other in known)
            raise UserError(f"--config {path}: no table is called [{prefix}{name}]; there are {listed}")


def command_options(tables: Mapping[str, Any], command: str, known: Collection[str]) -> dict[str, Any]:
    """The options of one command, `-` and `_` alike, a table as the JSON text that its flag would hold.

    UserError for one that the command does not have.
    """
    given: dict[str, Any] = tables.get(command, {})
    options = {
        key.replace("-", "_"): json.dumps(value) if isinstance(value, dict) else value for key, value in given.items()
    }
    if unknown := [key for key in options if key not in known]:
        raise UserError(f"--config: [{command}] has no option {unknown[0]!r}; it has {', '.join(sorted(known))}")
    return options


def verifier_options(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The options of one verifier, from `[verifiers.NAME]`."""
    return dict(tables.get("verifiers", {}).get(name, {}))
