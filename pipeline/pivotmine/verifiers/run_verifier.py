"""The rules around every verifier: unusable actions, several demonstrations, exceptions and unproven answers.

A scorer never raises. It applies these rules in order:

1. Truncated (TRUNCATED), unreadable (INVALID_CALL) and empty (EMPTY) samples get reward 0, except from a verifier
   that `judges_all`.
2. Each demonstration is compared with the action separately. If the verifier does not handle the demonstration's
   kind, an action of another kind is WRONG_KIND, and one of the same kind is a failure (null).
3. The answers combine as `answers.any_of`: one demonstration that is the same is enough.
4. An unproven result gets the worth that the spec's `unproven` names. This happens once, outside all members, so a
   combination inside never sees that reward.
"""

from __future__ import annotations

from collections.abc import Sequence

from pivotmine.actions.action import Action
from pivotmine.verifiers import answers
from pivotmine.verifiers.base import BY_KIND, NULL, ZERO, Outcome, Scorer, State, Verdict, VerifierSpec, unusable


def prepare(spec: VerifierSpec, state: State, demonstrations: Sequence[Action]) -> Scorer:
    """Return a scorer for one state and any number of actions. The work on the demonstrations is done once."""
    assert demonstrations, "a state without a demonstration is no candidate"
    judges = [_judge(spec, state, demonstration) for demonstration in demonstrations]
    message_worth = _message_worth(spec, demonstrations)
    call_worth = ZERO if spec.unproven == BY_KIND else spec.unproven

    only = judges[0] if len(judges) == 1 else None  # the common case needs no combination

    def judge(action: Action) -> Verdict:
        verdict = only(action) if only else answers.any_of(compare(action) for compare in judges)
        if verdict.reward is not None:
            return verdict
        return answers.valued(verdict, call_worth if action.tool_calls else message_worth)

    return judge


def _message_worth(spec: VerifierSpec, demonstrations: Sequence[Action]) -> str:
    """The worth of an unproven message. By kind: null, but zero if no message or a command is demonstrated."""
    messages = [demonstration for demonstration in demonstrations if not demonstration.tool_calls]
    if spec.unproven != BY_KIND:
        return spec.unproven
    return ZERO if not messages or any(map(spec.is_command, messages)) else NULL


def verify(spec: VerifierSpec, state: State, demonstrations: Sequence[Action], action: Action) -> Verdict:
    """The verdict on one action. For several actions in one state, `prepare` is faster."""
    return prepare(spec, state, demonstrations)(action)


def passes_gate(spec: VerifierSpec, state: State, demonstration: Action) -> Verdict:
    """The verdict on a demonstration compared with itself. A state is worth sampling only if the reward is 1."""
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
