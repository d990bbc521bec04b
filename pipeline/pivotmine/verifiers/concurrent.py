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


def judge_all(calls: Sequence[JudgeCall]) -> Iterator[Verdict]:
    """The verdict on each action, in order. Calls that wait run in as many threads as the largest `num_waiting`."""
    num_threads = max((call.num_waiting for call in calls), default=0)
    if not num_threads:
        yield from (call.judge(call.action) for call in calls)
        return
    pool = ThreadPoolExecutor(num_threads, "verdict")
    try:
        started = [pool.submit(call.judge, call.action) if call.num_waiting else None for call in calls]
        for call, pending in zip(calls, started, strict=True):
            yield pending.result() if pending else call.judge(call.action)
    finally:
        # An interrupt must not wait for calls that have not started.
        pool.shutdown(wait=False, cancel_futures=True)
