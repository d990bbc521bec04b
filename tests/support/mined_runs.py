"""A scored run of two policies with hostile texts."""

from __future__ import annotations

from pathlib import Path

from runs import (
    add_rollouts,
    answered,
    call_text,
    called,
    make_run,
    policy_record,
    remember,
    said,
    sample,
    states_of,
    trajectory,
)

from pivotmine.verifiers import make_spec
from pivotmine_stages.score.stage import ScoreConfig, score

HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
    '<a href="javascript:window.hacked=3">x</a></script><!-- \u202e\u2028 ${window.hacked = 4} {{ 7 * 7 }}'
)
ORDERS = ("A", "B", HOSTILE, "D", "E", "F")
SOLVED = {"policy-1": (0, 1, 2, 3, 4, 4), "policy-2": (4, 4, 4, 4, 0, 0)}
"""Number of solved samples, of 4, in the state of each order."""


def mined_run(folder: Path) -> Path:
    """Six states, one per order, sampled by two policies and scored by `tool_call`; nothing is selected.

    Under `policy-1` one state is never solved, three sometimes, two always; under `policy-2` four always, two never.
    """
    records = [
        trajectory(
            said(f"Find {order}"),
            called("find", id=order),
            answered(order),
            task_id=f"t{i}",
            domain=f"d{i % 2}{HOSTILE}",
        )
        for i, order in enumerate(ORDERS)
    ]
    run = make_run(folder, *records)
    states = states_of(run)
    for policy_id, solved in SOLVED.items():
        remember(run, policy_record(policy_id=policy_id, name=policy_id))
        wrong = sample(call_text("find", id=f"not {HOSTILE}"))
        samples = {
            states[f"user: Find {order}"]: [sample(call_text("find", id=order))] * good + [wrong] * (4 - good)
            for order, good in zip(ORDERS, solved, strict=True)
        }
        add_rollouts(run, samples, policy_id=policy_id)
        score(ScoreConfig(policy=policy_id, verifier=make_spec("tool_call", {})), run)
    return run
