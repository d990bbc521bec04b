"""The verifier that a run's TOML file means by a name.

    [verifiers.tool_call]              # options of a verifier
    free_text = ["send_email.body"]

    [verifiers.loose]                  # a verifier with other options, under a name of one's own
    verifier = "tool_call"
    free_text = ["*.body", "*.note"]

    [verifiers.mail]                   # a verifier made of verifiers; also any, first_decided
    all = ["loose", "package.module:function"]

    [verifiers.blend]
    weights = { tool_call = 0.7, exact = 0.3 }

    [[choose]]                         # a rule for `auto`: the first that fits a turn counts
    domain = "mail"
    verifier = "loose"

A rule has a `verifier`, and any of `domain` and `tool` (a name, or a list of them) and `kind`. Behind the rules stand
the defaults of `auto`, with the file's options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pivotmine.errors import UserError
from pivotmine.verifiers.base import ALL_KINDS, VerifierSpec
from pivotmine.verifiers.composed.auto import COMMAND, DEFAULTS, KEYSTROKES
from pivotmine.verifiers.registry import VERIFIERS, make_spec

Tables = Mapping[str, Mapping[str, Any]]
Rules = Sequence[Mapping[str, Any]]

COMBINATORS = ("all", "any", "first_decided")
DEFINING = ("verifier", *COMBINATORS, "weights")
"""A table under a name of one's own has one of these keys."""
_CONDITIONS = ("domain", "tool", "kind")


def configured_spec(name: str, tables: Tables, rules: Rules = ()) -> VerifierSpec:
    """The verifier called `name`, where a file has the tables `[verifiers.*]` and the rules `[[choose]]`.

    UserError where the name, or what it is made of, does not exist.
    """
    return _spec(name, tables, rules, ())


def is_defined(name: str, table: Mapping[str, Any]) -> bool:
    """Whether `[verifiers.NAME]` means something."""
    return name in VERIFIERS or ":" in name or any(key in table for key in DEFINING)


def _spec(name: str, tables: Tables, rules: Rules, through: tuple[str, ...]) -> VerifierSpec:
    if name in through:
        raise UserError(f"verifier {name} is made of itself: {' of '.join((*through, name))}")
    through = (*through, name)
    options = dict(tables.get(name, {}))
    if name == "auto":
        return _auto(options, tables, rules, through)
    if name in VERIFIERS or ":" in name or name not in tables:
        return make_spec(name, options)
    given = [key for key in DEFINING if key in options]
    if len(given) != 1:
        raise UserError(f"[verifiers.{name}]: says what it is by one of {', '.join(DEFINING)}, not by {len(given)}")
    return _made_of(given[0], options.pop(given[0]), options, tables, rules, through)


def _made_of(
    key: str, value: Any, rest: dict[str, Any], tables: Tables, rules: Rules, through: tuple[str, ...]
) -> VerifierSpec:
    where = f"[verifiers.{through[-1]}]"
    if key == "verifier":
        return make_spec(str(value), rest)
    weights: dict[str, Any] | None = value if isinstance(value, dict) and key == "weights" else None
    if weights is None and (key == "weights" or not isinstance(value, list)):
        words = "a table of names and numbers" if key == "weights" else "a list of names"
        raise UserError(f"{where} {key}: {words}, not {value!r:.80}")
    if rest:
        raise UserError(f"{where} has {key}, and beside it {', '.join(rest)}: options stand in the members' own tables")
    members = [_spec(str(name), tables, rules, through) for name in value]
    if weights is None:
        return make_spec(key, {"members": members})
    return make_spec("weighted", {"members": members, "weights": list(weights.values())})


def _auto(options: Mapping[str, Any], tables: Tables, rules: Rules, through: tuple[str, ...]) -> VerifierSpec:
    if options:
        raise UserError("[verifiers.auto] has no options: its rules are tables [[choose]]")
    chosen = [_rule(rule, tables, rules, through) for rule in rules]
    # A light install has no parser of commands: `tool_call` then judges them, and the id tells.
    installed = {kind: name for kind, name in DEFAULTS.items() if not VERIFIERS[name].missing_modules}
    defaults = [{"kind": kind, "verifier": _spec(name, tables, rules, through)} for kind, name in installed.items()]
    return make_spec("auto", {"rules": [*chosen, *defaults]})


def _rule(rule: Mapping[str, Any], tables: Tables, rules: Rules, through: tuple[str, ...]) -> dict[str, Any]:
    if unknown := sorted(rule.keys() - {"verifier", *_CONDITIONS}):
        raise UserError(f"[[choose]] has no key {unknown[0]!r}: it has verifier, {', '.join(_CONDITIONS)}")
    if not isinstance(name := rule.get("verifier"), str):
        raise UserError('[[choose]] needs the name of a verifier: verifier = "..."')
    if (kind := rule.get("kind", "")) not in ("", KEYSTROKES, COMMAND, *ALL_KINDS):
        raise UserError(f"[[choose]] kind {kind!r}: tool_call, message, {KEYSTROKES} or {COMMAND}")
    spec = _spec(name, tables, rules, through)
    return {"verifier": spec, "kind": kind, "domains": _names(rule, "domain"), "tools": _names(rule, "tool")}


def _names(rule: Mapping[str, Any], key: str) -> list[Any]:
    value = rule.get(key, [])
    return [value] if isinstance(value, str) else value
