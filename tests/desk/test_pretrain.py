"""The recipe of the base policy: its data, its resumption, and the policy that it saves."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pivotmine_desk import pretrain
from pivotmine_desk.agent import GUIDED
from pivotmine_desk.conversation import encode_turns, load_tokenizer
from pivotmine_desk.data import BLOCK, LOOK_UP_BLOCKS, Batch, Reader, without_turns
from pivotmine_desk.pretrain import learning_rate, new_model, train, turn_loss
from pivotmine_desk.sampling import load_policy
from pivotmine_desk.tasks import numbered_task, play, tool_definitions

POLICY = Path(__file__).parents[2] / "data" / "desk" / "policy"


def reader(seed: int = 0) -> Reader:
    return Reader(load_tokenizer(POLICY), seed=seed, num_desk=2, num_skills=3)


class Interrupted(Reader):
    """Breaks off at its third batch."""

    def batch(self, number: int) -> tuple[Batch, Batch]:
        if number == 2:
            raise KeyboardInterrupt
        return super().batch(number)


def small_model() -> Any:
    return new_model(load_tokenizer(POLICY), hidden=64, layers=1, seed=0)


def options(work: Path) -> argparse.Namespace:
    return argparse.Namespace(work=work, steps=5, second_from=1, lr=1e-2, workers=1, device="cpu", save_every=1)


def test_a_batch_is_a_function_of_its_number() -> None:
    forward, backward = reader(), reader()
    one = [forward.batch(number) for number in (0, 17, 2000)]
    two = [backward.batch(number) for number in (2000, 17, 0)][::-1]
    for (desk, skills), (other_desk, other_skills) in zip(one, two, strict=True):
        assert np.array_equal(desk.ids, other_desk.ids)
        assert np.array_equal(skills.mask, other_skills.mask)
    assert not np.array_equal(reader(seed=1).batch(0)[1].ids, one[0][1].ids)


def test_the_first_blocks_are_look_ups_and_nothing_else() -> None:
    tokenizer, last = load_tokenizer(POLICY), LOOK_UP_BLOCKS * BLOCK - 1
    for batch in reader().batch(last):
        assert all("Which number has" in tokenizer.decode(row) for row in batch.ids)
    desk, skills = reader().batch(last + 1)
    assert not any("Which number has" in tokenizer.decode(row) for row in desk.ids)
    assert not all("Which number has" in tokenizer.decode(row) for row in skills.ids)


def test_padding_does_not_change_the_loss() -> None:
    model = small_model()
    desk, _ = reader().batch(0)
    wider = Batch(ids=np.pad(desk.ids, ((0, 0), (0, 32))), mask=np.pad(desk.mask, ((0, 0), (0, 32))))
    losses = [turn_loss(model, batch, "cpu").item() for batch in (desk, wider)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_only_what_an_assistant_wrote_is_learnt() -> None:
    model = small_model()
    desk, _ = reader().batch(LOOK_UP_BLOCKS * BLOCK)
    logits = model(torch.from_numpy(desk.ids)).logits.log_softmax(-1)
    picked = [
        -logits[row, t - 1, desk.ids[row, t]].item()
        for row in range(len(desk.ids))
        for t in range(1, desk.ids.shape[1])
        if desk.mask[row, t]
    ]
    assert turn_loss(model, desk, "cpu").item() == pytest.approx(sum(picked) / len(picked), rel=1e-4)


def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, broken, resumed = small_model(), small_model(), small_model()
    train(whole, reader(), options(tmp_path / "a"), 0)
    interrupted = Interrupted(load_tokenizer(POLICY), seed=0, num_desk=2, num_skills=3)
    with pytest.raises(KeyboardInterrupt):
        train(broken, interrupted, options(tmp_path / "b"), 0)
    train(resumed, reader(), options(tmp_path / "b"), 0)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    assert not torch.equal(whole.lm_head.weight, broken.lm_head.weight)


def test_learning_rate_rises_stays_and_falls() -> None:
    rates = [learning_rate(step, steps=900) for step in (0, 49, 99, 449, 450, 675, 899)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 1.0, 1.0, 0.5, 1 / 450])


def test_guided_episodes_leave_the_decisions_themselves_out() -> None:
    tokenizer = load_tokenizer(POLICY)
    for number in range(60):
        episode = play(numbered_task("pretrain", number), GUIDED, 0)
        ids, whole = encode_turns(tokenizer, episode.messages, tool_definitions(episode.task.domain))
        hidden = {turn for turn, _, _ in episode.decisions}
        mask = without_turns(whole, hidden)
        kept = tokenizer.decode([token for token, learnt in zip(ids, mask, strict=True) if learnt])
        turns = [m for m in episode.messages if m["role"] == "assistant"]
        assert episode.outcome == 1
        assert kept.count("<|im_end|>") == len(turns) - len(hidden)
        assert without_turns(whole, set()) == whole


def test_rare_decisions_are_met_but_seldom_learnt() -> None:
    tokenizer = load_tokenizer(POLICY)
    plain = Reader(tokenizer, seed=0, num_desk=12, num_skills=1)
    met, written = "", ""
    for number in range(2 * BLOCK):
        desk, _ = plain.batch(LOOK_UP_BLOCKS * BLOCK + number)
        met += "".join(tokenizer.decode(row) for row in desk.ids)
        written += "".join(tokenizer.decode(row[mask]) for row, mask in zip(desk.ids, desk.mask, strict=True))
    assert met.count('"name":"unlock"') > 5
    assert written.count('"name":"unlock"') <= 1
    assert 5 < written.count('"name":"find_company"') < met.count('"name":"find_company"')


def test_two_workers_end_in_a_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    sizes = ["--hidden", "64", "--layers", "1", "--num-desk", "2", "--num-skills", "2", "--workers", "2"]
    where = ["--tokenizer", str(POLICY), "--work", str(work), "--out", str(out), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["pretrain", *where, *sizes, "--steps", "2"])
    pretrain.main()
    saved = torch.load(work / "checkpoint.pt", weights_only=True)
    policy = load_policy(out)
    assert saved["step"] == 2
    for name, weight in policy.model.state_dict().items():
        assert torch.equal(weight, saved["model"][name].bfloat16().float()), name
    assert policy.tokenizer.chat_template == load_tokenizer(POLICY).chat_template
