"""The reward: does an action do the same as one of the demonstrations of its state?

    spec = make_spec("tool_call", {"free_text": ["search.query"]})
    judge = prepare(spec, State(tools=tools), demonstrations)
    verdicts = [judge(action) for action in actions]

The miner's `score` and the trainer call the same functions, so this package needs the standard library only.
"""

from pivotmine.verifiers.base import Outcome, Scorer, State, Verdict, Verifier, VerifierSpec
from pivotmine.verifiers.composed.auto import resolve
from pivotmine.verifiers.registry import VERIFIERS, make_spec
from pivotmine.verifiers.run_verifier import passes_gate, prepare, verify

__all__ = [
    "VERIFIERS",
    "Outcome",
    "Scorer",
    "State",
    "Verdict",
    "Verifier",
    "VerifierSpec",
    "make_spec",
    "passes_gate",
    "prepare",
    "resolve",
    "verify",
]
