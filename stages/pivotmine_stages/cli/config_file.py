"""One TOML file per run: a table per command, `[extract]`, `[rollout]`, `[score]`, `[select]`, ..., keys as the flags.

    [rollout]
    num_samples = 16
    template_options = { enable_thinking = false }

    [verifiers.tool_call]
    free_text = ["send_email.body"]

    [[choose]]
    tool = "search"
    verifier = "search_query"

Flags on the command line win. `pivotmine.verifiers.configured` describes the tables of verifiers. Every command checks
the whole file, so `extract` already reports a typo in `[select]`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pivotmine import strict_json
from pivotmine.errors import MissingPackage, NotTrusted, UserError
from pivotmine.options import convert, nearest
from pivotmine.verifiers import VERIFIERS, VerifierSpec
from pivotmine.verifiers.composed.third_party import require_trusted
from pivotmine.verifiers.configured import DEFINING, configured_spec, is_defined
from pivotmine_stages.cli.commands import COMMANDS
from pivotmine_stages.command import Command


def read_config(path: Path | None) -> dict[str, Any]:
    """Return the file's checked tables. Options of commands are converted for their dataclasses.

    UserError if the file cannot be read, or has an unknown table, an unknown key or an invalid value.
    """
    if path is None:
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"--config {path} does not exist") from None
    except RecursionError:
        raise UserError(f"--config {path} cannot be read: nested too deeply") from None
    except (OSError, ValueError) as error:  # not text, or not TOML
        raise UserError(f"--config {path} cannot be read: {error}") from None
    if strict_json.exceeds_depth(tables, strict_json.MAX_DEPTH):
        raise UserError(f"--config {path} cannot be read: nested too deeply")
    known = [*(name for name, command in COMMANDS.items() if command.options), "verifiers"]
    for name, table in tables.items():
        if name == "choose":
            continue
        if name not in known:
            names = f"{', '.join(known)}, [[choose]]{nearest(name, [*known, 'choose'])}"
            raise UserError(f"--config {path}: no table is called [{name}]; there are {names}")
        if not isinstance(table, dict):
            raise UserError(f"--config {path}: {name} is a table of options, [{name}], not {table!r:.80}")
        if name != "verifiers":
            tables[name] = _command_options(path, name, COMMANDS[name], table)
    _check_verifiers(path, tables)
    return tables


def _command_options(path: Path, name: str, command: Command, table: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the options of one command. A key may be a flag's name or old name, with `-` or `_`."""
    declared = command.declared()
    known = {spelt: one for one in declared for spelt in (one.option.was, one.name) if spelt}
    found: dict[str, Any] = {}
    for key, value in table.items():
        one = known.get(key.replace("-", "_"))
        if one is None:
            names = sorted(one.name for one in declared)
            meant = nearest(key.replace("-", "_"), names) or f"; it has {', '.join(names)}"
            raise UserError(f"--config {path}: [{name}] has no option {key!r}{meant}")
        if one.type is VerifierSpec and isinstance(value, str):
            require_trusted(f"--config {path}: [{name}] {key}", value)
        found[one.name] = convert(one, value, f"--config {path}: [{name}] {key} =")
    return found


def _check_verifiers(path: Path, tables: Mapping[str, Any]) -> None:
    """Check every verifier of the file with all its options, even if this command does not use it."""
    rules, verifiers = tables.get("choose", []), tables.get("verifiers", {})
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise UserError(f"--config {path}: rules are tables [[choose]], in two brackets")
    for name, table in verifiers.items():
        if not isinstance(table, dict) or not is_defined(name, table):
            raise UserError(
                f"--config {path}: unknown verifier [verifiers.{name}]{nearest(name, VERIFIERS)}; there are "
                f"{', '.join(sorted(VERIFIERS))}, and a name of your own needs one of the keys {', '.join(DEFINING)}"
            )
    for name in [*verifiers, *(["auto"] if rules else [])]:
        if ":" not in name:  # a verifier of another package is imported only by a command that uses it
            try:
                configured_spec(name, verifiers, rules)
            except (MissingPackage, NotTrusted):
                continue  # an error only for the command that uses it
            except UserError as error:
                raise UserError(f"--config {path}: {error}") from None


def verifier(tables: Mapping[str, Any], name: str) -> VerifierSpec:
    """Return the verifier of this name as the file defines it; UserError if the name is unknown."""
    return configured_spec(name, tables.get("verifiers", {}), tables.get("choose", ()))
