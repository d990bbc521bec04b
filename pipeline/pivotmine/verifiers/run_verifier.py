"""Rules for every verifier: what comes before it, several demonstrations, exceptions, what unproven is worth.

A scorer never raises, for any state, demonstrations and action. In this order:

1. Truncated (TRUNCATED), unreadable (INVALID_CALL) and empty (EMPTY) samples get reward 0, except from a verifier
   that `judges_all`.
2. Each demonstration is compared with the action by itself. A demonstration of a kind that the verifier does not
   handle gives WRONG_KIND against an action of another kind, and a failure (null) against one of its own kind.
3. The answers combine as `answers.any_of`: one demonstration that is the same is enough.
4. An answer that is still unproven gets what the spec's `unproven` says it is worth. This is applied once, outside
   all members, so a combination inside never sees it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pivotmine.actions.action import Action
from pivotmine.verifiers import answers
from pivotmine.verifiers.base import BY_KIND, NULL, ZERO, Outcome, Scorer, State, Verdict, VerifierSpec, unusable


def prepare(spec: VerifierSpec, state: State, demonstrations: Sequence[Action]) -> Scorer:
    """A scorer of any number of actions in one state; what the demonstrations need is computed once."""
    assert demonstrations, "a state without a demonstration is no candidate"
    judges = [_judge(spec, state, demonstration) for demonstration in demonstrations]
    message_worth = _message_worth(spec, demonstrations)
    call_worth = ZERO if spec.unproven == BY_KIND else spec.unproven

    only = judges[0] if len(judges) == 1 else None

    def judge(action: Action) -> Verdict:
        verdict = only(action) if only else answers.any_of(compare(action) for compare in judges)
        if verdict.reward is not None:
            return verdict
        return answers.valued(verdict, call_worth if action.tool_calls else message_worth)

    return judge


def _message_worth(spec: VerifierSpec, demonstrations: Sequence[Action]) -> str:
    """What an unproven message is worth: by its kind nothing at all, unless messages are commands here."""
    messages = [demonstration for demonstration in demonstrations if not demonstration.tool_calls]
    if spec.unproven != BY_KIND:
        return spec.unproven
    return ZERO if not messages or any(map(spec.is_command, messages)) else NULL


def verify(spec: VerifierSpec, state: State, demonstrations: Sequence[Action], action: Action) -> Verdict:
    """The verdict on one action. For several actions in one state, `prepare` is faster."""
    return prepare(spec, state, demonstrations)(action)


def passes_gate(spec: VerifierSpec, state: State, demonstration: Action) -> Verdict:
    """The verdict on a demonstration against itself. A state is worth sampling only if its reward is 1."""
    return verify(spec, state, [demonstration], demonstration)


def _judge(spec: VerifierSpec, state: State, demonstration: Action) -> Scorer:
    if spec.handles(demonstration.kind):
        return spec.judge(state, demonstration)
    return _unhandled_judge(spec, demonstration.kind)


def _unhandled_judge(spec: VerifierSpec, kind: str) -> Scorer:
    unknown = Verdict(None, Outcome.ERROR, f"verifier {spec.name} cannot compare {kind} turns")

    def judge(action: Action) -> Verdict:
        if not spec.judges_all and (verdict := unusable(action)):
            return verdict
        if action.kind == kind:
            return unknown
        return Verdict(0.0, Outcome.WRONG_KIND, f"a {action.kind}, demonstrated a {kind}")

    return judge
