"""Bad input is one clear line and exit code 1 before a model is loaded: the policies here have no weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
from refusing import refusal

from pivotmine.errors import UserError
from pivotmine.verifiers import make_spec
from pivotmine_trainer.cli.app import main
from pivotmine_trainer.cli.arguments import PivotArguments
from pivotmine_trainer.data.dataset import load_split

Refused = Callable[..., str]


def test_a_folder_that_is_no_dataset(unloadable: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = tiny.command(unloadable, tmp_path, tmp_path / "out")
    assert (
        refusal(args, capsys) == f"{tmp_path}: no train.parquet in this folder; name one that `pivotmine select` wrote"
    )
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no parquet")
    assert refusal(args, capsys).startswith(f"{tmp_path}: the split train cannot be read: ")


def test_a_name_that_is_on_no_hub(unloadable: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = tiny.command(unloadable, Path("nobody/nothing"), tmp_path / "out")
    assert refusal(args, capsys).startswith("nobody/nothing: the split train cannot be read: ")


def test_columns_that_are_missing_or_of_another_kind(
    policy: Path, unloadable: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pa.Table.from_pylist(tiny.pivot_rows(policy))
    args = tiny.command(unloadable, tmp_path, tmp_path / "out")
    pq.write_table(rows.drop_columns(["verifier_id", "parser"]), tmp_path / "train.parquet")
    assert "not a pivot dataset: missing columns parser, verifier_id;" in refusal(args, capsys)
    place = rows.schema.get_field_index("prompt_ids")
    pq.write_table(rows.set_column(place, "prompt_ids", pa.array(["1 2"] * len(rows))), tmp_path / "train.parquet")
    assert "column prompt_ids must hold a list, it holds " in refusal(args, capsys)


def test_a_null_where_there_must_be_a_value(refused: Refused) -> None:
    assert refused({"prompt": None}) == "row 0 of train.parquet: prompt is null"


def test_an_empty_split(refused: Refused) -> None:
    assert refused(rows=[], validation=[]).endswith("the split train has no rows")


def test_nothing_held_out(refused: Refused, tmp_path: Path) -> None:
    assert refused(validation=[]) == (
        f"{tmp_path / 'pivots'}: the split validation has no rows; to train without held-out pivots, give "
        "--eval_strategy no"
    )


def test_an_unknown_verifier(refused: Refused) -> None:
    said = refused({"verifier": "psychic"})
    assert said.startswith('row 0 of train.parquet (state state0): no verifier "psychic": choose one of ')


@pytest.mark.parametrize(
    "named",
    [
        {"verifier": "this:zen", "verifier_options": "{}"},
        {
            "verifier": "all",
            "verifier_options": '{"members":[{"name":"any","options":{"members":[{"name":"this:zen","options":{}}]}}]}',
        },
    ],
)
def test_code_of_another_package_that_nobody_vouched_for(
    refused: Refused, named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing `this` would print; it is not imported."""
    monkeypatch.delitem(sys.modules, "this", raising=False)
    said = refused(named)
    assert said.startswith(
        "row 0 of train.parquet (state state0): the row asks for code of another package, 'this:zen'"
    )
    assert "this" not in sys.modules


def test_code_of_another_package_that_is_vouched_for(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIVOTMINE_TRUSTED_VERIFIERS", "a.b:c,string:nothing")
    said = refused({"verifier": "string:nothing", "verifier_options": "{}"})
    assert "string has no function and no Verifier called nothing" in said


def test_another_version_of_the_verifier(refused: Refused) -> None:
    said = refused({"verifier_id": "tool_call-00000000"})
    assert said.startswith(
        "row 0 of train.parquet (state state0) was scored by tool_call-00000000, and the installed verifier"
    )
    assert "another version gives other rewards" in said


def test_no_row_with_a_verifier(refused: Refused) -> None:
    nothing = {"verifier": None, "verifier_options": None, "verifier_id": None}
    assert refused(nothing) == ("train.parquet: no verifier judges any row (6 rows): mine pivots, or name a --verifier")


@pytest.mark.parametrize(
    ("name", "options"), [("recorded", {}), ("any", {"members": [{"name": "recorded", "options": {}}]})]
)
def test_rewards_that_were_recorded(refused: Refused, name: str, options: dict[str, Any]) -> None:
    spec = make_spec(name, options)
    assert refused({"verifier": name, "verifier_options": spec.options_json, "verifier_id": spec.verifier_id}) == (
        "row 0 of train.parquet (state state0): verifier recorded has the rewards of mined samples and cannot judge "
        "new ones; name a --verifier that can"
    )


def test_an_unknown_parser(refused: Refused) -> None:
    assert "unknown action parser 'morse', known are " in refused({"parser": "morse"})


def test_a_second_beginning_of_sequence(
    policy: Path, unloadable: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tokenizer adds one to a prompt that already has one."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny.load_tokenizer(policy)
    special = [("<|im_start|>", 1)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=special)
    folder = tmp_path / "double"
    folder.mkdir()
    for file in unloadable.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tokenizer.save_pretrained(folder)
    rows = tiny.pivot_rows(policy)
    args = tiny.command(folder, tiny.write_dataset(tmp_path / "pivots", rows, rows), tmp_path / "out")
    assert "at token 1 1 '<|im_start|>' instead of" in refusal(args, capsys)


def test_fewer_rows_than_a_step_needs(refused: Refused) -> None:
    assert refused(prompts_per_step=8) == (
        "6 training rows, but one step takes 8: mine more states, or give a smaller --prompts_per_step"
    )


def test_actions_longer_than_the_context(refused: Refused) -> None:
    said = refused(max_completion_length=300)
    assert said.endswith("more than the model's context of 256; give a smaller --max_completion_length")


def test_a_folder_without_a_model(policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bare").mkdir()
    args = tiny.command(tmp_path / "bare", tmp_path / "pivots", tmp_path / "out")
    tiny.write_dataset(tmp_path / "pivots", (rows := tiny.pivot_rows(policy)), rows[:1])
    assert refusal(args, capsys).startswith(f"no model under {tmp_path}/bare: Unrecognized model in ")


def test_prompts_longer_than_the_context(refused: Refused) -> None:
    said = refused(max_completion_length=240)
    assert said.startswith("row 0 of train.parquet (state state0): ")
    assert said.endswith("more than the model's context of 256; select again with --max-prompt-tokens 16")


def test_sampling_that_training_has_not(policy: Path, refused: Refused) -> None:
    (sampling,) = {row["sampling"] for row in tiny.pivot_rows(policy)}
    stopping = json.dumps({**json.loads(sampling), "stop": ["x"]})
    assert refused({"sampling": stopping}).startswith("the dataset's sampling has stop, which training does not")


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        ("temperature", None, "temperature null: a number, 0 or more"),
        ("temperature", "hot", 'temperature "hot": a number, 0 or more'),
        ("temperature", True, "temperature true: a number, 0 or more"),
        ("temperature", float("nan"), "temperature NaN: a number, 0 or more"),
        ("temperature", float("inf"), "temperature Infinity: a number, 0 or more"),
        ("temperature", -1, "temperature -1: a number, 0 or more"),
        ("top_p", 7, "top_p 7: a number, in [0, 1]"),
        ("top_k", -1, "top_k -1: a whole number, 0 (all) or more"),
        ("max_new_tokens", 32.5, "max_new_tokens 32.5: a whole number, at least 1"),
    ],
)
def test_sampling_that_makes_no_sense(policy: Path, refused: Refused, parameter: str, value: Any, words: str) -> None:
    (sampling,) = {row["sampling"] for row in tiny.pivot_rows(policy)}
    mined = json.dumps({**json.loads(sampling), parameter: value})
    assert refused({"sampling": mined}) == f"the dataset's sampling: {words}"


@pytest.mark.parametrize("option", ["verifier", "curriculum", "echo_weight", "retrieval_prompts"])
def test_options_of_rewards_are_none_of_sft(option: str) -> None:
    values: dict[str, Any] = {"verifier": "exact", "curriculum": True, "echo_weight": 0.1, "retrieval_prompts": 2}
    with pytest.raises(UserError, match=f"--{option} is an option of --method grpo; leave it out"):
        PivotArguments(dataset="x", method="sft", **{option: values[option]})


def test_a_dataset_that_polars_wrote_is_read(policy: Path, tmp_path: Path) -> None:
    """Polars writes large lists and large strings."""
    rows = pa.Table.from_pylist(tiny.pivot_rows(policy))
    place = rows.schema.get_field_index("prompt_ids")
    large = rows.set_column(place, "prompt_ids", rows["prompt_ids"].cast(pa.large_list(pa.int32())))
    pq.write_table(large, tmp_path / "train.parquet")
    assert load_split(str(tmp_path), "train")["prompt_ids"][:] == rows["prompt_ids"].to_pylist()


def test_sampling_of_two_kinds(policy: Path, refused: Refused) -> None:
    rows = tiny.pivot_rows(policy)
    rows[2]["sampling"] = json.dumps({"temperature": 0.5, "top_p": 1.0, "top_k": 0, "max_new_tokens": 32})
    assert refused(rows=rows).startswith("the rows were sampled in 2 ways, ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"generation_kwargs": '{"stop": ["</tool_call>"]}'}, "stop would end actions without an end-of-turn token"),
        ({"generation_kwargs": '{"stop_strings": "x"}'}, "stop_strings would end actions"),
        ({"generation_kwargs": '{"seed": 1}', "use_vllm": "true"}, "a seed gives all actions of a group the same"),
        ({"generation_kwargs": '{"do_sample": false}'}, "do_sample False: all actions of a group would be the same"),
        (
            {"generation_kwargs": '{"top_k": 1, "max_new_tokens": 4}'},
            "generation_kwargs: top_k, max_new_tokens would bypass the checks; give --temperature, --top_p, --top_k or "
            "--max_completion_length, or leave it out",
        ),
        ({"generation_kwargs": '{"eos_token_id": 5}'}, "generation_kwargs: eos_token_id would bypass the checks"),
        ({"generation_kwargs": '{"num_beams": 4}'}, "num_beams searches instead of sampling"),
        ({"temperature": 0}, "temperature 0: all actions of a group would be the same"),
        ({"top_k": 1}, "top_k 1: all actions of a group would be the same"),
        ({"remove_unused_columns": "true"}, "the reward needs the dataset's other columns"),
        (
            {"prompts_per_step": 3},
            "--prompts_per_step 3 x --num_generations 8 is not a multiple of the 32 actions of one pass",
        ),
        ({"invalid_action_advantage": 1}, "--invalid_action_advantage 1.0: a number of at most 0"),
        ({"echo_weight": -1}, "--echo_weight -1.0: in [0, 1]"),
        ({"retrieval_prompts": 1}, "--retrieval_prompts 1: 0, or at least 2"),
        ({"mine_again_share": 0}, "--mine_again_share 0.0: in (0, 1]"),
        ({"verifier": "psychic"}, 'no verifier "psychic"'),
        ({"method": "dpo"}, "--method dpo: choose from grpo, sft"),
        ({"config": "/nowhere.yaml"}, "/nowhere.yaml"),
        ({"lora_r": 8}, "--lora_r: all weights are trained; give --use_peft true, or leave it out"),
        ({"use_dora": "true"}, "--use_dora: all weights are trained; give --use_peft true, or leave it out"),
        ({"model": "/nowhere"}, "--model /nowhere: no such folder; name one that holds a model"),
        ({"model": None}, "no policy to train"),
        ({"beta": "nan"}, "--beta nan: give a finite number"),
        ({"beta": -1}, "--beta -1.0: 0 or more"),
        ({"weight_decay": "inf"}, "--weight_decay inf: give a finite number"),
        ({"learning_rate": -1}, "--learning_rate -1.0: 0 or more"),
        ({"adam_beta1": 2}, "--adam_beta1 2.0: in [0, 1)"),
        ({"adam_beta2": 1}, "--adam_beta2 1.0: in [0, 1)"),
        ({"adam_epsilon": -1}, "--adam_epsilon -1.0: 0 or more"),
        ({"warmup_steps": -1}, "--warmup_steps -1.0: 0 or more"),
        ({"num_iterations": 0}, "--num_iterations 0: at least 1"),
        ({"steps_per_generation": 0}, "--steps_per_generation 0: at least 1"),
        ({"repetition_penalty": 0}, "--repetition_penalty 0.0: above 0"),
        ({"min_p": 2}, "--min_p 2.0: in [0, 1]"),
        ({"neftune_noise_alpha": -1}, "--neftune_noise_alpha -1.0: 0 or more"),
        ({"ref_model_sync_steps": 0}, "--ref_model_sync_steps 0: at least 1"),
        ({"eval_accumulation_steps": 0}, "--eval_accumulation_steps 0: at least 1"),
        ({"dataloader_num_workers": -1}, "--dataloader_num_workers -1: 0 or more"),
        ({"generation_batch_size": 0}, "--generation_batch_size 0: at least 1"),
        ({"top_entropy_quantile": 2}, "--top_entropy_quantile 2.0: in [0, 1]"),
        ({"ref_model_mixup_alpha": 2}, "--ref_model_mixup_alpha 2.0: in [0, 1]"),
        ({"logging_steps": -1}, "--logging_steps -1.0: 0 or more"),
        ({"eval_steps": -1}, "--eval_steps -1.0: 0 or more"),
        ({"save_steps": -1}, "--save_steps -1.0: 0 or more"),
        ({"dataloader_prefetch_factor": 0}, "--dataloader_prefetch_factor 0: at least 1"),
        ({"generation_kwargs": "[1]"}, '--generation_kwargs [1]: give a JSON object, {"name": value}'),
        ({"model_init_kwargs": "x"}, '--model_init_kwargs x: give a JSON object, {"name": value}'),
        ({"num_completions_to_print": -1}, "--num_completions_to_print -1: 0 or more"),
        ({"top_p": 1.5}, "--top_p 1.5: in [0, 1]"),
        ({"num_generations": 1}, "--num_generations 1: at least 2"),
        ({"num_generations_eval": 1}, "--num_generations_eval 1: at least 2: all rewards of one action are equal"),
        ({"max_completion_length": 0}, "--max_completion_length 0: at least 1"),
        ({"per_device_train_batch_size": 0}, "--per_device_train_batch_size 0: at least 1"),
        ({"max_steps": 0}, "--max_steps 0: at least 1, or -1"),
        ({"seed": -1}, "--seed -1: in [0, 2^32)"),
        ({"resume_from_checkpoint": "/nowhere"}, "--resume_from_checkpoint /nowhere: not a complete checkpoint"),
    ],
)
def test_options_that_make_no_sense(refused: Refused, options: dict[str, Any], words: str) -> None:
    assert words in refused(**options)


def test_a_loss_on_replies_that_were_not_recorded(policy: Path, refused: Refused) -> None:
    rows = tiny.pivot_rows(policy)
    for row in rows:
        (entry,) = json.loads(row["demonstrations"])
        row["demonstrations"] = json.dumps([{**entry, "reply": []}])
    assert refused(rows=rows, echo_weight=0.05) == (
        "--echo_weight 0.05: no training row has a recorded reply to learn from (no_reply 6); mine trajectories with "
        "their environment's replies, or leave the option out"
    )


def test_a_loss_on_the_reply_of_a_single_row(policy: Path, unloadable: Path, refused: Refused) -> None:
    rows = tiny.pivot_rows(policy)
    for row in rows[:-1]:
        row["demonstrations"] = json.dumps([{**json.loads(row["demonstrations"])[0], "reply": []}])
    assert refused(rows=rows, echo_weight=0.05).startswith(f"{unloadable} holds no weights")


def test_a_folder_that_cannot_be_made(policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny.write_dataset(tmp_path / "pivots", (rows := tiny.pivot_rows(policy)), rows[:1])
    args = tiny.command(policy, folder, Path("/proc/nowhere"))
    assert refusal(args, capsys).startswith("--output_dir /proc/nowhere: ")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--dataset", "owner/x", "--model", "y", "--no_such_option", "1"], "there is no --no_such_option 1"),
        (["--dataset", "owner/x", "--model", "y", "--meth", "sft"], "there is no --meth sft"),
        (["--model", "y"], "the following arguments are required: --dataset"),
        (["--dataset", "owner/x", "--beta", "much"], "argument --beta: invalid float value: 'much'"),
    ],
)
def test_usage(args: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*args, "--output_dir", str(tmp_path)])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "usage: pivotmine-train --dataset DIR --model DIR [--OPTION VALUE ...]; --help lists all options",
        f"pivotmine-train: error: {words}",
    ]


def test_without_weights_it_gets_as_far_as_the_model(refused: Refused, unloadable: Path, tmp_path: Path) -> None:
    """All errors above come before the weights are looked for. This is the error after that; nothing is written."""
    assert refused() == (
        f"{unloadable} holds no weights (model*.safetensors, pytorch_model*.bin, *.gguf): name a folder that a model "
        "was saved to"
    )
    assert not (tmp_path / "out").exists()
