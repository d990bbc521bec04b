"""`--method sft`: the baseline that PivotRL is compared with, TRL's SFTTrainer on the demonstrated actions.

The prompt is the one that was mined, token for token; the loss is on the action alone, its end of turn included. Every
demonstration of a row is an example, whether a verifier judges it or not.
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from trl.trainer.sft_trainer import SFTTrainer
from trl.trainer.utils import get_peft_config, get_quantization_config

from pivotmine.errors import UserError
from pivotmine_trainer import loadable, policies, prompts, resume
from pivotmine_trainer.arguments import ModelSettings, PivotArguments, SFTSettings
from pivotmine_trainer.console import say
from pivotmine_trainer.dataset import check_rows, load_split
from pivotmine_trainer.demonstrations import continuations


def train(arguments: PivotArguments, settings: SFTSettings, model: ModelSettings) -> None:
    """Train and save to OUTPUT_DIR."""
    tokenizer, config = policies.load_tokenizer(model, settings), policies.load_config(model, settings)
    splits = ["train"] if settings.eval_strategy == "no" else ["train", "validation"]
    rows = {split: load_split(arguments.dataset, split) for split in splits}
    examples: dict[str, Dataset] = {}
    for split, data in rows.items():
        check_rows(data, split)
        prompts.check_prompts(data, split, tokenizer, str(model.model_name_or_path))
        examples[split] = _examples(data, split, tokenizer, policies.context_length(config))
    checkpoint = resume.checkpoint_to_resume(settings)
    loadable.check_model(model, config)
    resume.remember(settings, resume.identity(arguments, settings, model, rows["train"]), checkpoint)
    resume.check_left(settings, checkpoint)
    adapter = policies.load_adapter(model)
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
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(settings.output_dir)
    say(f"trained   {trainer.state.global_step} steps, saved to {settings.output_dir}")


def _examples(data: Dataset, split: str, tokenizer: Any, context: int | None) -> Dataset:
    """input_ids and completion_mask of every demonstration; UserError where none can be written or one is too long."""
    rows: list[dict[str, list[int]]] = []
    num_unwritten = 0
    for index, row in enumerate(data):
        assert isinstance(row, dict)
        written = list(continuations(tokenizer, row))
        num_unwritten += not written
        for found in written:
            ids = [*row["prompt_ids"], *found.action_ids]
            if context is not None and len(ids) > context:
                raise UserError(
                    f"row {index} of {split}: {len(ids)} tokens are more than the model's context {context}"
                )
            mask = [0] * len(row["prompt_ids"]) + [1] * len(found.action_ids)
            rows.append({"input_ids": ids, "completion_mask": mask})
    if not rows:
        raise UserError(f"the chat template writes none of the {len(data)} demonstrations of {split} as they were read")
    label = "train" if split == "train" else "held out"
    say(f"{label:<10}{len(rows)} demonstrations; rows left out: template_cannot_write {num_unwritten}")
    return Dataset.from_list(rows)
