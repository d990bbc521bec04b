"""Training samples as mining did: temperature, cut-offs and token budget come from the dataset.

It also refuses what would silently go wrong in TRL: options that make all actions of a group equal, stop strings that
make every action "truncated", a dataset too small for one step.
"""

from __future__ import annotations

import json
import math
from typing import Any

from datasets import Dataset

from pivotmine.errors import UserError
from pivotmine_trainer.checks.options import RANGES
from pivotmine_trainer.cli.arguments import GRPOSettings
from pivotmine_trainer.cli.console import counted, warn

FROM_DATASET = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "max_completion_length": "max_new_tokens",
}
"""TRL's option -> the mined policy's sampling parameter."""
_WHOLE = ("top_k", "max_new_tokens")
_STOPS = ("stop", "stop_strings", "stop_token_ids", "include_stop_str_in_output")
_CHECKED = (
    *("temperature", "top_p", "top_k", "max_new_tokens", "max_tokens", "max_length"),
    *("eos_token_id", "ignore_eos", "n", "num_return_sequences"),
)
"""Keys of generation_kwargs that would override values already compared with the dataset and the model."""
_GREEDY: dict[str, Any] = {"temperature": 0, "top_k": 1, "do_sample": False, "top_p": 0}


def mined_sampling(data: Dataset) -> dict[str, Any]:
    """The sampling parameters of the profiled policy; UserError if the rows differ in them."""
    several = data.unique("sampling")
    if len(several) > 1:
        raise UserError(f"the rows were sampled in {len(several)} ways, {several[0]} and {several[1]}: train on one")
    try:
        mined = json.loads(several[0])
    except ValueError as error:
        raise UserError(f"the dataset's sampling cannot be read: {error}") from None
    if not isinstance(mined, dict):
        raise UserError(f"the dataset's sampling is not an object: {several[0]}")
    if surplus := sorted(set(mined) - set(FROM_DATASET.values())):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        raise UserError(f"the dataset's sampling has {', '.join(surplus)}, which training does not support")  # pyright: ignore[reportUnknownArgumentType]
    return mined  # pyright: ignore[reportUnknownVariableType]


def sample_as_mined(settings: GRPOSettings, data: Dataset) -> None:
    """Fill in the options that were not given; warn if a given one differs from mining."""
    mined = mined_sampling(data)
    for option, parameter in FROM_DATASET.items():
        if parameter not in mined:
            raise UserError(f"the dataset's sampling lacks {parameter}: {json.dumps(mined)}")
        given = getattr(settings, option)
        if given is None:
            _check_mined(option, parameter, mined[parameter])
            setattr(settings, option, mined[parameter])
        elif given != mined[parameter]:
            other = "token budget" if parameter == "max_new_tokens" else "policy"
            warn(f"--{option} {given}, but mining used {mined[parameter]}: the profiles are of another {other}")


def _check_mined(option: str, parameter: str, value: Any) -> None:
    """Raise UserError if the dataset's value is not allowed for the option. Nothing else checks it."""
    kinds, words = ((int,), "a whole number") if parameter in _WHOLE else ((int, float), "a number")
    known = RANGES[option]
    is_number = type(value) in kinds and math.isfinite(value)
    if not is_number or not known.least <= value <= known.most:
        raise UserError(f"the dataset's sampling: {parameter} {json.dumps(value)}: {words}, {known.words}")


def check_generation(settings: GRPOSettings) -> None:
    """Raise UserError for options that make all actions of a group equal, or count all as truncated."""
    more = settings.generation_kwargs or {}
    assert isinstance(more, dict), "TrainingArguments reads JSON text into a dict"
    chosen = {name: getattr(settings, name, more.get(name)) for name in _GREEDY}
    for name, value in _GREEDY.items():
        if chosen[name] == value and chosen[name] is not None:
            raise UserError(f"{name} {value}: all actions of a group would be the same, and every advantage 0")
    if more.get("seed") is not None and settings.use_vllm:
        raise UserError("generation_kwargs: a seed gives all actions of a group the same random numbers; use --seed")
    if (more.get("num_beams") or 1) != 1:
        raise UserError("generation_kwargs: num_beams searches instead of sampling; leave it out")
    if stops := [name for name in _STOPS if more.get(name)]:
        raise UserError(
            f"generation_kwargs: {', '.join(stops)} would end actions without an end-of-turn token, and TRL counts "
            "those as truncated; leave it out"
        )
    if checked := [name for name in more if name in _CHECKED]:
        raise UserError(
            f"generation_kwargs: {', '.join(checked)} would bypass the checks; give --temperature, --top_p, --top_k or "
            "--max_completion_length, or leave it out"
        )
    if settings.remove_unused_columns:
        raise UserError("--remove_unused_columns: the reward needs the dataset's other columns; leave it out")


def check_steps(settings: GRPOSettings, num_rows: int) -> None:
    """Raise UserError if the rows do not fill one batch of generations: TRL would train 0 steps and report success.

    Warn if the warm-up is as long as the training.
    """
    assert settings.generation_batch_size is not None
    assert settings.num_generations is not None
    prompts = settings.generation_batch_size // settings.num_generations
    if num_rows < prompts:
        raise UserError(
            f"{counted(num_rows, 'training row')}, but one step takes {prompts}: mine more states, or give a smaller "
            "--prompts_per_step"
        )
    planned = _planned_steps(settings, num_rows // prompts)
    if settings.lr_scheduler_type != "constant" and planned <= settings.warmup_steps:
        warn(
            f"--warmup_steps {settings.warmup_steps:g}: the training has {counted(planned, 'step')}, none at the full "
            "--learning_rate; give fewer"
        )


def _planned_steps(settings: GRPOSettings, num_batches: int) -> int:
    """Number of optimiser steps. num_batches: batches of generations in an epoch."""
    if settings.max_steps > 0:
        return settings.max_steps
    assert settings.steps_per_generation is not None
    assert settings.gradient_accumulation_steps is not None
    passes = num_batches * settings.steps_per_generation * settings.num_iterations
    return math.ceil(settings.num_train_epochs * max(1, math.ceil(passes / settings.gradient_accumulation_steps)))
