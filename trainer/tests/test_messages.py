"""What a person reads: the card, messages that name the real fault, and the second verifier's warning."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from refusing import refusal
from safetensors.torch import load_file
from transformers import Qwen3Config, Qwen3ForCausalLM

from pivotmine_trainer.checks.model import say_memory
from pivotmine_trainer.cli.app import main
from pivotmine_trainer.cli.arguments import parse
from pivotmine_trainer.cli.console import counted
from pivotmine_trainer.extras.watch import Watch

Capture = pytest.CaptureFixture[str]


def test_the_card_names_policy_dataset_verifier_figures_and_command(
    policy: Path, dataset: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    args = tiny.command(policy, dataset, out, max_steps=1)
    main(args)
    card = (out / "README.md").read_text()
    for words in (f"| policy | {policy} |", f"| dataset | {dataset} (4 training rows) |", "| verifier | tool_call |"):
        assert words in card
    assert "| 0 | 2 | 0." in card
    assert "| 1 | 2 | 0." in card
    assert f"    pivotmine-train --model {policy} --dataset {dataset}" in card
    assert (out / "checkpoint-1").is_dir()
    assert "warning: 2 held-out rows: figures over so few say little" in capsys.readouterr().err


def test_the_card_of_sft(policy: Path, dataset: Path, tmp_path: Path) -> None:
    """TRL's own card calls the policy None. The card at a checkpoint is the same as at the end."""
    out = tmp_path / "out|put"
    given = {"method": "sft", "num_generations": None, "prompts_per_step": None, "max_steps": 2, "save_steps": 1}
    args = tiny.command(policy, dataset, out, **given, eval_strategy="steps", eval_steps=1, logging_steps=1)
    main(args)
    card = (out / "README.md").read_text()
    log = json.loads((out / "checkpoint-2/trainer_state.json").read_text())["log_history"]
    table = {(key, entry["step"]): entry[key] for entry in log for key in ("loss", "eval_loss") if key in entry}
    assert card == (
        "---\nlibrary_name: transformers\ntags: [pivotmine, sft, trl]\n"
        f'base_model: "{policy}"\n---\n# out\\|put\n\n'
        "A policy trained on demonstrated actions by `pivotmine-train`.\n\n"
        "| what | value |\n|---|---|\n| method | sft |\n"
        f"| policy | {policy} |\n| dataset | {dataset} (4 sequences of 4 rows) |\n| demonstrated turns | all |\n\n"
        "## Loss\n\n| loss | step | nats a token |\n|---|---|---|\n"
        f"| training | 1 | {table['loss', 1]:.3f} |\n| training | 2 | {table['loss', 2]:.3f} |\n"
        f"| held out | {min(s for k, s in table if k == 'eval_loss')} | "
        f"{table['eval_loss', min(s for k, s in table if k == 'eval_loss')]:.3f} |\n"
        f"| held out | 2 | {table['eval_loss', 2]:.3f} |\n\n"
        f"## Command\n\n    {shlex.join(['pivotmine-train', *args])}\n"
    )


def test_numbers_agree_with_their_nouns() -> None:
    assert counted(0, "row") == "0 rows"
    assert counted(1, "training row") == "1 training row"
    assert counted(1_200, "step") == "1,200 steps"
    assert [counted(n, "process", "processes") for n in (1, 2)] == ["1 process", "2 processes"]


@pytest.mark.parametrize("option", ["verifier", "watch_verifier"])
def test_a_verifier_that_there_is_not_is_the_option_s_fault(
    option: str, policy: Path, dataset: Path, tmp_path: Path, capsys: Capture
) -> None:
    said = refusal(tiny.command(policy, dataset, tmp_path, **{option: "nosuch"}), capsys)
    assert said.startswith(f"--{option} nosuch: ")
    assert "row" not in said


def test_demonstrations_that_were_not_selected(policy: Path, dataset: Path, tmp_path: Path, capsys: Capture) -> None:
    said = refusal(tiny.command(policy, dataset, tmp_path, demonstration_weight=0.1), capsys)
    assert said == (
        f"{dataset}: no demonstrations.parquet in this folder; select again with --num-demonstrations above 0"
    )


def test_passes_that_make_no_step_and_what_does(policy: Path, dataset: Path, tmp_path: Path, capsys: Capture) -> None:
    given = {"prompts_per_step": 3, "per_device_train_batch_size": 16}
    assert refusal(tiny.command(policy, dataset, tmp_path, **given), capsys) == (
        "--prompts_per_step 3 x --num_generations 8 is not a multiple of the 16 actions of one pass "
        "(--per_device_train_batch_size x 1 process); give a --prompts_per_step that is a multiple of 2, or another "
        "--per_device_train_batch_size"
    )
    for options in ({"prompts_per_step": 4}, {"per_device_train_batch_size": 8}):
        _, settings, _ = parse(tiny.command(policy, dataset, tmp_path, **{**given, **options}))
        assert settings.gradient_accumulation_steps in (2, 3)


@pytest.mark.parametrize(
    ("heldout_states", "rows_in_words", "more"),
    [
        (1, "1 held-out row", "give a larger --heldout_states"),
        (3, "3 held-out rows", "give a larger --heldout_states"),
        (30, "12 held-out rows", "select again with a larger --validation-share"),
    ],
)
def test_few_held_out_rows(
    heldout_states: int, rows_in_words: str, more: str, policy: Path, tmp_path: Path, unloadable: Path, capsys: Capture
) -> None:
    """Because of the option, or because there are no more."""
    rows = tiny.pivot_rows(policy)
    validation = [
        row | {"state_id": f"{row['state_id']}{n}"} for n in range(2 if heldout_states == 30 else 4) for row in rows
    ]
    folder = tiny.write_dataset(tmp_path / "pivots", rows, validation)
    with pytest.raises(SystemExit):  # the model has no weights
        main(tiny.command(unloadable, folder, tmp_path / "out", heldout_states=heldout_states))
    assert f"warning: {rows_in_words}: figures over so few say little; {more}\n" in capsys.readouterr().err


def test_options_of_the_other_method_are_called_that(
    policy: Path, dataset: Path, tmp_path: Path, capsys: Capture
) -> None:
    said = refusal([*tiny.command(policy, dataset, tmp_path), "--method", "sft"], capsys)
    assert said == "--num_generations is an option of --method grpo, and this is --method sft; leave it out"
    said = refusal([*tiny.command(policy, dataset, tmp_path), "--packing", "true"], capsys)
    assert said == "--packing is an option of --method sft, and this is --method grpo; leave it out"


def test_a_missing_dataset_folder_is_said_before_torch_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pivotmine_trainer.cli.app import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    print(end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--dataset", f"{tmp_path}/nosuch", "--model", "m"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1 False\n"
    assert done.stderr == (
        f"error: --dataset {tmp_path}/nosuch: no such folder; name one that `pivotmine select` wrote, RUN/pivots/NAME\n"
    )


@pytest.mark.parametrize(
    ("options", "said", "hints"),
    [
        ([], "131 GB for weights, gradients and AdamW in float32", ("--use_peft", "--optim", "--dtype")),
        (["--dtype", "bfloat16"], "66 GB for weights, gradients and AdamW in bfloat16", ("--use_peft", "--optim")),
        (["--optim", "adamw_bnb_8bit"], "82 GB for weights", ("--use_peft", "--dtype")),
        (["--beta", "0.1"], "164 GB for weights", ("--use_peft", "--optim", "--dtype")),
    ],
)
def test_what_8_billion_parameters_take_is_said(
    options: list[str], said: str, hints: tuple[str, ...], tmp_path: Path, capsys: Capture
) -> None:
    """4 bytes for each weight, gradient and moment; with a KL term, also for the reference's weights."""
    config = Qwen3Config(
        hidden_size=4096,
        intermediate_size=12288,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=151936,
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        made = Qwen3ForCausalLM(config)
    _, settings, model = parse(["--dataset", "o/x", "--model", "y", "--output_dir", str(tmp_path), *options])
    say_memory(made, model, settings)
    line = capsys.readouterr().out
    assert line.startswith(f"memory    {said}")
    assert {name for name in ("--use_peft", "--optim", "--dtype") if name in line} == set(hints)


def test_what_was_not_scored_is_said_through_escaping(
    policy: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """TRL would print the sample and its row unescaped."""
    (tmp_path / "torn.py").write_text(
        "calls = []\ndef reward(state, demonstration, action):\n    calls.append(1)\n"
        "    return len(calls) % 2 or 1 / 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    main(tiny.command(policy, dataset, tmp_path / "out", verifier="torn:reward", max_steps=1, eval_strategy="no"))
    said = capsys.readouterr().err
    assert "of 32 samples without a reward, and so without a loss; the first: state state" in said
    assert "reward functions returned None" not in said


def test_the_second_verifier_is_logged_next_to_the_reward(policy: Path, dataset: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    main(tiny.command(policy, dataset, tmp_path, watch_verifier="exact", max_steps=1, eval_strategy="no"))
    rows = pq.read_table(tmp_path / "completions/train_00001.parquet").to_pylist()
    assert {row["watch_reward"] for row in rows} == {0.0, 1.0}
    assert all(row["watch_outcome"] is not None for row in rows)


def test_drift_is_said_once() -> None:
    watch = Watch("exact")
    said: list[str] = []
    for batch in range(40):
        reward = 0.5 + 0.01 * batch
        said += watch.learn([reward] * 4, [0.5, 0.5, 0.5, None], ["correct"] * 4)
    assert said == [
        "reward minus that of --watch_verifier exact grew from +0.05 to +0.20: the policy may have found a fault of "
        "the verifier"
    ]


def test_a_growing_share_of_unproven_verdicts_is_said_once() -> None:
    watch = Watch(None)
    said = [words for b in range(40) for words in watch.learn([1.0], [None], ["unproven" if b > 25 else "correct"])]
    assert len(said) == 1
    assert said[0].startswith("the share of unproven verdicts grew from 0% to ")


def test_a_resumed_watch_goes_on_counting(tmp_path: Path, capsys: Capture) -> None:
    """With the same verifier. With another one, differences are counted from zero and unproven verdicts continue."""
    whole, kept = Watch("exact"), Watch("exact")
    batches = [([0.5 + 0.01 * b] * 4, [0.5] * 4, ["unproven" if b > 30 else "correct"] * 4) for b in range(40)]
    expected = [words for batch in batches for words in whole.learn(*batch)]
    said = [words for batch in batches[:15] for words in kept.learn(*batch)]
    kept.save(tmp_path)
    resumed, other = Watch("exact"), Watch("text")
    resumed.load(tmp_path)
    assert said + [words for batch in batches[15:] for words in resumed.learn(*batch)] == expected
    assert len(expected) == 2
    resumed.save(tmp_path)
    again = Watch("exact")
    again.load(tmp_path)
    assert [words for batch in batches[-5:] for words in again.learn(*batch)] == []
    assert capsys.readouterr().err == ""
    kept.save(tmp_path)
    other.load(tmp_path)
    assert capsys.readouterr().err == (
        "warning: --watch_verifier text was exact: their drift is counted from here on\n"
    )
    (words,) = [words for batch in batches[20:] for words in other.learn(*batch)]
    assert words.startswith("the share of unproven verdicts grew from 0% to ")


def test_a_checkpoint_without_the_watch(policy: Path, dataset: Path, tmp_path: Path, capsys: Capture) -> None:
    args = tiny.command(policy, dataset, tmp_path / "out", max_steps=1, save_steps=1, eval_strategy="no")
    main(args)
    file = tmp_path / "out/checkpoint-1/watch.json"
    assert json.loads(file.read_text())["batches"] == [[None, 0, 32]]
    file.write_text("{")
    main([*args, "--max_steps", "2", "--resume_from_checkpoint", "true"])
    assert f"warning: {file} is missing or broken (JSONDecodeError): drift and unproven verdicts are counted from " in (
        capsys.readouterr().err
    )
    kept = json.loads((tmp_path / "out/checkpoint-2/watch.json").read_text())
    assert kept["batches"] == [[None, 0, 32]]


def test_ten_points_more_of_unproven_verdicts_are_said_in_a_short_training() -> None:
    def said(*unproven: int) -> list[str]:
        watch = Watch(None)
        outcomes = [["unproven"] * n + ["correct"] * (20 - n) for n in unproven]
        return [words for batch in outcomes for words in watch.learn([1.0], [None], batch)]

    assert said(0, 0, 2, 2) == [
        "the share of unproven verdicts grew from 0% to 10%: the policy's actions leave what the verifier can decide"
    ]
    assert said(0, 0, 2, 1) == said(5, 5, 5, 5) == said(4, 4, 0, 0) == said(0, 9) == []


def test_the_model_is_saved_in_the_policy_s_own_dtype(policy: Path, dataset: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    half = tmp_path / "half"
    model: Any = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.bfloat16)
    tiny.save(half, model, tiny.load_tokenizer(policy))
    out = tmp_path / "out"
    main(tiny.command(half, dataset, out, max_steps=1, eval_strategy="no"))
    assert {weight.dtype for weight in load_file(out / "model.safetensors").values()} == {torch.bfloat16}
    assert {weight.dtype for weight in load_file(out / "checkpoint-1/model.safetensors").values()} == {torch.float32}
    assert AutoModelForCausalLM.from_pretrained(out, dtype="auto").dtype == torch.bfloat16
