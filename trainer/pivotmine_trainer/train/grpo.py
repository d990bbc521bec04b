"""`--method grpo`: check everything that can be checked without a model, then train on pivots."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from datasets import Dataset

from pivotmine.errors import UserError
from pivotmine_trainer.checks import policies
from pivotmine_trainer.checks.model import check_model
from pivotmine_trainer.checks.setup import check_training
from pivotmine_trainer.cli.arguments import GRPOSettings, ModelSettings, PivotArguments
from pivotmine_trainer.cli.console import counted, is_first_process, say, say_rows, warn
from pivotmine_trainer.data import prompts
from pivotmine_trainer.data.dataset import (
    check_option,
    check_rows,
    check_servers,
    judged_rows,
    load_split,
    row_weights,
)
from pivotmine_trainer.data.rows import source_of
from pivotmine_trainer.extras.curriculum import Curriculum
from pivotmine_trainer.extras.demonstration_loss import DemonstrationLoss
from pivotmine_trainer.extras.echo import Echo, check_replies
from pivotmine_trainer.extras.watch import Watch
from pivotmine_trainer.reward import end_of_turn_ids, make_reward
from pivotmine_trainer.train import heldout, identity, resume, sampling, saving
from pivotmine_trainer.train.heldout import HeldOut
from pivotmine_trainer.train.prompt_sampler import first_order
from pivotmine_trainer.train.trainer import CURRICULUM_FILE, Additions, PivotTrainer

FEW_ROWS = 20
"""With fewer held-out rows there is a warning."""


def train(arguments: PivotArguments, settings: GRPOSettings, model: ModelSettings) -> None:
    """Train, evaluate, save to OUTPUT_DIR, and report on the held-out pivots."""
    check_training(settings)
    check_option("verifier", arguments.verifier)
    check_option("watch_verifier", arguments.watch_verifier)
    if settings.metric_for_best_model == "loss":  # an evaluation computes no loss
        settings.metric_for_best_model, settings.greater_is_better = "eval_pivot_reward", True
    data, held_out = _data(arguments, settings)
    policies.check_lora(model)
    config, tokenizer = policies.load_config(model, settings), policies.load_tokenizer(model, settings)
    splits = {source_of(arguments.dataset, "train"): data, source_of(arguments.dataset, "validation"): held_out}
    _check(settings, model, tokenizer, config, splits)
    echo = _echo(arguments, tokenizer, config, data)
    checkpoint = resume.checkpoint_to_resume(settings)
    check_model(model, config, settings)
    demonstrated = _demonstrated(arguments, tokenizer)
    demonstrations = _demonstrations(arguments, settings, tokenizer, config, demonstrated)
    check_servers([split for split in (data, held_out) if split is not None], arguments.verifier)
    read = {"train": data, "validation": held_out, "demonstrations": demonstrated}
    ours = identity.identity(arguments, settings, model, tokenizer, read)
    identity.remember(settings, ours, checkpoint)
    only_to_save = resume.only_to_save(settings, checkpoint)
    curriculum, watch = _curriculum(arguments, settings, data, checkpoint), Watch(arguments.watch_verifier)
    if checkpoint is not None:
        watch.load(Path(checkpoint))
    if checkpoint is None and is_first_process():
        heldout.start_anew(Path(str(settings.output_dir)))
    policies.compare_weights(data, model)
    additions = Additions(
        shared_prefix=arguments.shared_prefix,
        advantages=arguments.advantages,
        invalid_action_advantage=arguments.invalid_action_advantage,
        curriculum=curriculum,
        echo=echo,
        demonstrations=demonstrations,
        retrieval_prompts=arguments.retrieval_prompts,
        watch=watch,
        weights=row_weights(data, source_of(arguments.dataset, "train")),
        on_heldout=_heldout_callback(arguments, settings, model, data),
        write_card=lambda: _write_card(arguments, settings, model, data),
    )
    trainer = _trainer(arguments, settings, model, tokenizer, config, data, held_out, additions)
    resume.train(trainer, checkpoint, only_to_save=only_to_save)
    if held_out is not None and not _evaluated(trainer):
        trainer.evaluate()
    saving.save(trainer, config)
    _report(arguments, settings, model, trainer)
    if settings.push_to_hub:
        trainer.push_to_hub()


def _data(arguments: PivotArguments, settings: GRPOSettings) -> tuple[Dataset, Dataset | None]:
    """Load the training rows and the held-out rows (None if they are never sampled)."""
    name, verifier = arguments.dataset, arguments.verifier
    rows = judged_rows(load_split(name, "train"), source_of(name, "train"), verifier)
    say_rows("train", counted(len(rows.data), "row"), rows.left_out)
    sampling.sample_as_mined(settings, rows.data)
    sampling.check_generation(settings)
    sampling.check_steps(settings, len(rows.data))
    if settings.eval_strategy == "no":
        settings.eval_on_start = False  # else TRL would need a validation split
        return rows.data, None
    try:
        validation = load_split(name, "validation")
    except UserError as error:
        raise UserError(f"{error}; to train without held-out pivots, give --eval_strategy no") from None
    held_out = judged_rows(validation, source_of(name, "validation"), verifier)
    say_rows("validation", counted(len(held_out.data), "row"), held_out.left_out)
    order = first_order(len(held_out.data), 0)[: arguments.heldout_states]
    if len(order) < FEW_ROWS:
        is_all = len(held_out.data) < FEW_ROWS
        more = "select again with a larger --validation-share" if is_all else "give a larger --heldout_states"
        warn(f"{counted(len(order), 'held-out row')}: figures over so few say little; {more}")
    return rows.data, held_out.data.select(sorted(order))


def _check(
    settings: GRPOSettings, model: ModelSettings, tokenizer: Any, config: Any, splits: dict[str, Dataset | None]
) -> None:
    limits = {"the model's context of": policies.context_length(config)}
    assert settings.max_completion_length is not None
    if settings.use_vllm:
        if settings.vllm_max_model_length is None:  # vLLM would reserve memory for the model's whole context
            longest = max(len(ids) for data in splits.values() if data is not None for ids in data["prompt_ids"])
            settings.vllm_max_model_length = longest + settings.max_completion_length
        limits["--vllm_max_model_length"] = settings.vllm_max_model_length
    for source, data in splits.items():
        if data is not None:
            prompts.check_context(data, source, settings.max_completion_length, limits)
            prompts.check_prompts(data, source, tokenizer, str(model.model_name_or_path))


def _trainer(
    arguments: PivotArguments,
    settings: GRPOSettings,
    model: ModelSettings,
    tokenizer: Any,
    config: Any,
    data: Dataset,
    held_out: Dataset | None,
    additions: Additions,
) -> PivotTrainer:
    name = str(policies.base_of(model.model_name_or_path) or model.model_name_or_path)
    end_ids = end_of_turn_ids(tokenizer, config.get_text_config(), policies.load_generation_config(name))
    reward = make_reward(tokenizer, end_ids, verifier=arguments.verifier, watch_verifier=arguments.watch_verifier)
    with policies.refusals("the trainer cannot be made"):
        given = policies.trainer_arguments(model, settings, tokenizer)
        return PivotTrainer(
            reward_funcs=reward, train_dataset=data, eval_dataset=held_out, additions=additions, **given
        )


def _curriculum(
    arguments: PivotArguments, settings: GRPOSettings, data: Dataset, checkpoint: str | None
) -> Curriculum | None:
    if not arguments.curriculum:
        return None
    made = Curriculum(data["domain"], settings.seed)
    if checkpoint is not None:
        made.load(Path(checkpoint) / CURRICULUM_FILE)
    return made


def _echo(arguments: PivotArguments, tokenizer: Any, config: Any, data: Dataset) -> Echo | None:
    if arguments.echo_weight == 0:
        return None
    echo = Echo(tokenizer, arguments.echo_weight, policies.context_length(config))
    check_replies(data, echo)
    return echo


def _demonstrated(arguments: PivotArguments, tokenizer: Any) -> Dataset | None:
    """Rows for the demonstration loss; None if it is off."""
    if arguments.demonstration_weight == 0:
        return None
    name, source = arguments.dataset, source_of(arguments.dataset, "demonstrations")
    data = load_split(name, "demonstrations")
    check_rows(data, source)
    prompts.check_prompts(data, source, tokenizer, name)
    return data


def _demonstrations(
    arguments: PivotArguments, settings: GRPOSettings, tokenizer: Any, config: Any, data: Dataset | None
) -> DemonstrationLoss | None:
    if data is None:
        return None
    return DemonstrationLoss(
        data,
        tokenizer,
        arguments.demonstration_weight,
        never_share=arguments.never_share,
        seed=settings.seed,
        max_length=policies.context_length(config),
    )


def _write_card(arguments: PivotArguments, settings: GRPOSettings, model: ModelSettings, data: Dataset) -> None:
    verifiers = arguments.verifier or ", ".join(sorted({name for name in data["verifier"] if name}))
    facts = {
        "policy": str(model.model_name_or_path),
        "dataset": f"{arguments.dataset} ({counted(len(data), 'training row')})",
        "verifier": verifiers,
        "advantages": arguments.advantages,
    }
    output_dir = Path(str(settings.output_dir))
    figures = saving.heldout_figures(output_dir)
    saving.write_card(output_dir, "grpo", facts, figures, arguments.command, model.model_name_or_path)


def _heldout_callback(arguments: PivotArguments, settings: GRPOSettings, model: ModelSettings, data: Dataset) -> Any:
    """A callback that says once that the pivots are used up, estimated for groups as large as in mining."""
    said: list[int] = []
    drawn = [n for n in (data["num_samples"] if "num_samples" in data.column_names else ()) if n]
    group = int(statistics.median(drawn)) if drawn else int(settings.num_generations or 2)

    def on_heldout(found: HeldOut) -> None:
        share = heldout.all_equal_share(found.counts, group)
        if share >= arguments.mine_again_share and found.step > 0 and not said:
            said.append(found.step)
            pivots = counted(len(found.rewards), "held-out pivot")
            what = f"the groups of {group} samples on {pivots} at step {found.step} (an estimate)"
            say(_mine_again(arguments, settings, model, share, what))

    return on_heldout


def _mine_again(
    arguments: PivotArguments, settings: GRPOSettings, model: ModelSettings, share: float, what: str
) -> str:
    base = policies.base_of(model.model_name_or_path) or (model.model_name_or_path if model.use_peft else None)
    sampled = {parameter: getattr(settings, option) for option, parameter in sampling.FROM_DATASET.items()}
    command = heldout.mine_again_command(arguments.dataset, str(settings.output_dir), base, sampled)
    return heldout.mine_again(share, what, arguments.mine_again_share, command)


def _evaluated(trainer: PivotTrainer) -> bool:
    """Whether the held-out pivots were sampled after the last step."""
    done = heldout.read(Path(str(trainer.args.output_dir)))
    return bool(done) and done[-1].step == trainer.state.global_step


def _report(arguments: PivotArguments, settings: GRPOSettings, model: ModelSettings, trainer: PivotTrainer) -> None:
    evaluations = heldout.read(Path(str(settings.output_dir)))
    if settings.eval_strategy != "no" and evaluations:
        say(heldout.compared(evaluations))
        return
    shares = [entry["frac_reward_zero_std"] for entry in trainer.state.log_history if "frac_reward_zero_std" in entry]
    last = shares[-10:]
    if last and sum(last) / len(last) >= arguments.mine_again_share:
        what = f"the groups in the last {counted(len(last), 'logged step')}"
        say(_mine_again(arguments, settings, model, sum(last) / len(last), what))
