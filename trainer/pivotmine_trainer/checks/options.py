"""Checks of TRL's option values: NaN silently trains a model of NaN, and unknown names fail at step 1, or never."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from accelerate.utils import is_deepspeed_available

from pivotmine.errors import UserError


class Range(NamedTuple):
    least: float
    most: float
    words: str


_POSITIVE = Range(math.ulp(0.0), math.inf, "above 0")
_NOT_NEGATIVE = Range(0, math.inf, "0 or more")
_COUNT = Range(1, math.inf, "at least 1")
_SHARE = Range(0, 1, "in [0, 1]")
_BELOW_ONE = Range(0, math.nextafter(1, 0), "in [0, 1)")
RANGES = {
    "learning_rate": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "warmup_steps": _NOT_NEGATIVE,
    "adam_beta1": _BELOW_ONE,
    "adam_beta2": _BELOW_ONE,
    "adam_epsilon": _NOT_NEGATIVE,
    "neftune_noise_alpha": _NOT_NEGATIVE,
    "max_grad_norm": _NOT_NEGATIVE,
    "beta": _NOT_NEGATIVE,
    "epsilon": _NOT_NEGATIVE,
    "epsilon_high": _NOT_NEGATIVE,
    "temperature": _NOT_NEGATIVE,
    "top_p": _SHARE,
    "min_p": _SHARE,
    "repetition_penalty": _POSITIVE,
    "top_entropy_quantile": _SHARE,
    "ref_model_mixup_alpha": _SHARE,
    "ref_model_sync_steps": _COUNT,
    "top_k": Range(0, math.inf, "0 (all) or more"),
    "num_generations": Range(2, math.inf, "at least 2: one action alone has no advantage"),
    "num_generations_eval": Range(2, math.inf, "at least 2: all rewards of one action are equal"),
    "num_iterations": _COUNT,
    "steps_per_generation": _COUNT,
    "generation_batch_size": _COUNT,
    "num_completions_to_print": _NOT_NEGATIVE,
    "num_train_epochs": _POSITIVE,
    "max_length": _COUNT,
    "max_completion_length": _COUNT,
    "prompts_per_step": _COUNT,
    "per_device_train_batch_size": _COUNT,
    "per_device_eval_batch_size": _COUNT,
    "gradient_accumulation_steps": _COUNT,
    "eval_accumulation_steps": _COUNT,
    "logging_steps": _NOT_NEGATIVE,
    "eval_steps": _NOT_NEGATIVE,
    "save_steps": _NOT_NEGATIVE,
    "dataloader_num_workers": _NOT_NEGATIVE,
    "dataloader_prefetch_factor": _COUNT,
    "seed": Range(0, 2**32 - 1, "in [0, 2^32)"),
}
"""Range of each option; None is always allowed."""
_OBJECTS = ("model_init_kwargs", "generation_kwargs", "chat_template_kwargs", "lr_scheduler_kwargs")
CHOICES = {
    "loss_type": ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"),
    "scale_rewards": ("group", "batch", "none"),
    "importance_sampling_level": ("token", "sequence"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    "vllm_mode": ("server", "colocate"),
    "vllm_importance_sampling_mode": ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"),
}
"""Values of these options that the docstring of TRL's GRPOConfig lists."""


def check_numbers(settings: Any) -> None:
    """Raise UserError for the first option that is not finite or out of range."""
    for name in (field.name for field in fields(settings)):
        value = getattr(settings, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--{name} {value}: give a finite number")
        if name in RANGES and isinstance(value, int | float) and not RANGES[name].least <= value <= RANGES[name].most:
            raise UserError(f"--{name} {value}: {RANGES[name].words}")
    if settings.max_steps != -1 and settings.max_steps < 1:
        raise UserError(f"--max_steps {settings.max_steps}: at least 1, or -1 for as many as the epochs have")


def check_deepspeed(config: Any) -> None:
    """Raise UserError if DeepSpeed is requested and is not installed, or its config file does not exist."""
    if not config:
        return
    if isinstance(config, str) and not config.lstrip().startswith("{") and not Path(config).is_file():
        raise UserError(f"--deepspeed {config}: there is no such file")
    if not is_deepspeed_available():
        raise UserError("--deepspeed: deepspeed is not installed; install it, or leave it out")


def check_choices(settings: Any) -> None:
    """Raise UserError for the first option with an unknown value, or that must be a JSON object and is not.

    settings: after TRL's own `__post_init__`, which parses JSON text only if it starts like an object. Choices that
    TRL declares are checked again: argparse does not check values from a --config file.
    """
    for name in _OBJECTS:
        value = getattr(settings, name, None)
        if value is not None and not isinstance(value, dict):
            raise UserError(f'--{name} {value}: give a JSON object, {{"name": value}}')
    for option in fields(settings):
        known, value = option.metadata.get("choices") or CHOICES.get(option.name), getattr(settings, option.name)
        if known and value is not None and value not in known:
            raise UserError(f"--{option.name} {value}: choose from {', '.join(known)}")
