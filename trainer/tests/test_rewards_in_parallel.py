"""Verdicts that wait for a server run concurrently, also in the function that TRL's own script calls."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import tiny

from pivotmine.verifiers import Outcome, Verdict
from pivotmine_trainer import reward as rewards

TOGETHER = 8


class Waiting:
    """A verifier that gives its verdicts only once 8 of them are waited for at the same time."""

    name, num_waiting = "waiting", TOGETHER

    def __init__(self) -> None:
        self.barrier = threading.Barrier(TOGETHER, timeout=20)

    def judge(self, action: Any) -> Verdict:
        self.barrier.wait()
        return Verdict(1.0 if action.tool_calls else 0.0, Outcome.CORRECT)


@pytest.mark.parametrize("road", ["pivotmine-train", "trl grpo --reward_funcs"])
def test_eight_verdicts_wait_at_once(road: str, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Waiting()
    monkeypatch.setattr(rewards, "row_spec", lambda row, place, verifier=None: spec)
    monkeypatch.setattr(rewards, "make_judge", lambda row, given: given.judge)
    tokenizer, row = tiny.load_tokenizer(policy), tiny.pivot_rows(policy)[0]
    said = [tokenizer(f"{text}<|im_end|>").input_ids for text in [tiny.STATES[0].right, "no call"] * TOGETHER]
    columns = {name: [value] * len(said) for name, value in row.items()}
    if road == "pivotmine-train":
        function = rewards.make_reward(tokenizer, rewards.end_of_turn_ids(tokenizer))
        del columns["tokenizer"]
    else:
        function = rewards.pivot_reward
    assert function(completion_ids=said, **columns) == [1.0, 0.0] * TOGETHER
