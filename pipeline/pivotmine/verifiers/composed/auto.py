"""`auto`: each turn goes to the verifier of the first rule that fits it.

A rule may name domains, tools and a kind of turn. It fits only turns that its verifier handles. The defaults come
after the rules of a run's config:

| kind | what it is (`call_kinds`) | verifier |
|---|---|---|
| `keystrokes` | a batch of keystrokes: a message, or calls of the tool that it implies | `terminal` |
| `edit` | a call of a known editor | `edit` |
| `command` | a call with a shell command | `shell` |
| `query` | a call with an SQL statement | `sql` |
| `code` | a call with a Python program | `python` |
| `tool_call` | any other call | `tool_call` |
| `message` | any other message | `text` |

These verifiers compare the other arguments of a call, and calls of no kind in the same turn, as `tool_call` does. If a
turn has calls of several kinds, each call is compared by its own verifier, and all must match. `auto` accepts nothing
that its parts do not accept. If the packages of a default are missing, `tool_call` takes its calls. The rules that
remain are part of the id, and `left_out` names the missing packages.

The miner knows a state's domain, but a trainer that judges an action does not. Therefore the miner calls `resolve` for
each state and writes the result into the dataset. `auto` itself remains only if the demonstrations of a state, or
their calls, need different verifiers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from pivotmine.actions.action import Action, ToolCall
from pivotmine.actions.conventions.keystrokes import is_batch
from pivotmine.actions.conventions.terminus import TOOL
from pivotmine.verifiers import python
from pivotmine.verifiers.base import ALL_KINDS, Scorer, State, Verdict, Verifier, VerifierSpec, default_spec
from pivotmine.verifiers.composed.call_kinds import CALL_KINDS, CODE, COMMAND, EDIT, QUERY, kind_of
from pivotmine.verifiers.edits import edit
from pivotmine.verifiers.shell import shell
from pivotmine.verifiers.sql import sql
from pivotmine.verifiers.terminals import terminal
from pivotmine.verifiers.texts import text
from pivotmine.verifiers.texts.json_texts import json_of
from pivotmine.verifiers.tool_calls import call_diff, tool_call
from pivotmine.verifiers.tool_calls.one_argument import MAX_PARALLEL, best_matching

KEYSTROKES = "keystrokes"
"""A kind of turn: a terminal agent's batch of keystrokes, as a message or as calls."""
RULE_KINDS = (KEYSTROKES, *CALL_KINDS, *sorted(ALL_KINDS))
"""The kinds of turn that a rule may name."""
_DEFAULTS: dict[str, tuple[str, Verifier]] = {
    KEYSTROKES: ("terminal", terminal.VERIFIER),
    EDIT: ("edit", edit.VERIFIER),
    COMMAND: ("shell", shell.VERIFIER),
    QUERY: ("sql", sql.VERIFIER),
    CODE: ("python", python.VERIFIER),
    "tool_call": ("tool_call", tool_call.VERIFIER),
    "message": ("text", text.VERIFIER),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    verifier: VerifierSpec
    """Judges the turns that fit."""
    domains: tuple[str, ...] = ()
    """The turn's domain must be one of these; empty allows any."""
    tools: tuple[str, ...] = ()
    """Every demonstrated call must be of one of these tools; empty allows any call, and messages."""
    kind: str = ""
    """One of RULE_KINDS; empty allows every kind that the verifier handles."""


def default_names() -> dict[str, str]:
    """Kind of turn -> name of its default verifier, if its packages are installed. The first kind that fits counts."""
    return {kind: name for kind, (name, verifier) in _DEFAULTS.items() if not verifier.missing_modules}


def left_out() -> dict[str, list[str]]:
    """The default verifiers that miss a package: name of the verifier -> missing modules."""
    found = {name: verifier.missing_modules for name, verifier in _DEFAULTS.values()}
    return {name: modules for name, modules in found.items() if modules}


def _default_rules() -> tuple[Rule, ...]:
    return tuple(
        Rule(verifier=default_spec(name, _DEFAULTS[kind][1]), kind=kind) for kind, name in default_names().items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoOptions:
    rules: tuple[Rule, ...] = field(default_factory=_default_rules)
    """In order: the first that fits a turn counts."""

    @property
    def members(self) -> tuple[VerifierSpec, ...]:
        """The verifiers of the rules."""
        return tuple(rule.verifier for rule in self.rules)


def prepare(state: State, demonstration: Action, options: AutoOptions) -> Callable[[Action], Verdict]:
    """Return the scorer of the first rule that fits the demonstration, or one that finds a rule for each call."""
    kinds = _call_kinds(demonstration)
    if _is_mixed(options.rules, demonstration, kinds):
        return _prepare_each(state, demonstration, options.rules)
    spec = _first_fit(options.rules, demonstration, kinds)
    if spec is None:
        raise ValueError(f"no rule for this {demonstration.kind} turn")
    return spec.judge(state, demonstration)


def _prepare_each(state: State, demonstration: Action, rules: Sequence[Rule]) -> Scorer:
    """Return a scorer that compares each call by its own verifier. All calls must match, one to one."""
    demonstrated = demonstration.tool_calls
    judges = [_prepare_call(state, call, rules) for call in demonstrated]

    def judge(action: Action) -> Verdict:
        given = action.tool_calls
        verdict = call_diff.in_number(demonstrated, given) or call_diff.in_names(demonstrated, given)
        if verdict is not None:
            return verdict
        alone = [Action(tool_calls=(call,)) for call in given]
        return best_matching([[compare(one) for one in alone] for compare in judges])

    return judge


def _prepare_call(state: State, call: ToolCall, rules: Sequence[Rule]) -> Scorer:
    alone = Action(tool_calls=(call,))
    spec = _first_fit(rules, alone, _call_kinds(alone))
    if spec is None:
        raise ValueError("no rule for one of the calls of this turn")
    return spec.judge(state, alone)


def resolve(spec: VerifierSpec, domain: str | None, demonstrations: Sequence[Action]) -> VerifierSpec | None:
    """The verifier for a state of this domain with these demonstrations; None if no verifier handles any of them."""
    if not isinstance(spec.options, AutoOptions):
        return spec if any(spec.handles(demonstration.kind) for demonstration in demonstrations) else None
    rules = tuple(
        replace(rule, domains=()) if rule.domains else rule
        for rule in spec.options.rules
        if not rule.domains or domain in rule.domains
    )
    found: list[VerifierSpec] = []
    is_whole = False
    for demonstration in demonstrations:
        kinds = _call_kinds(demonstration)
        is_whole = is_whole or _is_mixed(rules, demonstration, kinds)
        one = _first_fit(rules, demonstration, kinds)
        # A list, not a set: the rules name few verifiers, and `in` compares by identity first, without a slow hash.
        if one is not None and one not in found:
            found.append(one)
    if is_whole or len(found) > 1:
        return replace(spec, options=AutoOptions(rules=rules))
    # The option `unproven` belongs to the outermost verifier.
    return replace(found[0], unproven=spec.unproven) if found else None


def _is_mixed(rules: Iterable[Rule], demonstration: Action, kinds: set[str]) -> bool:
    """Whether the first rule that concerns any of the calls concerns only some of them."""
    if len(kinds - {""}) < 2 or len(demonstration.tool_calls) > MAX_PARALLEL:
        return False
    for rule in rules:
        if _fits(rule, demonstration, kinds):
            return False
        if rule.kind in kinds:
            return True
    return False


def _first_fit(rules: Iterable[Rule], demonstration: Action, kinds: set[str]) -> VerifierSpec | None:
    return next((rule.verifier for rule in rules if _fits(rule, demonstration, kinds)), None)


def _call_kinds(demonstration: Action) -> set[str]:
    return {kind_of(call) for call in demonstration.tool_calls}


def _fits(rule: Rule, demonstration: Action, kinds: set[str]) -> bool:
    names = {call.name for call in demonstration.tool_calls}
    if not _is_of_kind(rule.kind, demonstration, kinds) or not rule.verifier.handles(demonstration.kind):
        return False
    return not rule.tools or (bool(names) and names <= set(rule.tools))


def _is_of_kind(kind: str, demonstration: Action, kinds: set[str]) -> bool:
    if kind in CALL_KINDS:
        # Calls of no kind may accompany it, because its verifier compares them as `tool_call` does.
        return kind in kinds and kinds <= {kind, ""}
    if kind == KEYSTROKES:
        calls = demonstration.tool_calls
        return all(call.name == TOOL for call in calls) if calls else is_batch(json_of(demonstration.message))
    return kind in ("", demonstration.kind)


def _picks(options: AutoOptions, demonstration: Action) -> VerifierSpec | None:
    return _first_fit(options.rules, demonstration, _call_kinds(demonstration))


VERIFIER = Verifier(prepare=prepare, options=AutoOptions, version=4, kinds=ALL_KINDS, picks=_picks)
