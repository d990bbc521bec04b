"""The summaries of one run, as the stages' functions return them."""

from __future__ import annotations

from pivotmine_stages.extract.summary import ExtractSummary, RejectCount
from pivotmine_stages.rollout.stage import RolloutSummary, Sampled, Stored
from pivotmine_stages.score.stage import ScoreSummary
from pivotmine_stages.select.draw import Drawn
from pivotmine_stages.select.samples import SampleCost
from pivotmine_stages.select.summary import SelectSummary

EXTRACTED = ExtractSummary(
    trajectories=1200,
    segments=1201,
    messages=9000,
    tools=1,
    turns=5000,
    states=4000,
    demonstrations=1500,
    demonstrated_states=1400,
    kinds={"tool_call": 1200, "message": 300},
    outcomes={"0.0": 800, "1.0": 300, "None": 100},
    min_outcome=1.0,
    all_failed=False,
    formats={"openai": 1000, "tau_bench": 200},
    outcome_keys={"reward": 1000, "tau_bench reader": 100},
    calls_without_tools=0,
    states_without_user=0,
    undocumented_masks=0,
    rejects={
        "low_outcome": RejectCount(rows=3500, turns=3500, first="a.jsonl, line 2: outcome 0.0"),
        "bad_json": RejectCount(rows=3, turns=None, first="a.jsonl, line 1: x"),
        "image": RejectCount(rows=2, turns=7, first="b.json, record 4: message 2"),
    },
    seconds=1.5,
)
ROLLED = RolloutSummary(
    policy_id="tiny-0123456789ab",
    verifier_id="tool_call-1",
    wanted_states=10,
    wanted_samples=80,
    missing_samples=80,
    sampled=Sampled(states=10, samples=80, tokens=4000, prompt_tokens=9000, cached_tokens=3000),
    stored=Stored(samples=160, tokens=8000, prompt_tokens=9000),
    rejects={"no_verifier": 2, "engine_error": 1},
    causes={"engine_error": "status 500:\nout of \x1b[2Jmemory"},
    sampling_s=4.0,
    seconds=5.0,
)
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
