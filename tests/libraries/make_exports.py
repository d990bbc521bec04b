"""Mine a pivot and export it for verl and `verifiers`: `python make_exports.py OUT`, in the miner's environment.

OUT/policy is a random Qwen3 whose tokenizer has the tool-call markers among its special tokens. OUT/run has the pivot.
"""

from __future__ import annotations

import sys
from pathlib import Path

from policies import make_tiny_policy
from runs import add_rollouts, call_text, called, make_run, policy_record, remember, said, sample, states_of, trajectory
from transformers import AutoTokenizer

from pivotmine.verifiers import make_spec
from pivotmine_stages.export.stage import ExportConfig, export
from pivotmine_stages.score.stage import ScoreConfig, score
from pivotmine_stages.select.stage import SelectConfig, select


def main(out: Path) -> None:
    policy = make_tiny_policy(out / "policy")
    tokenizer = AutoTokenizer.from_pretrained(policy)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<tool_call>", "</tool_call>"]})
    tokenizer.save_pretrained(policy)
    run = make_run(out, trajectory(said("go"), called("find", id="7")))
    remember(run, policy_record(tokenizer=str(policy)))
    add_rollouts(run, {states_of(run)["user: go"]: [sample(call_text("find", id=word)) for word in "7788"]})
    score(ScoreConfig(verifier=make_spec("tool_call", {})), run)
    select(SelectConfig(validation_share=0.0), run)
    for format in ("verl", "verifiers"):
        export(ExportConfig(format=format), run)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
