"""Rules for every verifier: what comes before it, the best of several demonstrations, exceptions as verdicts.

A judge never raises, whatever the state, the demonstrations or the action hold. In this order:

1. reward 0 for a truncated sample (TRUNCATED), for one with a call that could not be read (INVALID_CALL) and
   for one with neither text nor call (EMPTY);
2. each demonstration is compared with the action on its own. One of a kind that the verifier does not handle
   gives WRONG_KIND against an action of another kind, and null against one of its own: nobody can tell;
3. the best verdict counts, the first among equals. A reward below 1 beside a null is null: the demonstration
   that could not be compared might have matched.
"""

from __future__ import annotations

from collections.abc import Sequence

from pivotmine.actions.action import Action
from pivotmine.verifiers.mismatch import shown_text
from pivotmine.verifiers.registry import VERIFIERS, Judge, VerifierSpec
from pivotmine.verifiers.verdict import Outcome, State, Verdict


def prepare(spec: VerifierSpec, state: State, demonstrations: Sequence[Action]) -> Judge:
    """A judge of any number of actions in one state; what the demonstrations need is computed once."""
    assert demonstrations, "a state without a demonstration is no candidate"
    judges = [_guarded_judge(spec, state, demonstration) for demonstration in demonstrations]
    judges_all = VERIFIERS[spec.name].judges_all

    def judge(action: Action) -> Verdict:
        early = None if judges_all else _before_any_verifier(action)
        return early or _best([compare(action) for compare in judges])

    return judge


def verify(spec: VerifierSpec, state: State, demonstrations: Sequence[Action], action: Action) -> Verdict:
    """The verdict on one action; for several in one state, `prepare` is quicker."""
    return prepare(spec, state, demonstrations)(action)


def passes_gate(spec: VerifierSpec, state: State, demonstration: Action) -> Verdict:
    """The verdict on a demonstration against itself: a state is worth sampling only where its reward is 1."""
    return verify(spec, state, [demonstration], demonstration)


def _before_any_verifier(action: Action) -> Verdict | None:
    if action.truncated:
        return Verdict(0.0, Outcome.TRUNCATED)
    if action.unparsed:
        return Verdict(0.0, Outcome.INVALID_CALL, shown_text(action.unparsed[0].reason))
    if not action.tool_calls and not action.message:
        return Verdict(0.0, Outcome.EMPTY)
    return None


def _guarded_judge(spec: VerifierSpec, state: State, demonstration: Action) -> Judge:
    if not spec.handles(demonstration.kind):
        return _unhandled_judge(spec, demonstration.kind)
    try:
        compare = VERIFIERS[spec.name].prepare(state, demonstration, spec.options)
    except Exception as error:
        failure = _failure(error)
        return lambda action: failure

    def guarded(action: Action) -> Verdict:
        try:
            return compare(action)
        except Exception as error:
            return _failure(error)

    return guarded


def _unhandled_judge(spec: VerifierSpec, kind: str) -> Judge:
    unknown = Verdict(None, Outcome.ERROR, f"verifier {spec.name} cannot compare {kind} turns")

    def judge(action: Action) -> Verdict:
        if action.kind == kind:
            return unknown
        return Verdict(0.0, Outcome.WRONG_KIND, f"a {action.kind}, demonstrated a {kind}")

    return judge


def _failure(error: Exception) -> Verdict:
    return Verdict(None, Outcome.ERROR, shown_text(f"{type(error).__name__}: {error}"))


def _best(verdicts: Sequence[Verdict]) -> Verdict:
    best = max(verdicts, key=lambda verdict: -1.0 if verdict.reward is None else verdict.reward)
    if best.reward == 1.0:
        return best
    return next((verdict for verdict in verdicts if verdict.reward is None), best)
