"""Check before loading weights that the model can be built: look at its files, and build its modules without weights.

A refused option is one line here. Otherwise it would end in a traceback, or fail after minutes of loading.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import get_peft_model
from safetensors import SafetensorError, safe_open
from trl.trainer.utils import get_peft_config

from pivotmine.errors import UserError
from pivotmine_trainer.checks import policies
from pivotmine_trainer.checks.policies import base_of, refusals
from pivotmine_trainer.cli.arguments import GRPOSettings, ModelSettings, SFTSettings
from pivotmine_trainer.cli.console import say

_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin", "*.gguf")
_ADAPTER = ("adapter_model*",)
SMALL_GB = 1.0
"""Needs below this are not reported: every machine has as much memory."""


def check_model(model: ModelSettings, config: Any, settings: GRPOSettings | SFTSettings) -> None:
    """Raise UserError if weights are missing or broken, or the library refuses an option of the model.

    config: from `policies.load_config`. Weights on a hub are checked only when they are loaded.
    """
    name = str(model.model_name_or_path)
    for folder in (Path(name), Path(base_of(name) or name)):
        if folder.is_dir():
            check_weights(folder)
    made = _without_weights(name, config)
    if model.use_peft and made is not None:
        made = _check_lora(made, model)
    if made is not None and base_of(name) is None:
        say_memory(made, model, settings)


def say_memory(made: Any, model: ModelSettings, settings: GRPOSettings | SFTSettings) -> None:
    """Print the memory for weights, gradients and Adam's two moments, and the options that reduce it."""
    weights = [(weight.numel(), weight.requires_grad) for weight in made.parameters()]
    total, trained = sum(n for n, _ in weights), sum(n for n, is_trained in weights if is_trained)
    is_full, asked = trained == total, policies.model_init_kwargs(model, settings)["dtype"]
    name = str(made.config.dtype if asked == "auto" else asked).removeprefix("torch.")
    width = 2 if name in ("bfloat16", "float16") else 4
    is_8bit = "8bit" in str(getattr(settings.optim, "value", settings.optim))
    moments = 2 if is_8bit else 2 * width
    reference = width * total if getattr(settings, "beta", 0) and is_full else 0
    size = (width * total + (width + moments) * trained + reference) / 1e9
    if size >= SMALL_GB:
        less = {
            "--use_peft true (adapters only)": is_full,
            "--optim adamw_bnb_8bit (install bitsandbytes)": not is_8bit,
            "--dtype bfloat16 (loses updates of 1e-6)": width > 2,
        }
        hints = ", ".join(option for option, helps in less.items() if helps)
        say(
            f"memory    {size:,.0f} GB for weights, gradients and AdamW in {name}, for any batch: "
            f"{total / 1e9:.3g} B parameters, {trained / 1e9:.3g} B of them trained; activations come on top. Less: "
            f"{hints}{', or ' if hints else ''}weights sharded over GPUs by `accelerate launch --use_fsdp`"
        )


def check_weights(folder: Path) -> None:
    """Raise UserError if a folder holds no weights, or unreadable ones."""
    patterns = _ADAPTER if base_of(str(folder)) else _WEIGHTS
    if not any(path for pattern in patterns for path in folder.glob(pattern)):
        raise UserError(f"{folder} holds no weights ({', '.join(patterns)}): name a folder that a model was saved to")
    if found := flaw(folder, "safetensors"):
        raise UserError(f"{folder}: {found}; copy the model there again")


def flaw(folder: Path, *endings: str) -> str | None:
    """Find a fault: a file in the weights' index is missing, or a file with one of these endings is truncated."""
    index = folder / "model.safetensors.index.json"
    if index.is_file() and not (folder / "model.safetensors").is_file():
        with refusals(f"{index} cannot be read"):
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        if missing := sorted(name for name in named if not (folder / name).is_file()):
            return f"{missing[0]} is missing"
    files = [path for ending in endings for path in sorted(folder.glob(f"*.{ending}"))]
    broken = [path.name for path in files if not _is_readable(path)]
    return f"{broken[0]} is empty or broken" if broken else None


def _is_readable(path: Path) -> bool:
    """Whether a safetensors file, or one that torch saved, is complete. Reads only the file's directory of tensors."""
    if path.suffix != ".safetensors":
        return zipfile.is_zipfile(path)
    try:
        with safe_open(path, "pt"):
            return True
    except (OSError, SafetensorError):
        return False


def _without_weights(name: str, config: Any) -> Any:
    """Build the model's modules; None if their code comes with the model, because only loading runs it."""
    if not config.architectures:
        raise UserError(f"{name}: its config.json names no architectures; save the model with `save_pretrained`")
    architecture = getattr(transformers, config.architectures[0], None)
    if architecture is None:
        return None
    attention = config._attn_implementation
    with refusals(f"--attn_implementation {attention}" if attention else name), torch.device("meta"):
        return architecture(config)


def _check_lora(made: Any, model: ModelSettings) -> Any:
    """Add the adapter to the model; UserError if peft refuses an option, or the model lacks a named module."""
    _check_names("lora_modules_to_save", model, "module", [name for name, _ in made.named_modules()])
    _check_names("lora_target_parameters", model, "parameter", [name for name, _ in made.named_parameters()])
    with refusals("--use_peft"):
        options: Any = get_peft_config(model)
        adapted: Any = get_peft_model(made, options, low_cpu_mem_usage=True)
    _check_names("lora_target_modules", model, "module", adapted.targeted_module_names)
    return adapted


def _check_names(option: str, model: ModelSettings, what: str, found: list[str]) -> None:
    """Raise UserError for the first target that ends no name of the model. A string is a pattern, not checked here."""
    given = getattr(model, option)
    for target in given if isinstance(given, list) else ():
        if not any(f".{name}".endswith(f".{target}") for name in found):
            raise UserError(f"--{option} {target}: the model has no such {what}")
