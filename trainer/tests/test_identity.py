"""A resumed training must match: every option and every column that a step depends on is compared."""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
import torch
from datasets import Dataset
from refusing import refusal
from safetensors.torch import load_file

from pivotmine.run.tables import PIVOTS
from pivotmine_trainer.checks import policies
from pivotmine_trainer.cli.app import main
from pivotmine_trainer.cli.arguments import SETTINGS, ModelSettings, PivotArguments, parse
from pivotmine_trainer.data.dataset import load_split
from pivotmine_trainer.train.identity import (
    FREE,
    LENGTH,
    WHEN_TO_EVALUATE,
    WHERE_FROM,
    Identity,
    changes,
    identity,
    options_of,
)

Capture = pytest.CaptureFixture[str]
SFT: dict[str, Any] = {"method": "sft", "num_generations": None, "prompts_per_step": None, "eval_strategy": "no"}


def parts_of(policy: Path, dataset: Path, method: str = "grpo", **options: Any) -> Any:
    more = {"num_generations": None, "prompts_per_step": None} if method == "sft" else {}
    args = tiny.command(policy, dataset, Path("out"), method=method, **{**more, **options})
    return parse(args)


def made(policy: Path, dataset: Path, parts: Any, **splits: Dataset | None) -> Identity:
    arguments, settings, model = parts
    tokenizer = policies.load_tokenizer(model, settings)
    return identity(arguments, settings, model, tokenizer, splits or {"train": load_split(str(dataset), "train")})


@pytest.mark.parametrize("method", ["grpo", "sft"])
def test_every_option_counts_but_the_listed_ones(method: str, policy: Path, dataset: Path) -> None:
    """The initial policy's name is free if its weights are known."""
    constant = {"lr_scheduler_type": "constant"}
    plain = made(policy, dataset, parts_of(policy, dataset, method, **constant))
    for place in range(3):
        parts = parts_of(policy, dataset, method, **constant)
        for field in fields(parts[place]):
            before = getattr(parts[place], field.name)
            other = before + 1 if type(before) in (int, float) else "another"
            setattr(parts[place], field.name, other)
            found = {"options": _options(parts), "inputs": plain["inputs"]}
            setattr(parts[place], field.name, before)
            said = changes(plain, found)
            if field.name in (*FREE, *WHERE_FROM):
                assert said == ""
            else:
                assert said.startswith(f"{field.name} ")
                assert said.endswith(f" -> {other}")


def _options(parts: Any) -> dict[str, Any]:
    return options_of(*parts)


def test_the_list_holds_options_that_there_are() -> None:
    there = {field.name for kind in (*SETTINGS.values(), PivotArguments, ModelSettings) for field in fields(kind)}
    assert set(FREE) | set(WHERE_FROM) <= there
    assert len(set(FREE)) == len(FREE)


@pytest.mark.parametrize(
    ("options", "counting"),
    [
        ({"lr_scheduler_type": "constant_with_warmup"}, ()),
        ({"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 0.1}, LENGTH),
        ({"lr_scheduler_type": "linear"}, LENGTH),
        ({"lr_scheduler_type": "cosine"}, LENGTH),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, WHEN_TO_EVALUATE),
    ],
)
def test_what_the_schedule_depends_on_counts(
    options: dict[str, Any], counting: tuple[str, ...], policy: Path, dataset: Path
) -> None:
    for max_steps, length in ((-1, "num_train_epochs"), (9, "max_steps")):
        parts = parts_of(policy, dataset, max_steps=max_steps, **options)
        expected = {length} if counting == LENGTH else set(counting)
        assert _options(parts).keys() & {*LENGTH, *WHEN_TO_EVALUATE} == expected


@pytest.mark.parametrize("column", sorted({*PIVOTS.names} & {"prompt_ids", "kind", "tools", "weight", "reward_class"}))
def test_every_column_that_training_reads_counts(column: str, policy: Path, dataset: Path, tmp_path: Path) -> None:
    other: dict[str, Any] = {"prompt_ids": [1, 2], "weight": 2.0}
    rows = tiny.pivot_rows(policy)[:4]
    rows[2] |= {column: other.get(column, "another")}
    parts = parts_of(policy, dataset)
    changed = load_split(str(tiny.write_dataset(tmp_path / "pivots", rows, [])), "train")
    for split in ("train", "demonstrations"):
        before = made(policy, dataset, parts, **{split: load_split(str(dataset), "train")})
        after = made(policy, dataset, parts, **{split: changed})
        was, now = (one["inputs"][f"{split} {column}"] for one in (before, after))
        assert changes(before, after) == f"{split} {column} {was} -> {now}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_grad_norm": 0.5}, "max_grad_norm 1.0 -> 0.5"),
        ({"importance_sampling_level": "sequence"}, "importance_sampling_level token -> sequence"),
        ({"mask_truncated_completions": "false"}, "mask_truncated_completions True -> False"),
        ({"adam_beta1": 0.8}, "adam_beta1 0.9 -> 0.8"),
        ({"shuffle_dataset": "false"}, "shuffle_dataset True -> False"),
        ({"demonstration_weight": 0.2}, "demonstration_weight 0.1 -> 0.2"),
    ],
)
def test_a_checkpoint_of_other_options(
    options: dict[str, Any], said: str, demonstrated: Path, policy: Path, capsys: Capture
) -> None:
    given = {"demonstration_weight": 0.1, "eval_strategy": "no", "resume_from_checkpoint": "true", **options}
    args = tiny.command(policy, demonstrated.parent / "pivots", demonstrated, **given)
    assert refusal(args, capsys) == (
        f"{demonstrated}/checkpoint-1 belongs to another training ({said}): give its settings, or start over"
    )


def test_a_checkpoint_of_other_demonstrations(
    demonstrated: Path, policy: Path, tmp_path: Path, capsys: Capture
) -> None:
    """From another folder with the same rows and other demonstrations; the checkpoint may be anywhere."""
    folder = Path(shutil.copytree(demonstrated.parent / "pivots", tmp_path / "pivots"))
    given = {
        "demonstration_weight": 0.1,
        "eval_strategy": "no",
        "resume_from_checkpoint": demonstrated / "checkpoint-1",
    }
    args = tiny.command(policy, folder, tmp_path / "out", **given)
    rows = tiny.pivot_rows(policy, reward_class="never")
    pq.write_table(pa.Table.from_pylist(rows, schema=PIVOTS), folder / "demonstrations.parquet")
    said = refusal(args, capsys)
    assert said.startswith(f"{demonstrated}/checkpoint-1 belongs to another training (demonstrations reward_class ")
    shutil.copy(demonstrated.parent / "pivots/demonstrations.parquet", folder)
    main(args)
    assert (tmp_path / "out/checkpoint-2").is_dir()


@pytest.fixture(scope="module")
def demonstrated(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one step with a demonstration loss; the dataset is next to it."""
    base = tmp_path_factory.mktemp("demonstrated")
    rows = tiny.pivot_rows(policy)
    folder = tiny.write_dataset(base / "pivots", rows[:-2], rows[-2:])
    pq.write_table(pa.Table.from_pylist(rows, schema=PIVOTS), folder / "demonstrations.parquet")
    given = {"demonstration_weight": 0.1, "eval_strategy": "no", "save_steps": 1, "max_steps": 1}
    main(tiny.command(policy, folder, base / "out", **given))
    return base / "out"


@pytest.mark.parametrize("option", ["ignore_data_skip", "sync_ref_model"])
def test_options_that_no_resumption_is_exact_with(
    option: str, demonstrated: Path, policy: Path, capsys: Capture
) -> None:
    given = {option: "true", "beta": 0.1, "resume_from_checkpoint": "true"}
    said = refusal(tiny.command(policy, demonstrated.parent / "pivots", demonstrated, **given), capsys)
    assert said.startswith(f"--{option}: ")
    assert said.endswith("; leave it out, or start over in another --output_dir")


def test_sft_goes_on_exactly(policy: Path, dataset: Path, tmp_path: Path) -> None:
    """Across the end of an epoch, with dropout."""
    given = {**SFT, "per_device_train_batch_size": 1, "save_steps": 1, "save_total_limit": 9, "max_steps": 6}
    given |= {"use_peft": "true", "lora_dropout": 0.3}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    main(tiny.command(policy, dataset, whole, **given))
    shutil.copytree(whole / "checkpoint-3", killed / "checkpoint-3")
    shutil.copy(whole / "training.json", killed)
    main(tiny.command(policy, dataset, killed, **given, resume_from_checkpoint="true"))
    undisturbed, resumed = (load_file(folder / "adapter_model.safetensors") for folder in (whole, killed))
    for name, weight in undisturbed.items():
        torch.testing.assert_close(resumed[name], weight, rtol=0, atol=0)
