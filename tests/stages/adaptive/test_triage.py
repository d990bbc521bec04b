"""The probability of a demonstration, against a forward pass by hand; and values that are refused."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from policies import COIN, RIGHT_CALL
from trajectories import coin_trajectory, order_trajectory, write_jsonl
from transformers import AutoModelForCausalLM

from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.run.states import demonstrated_turns, state_messages
from pivotmine.sampling import prefill as prefill_module
from pivotmine.sampling.settings import Prefilled
from pivotmine.verifiers import make_spec
from pivotmine_stages.adaptive import triage as module
from pivotmine_stages.adaptive.triage import triage
from pivotmine_stages.cli.options import extract, rollout_config
from pivotmine_stages.policy.session import PolicySession, open_policy
from pivotmine_stages.profiles.covariates import demonstration_masses
from pivotmine_stages.profiles.gate import gate_states
from pivotmine_stages.rollout.missing import eligible_states

SPEC = make_spec("tool_call", {})


@pytest.fixture(scope="module")
def coin(coin_policy: Path) -> Iterator[PolicySession]:
    with open_policy(rollout_config({}, model=str(coin_policy), engine="transformers").policy) as policy:
        yield policy


def make_run(folder: Path, *records: dict[str, Any]) -> Path:
    extract({}, sources=[write_jsonl(folder / "s.jsonl", list(records))], run=folder / "run")
    return folder / "run"


def asked(run: Path, policy: PolicySession) -> list[dict[str, Any]]:
    """The rows of triage, in the order of the turns."""
    states, _ = eligible_states(run, SPEC, (0, 1))
    triage(run, policy, SPEC, states, gate_states(run, demonstrated_turns(run), SPEC))
    return rundir.scan(run, "triage").collect().sort("turn_id").to_dicts()


def by_hand(model: Path, prompt: list[int], reply: list[int]) -> float:
    """Log-probability of the reply: the whole sequence at once, without any of our code."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.inference_mode():
        logprobs = loaded(torch.tensor([prompt + reply])).logits[0].log_softmax(-1)
    return sum(float(logprobs[len(prompt) + i - 1, token]) for i, token in enumerate(reply))


def test_the_mass_of_the_coins_right_side(
    tmp_path: Path, coin: PolicySession, coin_policy: Path, policies: ModuleType
) -> None:
    (row,) = asked(make_run(tmp_path, coin_trajectory()), coin)
    prompt, reply = policies.render(coin_policy, COIN), policies.token_ids(coin_policy, f"{RIGHT_CALL}<|im_end|>")
    assert row["refusal"] is None
    assert row["num_tokens"] == len(reply)
    assert row["num_prefill_tokens"] == len(prompt) + len(reply)
    assert row["logprob"] == pytest.approx(by_hand(coin_policy, prompt, reply), abs=1e-4)
    assert 0.5 < math.exp(row["logprob"]) < 0.7


def test_one_sequence_serves_a_segment_and_says_what_one_a_turn_says(
    tmp_path: Path, coin: PolicySession, coin_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, order_trajectory("B1", task_id=1), order_trajectory("B2", task_id=2))
    # Pieces smaller than a prompt: the cache carries from one to the next.
    monkeypatch.setattr(prefill_module, "PIECE_TOKENS", 50)
    sequences: list[list[int]] = []
    engine = coin.engine(0)
    monkeypatch.setattr(engine, "prefill", lambda ids, ask=engine.prefill: sequences.extend(ids) or ask(ids))
    rows = asked(run, coin)
    assert len(sequences) == 2
    assert [row["refusal"] for row in rows] == [None] * 4
    assert sum(row["num_prefill_tokens"] for row in rows) == sum(map(len, sequences))
    renderer = coin.renderer
    assert renderer is not None
    turns = demonstrated_turns(run).filter(demonstrated_turns(run)["kind"] == "tool_call")
    expected: dict[str, float] = {}
    for state in state_messages(run, turns):
        prompt = renderer.render(state.messages, state.tools).token_ids
        whole = renderer.render_turn([*state.messages, state.message], state.tools)
        end = whole.index(renderer.tokenizer.eos_token_id, len(prompt)) + 1
        expected[state.turn["turn_id"]] = by_hand(coin_policy, prompt, whole[len(prompt) : end])
    assert {row["turn_id"]: row["logprob"] for row in rows} == {
        turn: pytest.approx(logprob, abs=1e-3) for turn, logprob in expected.items()
    }


def test_started_again_it_asks_only_what_is_missing(
    tmp_path: Path, coin: PolicySession, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, coin_trajectory())
    rows = asked(run, coin)
    monkeypatch.setattr(coin.engine(0), "prefill", None)
    assert asked(run, coin) == rows


def test_what_is_known_is_written_in_time_and_whatever_ends_the_work(
    tmp_path: Path, coin: PolicySession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second sequence is asked for when the first one's row is on the disk; the third one never comes."""
    run = make_run(tmp_path, *(order_trajectory(f"B{number}") for number in range(3)))
    monkeypatch.setattr(module, "SEQUENCES_PER_BATCH", 1)
    monkeypatch.setattr(module, "SECONDS_PER_PART", 0.1)
    engine, told = coin.engine(0), list[int]()
    ask = engine.prefill

    def halting(sequences: list[list[int]]) -> list[Prefilled]:
        deadline = time.monotonic() + 30
        while len(told) == 1 and not stored(run) and time.monotonic() < deadline:
            time.sleep(0.01)
        told.append(stored(run))
        if len(told) == 3:
            raise SystemExit(143)
        return ask(sequences)

    monkeypatch.setattr(engine, "prefill", halting)
    with pytest.raises(SystemExit):
        asked(run, coin)
    assert (told[:2], stored(run)) == ([0, 2], 4)


def stored(run: Path) -> int:
    return len(rundir.scan(run, "triage").collect())


def refusals(run: Path, policy: PolicySession) -> list[str | None]:
    return [row["refusal"] for row in asked(run, policy)]


def test_a_demonstration_that_the_parser_reads_otherwise_bounds_nothing(tmp_path: Path, coin: PolicySession) -> None:
    run = make_run(tmp_path, coin_trajectory())
    mistaken = replace(coin, record=replace(coin.record, parser="mistral"))
    assert refusals(run, mistaken) == ["not_rewarded"]


def test_a_demonstration_longer_than_the_budget_bounds_nothing_until_the_budget_grows(
    tmp_path: Path, coin: PolicySession
) -> None:
    """Its row serves every budget: under a smaller one no sample can be that demonstration."""
    run = make_run(tmp_path, coin_trajectory())
    (row,) = asked(run, coin)
    ids = (coin.record.policy_id, SPEC.verifier_id)
    mass = {row["state_id"]: pytest.approx(math.exp(row["logprob"]))}
    assert demonstration_masses(run, *ids, budget=row["num_tokens"] - 1) == {}
    assert demonstration_masses(run, *ids, budget=row["num_tokens"]) == mass
    assert demonstration_masses(run, *ids) == mass


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        ("{%- if add_generation_prompt %}<think>\n{% endif %}", "reasoning"),
        ("{%- if add_generation_prompt %}Answer:{% endif %}", "not_appended"),
        ("{%- if not add_generation_prompt %}{{ raise_exception('no') }}{% endif %}", "template_error"),
    ],
)
def test_templates_that_write_turns_otherwise_are_refused(
    tmp_path: Path, coin: PolicySession, tail: str, reason: str
) -> None:
    assert coin.renderer is not None
    before = coin.renderer.tokenizer.chat_template
    try:
        coin.renderer.tokenizer.chat_template = before + tail
        assert refusals(make_run(tmp_path, coin_trajectory()), coin) == [reason]
    finally:
        coin.renderer.tokenizer.chat_template = before


@pytest.mark.parametrize("sampling", [{"temperature": 0.7}, {"top_p": 0.9}, {"top_k": 20}])
def test_samples_of_another_distribution_are_refused(
    tmp_path: Path, coin: PolicySession, sampling: dict[str, Any]
) -> None:
    other = replace(coin, options=replace(coin.options, sampling=replace(coin.options.sampling, **sampling)))
    with pytest.raises(UserError, match=r"--triage needs .*--temperature 1, --top-p 1, --top-k 0"):
        asked(make_run(tmp_path, coin_trajectory()), other)


def test_a_policy_that_reasons_first_is_refused(
    tmp_path: Path, coin: PolicySession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No policy here reasons, so the engine's word for the likeliest first token is replaced."""
    assert coin.renderer is not None
    (think,) = coin.renderer.tokenizer("<think>", add_special_tokens=False)["input_ids"]
    engine = coin.engine(0)
    monkeypatch.setattr(
        engine,
        "prefill",
        lambda ids, ask=engine.prefill: [one._replace(likeliest=[think] * len(one.likeliest)) for one in ask(ids)],
    )
    run = make_run(tmp_path, coin_trajectory())
    with pytest.raises(UserError, match="the policy reasons before it acts"):
        asked(run, coin)
    assert stored(run) == 0
