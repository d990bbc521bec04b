"""Verdicts of which some wait for a server: those many at once, all in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from pivotmine.actions import Action
from pivotmine.verifiers import Scorer, Verdict


class JudgeCall(NamedTuple):
    judge: Scorer
    action: Action
    num_waiting: int
    """How many such questions are worth asking at once (`VerifierSpec.num_waiting`); 0: it waits for nothing."""


def judge_all(questions: Sequence[JudgeCall]) -> Iterator[Verdict]:
    """The verdict on each action, in order; those that wait are asked for from as many threads as are worth it."""
    num_threads = max((question.num_waiting for question in questions), default=0)
    if not num_threads:
        yield from (question.judge(question.action) for question in questions)
        return
    pool = ThreadPoolExecutor(num_threads, "verdict")
    try:
        asked = [pool.submit(q.judge, q.action) if q.num_waiting else None for q in questions]
        for question, pending in zip(questions, asked, strict=True):
            yield pending.result() if pending else question.judge(question.action)
    finally:
        # Whoever interrupts does not wait for questions that were not asked yet.
        pool.shutdown(wait=False, cancel_futures=True)
