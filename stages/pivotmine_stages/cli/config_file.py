"""One TOML file per run: a table a command, `[extract]`, `[rollout]`, `[score]`, `[select]`, ..., keys as the flags.

    [rollout]
    num_samples = 16
    template_options = { enable_thinking = false }

    [verifiers.tool_call]
    free_text = ["send_email.body"]

    [[choose]]
    tool = "search"
    verifier = "search_query"

Flags on the command line win. `pivotmine.verifiers.configured` says what the verifiers' tables hold.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotmine.errors import UserError

if TYPE_CHECKING:
    from pivotmine.verifiers import VerifierSpec

COMMANDS = ("extract", "rollout", "score", "select")
"""The stages, in the order of `pivotmine run`."""
OTHER_COMMANDS = ("record", "export", "audit")


def read_config(path: Path | None) -> dict[str, Any]:
    """The file's tables; UserError where it cannot be read or names a table that nothing reads."""
    if path is None:
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"--config {path} cannot be read: {error}") from None
    _check_tables(
        path,
        {key: value for key, value in tables.items() if key != "choose"},
        (*COMMANDS, *OTHER_COMMANDS, "verifiers"),
    )
    if not isinstance(rules := tables.get("choose", []), list) or not all(isinstance(rule, dict) for rule in rules):
        raise UserError(f"--config {path}: rules are tables [[choose]], in two brackets")
    _check_verifiers(path, tables.get("verifiers", {}))
    return tables


def _check_tables(path: Path, tables: Mapping[str, Any], known: Collection[str]) -> None:
    for name, table in tables.items():
        if name in known and not isinstance(table, dict):
            raise UserError(f"--config {path}: {name} is a table of options, [{name}], not {table!r:.80}")
        if name not in known:
            raise UserError(f"--config {path}: no table is called [{name}]; there are {', '.join(known)}, [[choose]]")


def _check_verifiers(path: Path, tables: Mapping[str, Any]) -> None:
    if not tables:
        return
    from pivotmine.verifiers import VERIFIERS
    from pivotmine.verifiers.configured import DEFINING, is_defined

    for name, table in tables.items():
        if not isinstance(table, dict) or not is_defined(name, table):
            raise UserError(
                f"--config {path}: [verifiers.{name}] is the table of no verifier; there are "
                f"{', '.join(sorted(VERIFIERS))}, and a name of your own needs one of the keys {', '.join(DEFINING)}"
            )


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


def verifier(tables: Mapping[str, Any], name: str) -> VerifierSpec:
    """The verifier that the file means by a name; UserError where there is none."""
    from pivotmine.verifiers.configured import configured_spec

    return configured_spec(name, tables.get("verifiers", {}), tables.get("choose", ()))
