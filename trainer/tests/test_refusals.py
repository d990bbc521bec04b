"""Errors that the libraries report late, with a traceback or never, are one line before the weights are loaded."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from refusing import refusal
from transformers import AutoModelForCausalLM
from trl.trainer.grpo_config import GRPOConfig

from pivotmine.errors import UserError
from pivotmine.verifiers import make_spec
from pivotmine_trainer.checks.options import CHOICES
from pivotmine_trainer.checks.policies import load_adapter, refusals
from pivotmine_trainer.checks.setup import check_training
from pivotmine_trainer.cli.arguments import GRPOSettings, ModelSettings

Capture = pytest.CaptureFixture[str]
SFT: dict[str, Any] = {"method": "sft", "num_generations": None, "prompts_per_step": None, "eval_strategy": "no"}


@pytest.mark.parametrize("options", [{}, SFT])
def test_weights_that_are_empty(
    options: dict[str, Any], policy: Path, dataset: Path, tmp_path: Path, capsys: Capture
) -> None:
    broken = Path(shutil.copytree(policy, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"")
    said = refusal(tiny.command(broken, dataset, tmp_path / "out", **options), capsys)
    assert said == f"{broken}: model.safetensors is empty or broken; copy the model there again"


def test_weights_of_which_a_part_is_missing(policy: Path, dataset: Path, tmp_path: Path, capsys: Capture) -> None:
    part = Path(shutil.copytree(policy, tmp_path / "part"))
    (part / "model.safetensors").rename(part / "model-00001-of-00002.safetensors")
    named = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (part / "model.safetensors.index.json").write_text(json.dumps({"weight_map": named}))
    said = refusal(tiny.command(part, dataset, tmp_path / "out"), capsys)
    assert said == f"{part}: model-00002-of-00002.safetensors is missing; copy the model there again"


def test_an_adapter_without_weights(policy: Path, dataset: Path, tmp_path: Path, capsys: Capture) -> None:
    adapter = make_adapter(policy, tmp_path / "adapter")
    said = refusal(tiny.command(adapter, dataset, tmp_path / "out"), capsys)
    assert said == f"{adapter} holds no weights (adapter_model*): name a folder that a model was saved to"


@pytest.mark.parametrize(
    ("options", "name"),
    [({"use_peft": "true"}, "use_peft"), ({"lora_r": 8}, "lora_r"), ({"load_in_4bit": "true"}, "load_in_4bit")],
)
def test_options_that_are_none_of_an_adapter(
    options: dict[str, Any], name: str, policy: Path, dataset: Path, tmp_path: Path, capsys: Capture
) -> None:
    said = refusal(
        tiny.command(make_adapter(policy, tmp_path / "adapter"), dataset, tmp_path / "out", **options), capsys
    )
    assert said == f"{tmp_path / 'adapter'} is an adapter, which is trained as it is; leave out --{name}"


def test_how_the_model_below_an_adapter_is_loaded(policy: Path, dataset: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    lora = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])
    get_peft_model(AutoModelForCausalLM.from_pretrained(policy), lora).save_pretrained(str(adapter))
    settings = GRPOSettings(str(tmp_path), model_init_kwargs={"dtype": "bfloat16"}, use_cpu=True)
    model = ModelSettings(str(adapter), attn_implementation="eager")
    loaded = load_adapter(model, settings)
    assert (loaded.dtype, loaded.config._attn_implementation) == (torch.bfloat16, "eager")


def test_an_adapter_whose_model_is_gone(
    policy: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """It has moved, or its path was relative to another folder."""
    monkeypatch.chdir(tmp_path)
    make_adapter(Path("models/base"), tmp_path / "adapter", tokenizer_of=policy)
    said = refusal(tiny.command(Path("adapter"), dataset, tmp_path / "out"), capsys)
    assert said.startswith(
        "adapter/adapter_config.json: no base model models/base (base_model_name_or_path); name its folder, relative "
        f"to {tmp_path}, or its hub id: "
    )


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"base_model_name_or_path": null}'])
def test_an_adapter_that_names_no_model(
    text: str, policy: Path, dataset: Path, tmp_path: Path, capsys: Capture
) -> None:
    file = make_adapter(policy, tmp_path / "adapter") / "adapter_config.json"
    file.write_text(text)
    assert refusal(tiny.command(file.parent, dataset, tmp_path / "out"), capsys) == (
        f"{file} names no base_model_name_or_path: write the folder or hub id of the adapter's base model there"
    )


def test_an_adapter_without_a_tokenizer(policy: Path, dataset: Path, tmp_path: Path, capsys: Capture) -> None:
    adapter = make_adapter(policy, tmp_path / "adapter")
    (adapter / "tokenizer.json").unlink()
    said = refusal(tiny.command(adapter, dataset, tmp_path / "out"), capsys)
    assert said.startswith(f"{adapter} holds no tokenizer; copy the one of {policy} there: ")


def make_adapter(policy: Path, adapter: Path, tokenizer_of: Path | None = None) -> Path:
    """An adapter without weights."""
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(policy)}))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy((tokenizer_of or policy) / name, adapter)
    return adapter


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"attn_implementation": "psychic"},
            '--attn_implementation psychic: Specified `attn_implementation="psychic"`',
        ),
        ({"lora_target_modules": ["psychic"]}, "--use_peft: Target modules {'psychic'} not found in the base model"),
        ({"lora_target_modules": ["q_proj", "proj"]}, "--lora_target_modules proj: the model has no such module"),
        ({"lora_modules_to_save": ["psychic"]}, "--lora_modules_to_save psychic: the model has no such module"),
        ({"lora_target_parameters": ["psychic"]}, "--lora_target_parameters psychic: the model has no such parameter"),
        ({"lora_r": 0}, "--use_peft: `r` should be a positive integer value but the value passed is 0"),
    ],
)
def test_options_that_a_library_refuses(
    options: dict[str, Any], words: str, policy: Path, dataset: Path, tmp_path: Path, capsys: Capture
) -> None:
    said = refusal(tiny.command(policy, dataset, tmp_path / "out", use_peft="true", **options), capsys)
    assert said.startswith(words)


@pytest.mark.parametrize("method", [{}, SFT])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"report_to": "psychic"}, "--report_to psychic: psychic is not supported, only "),
        ({"report_to": "clearml"}, "--report_to clearml: ClearMLCallback requires 'clearml' to be installed."),
        ({"optim": "galore_adamw"}, "--optim galore_adamw: You need to install `galore_torch`"),
        ({"optim": "adamw_torch_xla"}, "--optim adamw_torch_xla: Trainer failed to import syncfree AdamW"),
        ({"optim": "rmsprop", "optim_args": "alpha=-1"}, "--optim rmsprop: Invalid alpha value: -1.0"),
        ({"optim_args": "psychic"}, "--optim adamw_torch_fused: not enough values to unpack"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "--lr_scheduler_type cosine_with_min_lr: One of min_lr or"),
        (
            {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": '{"psychic": 1}'},
            "--lr_scheduler_type cosine: get_cosine_schedule_with_warmup() got an unexpected keyword argument",
        ),
        ({"use_liger_kernel": "true"}, "--use_liger_kernel: liger-kernel is not installed; install it, or leave it"),
        ({"deepspeed": "/nowhere.json"}, "--deepspeed /nowhere.json: there is no such file"),
        ({"deepspeed": "{}"}, "--deepspeed: deepspeed is not installed; install it, or leave it out"),
    ],
)
def test_options_that_a_library_refuses_after_the_model_is_loaded(
    options: dict[str, Any], words: str, method: dict[str, Any], tmp_path: Path, capsys: Capture
) -> None:
    """Checked before the dataset and the model are looked for; neither exists."""
    nowhere = Path("owner/nowhere")
    said = refusal(tiny.command(nowhere, nowhere, tmp_path / "out", **{**method, **options}), capsys)
    assert said.startswith(words)


@pytest.mark.parametrize("optim", ["sgd", "adagrad", "adafactor", "rmsprop"])
def test_what_the_library_has_is_not_refused(optim: str, tmp_path: Path) -> None:
    for schedule in ("linear", "cosine", "polynomial", "constant", "inverse_sqrt"):
        settings = GRPOSettings(str(tmp_path), optim=optim, lr_scheduler_type=schedule, use_cpu=True)
        check_training(settings)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"loss_type": "psychic"},
            "--loss_type psychic: choose from grpo, dr_grpo, dapo, bnpo, cispo, sapo, luspo, vespo",
        ),
        ({"scale_rewards": "psychic"}, "--scale_rewards psychic: choose from group, batch, none"),
    ],
)
def test_names_that_there_are_not(options: dict[str, Any], said: str, tmp_path: Path, capsys: Capture) -> None:
    assert refusal(tiny.command(tmp_path, tmp_path, tmp_path / "out", **options), capsys) == said


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["q_proj"], ["q_proj"]),
        (["self_attn.q_proj"], ["self_attn.q_proj"]),
        (["q_proj", "v_proj"], ["q_proj", "v_proj"]),
        (["all-linear"], "all-linear"),
        ([r".*\.q_proj"], r".*\.q_proj"),
    ],
)
def test_targets_of_lora(given: list[str], meant: Any) -> None:
    """A single name is a name, as several are. TRL makes it a string, which peft reads as a regular expression."""
    assert ModelSettings("x", lora_target_modules=given).lora_target_modules == meant


def test_names_of_a_file_that_there_are_not(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "config.yaml").write_text("method: sft\nloss_type: dapo\n")
    said = refusal(["--dataset", "owner/x", "--model", "y", "--config", str(tmp_path / "config.yaml")], capsys)
    assert said == "--loss_type dapo: choose from nll, dft, chunked_nll"


def test_the_names_that_there_are_are_trl_s() -> None:
    assert {name: documented(name) for name in CHOICES} == {name: set(known) for name, known in CHOICES.items()}


def documented(option: str) -> set[str]:
    """The quoted names in an option's paragraph of GRPOConfig's docstring."""
    _, _, rest = (GRPOConfig.__doc__ or "").partition(f"\n        {option} (")
    return set(re.findall(r'`"(\w+)"`', re.split(r"\n        \w+ \(", rest)[0]))


def test_a_bug_is_not_a_refusal() -> None:
    with pytest.raises(KeyError), refusals("--option"):
        raise KeyError("a bug")
    with pytest.raises(UserError, match=r"^--option: ValueError$"), refusals("--option"):
        raise ValueError


def test_a_judge_whose_server_does_not_answer(policy: Path, tmp_path: Path, capsys: Capture) -> None:
    """Also if it is one of several members of a verifier."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        judge = {"name": "judge", "options": {"base_url": url, "model": "m"}}
        spec = make_spec("any", {"members": [{"name": "exact", "options": {}}, judge]})
        named = {"verifier": spec.name, "verifier_options": spec.options_json, "verifier_id": spec.verifier_id}
        rows = tiny.pivot_rows(policy, **named)
        args = tiny.command(policy, tiny.write_dataset(tmp_path / "pivots", rows, rows[:1]), tmp_path / "out")
        said = refusal(args, capsys)
    assert said.startswith(f"verifier judge: the server {url} gives no verdict: URLError: ")
    assert said.endswith(" (1 attempts); start it, or name another in the option base_url")
