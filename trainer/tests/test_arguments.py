"""Options in a `--config` file count like those on the command line; how long a warm-up may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny

from pivotmine.errors import UserError
from pivotmine_trainer.cli.arguments import GRPOSettings, parse
from pivotmine_trainer.train.sampling import check_steps


def parsed(config: str, folder: Path) -> dict[str, Any]:
    """All options by name."""
    (folder / "config.yaml").write_text(f"dataset: x\nmodel: y\noutput_dir: {folder}\nuse_cpu: true\n{config}\n")
    found: dict[str, Any] = {}
    for options in parse(["--config", str(folder / "config.yaml")]):
        found |= vars(options)
    return found


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("", {"model_name_or_path": "y", "use_cpu": True, "resume_from_checkpoint": None}),
        ("model_name_or_path: z", {"model_name_or_path": "z"}),
        ("model: 5", {"model_name_or_path": "5"}),
        ("learning-rate: 1e-3", {"learning_rate": 0.001}),
        ("resume_from_checkpoint: true", {"resume_from_checkpoint": "yes"}),
        ("resume_from_checkpoint: false", {"resume_from_checkpoint": "no"}),
        ("eval_strategy: no", {"eval_strategy": "no"}),
        ("gradient_checkpointing: off", {"gradient_checkpointing": False}),
        ("model_init_kwargs: {dtype: bfloat16}", {"model_init_kwargs": {"dtype": "bfloat16"}}),
        ("lora_target_modules: [q_proj, v_proj]", {"lora_target_modules": ["q_proj", "v_proj"]}),
        ("lora_target_modules: q_proj", {"lora_target_modules": ["q_proj"]}),
        ("max_completion_length: null", {"max_completion_length": None}),
        ("max_grad_norm: 2", {"max_grad_norm": 2.0}),
    ],
)
def test_values_of_a_file(config: str, expected: dict[str, Any], tmp_path: Path) -> None:
    found = parsed(config, tmp_path)
    assert {name: found[name] for name in expected} == expected


def test_values_of_a_file_that_are_of_another_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for config in ("max_steps: 1.5", "no_gradient_checkpointing: true"):
        with pytest.raises(SystemExit):
            parsed(config, tmp_path)
    said = capsys.readouterr().err
    assert "error: argument --max_steps/--max-steps: invalid int value: '1.5'\n" in said
    assert "error: there is no --no_gradient_checkpointing True\n" in said
    for name in ("learning_rate", "warmup_steps", "max_steps", "prompts_per_step", "heldout_states", "dataset"):
        with pytest.raises(UserError, match=f"^{name}: null, and it must have a value; give one in the --config file"):
            parsed(f"{name}: null", tmp_path)
    with pytest.raises(UserError, match="psychic is not a valid IntervalStrategy"):
        parsed("eval_strategy: psychic", tmp_path)


@pytest.mark.parametrize(
    ("options", "planned"),
    [
        ({"max_steps": 10}, 10),
        ({"max_steps": 11}, None),
        ({"max_steps": -1, "prompts_per_step": 2, "per_device_train_batch_size": 8, "num_train_epochs": 2.5}, 8),
        ({"max_steps": -1, "prompts_per_step": 2, "per_device_train_batch_size": 8, "num_train_epochs": 3.5}, None),
        ({"max_steps": -1, "num_iterations": 2, "num_train_epochs": 5}, 10),
        ({"max_steps": 5, "lr_scheduler_type": "constant"}, None),
    ],
)
def test_a_warm_up_as_long_as_the_training(
    options: dict[str, Any], planned: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """On 6 rows."""
    words = tiny.command(Path("x"), Path("y"), Path("z"), warmup_steps=10, use_cpu="true", **options)
    _, settings, _ = parse(words)
    assert isinstance(settings, GRPOSettings)
    check_steps(settings, 6)
    assert capsys.readouterr().err == (
        f"warning: --warmup_steps 10: the training has {planned} steps, none at the full --learning_rate; give fewer\n"
        if planned
        else ""
    )


@pytest.mark.parametrize(
    ("words", "rate"),
    [
        ([], 1e-6),
        (["--use_peft", "true"], 1e-5),
        (["--use_peft", "true", "--learning_rate", "1e-6"], 1e-6),
        (["--method", "sft"], 2e-5),
        (["--method", "sft", "--use_peft", "true"], 2e-4),
    ],
)
def test_an_adapter_s_learning_rate_is_ten_times_as_high_unless_it_is_given(
    words: list[str], rate: float, tmp_path: Path
) -> None:
    _, settings, model = parse(["--dataset", "owner/x", "--model", "y", "--output_dir", str(tmp_path), *words])
    assert settings.learning_rate == pytest.approx(rate)
    assert model.lora_target_modules == ("all-linear" if "--use_peft" in words else None)
    assert model.lora_dropout == 0
