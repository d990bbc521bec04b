"""`--method sft`: the baseline that PivotRL is compared with, TRL's SFTTrainer on the demonstrated actions.

The prompt is the one that was mined, token for token; the loss is on the action alone, its end of turn included. Every
demonstration of a row is an example, whether a verifier judges it or not; one longer than `--max_length` is left out
and counted, for TRL would cut off its end, and half an action is no demonstration.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from datasets import Dataset
from trl.trainer.sft_trainer import SFTTrainer
from trl.trainer.utils import get_peft_config, get_quantization_config

from pivotmine.errors import UserError
from pivotmine_trainer.checks import policies
from pivotmine_trainer.checks.model import check_model
from pivotmine_trainer.checks.setup import check_training
from pivotmine_trainer.cli.arguments import ModelSettings, PivotArguments, SFTSettings
from pivotmine_trainer.cli.console import say, say_rows
from pivotmine_trainer.data import prompts
from pivotmine_trainer.data.dataset import check_rows, load_split
from pivotmine_trainer.data.rows import source_of
from pivotmine_trainer.sft.demonstrations import continuations
from pivotmine_trainer.train import resume, saving


def train(arguments: PivotArguments, settings: SFTSettings, model: ModelSettings) -> None:
    """Train and save to OUTPUT_DIR."""
    check_training(settings)
    policies.check_lora(model)
    config, tokenizer = policies.load_config(model, settings), policies.load_tokenizer(model, settings)
    splits = ["train"] if settings.eval_strategy == "no" else ["train", "validation"]
    rows = {split: load_split(arguments.dataset, split) for split in splits}
    examples: dict[str, Dataset] = {}
    for split, data in rows.items():
        source = source_of(arguments.dataset, split)
        check_rows(data, source)
        prompts.check_prompts(data, source, tokenizer, str(model.model_name_or_path))
        examples[split] = _examples(data, split, tokenizer, settings.max_length)
        _check_context(examples[split], split, policies.context_length(config))
    checkpoint = resume.checkpoint_to_resume(settings)
    check_model(model, config, settings)
    ours = resume.identity(arguments, settings, model, rows["train"], rows.get("validation"))
    resume.remember(settings, ours, checkpoint)
    only_to_save = resume.only_to_save(settings, checkpoint)
    adapter = policies.load_adapter(model, settings)
    settings.model_init_kwargs = None if adapter else policies.model_init_kwargs(model, settings)
    with policies.refusals("the trainer cannot be made"):
        trainer = SFTTrainer(
            model=adapter or str(model.model_name_or_path),
            args=settings,
            train_dataset=examples["train"],
            eval_dataset=examples.get("validation"),
            processing_class=tokenizer,
            quantization_config=None if adapter else get_quantization_config(model),
            peft_config=get_peft_config(model),
        )
    resume.train(trainer, checkpoint, only_to_save=only_to_save)
    trainer.save_model(settings.output_dir)
    saving.save_in_dtype(settings.output_dir, config)
    say(f"trained   {trainer.state.global_step} steps, saved to {settings.output_dir}")


def _examples(data: Dataset, split: str, tokenizer: Any, max_length: int | None) -> Dataset:
    """input_ids and completion_mask of every demonstration that fits; UserError where none does or can be written."""
    examples: list[dict[str, list[int]]] = []
    left_out: Counter[str] = Counter()
    for row in data:
        assert isinstance(row, dict)
        written = [_example(row["prompt_ids"], found.action_ids) for found in continuations(tokenizer, row)]
        fitting = [one for one in written if max_length is None or len(one["input_ids"]) <= max_length]
        left_out["template_cannot_write"] += len(json.loads(row["demonstrations"])) - len(written)
        left_out["longer_than_max_length"] += len(written) - len(fitting)
        examples += fitting
    if left_out["longer_than_max_length"] and not examples:
        raise UserError(
            f"--max_length {max_length}: all demonstrations of {split} are longer; give more, or leave it out"
        )
    if not examples:
        raise UserError(f"the chat template writes none of the {len(data)} demonstrations of {split} as they were read")
    say_rows(split, f"{len(examples)} demonstrations", left_out)
    return Dataset.from_list(examples)


def _example(prompt_ids: list[int], action_ids: list[int]) -> dict[str, list[int]]:
    return {
        "input_ids": [*prompt_ids, *action_ids],
        "completion_mask": [0] * len(prompt_ids) + [1] * len(action_ids),
    }


def _check_context(examples: Dataset, split: str, context: int | None) -> None:
    """UserError where a demonstration has more tokens than the model has positions for."""
    longest = max(map(len, examples["input_ids"]))
    if context is not None and longest > context:
        raise UserError(
            f"a demonstration of {split} has {longest} tokens, more than the model's context of {context}; "
            f"--max_length {context} leaves such out"
        )
