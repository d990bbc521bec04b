"""`auto`: every turn by the verifier that the rules name for it; the first rule that fits counts.

A rule may ask for domains, tools and a kind of turn, and fits only turns that its verifier handles. Behind the
rules of a run's config stand the defaults: `terminal` for batches of keystrokes, `shell` for calls of a harness's
shell, `tool_call` for other calls, `text` for other messages. A default whose packages are not installed is left out.

A domain is known where trajectories are, not where an action is judged. So the miner asks `resolve` for the
verifier of each state, writes that one into the dataset, and `auto` itself is left only for states whose
demonstrations want different verifiers: then each demonstration is compared by its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from pivotmine.actions.action import Action
from pivotmine.actions.conventions.keystrokes import is_batch
from pivotmine.actions.conventions.terminus import TOOL
from pivotmine.verifiers.base import ALL_KINDS, State, Verdict, Verifier, VerifierSpec, default_spec
from pivotmine.verifiers.shell import shell
from pivotmine.verifiers.terminals import terminal
from pivotmine.verifiers.texts import text
from pivotmine.verifiers.texts.json_texts import json_of
from pivotmine.verifiers.tool_calls import tool_call

KEYSTROKES = "keystrokes"
"""A kind of turn that rules may ask for: a message that is a terminal agent's batch of keystrokes."""
COMMAND = "command"
"""A kind of turn that rules may ask for: calls of a harness's shell tool."""
_SHELL_TOOLS = frozenset({"bash", "execute", "execute_bash"})
"""The tools that text conventions imply for shell commands, with the argument `command`."""
DEFAULTS = {KEYSTROKES: "terminal", COMMAND: "shell", "tool_call": "tool_call", "message": "text"}
"""Kind of turn -> the verifier that is right for it where no rule says otherwise; the first that fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    verifier: VerifierSpec
    """Judges the turns that fit."""
    domains: tuple[str, ...] = ()
    """The turn's domain is one of them; empty: any."""
    tools: tuple[str, ...] = ()
    """Every demonstrated call is of one of them; empty: any, and messages too."""
    kind: str = ""
    """`tool_call`, `message`, `keystrokes` or `command`; empty: any that the verifier handles."""


def _default_rules() -> tuple[Rule, ...]:
    verifiers = {
        "tool_call": tool_call.VERIFIER,
        "terminal": terminal.VERIFIER,
        "shell": shell.VERIFIER,
        "text": text.VERIFIER,
    }
    installed = {kind: name for kind, name in DEFAULTS.items() if not verifiers[name].missing_modules}
    return tuple(Rule(verifier=default_spec(name, verifiers[name]), kind=kind) for kind, name in installed.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoOptions:
    rules: tuple[Rule, ...] = field(default_factory=_default_rules)
    """In order: the first that fits a turn counts."""

    @property
    def members(self) -> tuple[VerifierSpec, ...]:
        """The verifiers of the rules."""
        return tuple(rule.verifier for rule in self.rules)


def prepare(state: State, demonstration: Action, options: AutoOptions) -> Callable[[Action], Verdict]:
    """A judge by the verifier of the first rule that fits the demonstration."""
    spec = _first_fit(options.rules, demonstration)
    if spec is None:
        raise ValueError(f"no rule for this {demonstration.kind} turn")
    return spec.judge(state, demonstration)


def resolve(spec: VerifierSpec, domain: str | None, demonstrations: Sequence[Action]) -> VerifierSpec | None:
    """The one verifier for a state of this domain with these demonstrations; None where none handles any of them."""
    if not isinstance(spec.options, AutoOptions):
        return spec if any(spec.handles(demonstration.kind) for demonstration in demonstrations) else None
    rules = tuple(
        replace(rule, domains=()) if rule.domains else rule
        for rule in spec.options.rules
        if not rule.domains or domain in rule.domains
    )
    found = {_first_fit(rules, demonstration): None for demonstration in demonstrations}
    found.pop(None, None)
    if len(found) > 1:
        return replace(spec, options=AutoOptions(rules=rules))
    return next(iter(found), None)


def _first_fit(rules: Iterable[Rule], demonstration: Action) -> VerifierSpec | None:
    return next((rule.verifier for rule in rules if _fits(rule, demonstration)), None)


def _fits(rule: Rule, demonstration: Action) -> bool:
    names = {call.name for call in demonstration.tool_calls}
    if not _is_of_kind(rule.kind, demonstration) or not rule.verifier.handles(demonstration.kind):
        return False
    return not rule.tools or (bool(names) and names <= set(rule.tools))


def _is_of_kind(kind: str, demonstration: Action) -> bool:
    calls = demonstration.tool_calls
    if kind == KEYSTROKES:
        return all(call.name == TOOL for call in calls) if calls else is_batch(json_of(demonstration.message))
    if kind == COMMAND:
        return bool(calls) and all(call.name in _SHELL_TOOLS and "command" in call.arguments for call in calls)
    return kind in ("", demonstration.kind)


VERIFIER = Verifier(prepare=prepare, options=AutoOptions, version=2, kinds=ALL_KINDS)
