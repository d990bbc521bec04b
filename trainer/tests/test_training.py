"""`pivotmine-train` from end to end, on a small policy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tiny
import torch
from safetensors.torch import load_file

from pivotmine_trainer.cli.app import main
from pivotmine_trainer.train import heldout


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def order_of_prompts(output_dir: Path) -> dict[int, list[str]]:
    """step -> state_ids, from the logged completions."""
    tables = [pq.read_table(path).to_pydict() for path in sorted((output_dir / "completions").glob("train_*"))]
    return {table["step"][0]: table["state_id"] for table in tables}


def test_grpo_learns_the_pivots_and_says_when_they_are_used_up(
    policy: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "round2"
    main(tiny.command(policy, dataset, out, max_steps=14, eval_steps=7, num_generations_eval=16))
    before, *_, after = heldout.read(out)
    assert (before.step, after.step) == (0, 14)
    assert before.rewards.keys() == {"state4", "state5"}
    trained = [
        entry["reward"]
        for entry in json.loads((out / "checkpoint-14/trainer_state.json").read_text())["log_history"]
        if "reward" in entry
    ]
    assert sum(trained[:2]) / 2 < 0.65
    assert sum(trained[-6:]) / 6 > 0.8
    said = capsys.readouterr()
    assert "train     4 rows; left out: none" in said.out
    assert "not the policy that was profiled" not in said.err
    completions = pq.read_table(out / "completions/train_00001.parquet").to_pydict()
    assert len(completions["outcome"]) == 32
    assert {"correct", "wrong_tool"} <= set(completions["outcome"])
    rewards = [1.0 if outcome == "correct" else 0.0 for outcome in completions["outcome"]]
    assert completions["pivot_reward"] == rewards
    if heldout.all_equal_share(after.counts, 8) >= 0.5:
        assert f"pivotmine rollout {dataset.parent.parent} --model {out} --policy-name round2 --temp" in said.out


def test_lora_trains_is_saved_and_goes_on(policy: Path, dataset: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    lora = {"use_peft": "true", "lora_target_modules": ["q_proj", "v_proj"], "eval_strategy": "no"}
    main(tiny.command(policy, dataset, first, **lora))
    assert (first / "adapter_model.safetensors").is_file()
    assert not (first / "model.safetensors").exists()
    main(tiny.command(first, dataset, second, eval_strategy="no"))
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (first, second))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_killed_it_goes_on_at_the_same_step_with_the_same_prompts(policy: Path, dataset: Path, tmp_path: Path) -> None:
    """Over an epoch's end (an epoch is 2 steps), where TRL's own sampler would repeat its first order."""
    settings: dict[str, Any] = {"prompts_per_step": 2, "per_device_train_batch_size": 16, "max_steps": 7}
    settings |= {"save_steps": 1, "eval_strategy": "no"}
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    main(tiny.command(policy, dataset, undisturbed, **settings))
    args = tiny.command(policy, dataset, killed, **settings)
    with subprocess.Popen(
        [sys.executable, "-m", "pivotmine_trainer", *args], start_new_session=True, cwd=tmp_path
    ) as process:
        while not (killed / "checkpoint-3").exists() and process.poll() is None:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "model.safetensors").exists()
    with pytest.raises(SystemExit) as refused:
        main(args)
    assert refused.value.code == 1
    main([*args, "--resume_from_checkpoint", "true"])
    assert order_of_prompts(killed) == order_of_prompts(undisturbed)
    assert sorted(order_of_prompts(killed)) == [1, 2, 3, 4, 5, 6, 7]
    assert len({tuple(states) for states in order_of_prompts(killed).values()}) > 2
    for name, weight in weights(undisturbed).items():
        torch.testing.assert_close(weights(killed)[name], weight)


def test_ctrl_c_is_one_line(policy: Path, dataset: Path, tmp_path: Path) -> None:
    args = tiny.command(policy, dataset, tmp_path / "out", max_steps=200, save_steps=1, eval_strategy="no")
    command = [sys.executable, "-m", "pivotmine_trainer", *args]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        while not (tmp_path / "out/checkpoint-1").exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (process.returncode, "Traceback" in errors) == (130, False)
    assert errors.splitlines()[-1].startswith("interrupted: add --resume_from_checkpoint true to the same command")


def test_a_checkpoint_of_other_settings_is_not_gone_on_with(
    policy: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = tiny.command(policy, dataset, tmp_path / "out", save_steps=1, max_steps=1, eval_strategy="no")
    main(args)
    with pytest.raises(SystemExit):
        main([*args, "--resume_from_checkpoint", "true", "--seed", "5", "--learning_rate", "0.001"])
    assert "belongs to another training (learning_rate 0.003 -> 0.001, seed 42 -> 5)" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*args, "--resume_from_checkpoint", "true"])
    assert "checkpoint-1 has 1 step of --max_steps 1: nothing is left to train" in capsys.readouterr().err


def test_trl_s_own_script_trains_on_the_dataset(policy: Path, dataset: Path, tmp_path: Path) -> None:
    args = ["--dataset_name", dataset, "--reward_funcs", "pivotmine_trainer.reward.pivot_reward", "--use_cpu", "true"]
    args += ["--model_name_or_path", policy, "--output_dir", tmp_path / "out", "--num_generations", 8]
    args += ["--per_device_train_batch_size", 16, "--max_completion_length", 32, "--max_steps", 2, "--bf16", "false"]
    args += ["--log_completions", "true", "--logging_steps", 1, "--num_completions_to_print", 0]
    done = subprocess.run(
        [sys.executable, "-m", "trl.scripts.grpo", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    logged = pq.read_table(tmp_path / "out/completions/completions_00001.parquet").to_pydict()
    assert set(logged["outcome"]) <= {"correct", "wrong_tool", "wrong_arguments", "invalid_call"}
    assert 0 < sum(logged["pivot_reward"]) < 16


def test_sft_raises_the_demonstrated_action_and_only_it(policy: Path, dataset: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"method": "sft", "num_generations": None, "prompts_per_step": None, "max_steps": 12}
    main(tiny.command(policy, dataset, tmp_path / "out", per_device_train_batch_size=4, **settings))
    before, after = likelihoods(policy), likelihoods(tmp_path / "out")
    assert min(after[:4]) > 0.9 > max(before[:4])


def likelihoods(folder: Path) -> list[float]:
    """Probability of the right answer in each state, end of turn included."""
    from transformers import AutoModelForCausalLM

    tokenizer, model = tiny.load_tokenizer(folder), AutoModelForCausalLM.from_pretrained(folder)
    found: list[float] = []
    for state in tiny.STATES:
        prompt = tokenizer(tiny.render(tokenizer, state)).input_ids
        ids = torch.tensor([prompt + tokenizer(f"{state.right}<|im_end|>").input_ids])
        with torch.no_grad():
            logprobs = model(ids).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
        found.append(logprobs.gather(-1, ids[0, len(prompt) :, None]).sum().exp().item())
    return found
