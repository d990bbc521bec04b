"""`auto`: every turn by the verifier that the rules name for it; the first rule that fits counts.

A rule may ask for domains, tools and a kind of turn, and fits only turns that its verifier handles. Behind the
rules of a run's config stand the defaults: `tool_call` for calls, `text` for messages.

A domain is known where trajectories are, not where an action is judged. So the miner asks `resolve` for the
verifier of each state, writes that one into the dataset, and `auto` itself is left only for states whose
demonstrations want different verifiers: then each demonstration is compared by its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pivotmine.actions.action import Action
from pivotmine.verifiers.verdict import State, Verdict

if TYPE_CHECKING:
    from pivotmine.verifiers.registry import VerifierSpec

DEFAULTS = {"tool_call": "tool_call", "message": "text"}
"""Kind of turn -> the verifier that is right for it where no rule says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    verifier: VerifierSpec
    """Judges the turns that fit."""
    domains: tuple[str, ...] = ()
    """The turn's domain is one of them; empty: any."""
    tools: tuple[str, ...] = ()
    """Every demonstrated call is of one of them; empty: any, and messages too."""
    kind: str = ""
    """`tool_call` or `message`; empty: any that the verifier handles."""


def _default_rules() -> tuple[Rule, ...]:
    from pivotmine.verifiers.registry import make_spec

    return tuple(Rule(verifier=make_spec(name, {}), kind=kind) for kind, name in DEFAULTS.items())


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
        replace(rule, domains=()) for rule in spec.options.rules if not rule.domains or domain in rule.domains
    )
    found = {_first_fit(rules, demonstration): None for demonstration in demonstrations}
    found.pop(None, None)
    if len(found) > 1:
        return replace(spec, options=AutoOptions(rules=rules))
    return next(iter(found), None)


def _first_fit(rules: Iterable[Rule], demonstration: Action) -> VerifierSpec | None:
    return next((rule.verifier for rule in rules if _fits(rule, demonstration)), None)


def _fits(rule: Rule, demonstration: Action) -> bool:
    kind, names = demonstration.kind, {call.name for call in demonstration.tool_calls}
    if rule.kind not in ("", kind) or not rule.verifier.handles(kind):
        return False
    return not rule.tools or (bool(names) and names <= set(rule.tools))
