"""A checkpoint is refused if training could not continue exactly from it."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
from refusing import refusal

from pivotmine.policy import hash_weights
from pivotmine.verifiers import make_spec
from pivotmine_trainer.cli.app import main
from pivotmine_trainer.train import heldout

LORA: dict[str, Any] = {
    "use_peft": "true",
    "lora_r": 4,
    "lora_target_modules": ["q_proj", "v_proj"],
    "eval_strategy": "no",
}
_SPEC = make_spec("exact", {})
EXACT = {"verifier": "exact", "verifier_options": _SPEC.options_json, "verifier_id": _SPEC.verifier_id}
SFT: dict[str, Any] = {"method": "sft", "num_generations": None, "prompts_per_step": None}


@pytest.fixture(scope="module")
def trained(policy: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a training of one step, with a complete checkpoint."""
    out = tmp_path_factory.mktemp("trained") / "out"
    main(tiny.command(policy, dataset, out, save_steps=1, max_steps=1, eval_strategy="no"))
    return out


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors"])
@pytest.mark.parametrize("flaw", ["is missing", "is empty or broken"])
def test_a_checkpoint_that_training_cannot_go_on_from(
    name: str, flaw: str, trained: Path, policy: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = Path(shutil.copytree(trained, tmp_path / "out")) / "checkpoint-1"
    whole = (checkpoint / name).read_bytes()
    (checkpoint / name).unlink()
    if flaw != "is missing":
        (checkpoint / name).write_bytes(whole[:-10])
    args = tiny.command(policy, dataset, tmp_path / "out", max_steps=2, resume_from_checkpoint="true")
    assert refusal([*args, "--eval_strategy", "no"], capsys) == (
        f"{checkpoint}: {name} {flaw}; resume from another checkpoint, or start over in another --output_dir"
    )


@pytest.mark.parametrize("options", [{}, SFT, {"use_peft": "true"}])
def test_killed_before_the_model_was_saved_it_is_saved_without_another_step(
    options: dict[str, Any], policy: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    args = [*tiny.command(policy, dataset, out, save_steps=1, **options), "--resume_from_checkpoint", "true"]
    main(args)
    name = "adapter_model.safetensors" if "use_peft" in options else "model.safetensors"
    saved, files = (out / name).read_bytes(), {path.name for path in out.iterdir()}
    for path in (out / name, out / "training_args.bin", out / "heldout.jsonl"):
        path.unlink(missing_ok=True)
    capsys.readouterr()
    main(args)
    said = capsys.readouterr().out
    assert f"resume    {out}/checkpoint-2: 2 steps done, none left; the model still has to be saved\n" in said
    assert f"trained   2 steps, saved to {out}\n" in said
    assert ((out / name).read_bytes(), {path.name for path in out.iterdir()}) == (saved, files)
    assert [found.step for found in heldout.read(out)] == ([] if "method" in options else [2])
    assert refusal(args, capsys) == f"{out}/checkpoint-2 has 2 steps of --max_steps 2: nothing is left to train"


def test_the_model_of_an_earlier_training_is_not_that_of_the_last_step(
    policy: Path, dataset: Path, tmp_path: Path
) -> None:
    """After a resumption that is killed before its end, the output folder has the model of the first training."""
    out = tmp_path / "out"
    args = tiny.command(policy, dataset, out, save_steps=1, eval_strategy="no", max_steps=1)
    main(args)
    early = {name: (out / name).read_bytes() for name in ("model.safetensors", "training_args.bin")}
    longer = [*args, "--max_steps", "2", "--resume_from_checkpoint", "true"]
    main(longer)
    for name, content in early.items():
        (out / name).write_bytes(content)
        os.utime(out / name, (0, 0))
    main(longer)
    assert (out / "model.safetensors").read_bytes() == (out / "checkpoint-2/model.safetensors").read_bytes()


@pytest.mark.parametrize("length", [{"max_steps": 3}, {"max_steps": -1, "num_train_epochs": 3}])
@pytest.mark.parametrize(
    "options", [{}, {**SFT, "per_device_train_batch_size": 4, "lr_scheduler_type": "constant_with_warmup"}]
)
def test_a_resumption_says_from_where_it_goes_on(
    options: dict[str, Any],
    length: dict[str, Any],
    policy: Path,
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An epoch has one step."""
    same = {**options, "save_steps": 1, "eval_strategy": "no"}
    main(tiny.command(policy, dataset, tmp_path / "out", **same, max_steps=1))
    assert "resume" not in capsys.readouterr().out
    main(tiny.command(policy, dataset, tmp_path / "out", **same, **length, resume_from_checkpoint="true"))
    said = capsys.readouterr().out
    assert f"resume    {tmp_path}/out/checkpoint-1: 1 of 3 steps done, 2 left\n" in said
    assert f"trained   3 steps, saved to {tmp_path}/out\n" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lora_r": 8}, "lora_r 4 -> 8"),
        (
            {"lora_target_modules": ["v_proj", "k_proj"]},
            "lora_target_modules ['q_proj', 'v_proj'] -> ['v_proj', 'k_proj']",
        ),
        ({"lora_alpha": 64}, "lora_alpha 32 -> 64"),
        ({"lora_dropout": 0.5}, "lora_dropout 0.0 -> 0.5"),
        ({"use_rslora": "true"}, "use_rslora False -> True"),
        ({"use_dora": "true"}, "use_dora False -> True"),
        ({"dtype": "bfloat16"}, "dtype float32 -> bfloat16"),
    ],
)
def test_a_checkpoint_of_another_adapter(
    options: dict[str, Any], said: str, adapted: Path, policy: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = tiny.command(policy, dataset, adapted, **{**LORA, **options}, resume_from_checkpoint="true")
    assert refusal(args, capsys) == (
        f"{adapted}/checkpoint-1 belongs to another training ({said}): give its settings, or start over"
    )


@pytest.fixture(scope="module")
def adapted(policy: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one step of LoRA."""
    out = tmp_path_factory.mktemp("adapted") / "out"
    main(tiny.command(policy, dataset, out, **LORA, save_steps=1, max_steps=1))
    return out


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2, "options": {}, "inputs": []}'])
def test_a_checkpoint_of_nobody_knows_which_training(
    text: str, trained: Path, policy: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a full disk may leave it."""
    file = Path(shutil.copytree(trained, tmp_path / "out")) / "training.json"
    file.write_text(text)
    args = tiny.command(policy, dataset, tmp_path / "out", eval_strategy="no", resume_from_checkpoint="true")
    assert refusal(args, capsys) == (
        f"{file} is broken, so its checkpoints cannot be matched: delete it to continue without this check, or start "
        "over in another --output_dir"
    )


def test_a_checkpoint_of_an_earlier_version(
    trained: Path, policy: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its file has only some of the options. Without a file nothing is checked, and a warning says so."""
    file = Path(shutil.copytree(trained, tmp_path / "out")) / "training.json"
    file.write_text('{"method": "grpo", "seed": 42}')
    args = tiny.command(policy, dataset, tmp_path / "out", eval_strategy="no", resume_from_checkpoint="true")
    assert refusal(args, capsys) == (
        f"{file} is of an earlier version, which did not keep all settings: delete it to continue without this check, "
        "or start over in another --output_dir"
    )
    file.unlink()
    main(args)
    assert (
        f"warning: cannot check that {tmp_path}/out/checkpoint-1 belongs to a training with these settings: "
        f"{tmp_path}/out has no training.json\n"
    ) in capsys.readouterr().err


def test_a_checkpoint_of_another_policy(
    trained: Path, policy: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its prompts are the same: the tokenizer is."""
    other = tiny.save(tmp_path / "other", tiny.make_model(seed=1), tiny.load_tokenizer(policy))
    args = tiny.command(other, dataset, trained, eval_strategy="no", resume_from_checkpoint="true")
    before, after = hash_weights(policy), hash_weights(other)
    assert f"(weights {before} -> {after})" in refusal(args, capsys)


@pytest.mark.parametrize(
    ("said", "changed"),
    [
        (
            r"train demonstrations \w{16} -> \w{16}",
            {"demonstrations": json.dumps([{"action": {"message": "no"}, "turn_id": "t"}])},
        ),
        (
            r"train verifier \w{16} -> \w{16}, train verifier_options \w{16} -> \w{16}, "
            r"train verifier_id \w{16} -> \w{16}",
            EXACT,
        ),
        (r"train weight \w{16} -> \w{16}", {"weight": 2.0}),
    ],
)
def test_a_checkpoint_of_other_rows(
    said: str,
    changed: dict[str, Any],
    trained: Path,
    policy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Their prompts are the same."""
    rows = tiny.pivot_rows(policy)
    rows[3] |= changed
    args = tiny.command(policy, tiny.write_dataset(tmp_path / "pivots", rows[:-2], rows[-2:]), trained)
    found = refusal([*args, "--eval_strategy", "no", "--resume_from_checkpoint", "true"], capsys)
    assert re.fullmatch(rf".*/checkpoint-1 belongs to another training \({said}\): .*", found)


def test_a_checkpoint_with_other_held_out_states(
    policy: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = tiny.command(policy, dataset, tmp_path / "out", save_steps=1, max_steps=1)
    main(args)
    said = refusal([*args, "--max_steps", "2", "--heldout_states", "1", "--resume_from_checkpoint", "true"], capsys)
    assert "/checkpoint-1 belongs to another training (heldout_states 256 -> 1, validation rows 2 -> 1): " in said


def test_a_checkpoint_of_other_sft(
    policy: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sft = {**SFT, "eval_strategy": "no", "save_steps": 1, "per_device_train_batch_size": 2, "max_steps": 1}
    main(tiny.command(policy, dataset, tmp_path / "out", **sft))
    other = {**sft, "max_length": 200, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}
    other["max_steps"] = 2
    args = tiny.command(policy, dataset, tmp_path / "out", **other, resume_from_checkpoint="true")
    assert (
        "(per_device_train_batch_size 2 -> 1, max_steps 1 -> 2, gradient_accumulation_steps 1 -> 2, "
        "max_length None -> 200)"
    ) in refusal(args, capsys)


@pytest.mark.parametrize(
    ("text", "error"),
    [(None, "FileNotFoundError"), ("{", "JSONDecodeError"), ("[]", "TypeError"), ('{"advantages": {}}', "KeyError")],
)
def test_a_curriculum_that_cannot_be_gone_on_with(
    text: str | None,
    error: str,
    drawn: Path,
    policy: Path,
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = Path(shutil.copytree(drawn, tmp_path / "out")) / "checkpoint-1/curriculum.json"
    file.unlink() if text is None else file.write_text(text)
    args = tiny.command(policy, dataset, tmp_path / "out", curriculum="true", eval_strategy="no")
    assert refusal([*args, "--resume_from_checkpoint", "true"], capsys) == (
        f"{file} is missing or broken ({error}); resume from another checkpoint, or start over in another --output_dir"
    )


@pytest.fixture(scope="module")
def drawn(policy: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one step of a curriculum."""
    out = tmp_path_factory.mktemp("drawn") / "out"
    main(tiny.command(policy, dataset, out, curriculum="true", save_steps=1, max_steps=1, eval_strategy="no"))
    return out
