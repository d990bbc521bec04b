"""Mine pivots from the service desk in `data/desk`, then look at them in Python.

    python examples/mine_and_look.py RUN

It samples 30 states with the project's small policy, which takes a few seconds without a GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

from pivotmine import open_run
from pivotmine.sampling.settings import Sampling
from pivotmine.verifiers import make_spec
from pivotmine_stages import (
    EngineOptions,
    ExtractConfig,
    PolicyConfig,
    RolloutConfig,
    ScoreConfig,
    SelectConfig,
    run_extract,
    run_rollout,
    run_score,
    run_select,
)

DESK = Path(__file__).parents[1] / "data" / "desk"


def main(folder: Path) -> None:
    verifier = make_spec("tool_call", {"free_text": ["*.reason", "*.note"]})
    engine = EngineOptions(model=str(DESK / "policy"), sampling=Sampling(max_new_tokens=64))
    run_extract(ExtractConfig(sources=(DESK / "trajectories.jsonl",)), folder)
    policy = PolicyConfig(engine=engine, engine_name="transformers")
    rollout = RolloutConfig(policy=policy, verifier=verifier, num_samples=8, limit=30)
    run_rollout(rollout, folder)
    run_score(ScoreConfig(verifier=verifier), folder)
    run_select(SelectConfig(name="example"), folder)

    run = open_run(folder)
    classes = run.profiles.group_by("reward_class").agg(states=pl.len(), mean=pl.col("mean").mean())
    print(classes.sort("reward_class").collect())
    print(run.sql("select outcome, count(*) as samples from scores group by all order by samples desc"))
    print(run.pivots.select("state_id", "domain", "mean", "variance").sort("variance", descending=True).collect())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
