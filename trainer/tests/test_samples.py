"""Every sample is stored once, log-probabilities are TRL's, and training resumes exactly within a set of samples."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tiny
import torch
from refusing import refusal
from safetensors.torch import load_file

from pivotmine_trainer.cli.app import main


def kept(out: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((out / "completions").glob("*")) for row in pq.read_table(path).to_pylist()]


def test_an_evaluation_leaves_training_s_samples_alone(policy: Path, dataset: Path, tmp_path: Path) -> None:
    """Steps 0 and 2 are evaluated: 2 states x 8; steps 1 to 3 train on 4 states x 8."""
    main(tiny.command(policy, dataset, tmp_path, max_steps=3, eval_steps=2, temperature=1.5))
    rows = kept(tmp_path)
    found = dict.fromkeys({(row["split"], row["step"]) for row in rows}, 0)
    for row in rows:
        found[row["split"], row["step"]] += 1
    held_out = {("validation", 0): 16, ("validation", 2): 16, ("validation", 3): 16}
    assert found == {("train", 1): 32, ("train", 2): 32, ("train", 3): 32, **held_out}
    tokenizer = tiny.load_tokenizer(policy)
    for row in rows:
        assert row["completion"] == tokenizer.decode(row["completion_ids"])
        assert len(row["logprobs"]) == len(row["completion_ids"])
        assert len(row["completion_ids"]) <= row["budget"] == 32
        assert (row["advantage"] is None) == (row["split"] == "validation")
    assert {row["state_id"] for row in rows if row["split"] == "validation"} == {"state4", "state5"}


def test_log_probabilities_are_those_of_the_policy_at_the_temperature(
    policy: Path, dataset: Path, tmp_path: Path
) -> None:
    main(tiny.command(policy, dataset, tmp_path, max_steps=1, temperature=1.5, eval_strategy="no"))
    from transformers import AutoModelForCausalLM

    assert_logprobs(kept(tmp_path), AutoModelForCausalLM.from_pretrained(policy), policy)


def test_an_adapter_s_dropout_is_off_while_it_samples(policy: Path, dataset: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(target_modules="all-linear", r=4, lora_alpha=8, lora_dropout=0.5, task_type="CAUSAL_LM")
    torch.manual_seed(0)
    adapted: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(policy), config)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:  # an adapter begins with zeros, which dropout does not change
            torch.nn.init.normal_(weight, std=0.1)
    adapter, out = tmp_path / "adapter", tmp_path / "out"
    adapted.save_pretrained(adapter)
    tiny.load_tokenizer(policy).save_pretrained(adapter)
    main(tiny.command(adapter, dataset, out, max_steps=1, temperature=1.5, eval_strategy="no"))
    fixed: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(policy), str(adapter)).eval()
    assert_logprobs(kept(out), fixed, policy)


def assert_logprobs(rows: list[dict[str, Any]], model: Any, policy: Path) -> None:
    """Log-probabilities of each sample under the model, at temperature 1.5."""
    ids_of = {row["state_id"]: row["prompt_ids"] for row in tiny.pivot_rows(policy)}
    for row in rows:
        prompt, said = ids_of[row["state_id"]], row["completion_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + said])).logits[0, len(prompt) - 1 : -1] / 1.5
        expected = logits.log_softmax(-1).gather(-1, torch.tensor(said)[:, None])[:, 0]
        assert row["logprobs"] == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize(
    "reuse",
    [{"num_iterations": 2}, {"steps_per_generation": 2, "per_device_train_batch_size": 8}],
    ids=["two updates", "two steps"],
)
def test_training_goes_on_exactly_within_a_set_of_samples(
    reuse: dict[str, Any], policy: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"prompts_per_step": 1, "per_device_train_batch_size": 8, "save_steps": 1}
    options |= {"max_steps": 5, "eval_strategy": "no", "save_total_limit": 10, **reuse}
    whole, half = tmp_path / "whole", tmp_path / "half"
    main(tiny.command(policy, dataset, whole, **options))
    shutil.copytree(whole, half)
    for name in ("checkpoint-4", "checkpoint-5"):
        shutil.rmtree(half / name)
    (half / "model.safetensors").unlink()
    main(tiny.command(policy, dataset, half, **options, resume_from_checkpoint="true"))
    for name, weight in load_file(whole / "model.safetensors").items():
        assert torch.equal(load_file(half / "model.safetensors")[name], weight), name
    for name in ("checkpoint-4", "checkpoint-5"):
        shutil.rmtree(half / name)
    (half / "checkpoint-3/samples_0.pt").unlink()
    said = refusal(tiny.command(policy, dataset, half, **options, resume_from_checkpoint="true"), capsys)
    assert said == (
        f"{half}/checkpoint-3/samples_0.pt is missing or broken (FileNotFoundError): step 3 is in the middle of "
        "these samples, and new ones would train differently; resume from another checkpoint, or start over in another "
        "--output_dir"
    )
