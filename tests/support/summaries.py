"""What stages said of one run, as their functions return it."""

from __future__ import annotations

from pivotmine_stages.score.stage import ScoreSummary
from pivotmine_stages.select.draw import Drawn
from pivotmine_stages.select.samples import SampleCost
from pivotmine_stages.select.summary import SelectSummary

SCORED = ScoreSummary(
    policy_id="tiny-0123456789ab",
    verifier_id="tool_call-1",
    max_new_tokens=64,
    states=10,
    samples=80,
    pending=0,
    scored=79,
    classes={"never": 4, "sometimes": 5, "always": 1},
    outcomes={"correct": 30, "wrong_tool": 50},
    mean=0.34567,
    mean_low=None,
    mean_high=None,
    domains={},
    rejects={},
    seconds=0.1,
)
SELECTED = SelectSummary(
    name="default",
    policy_id="p",
    verifier_id="v",
    candidates=10,
    train=4,
    validation=1,
    demonstrations=Drawn(states=9, rows=7, left_out={"too_long": 2}),
    twin=None,
    cost=SampleCost(states=5, samples=80, tokens=None),
    deferred=None,
    suspects=[],
    rejects={"mean_too_high": 5},
    seconds=0.2,
)
