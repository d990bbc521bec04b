"""Can the model be made? Its files are looked at, and its modules made without weights, before a weight is loaded.

What the library would say of an option after minutes of loading, or with a traceback, it says here in one line.
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
"""Memory that no machine lacks, and nobody needs to read about."""


def check_model(model: ModelSettings, config: Any, settings: GRPOSettings | SFTSettings) -> None:
    """UserError where the weights are not there or broken, or where the library refuses an option of the model.

    config: as `policies.load_config` gives it. A model that is not in a folder here is looked for by its loading.
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
    """Say what weights, gradients and Adam's two moments take before a weight is loaded; the options that help, too."""
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
    """UserError where a folder holds no weights, or some that cannot be read."""
    patterns = _ADAPTER if base_of(str(folder)) else _WEIGHTS
    if not any(path for pattern in patterns for path in folder.glob(pattern)):
        raise UserError(f"{folder} holds no weights ({', '.join(patterns)}): name a folder that a model was saved to")
    if found := flaw(folder, "safetensors"):
        raise UserError(f"{folder}: {found}; copy the model there again")


def flaw(folder: Path, *endings: str) -> str | None:
    """The fault in the files of these endings: one of the weights' index is missing, or one is truncated."""
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
    """Whether a file of safetensors, or one that torch saved, has its end: only its directory is read."""
    if path.suffix != ".safetensors":
        return zipfile.is_zipfile(path)
    try:
        with safe_open(path, "pt"):
            return True
    except (OSError, SafetensorError):
        return False


def _without_weights(name: str, config: Any) -> Any:
    """The model's modules; None where they are code of the model's own, which loading will run."""
    if not config.architectures:
        raise UserError(f"{name}: its config.json names no architectures; save the model with `save_pretrained`")
    architecture = getattr(transformers, config.architectures[0], None)
    if architecture is None:
        return None
    attention = config._attn_implementation
    with refusals(f"--attn_implementation {attention}" if attention else name), torch.device("meta"):
        return architecture(config)


def _check_lora(made: Any, model: ModelSettings) -> Any:
    """The model with its adapter; UserError where peft refuses an option, or the model lacks something named."""
    _check_names("lora_modules_to_save", model, "module", [name for name, _ in made.named_modules()])
    _check_names("lora_target_parameters", model, "parameter", [name for name, _ in made.named_parameters()])
    with refusals("--use_peft"):
        options: Any = get_peft_config(model)
        adapted: Any = get_peft_model(made, options, low_cpu_mem_usage=True)
    _check_names("lora_target_modules", model, "module", adapted.targeted_module_names)
    return adapted


def _check_names(option: str, model: ModelSettings, what: str, found: list[str]) -> None:
    """UserError for the first name of an option that none of the model's ends with; one text is a pattern of names."""
    given = getattr(model, option)
    for target in given if isinstance(given, list) else ():
        if not any(f".{name}".endswith(f".{target}") for name in found):
            raise UserError(f"--{option} {target}: the model has no such {what}")
