"""`--method sft`: the baseline for PivotRL, TRL's SFTTrainer on the demonstrated actions.

The prompt has the mined tokens. If the template keeps the history, the turns of a trajectory are one sequence, and each
prefix is computed once. The loss is on the demonstrated actions only, end of turn included (`--sft_turns calls`: only
on turns with calls). Every demonstration of a row is used, even if no verifier judges it. Demonstrations longer than
`--max_length` are left out and counted: TRL would cut off the end of the action.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset
from trl.trainer.sft_trainer import SFTTrainer

from pivotmine.errors import UserError
from pivotmine_trainer.checks import policies
from pivotmine_trainer.checks.model import check_model
from pivotmine_trainer.checks.setup import check_training
from pivotmine_trainer.cli.arguments import ModelSettings, PivotArguments, SFTSettings
from pivotmine_trainer.cli.console import counted, is_first_process, say_rows
from pivotmine_trainer.data import prompts
from pivotmine_trainer.data.dataset import check_rows, load_split
from pivotmine_trainer.data.rows import source_of
from pivotmine_trainer.sft.demonstrations import continuations
from pivotmine_trainer.train import identity, resume, saving


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
        examples[split] = _examples(data, split, tokenizer, settings.max_length, arguments.sft_turns)
        _check_context(examples[split], split, policies.context_length(config))
    checkpoint = resume.checkpoint_to_resume(settings)
    check_model(model, config, settings)
    ours = identity.identity(arguments, settings, model, tokenizer, rows)
    identity.remember(settings, ours, checkpoint)
    only_to_save = resume.only_to_save(settings, checkpoint)
    with policies.refusals("the trainer cannot be made"):
        given = policies.trainer_arguments(model, settings, tokenizer)
        trainer = _Trainer(train_dataset=examples["train"], eval_dataset=examples.get("validation"), **given)
    count = f"{counted(len(examples['train']), 'sequence')} of {counted(len(rows['train']), 'row')}"
    facts = {
        "policy": str(model.model_name_or_path),
        "dataset": f"{arguments.dataset} ({count})",
        "demonstrated turns": arguments.sft_turns,
    }
    trainer.write_card = lambda: saving.write_card(
        Path(str(settings.output_dir)),
        "sft",
        facts,
        saving.losses(trainer.state.log_history),
        arguments.command,
        model.model_name_or_path,
    )
    resume.train(trainer, checkpoint, only_to_save=only_to_save)
    saving.save(trainer, config)
    if settings.push_to_hub:
        trainer.push_to_hub()


class _Trainer(SFTTrainer):
    """TRL's SFTTrainer with our model card, which it writes with every checkpoint."""

    write_card: Callable[[], None]

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        if is_first_process():
            self.write_card()


def _examples(data: Dataset, split: str, tokenizer: Any, max_length: int | None, turns: str) -> Dataset:
    """input_ids and completion_mask of the sequences; UserError if no demonstration fits or can be written."""
    trajectories: dict[str, list[Demonstration]] = {}
    left_out: Counter[str] = Counter()
    for number, row in enumerate(data):
        assert isinstance(row, dict)
        if turns == "calls" and row["kind"] != "tool_call":
            left_out["not_a_call"] += 1
            continue
        written = [Demonstration(row["prompt_ids"], c.action_ids) for c in continuations(tokenizer, row)]
        fitting = [
            one for one in written if max_length is None or len(one.prompt_ids) + len(one.action_ids) <= max_length
        ]
        left_out["template_cannot_write"] += len(json.loads(row["demonstrations"])) - len(written)
        left_out["longer_than_max_length"] += len(written) - len(fitting)
        trajectories.setdefault(row.get("trajectory_id") or f"row {number}", []).extend(fitting)
    examples = [example for found in trajectories.values() for example in join(found, max_length)]
    if left_out["longer_than_max_length"] and not examples:
        raise UserError(
            f"--max_length {max_length}: all demonstrations of {split} are longer; give more, or leave it out"
        )
    if left_out["not_a_call"] == len(data):
        raise UserError(f"--sft_turns calls: no row of {split} is a call ({counted(len(data), 'row')}); leave it out")
    if not examples:
        raise UserError(
            f"the chat template cannot write any demonstration of {split} as it was read ({counted(len(data), 'row')})"
        )
    count = counted(sum(map(len, trajectories.values())), "demonstration")
    say_rows(split, f"{count} in {counted(len(examples), 'sequence')}", left_out)
    return Dataset.from_list(examples)


class Demonstration(NamedTuple):
    prompt_ids: list[int]
    action_ids: list[int]


def join(demonstrations: list[Demonstration], max_length: int | None = None) -> list[dict[str, list[int]]]:
    """Join the turns of one trajectory: a turn is appended to the sequence that its prompt starts with.

    If the template keeps the history, the trajectory becomes one sequence: each token once, the loss on all
    demonstrated actions. If the template rewrites the history (drops reasoning), a new sequence begins.
    """
    joined: list[tuple[list[int], list[int]]] = []
    for prompt, action in sorted(demonstrations, key=lambda one: len(one.prompt_ids)):
        fits = max_length is None or len(prompt) + len(action) <= max_length
        before = [place for place, (ids, _) in enumerate(joined) if fits and prompt[: len(ids)] == ids]
        mask = joined[before[-1]][1] if before else []
        mask = [*mask, *[0] * (len(prompt) - len(mask)), *[1] * len(action)]
        if before:
            del joined[before[-1]]
        joined.append(([*prompt, *action], mask))
    return [{"input_ids": ids, "completion_mask": mask} for ids, mask in joined]


def _check_context(examples: Dataset, split: str, context: int | None) -> None:
    """Raise UserError if a demonstration is longer than the model's context."""
    longest = max(map(len, examples["input_ids"]))
    if context is not None and longest > context:
        raise UserError(
            f"a demonstration of {split} has {longest} tokens, more than the model's context of {context}; "
            f"--max_length {context} leaves out such demonstrations"
        )
