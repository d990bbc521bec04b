"""Rules for every verifier: what comes before it, the best of several demonstrations, exceptions as verdicts.

A judge never raises, whatever the state, the demonstrations or the action hold. In this order:

1. reward 0 for a truncated sample (TRUNCATED), for one with a call that could not be read (INVALID_CALL) and
   for one with neither text nor call (EMPTY), except for a verifier that `judges_all`;
2. each demonstration is compared with the action on its own. One of a kind that the verifier does not handle
   gives WRONG_KIND against an action of another kind, and null against one of its own: nobody can tell;
3. the best verdict counts, the first among equals. A reward below 1 beside a null is null: the demonstration
   that could not be compared might have matched.
"""

from __future__ import annotations

from collections.abc import Sequence

from pivotmine.actions.action import Action
from pivotmine.verifiers.base import Outcome, Scorer, State, Verdict, VerifierSpec, unusable


def prepare(spec: VerifierSpec, state: State, demonstrations: Sequence[Action]) -> Scorer:
    """A judge of any number of actions in one state; what the demonstrations need is computed once."""
    assert demonstrations, "a state without a demonstration is no candidate"
    judges = [_judge(spec, state, demonstration) for demonstration in demonstrations]
    if len(judges) == 1:
        return judges[0]

    def judge(action: Action) -> Verdict:
        return _best([compare(action) for compare in judges])

    return judge


def verify(spec: VerifierSpec, state: State, demonstrations: Sequence[Action], action: Action) -> Verdict:
    """The verdict on one action; for several in one state, `prepare` is quicker."""
    return prepare(spec, state, demonstrations)(action)


def passes_gate(spec: VerifierSpec, state: State, demonstration: Action) -> Verdict:
    """The verdict on a demonstration against itself: a state is worth sampling only where its reward is 1."""
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


def _best(verdicts: Sequence[Verdict]) -> Verdict:
    best = max(verdicts, key=lambda verdict: -1.0 if verdict.reward is None else verdict.reward)
    if best.reward == 1.0:
        return best
    return next((verdict for verdict in verdicts if verdict.reward is None), best)
