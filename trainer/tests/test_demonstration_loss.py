"""The demonstration loss: its gradient, its random sample and its metrics; and prompts drawn by weight."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
import torch
from datasets import Dataset
from test_objective import step

from pivotmine.errors import UserError
from pivotmine.run.tables import PIVOTS
from pivotmine_trainer.cli.app import main
from pivotmine_trainer.extras.demonstration_loss import DemonstrationLoss
from pivotmine_trainer.train.prompt_sampler import PromptSampler, WeightedSampler


def loss(policy: Path, classes: list[str], never_share: float | None = None, weight: float = 0.5) -> DemonstrationLoss:
    rows = [{**row, "reward_class": name} for row, name in zip(tiny.pivot_rows(policy), classes, strict=True)]
    tokenizer = tiny.load_tokenizer(policy)
    return DemonstrationLoss(
        Dataset.from_list(rows), tokenizer, weight, never_share=never_share, seed=1, max_length=256
    )


@pytest.mark.parametrize("passes", [1, 2])
def test_its_gradient_is_the_weighted_mean_negative_log_likelihood(policy: Path, tmp_path: Path, passes: int) -> None:
    demonstrations = loss(policy, ["sometimes"] * 6)
    options = {"per_device_train_batch_size": 8 // passes}
    without, _ = step(policy, tmp_path / "without", **options)
    with_it, made = step(policy, tmp_path / "with", demonstrations=demonstrations, **options)
    model = tiny.make_model()
    total, count = torch.zeros(()), 0
    for place in demonstrations.draw(0, 2):
        ids, num_action = demonstrations.sequences[place]
        logprobs = model(torch.tensor([ids])).logits.log_softmax(-1)[0, :-1]
        total = total - logprobs.gather(-1, torch.tensor(ids[1:])[:, None])[-num_action:].sum()
        count += num_action
    (0.5 * total / count).backward()
    assert made.state.log_history[0]["demonstration/loss"] == pytest.approx((total / count).item(), rel=1e-3)
    for name, weight in model.named_parameters():
        assert weight.grad is not None
        torch.testing.assert_close(with_it[name] - without[name], -weight.grad, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize(("never_share", "expected"), [(None, 0.5), (0.8, 0.5), (0.1, 0.1), (0.0, 0.0)])
def test_states_are_drawn_fairly_and_never_states_up_to_their_share(
    policy: Path, never_share: float | None, expected: float
) -> None:
    demonstrations = loss(policy, ["never", "always", "never", "sometimes", "never", "always"], never_share)
    drawn = Counter(place for at in range(400) for place in demonstrations.draw(at, 10))
    assert (drawn[0] + drawn[2] + drawn[4]) / 4000 == pytest.approx(expected, abs=0.03)
    for one, other in ((1, 3), (3, 5), (0, 2), (2, 4)):
        assert drawn[one] == pytest.approx(drawn[other], abs=200)
    assert demonstrations.draw(7, 10) == demonstrations.draw(7, 10) != demonstrations.draw(8, 10)


def test_the_command_reads_the_third_split_and_logs_the_share(policy: Path, dataset: Path, tmp_path: Path) -> None:
    folder = tiny.write_dataset(tmp_path / "pivots", tiny.pivot_rows(policy)[:4], tiny.pivot_rows(policy)[4:])
    rows = [
        {**row, "reward_class": name}
        for row, name in zip(tiny.pivot_rows(policy), ("never", "always") * 2, strict=False)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=PIVOTS), folder / "demonstrations.parquet")
    out = tmp_path / "out"
    main(tiny.command(policy, folder, out, demonstration_weight=0.1, never_share=0.3))
    history = json.loads((out / "checkpoint-2/trainer_state.json").read_text())["log_history"]
    logged = next(entry for entry in history if "demonstration/loss" in entry)
    expected = logged["demonstration/grad_norm"] / logged["grad_norm"]
    assert logged["demonstration/grad_norm_share"] == pytest.approx(expected, rel=1e-4)
    assert logged["demonstration/grad_norm"] > 0


def test_what_no_template_can_write_is_an_error(policy: Path) -> None:
    tokenizer: Any = tiny.load_tokenizer(policy)
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    data = Dataset.from_list(tiny.pivot_rows(policy))
    with pytest.raises(UserError, match=r"^--demonstration_weight 0\.5: no demonstration can be used \(6 rows\): "):
        DemonstrationLoss(data, tokenizer, 0.5, never_share=None, seed=0, max_length=None)


def test_prompts_are_drawn_by_weight_with_replacement() -> None:
    sampler = WeightedSampler.by(PromptSampler(list(range(4)), 2, 2, 1, seed=3), [3.0, 1.0, 0.0, 0.0])  # pyright: ignore[reportArgumentType]
    drawn: Counter[int] = Counter()
    for epoch in range(300):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert order[::2] == order[1::2]
        assert len(order) == 8
        drawn.update(order[::2])
    assert drawn[2] + drawn[3] == 0
    assert drawn[0] / 1200 == pytest.approx(0.75, abs=0.05)
    sampler.set_epoch(5)
    again = list(sampler)
    sampler.set_epoch(5)
    assert list(sampler) == again


def test_a_weighted_dataset_trains_with_the_shares_that_its_weights_say(policy: Path, tmp_path: Path) -> None:
    weights = [6.0, 3.0, 1.0, 0.0, 0.0, 0.0]
    rows = [{**row, "weight": weight} for row, weight in zip(tiny.pivot_rows(policy), weights, strict=True)]
    folder = tiny.write_dataset(tmp_path / "pivots", rows, [])
    out, steps = tmp_path / "out", 32
    short = {"num_generations": 2, "prompts_per_step": 6, "per_device_train_batch_size": 12, "learning_rate": 1e-6}
    main(tiny.command(policy, folder, out, eval_strategy="no", save_strategy="no", max_steps=steps, **short))
    found = pq.ParquetDataset(out / "completions").read(["step", "state_id"]).to_pylist()
    drawn = Counter(row["state_id"] for row in found)
    assert sum(drawn.values()) == steps * 12
    assert set(drawn) == {"state0", "state1", "state2"}
    shares = [drawn[f"state{place}"] / (steps * 12) for place in range(3)]
    assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.1)  # three standard deviations of 192 draws
