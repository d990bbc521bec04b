"""TRL's GRPO with our options is the objective in `GRPOSettings`: its advantages, and its mean over tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tiny
import torch

from pivotmine_trainer.cli.arguments import GRPOSettings
from pivotmine_trainer.extras.echo import Echo
from pivotmine_trainer.train import trainer as trainers
from pivotmine_trainer.train.trainer import Additions, PivotTrainer


def settings(output_dir: Path, **options: Any) -> GRPOSettings:
    given: dict[str, Any] = {
        "num_generations": 4,
        "prompts_per_step": 2,
        "per_device_train_batch_size": 8,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "max_completion_length": 12,
        "max_steps": 1,
        "learning_rate": 1.0,
        "warmup_steps": 0,
        "optim": "sgd",
        "max_grad_norm": 0.0,
        "eval_strategy": "no",
        "eval_on_start": False,
        "save_strategy": "no",
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "mask_truncated_completions": False,
    }
    return GRPOSettings(output_dir=str(output_dir), **{**given, **options})


def by_length(completion_ids: list[list[int]], **columns: Any) -> list[float | None]:
    """A reward that differs among samples of a random policy. The very first sample cannot be scored."""
    return [None, *(1.0 if len(ids) % 2 else 0.25 for ids in completion_ids[1:])]


def step(
    policy: Path, output_dir: Path, echo: float = 0.0, demonstrations: Any = None, **options: Any
) -> tuple[dict[str, torch.Tensor], Any]:
    """The change of every weight in one step of plain SGD at rate 1, minus the gradient; and the trainer."""
    tokenizer = tiny.load_tokenizer(policy)
    tokenizer.padding_side = "left"
    model = tiny.make_model()
    model.generation_config.eos_token_id = [2, *range(40, 90)]  # so that completions end at many lengths
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    from datasets import Dataset

    made = PivotTrainer(
        model=model,
        reward_funcs=by_length,
        args=settings(output_dir, **options),
        train_dataset=Dataset.from_list(tiny.pivot_rows(policy)[:4]),
        processing_class=tokenizer,
        additions=Additions(echo=Echo(tokenizer, echo, 256) if echo else None, demonstrations=demonstrations),
    )
    made.train()
    return {name: weight.detach() - before[name] for name, weight in model.named_parameters()}, made


def test_advantages_are_those_of_the_formula(policy: Path, tmp_path: Path) -> None:
    """A = (r - mean) / (std + 1e-4) over the group, std with Bessel's correction; unscored samples are left out."""
    step(policy, tmp_path)
    logged = pq.read_table(tmp_path / "completions/train_00001.parquet").to_pydict()
    rewards = torch.tensor([float("nan") if r is None else r for r in logged["pivot_reward"]], dtype=torch.float64)
    assert rewards[0].isnan()
    expected: list[float] = []
    for group in rewards.view(2, 4):
        scored = group[~group.isnan()]
        std = ((scored - scored.mean()) ** 2).sum().div(len(scored) - 1).sqrt()
        expected += [0.0 if r.isnan() else ((r - scored.mean()) / (std + 1e-4)).item() for r in group]
    assert logged["advantage"] == pytest.approx(expected, abs=1e-4)
    assert max(map(abs, expected)) > 0.5


@pytest.mark.parametrize("echo", [0.0, 0.5])
def test_gradient_accumulation_changes_nothing(policy: Path, tmp_path: Path, echo: float) -> None:
    """One pass of 8 samples of unequal lengths, or 8 of one: the same gradient.

    Where each pass is divided by its own tokens, it is not (the aggregation bug of arXiv 2604.23747).
    """
    at_once, made = step(policy, tmp_path / "1", echo, per_device_train_batch_size=8)
    in_eight, _ = step(policy, tmp_path / "8", echo, per_device_train_batch_size=1)
    assert made.args.gradient_accumulation_steps == 1
    logged = pq.read_table(tmp_path / "1/completions/train_00001.parquet").to_pydict()
    same = pq.read_table(tmp_path / "8/completions/train_00001.parquet").to_pydict()
    assert logged["completion"] == same["completion"]
    assert len({len(text) for text in logged["completion"]}) > 2
    scale = max(change.abs().max().item() for change in at_once.values())
    assert scale > 1e-3
    for name, change in at_once.items():
        torch.testing.assert_close(in_eight[name], change, rtol=1e-3, atol=1e-5 * scale)


def test_a_mean_of_means_would_be_seen(policy: Path, tmp_path: Path) -> None:
    """The same comparison finds a difference in a loss with the bug."""
    at_once, _ = step(policy, tmp_path / "1", per_device_train_batch_size=8, loss_type="bnpo")
    in_eight, _ = step(policy, tmp_path / "8", per_device_train_batch_size=1, loss_type="bnpo")
    scale = max(change.abs().max().item() for change in at_once.values())
    assert max((in_eight[name] - change).abs().max().item() for name, change in at_once.items()) > 0.05 * scale


def test_echo_adds_its_weight_times_the_reply_s_mean_negative_log_likelihood(policy: Path, tmp_path: Path) -> None:
    without, _ = step(policy, tmp_path / "without")
    with_echo, made = step(policy, tmp_path / "with", 0.5)
    model = tiny.make_model()
    rows = [row for row in tiny.pivot_rows(policy)[:4] if row["state_id"] in trained_on(tmp_path / "with")]
    sequences = [Echo(made.processing_class, 0.5, 256).sequence(row) for row in rows]
    total, count = torch.zeros(()), 0
    for found in sequences:
        assert found is not None
        ids, num_reply = found
        logprobs = model(torch.tensor([ids])).logits.log_softmax(-1)[0, :-1]
        total = total - logprobs.gather(-1, torch.tensor(ids[1:])[:, None])[-num_reply:].sum()
        count += num_reply
    (0.5 * total / count).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None
        torch.testing.assert_close(with_echo[name] - without[name], -weight.grad, rtol=1e-2, atol=1e-5)


def trained_on(output_dir: Path) -> set[str]:
    logged = pq.read_table(output_dir / "completions/train_00001.parquet").to_pydict()
    return set(logged["state_id"])


def test_the_trainer_overrides_what_trl_has() -> None:
    """A method of ours that TRL no longer calls would silently do nothing."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    ours = {name for name, value in vars(trainers.PivotTrainer).items() if callable(value)}
    expected = {"_generate_single_turn", "_get_per_token_logps_and_entropies", "_prepare_inputs", "_get_train_sampler"}
    expected |= {"_calculate_rewards", "_generate_and_score_completions", "training_step", "_compute_loss", "log"}
    expected |= {"prediction_step", "evaluation_loop", "_save_optimizer_and_scheduler", "create_model_card"}
    expected |= {"_load_optimizer_and_scheduler", "__init__"}
    assert {name for name in ours if hasattr(GRPOTrainer, name)} == expected
