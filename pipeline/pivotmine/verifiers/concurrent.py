"""Judge actions in order. Calls that wait for a server run concurrently."""

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
    """How many such calls may run at once (`VerifierSpec.num_waiting`); 0 if it does not wait."""


def judge_all(questions: Sequence[JudgeCall]) -> Iterator[Verdict]:
    """The verdict on each action, in order. Calls that wait run in as many threads as the largest `num_waiting`."""
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
        # An interrupt must not wait for calls that have not started.
        pool.shutdown(wait=False, cancel_futures=True)
