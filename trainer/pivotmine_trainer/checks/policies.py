"""The policy: its tokenizer, its context, and whether it is the one that was profiled."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import Field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from datasets import Dataset
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, GenerationConfig
from trl.trainer.utils import get_peft_config, get_quantization_config

from pivotmine import policy
from pivotmine.errors import UserError
from pivotmine_trainer.cli.arguments import GRPOSettings, ModelSettings, SFTSettings
from pivotmine_trainer.cli.console import is_first_process, warn
from pivotmine_trainer.cli.folders import is_missing_folder

_REFUSALS = (OSError, ValueError, ImportError, RuntimeError, SafetensorError)
"""What the libraries raise if they refuse an option."""

_LORA = (
    *("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_target_parameters"),
    *("lora_modules_to_save", "lora_task_type", "use_rslora", "use_dora"),
)
_ADAPTER_CONFIG = "adapter_config.json"
_QUANTISED = ("load_in_8bit", "load_in_4bit")


@contextmanager
def refusals(where: str) -> Generator[None]:
    """Turn a library's refusal into a UserError: `where`, and the first line of the library's message.

    Wrap only library calls: a bug of ours inside would lose its traceback.
    """
    try:
        yield
    except _REFUSALS as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{where}: {said}") from None


def check_lora(model: ModelSettings) -> None:
    """Raise UserError for an option of LoRA or quantisation that would be ignored."""
    folder, is_adapter = model.model_name_or_path, base_of(model.model_name_or_path) is not None
    if is_adapter and model.use_peft:
        raise UserError(f"{folder} is an adapter, which is trained as it is; leave out --use_peft")
    names = (*_LORA, *(_QUANTISED if is_adapter else ()))
    given = [option.name for option in fields(model) if option.name in names and _is_given(option, model)]
    if given and is_adapter:
        raise UserError(f"{folder} is an adapter, which is trained as it is; leave out --{given[0]}")
    if given and not model.use_peft:
        raise UserError(f"--{given[0]}: all weights are trained; give --use_peft true, or leave it out")


def _is_given(option: Field[Any], model: ModelSettings) -> bool:
    return getattr(model, option.name) != option.default


def load_tokenizer(model: ModelSettings, settings: GRPOSettings | SFTSettings) -> Any:
    """Load the model's tokenizer as TRL would; UserError if there is none."""
    folder = model.model_name_or_path
    check_folder(folder)
    base = base_of(folder)
    with refusals(
        f"{folder} holds no tokenizer; copy the one of {base} there" if base else f"{folder} holds no tokenizer"
    ):
        return AutoTokenizer.from_pretrained(
            model.model_name_or_path,
            revision=model.model_revision,
            truncation_side="left",
            padding_side="left",
            trust_remote_code=settings.trust_remote_code,
        )


def load_config(model: ModelSettings, settings: GRPOSettings | SFTSettings) -> Any:
    """Load the config of the model, or of an adapter's base model; UserError if there is none."""
    folder = str(model.model_name_or_path)
    check_folder(folder)
    base = base_of(folder)
    missing = (
        f"{folder}/{_ADAPTER_CONFIG}: no base model {base} (base_model_name_or_path); name its folder, relative to "
        f"{Path.cwd()}, or its hub id"
    )
    with refusals(missing if base else f"no model under {folder}"):
        return AutoConfig.from_pretrained(
            base or folder,
            revision=model.model_revision,
            trust_remote_code=settings.trust_remote_code,
            attn_implementation=model_init_kwargs(model, settings)["attn_implementation"],
        )


def check_folder(name: str | None) -> None:
    """Raise UserError if the policy's name can only mean a folder that does not exist."""
    if name and is_missing_folder(name):
        raise UserError(f"--model {name}: no such folder; name one that holds a model, or a model's name on the hub")


def model_init_kwargs(model: ModelSettings, settings: GRPOSettings | SFTSettings) -> dict[str, Any]:
    """Arguments with which TRL loads the model. `--model_init_kwargs` overrides the other options."""
    given = settings.model_init_kwargs or {}
    assert isinstance(given, dict), "TrainingArguments reads JSON text into a dict"
    ours = {"revision": model.model_revision, "attn_implementation": model.attn_implementation, "dtype": model.dtype}
    return {**ours, **given}


def trainer_arguments(model: ModelSettings, settings: GRPOSettings | SFTSettings, tokenizer: Any) -> dict[str, Any]:
    """The policy as arguments of any TRL trainer. An adapter is loaded here, any other model by TRL."""
    adapter = load_adapter(model, settings)
    settings.model_init_kwargs = None if adapter else model_init_kwargs(model, settings)
    return {
        "model": adapter or str(model.model_name_or_path),
        "args": settings,
        "processing_class": tokenizer,
        "quantization_config": None if adapter else get_quantization_config(model),
        "peft_config": get_peft_config(model),
    }


def load_adapter(model: ModelSettings, settings: GRPOSettings | SFTSettings) -> Any:
    """Load the adapter in a folder with its base model, trainable; None if the folder holds no adapter."""
    folder = str(model.model_name_or_path)
    if base_of(folder) is None:
        return None
    from peft import AutoPeftModelForCausalLM

    options = model_init_kwargs(model, settings)
    del options["revision"]  # the adapter's own; its config has the base model's
    with refusals(f"no model under {folder}"):
        return AutoPeftModelForCausalLM.from_pretrained(folder, is_trainable=True, **options)


def base_of(folder: str | None) -> str | None:
    """Name of the base model of the adapter in a folder.

    None if the folder holds no adapter; UserError if the adapter names no base model.
    """
    path = Path(folder or "") / _ADAPTER_CONFIG
    if not folder or not path.is_file():
        return None
    try:
        base = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        base = None
    if not base or not isinstance(base, str):
        raise UserError(
            f"{path} names no base_model_name_or_path: write the folder or hub id of the adapter's base model there"
        )
    return base


def load_generation_config(name: str) -> GenerationConfig | None:
    """Load the model's generation config; None if it has none."""
    try:
        return GenerationConfig.from_pretrained(name)
    except (OSError, ValueError):
        return None


def context_length(config: Any) -> int | None:
    """Maximum number of tokens in the model's context; None if its config does not say."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def compare_weights(data: Dataset, model: ModelSettings) -> None:
    """Warn if the policy is not the profiled one: the states may no longer be pivots for it."""
    if not is_first_process():
        return
    profiled = {found for found in data.unique("weights_hash") if found is not None}
    ours = hash_weights(str(model.model_name_or_path))
    if not profiled or ours is None:
        warn(
            "cannot check that this is the profiled policy: a hash of its weights, or of the profiled ones, is missing"
        )
    elif profiled != {ours}:
        warn(
            f"{model.model_name_or_path} is not the policy that was profiled: some states may not be pivots for it; "
            "the share of groups with equal rewards shows how many"
        )


@lru_cache(maxsize=1)
def hash_weights(name: str) -> str | None:
    """Hash of the weights as the miner computes it, an adapter's with its base model's.

    None if the weights are not on this machine.
    """
    folder = _local(name)
    if folder is None:
        return None
    base = base_of(str(folder))
    try:
        if base is None:
            return policy.hash_weights(folder)
        below = _local(base)
        return below and policy.hash_text(policy.hash_weights(below) + policy.hash_weights(folder))
    except UserError:  # no weights in it: loading reports that
        return None


def _local(name: str) -> Path | None:
    """A model's folder, or its copy in the hub's cache; None if it is not on this machine."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except Exception:  # not cached, no such name: the client raises several kinds
        return None
