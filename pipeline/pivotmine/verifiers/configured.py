"""The verifiers that a run's TOML file defines by name.

    [verifiers.tool_call]              # options of a verifier; also for the other arguments of commands, queries,
    free_text = ["send_email.body"]    # programs and edits, unless their table has `rest = { ... }`

    [verifiers.loose]                  # a verifier with other options, under a new name
    verifier = "tool_call"
    free_text = ["*.body", "*.note"]

    [verifiers.mail]                   # a verifier made of verifiers; also any, first_decided
    all = ["loose", "package.module:function"]
    unproven = "null"                  # what an unproven answer is worth: "zero", "null" or "by_kind", the default

    [verifiers.auto]
    unproven = "zero"

    [verifiers.blend]
    weights = { tool_call = 0.7, exact = 0.3 }

    [[choose]]                         # a rule for `auto`: the first that fits a turn counts
    domain = "mail"
    verifier = "loose"

Every verifier has the option `unproven`. Only the outermost one may set it, because it is applied once, outside all
members. A verifier of another package is imported only if the user trusts it (`third_party.require_trusted`).
A rule has a `verifier`, and optionally `domain` and `tool` (a name or a list of names) and `kind`. The defaults of
`auto` come after the rules; they use the options that the file sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pivotmine.errors import UserError
from pivotmine.verifiers.base import ALL_KINDS, VerifierSpec
from pivotmine.verifiers.composed.auto import KEYSTROKES, RULE_KINDS, default_names
from pivotmine.verifiers.composed.third_party import require_trusted
from pivotmine.verifiers.registry import VERIFIERS, make_spec

Tables = Mapping[str, Mapping[str, Any]]
Rules = Sequence[Mapping[str, Any]]

COMBINATORS = ("all", "any", "first_decided")
DEFINING = ("verifier", *COMBINATORS, "weights")
"""A table that defines a new name has exactly one of these keys."""
_CONDITIONS = ("domain", "tool", "kind")


def configured_spec(name: str, tables: Tables, rules: Rules = ()) -> VerifierSpec:
    """The verifier called `name`, given a file's tables `[verifiers.*]` and its rules `[[choose]]`.

    Raise UserError if the name or a member does not exist.
    """
    return _spec(name, tables, rules, ())


def is_defined(name: str, table: Mapping[str, Any]) -> bool:
    """Whether `[verifiers.NAME]` defines a verifier or its options."""
    return name in VERIFIERS or ":" in name or any(key in table for key in DEFINING)


def _spec(name: str, tables: Tables, rules: Rules, through: tuple[str, ...]) -> VerifierSpec:
    if name in through:
        raise UserError(f"verifier {name} is made of itself: {' of '.join((*through, name))}")
    if through:  # the outermost name is trusted: a person typed it, or a program passed it
        require_trusted(f"[verifiers.{through[-1]}]", name)
    through = (*through, name)
    options = dict(tables.get(name, {}))
    if name == "auto":
        return _auto(options, tables, rules, through)
    if name in VERIFIERS or ":" in name or name not in tables:
        return make_spec(name, _with_rest(name, options, tables))
    given = [key for key in DEFINING if key in options]
    if len(given) != 1:
        raise UserError(f"[verifiers.{name}] must have exactly one of {', '.join(DEFINING)}, it has {len(given)}")
    return _made_of(given[0], options.pop(given[0]), options, tables, rules, through)


def _with_rest(name: str, options: Mapping[str, Any], tables: Tables) -> dict[str, Any]:
    """Add [verifiers.tool_call] as the default of `rest`, if the verifier leaves other arguments to `tool_call`."""
    has_rest = name in VERIFIERS and "rest" in VERIFIERS[name].options.__dataclass_fields__
    shared = {key: value for key, value in tables.get("tool_call", {}).items() if key != "unproven"}
    return {"rest": shared, **options} if has_rest and shared else dict(options)


def _made_of(
    key: str, value: Any, rest: dict[str, Any], tables: Tables, rules: Rules, through: tuple[str, ...]
) -> VerifierSpec:
    where = f"[verifiers.{through[-1]}]"
    worth = {"unproven": rest.pop("unproven")} if key != "verifier" and "unproven" in rest else {}
    if key == "verifier":
        require_trusted(where, str(value))
        return make_spec(str(value), _with_rest(str(value), rest, tables))
    weights: dict[str, Any] | None = value if isinstance(value, dict) and key == "weights" else None
    if weights is None and (key == "weights" or not isinstance(value, list)):
        words = "a table of names and numbers" if key == "weights" else "a list of names"
        raise UserError(f"{where} {key}: {words}, not {value!r:.80}")
    if rest:
        raise UserError(f"{where} has {key} and also {', '.join(rest)}: put options into the members' own tables")
    members = [_spec(str(name), tables, rules, through) for name in value]
    if weights is None:
        spec = make_spec(key, {"members": members, **worth})
    else:
        spec = make_spec("weighted", {"members": members, "weights": list(weights.values()), **worth})
    if not any(map(spec.handles, ALL_KINDS)):
        judged = ", ".join(f"{name} only {_judged_kinds(one)} turns" for name, one in zip(value, members, strict=True))
        raise UserError(f"{where} {key} judges no turn, because its members share no kind: {judged}")
    return spec


def _auto(options: Mapping[str, Any], tables: Tables, rules: Rules, through: tuple[str, ...]) -> VerifierSpec:
    if options.keys() - {"unproven"}:
        raise UserError("[verifiers.auto] has only the option unproven: its rules are tables [[choose]]")
    chosen = [_rule(rule, tables, rules, through) for rule in rules]
    defaults = [
        {"kind": kind, "verifier": _spec(name, tables, rules, through)} for kind, name in default_names().items()
    ]
    return make_spec("auto", {**options, "rules": [*chosen, *defaults]})


def _rule(rule: Mapping[str, Any], tables: Tables, rules: Rules, through: tuple[str, ...]) -> dict[str, Any]:
    if unknown := sorted(rule.keys() - {"verifier", *_CONDITIONS}):
        raise UserError(f"[[choose]] has no key {unknown[0]!r}: it has verifier, {', '.join(_CONDITIONS)}")
    if not isinstance(name := rule.get("verifier"), str):
        raise UserError('[[choose]] needs the name of a verifier: verifier = "..."')
    if (kind := rule.get("kind", "")) not in ("", *RULE_KINDS):
        raise UserError(f"[[choose]] kind {kind!r}: choose one of {', '.join(RULE_KINDS)}")
    spec = _spec(name, tables, rules, through)
    _require_fit(spec, name, kind, _names(rule, "tool"))
    return {"verifier": spec, "kind": kind, "domains": _names(rule, "domain"), "tools": _names(rule, "tool")}


def _require_fit(spec: VerifierSpec, name: str, kind: str, tools: list[Any]) -> None:
    """Raise UserError if the rule can fit no turn, because its verifier does not judge turns of that kind."""
    if kind == KEYSTROKES or (not kind and not tools):
        return
    asked = kind if kind in ALL_KINDS else "tool_call"
    if tools and asked == "message":
        raise UserError(
            f'[[choose]] with tool = {tools!r:.80} and kind = "message" fits no turn: a message calls no tool'
        )
    if not spec.handles(asked):
        condition = f'kind = "{kind}"' if kind else f"tool = {tools!r:.80}"
        raise UserError(
            f'[[choose]] verifier = "{name}" with {condition} fits no turn: {name} judges only {_judged_kinds(spec)} '
            f"turns; take a verifier that judges {asked} turns, such as {default_names().get(kind) or asked}"
        )


def _judged_kinds(spec: VerifierSpec) -> str:
    return " and ".join(kind for kind in sorted(ALL_KINDS) if spec.handles(kind)) or "no"


def _names(rule: Mapping[str, Any], key: str) -> list[Any]:
    value = rule.get(key, [])
    return [value] if isinstance(value, str) else value
