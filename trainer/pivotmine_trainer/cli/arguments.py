"""The options: ours, and TRL's with the recipe's defaults.

Every option of TRL's GRPOConfig (SFTConfig with `--method sft`) and ModelConfig can be given, on the command line or in
the file named by `--config`. The classes below only change defaults. `settings` is always TRL's config.
"""

# TRL declares some options as numbers that are None here until the dataset sets them.
# pyright: reportIncompatibleVariableOverride=false

from __future__ import annotations

import argparse
import math
import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from transformers.trainer_utils import IntervalStrategy, SchedulerType
from transformers.utils.import_utils import is_torch_bf16_gpu_available
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.model_config import ModelConfig
from trl.trainer.sft_config import SFTConfig

from pivotmine.errors import UserError
from pivotmine_trainer.checks.options import check_choices, check_deepspeed, check_numbers
from pivotmine_trainer.cli.console import counted
from pivotmine_trainer.cli.parser import Parser

METHODS = ("grpo", "sft")
_GRPO_ONLY = (
    *("verifier", "watch_verifier", "invalid_action_advantage", "curriculum", "echo_weight", "retrieval_prompts"),
    *("demonstration_weight", "never_share"),
)
_USAGE = "%(prog)s --dataset DIR --model DIR [--OPTION VALUE ...]; --help lists all options"
"""Replaces argparse's usage text, whose 300 options would hide a usage error."""


def _option(default: Any, help: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": help, **more})


@dataclass
class PivotArguments:
    dataset: str = field(metadata={"help": "Folder that `pivotmine select` wrote, or the hub id of such a dataset."})
    method: str = _option(
        "grpo", "grpo: train on pivots. sft: the baseline, train on demonstrated actions.", choices=list(METHODS)
    )
    verifier: str | None = _option(
        None, "Verifier for all rows, with its default options, instead of each row's own. `exact` is the strict one."
    )
    watch_verifier: str | None = _option(
        None, "Second verifier: its verdicts are logged next to the reward, with a warning if the two drift apart."
    )
    shared_prefix: str = _option(
        "packed",
        "How a group's prompt is computed once. packed: one sequence for prompt and actions. cached: a prefix cache "
        "with gradients; needs gradient checkpointing off. false: once per sample, as TRL does.",
        choices=["packed", "cached", "false"],
    )
    advantages: str = _option(
        "grpo",
        "grpo: (r - mean) / (std + 1e-4) (arXiv 2402.03300, TRL). leave_one_out: with mean and std of the other "
        "samples, not divided if that std is 0 (NeMo RL's pivot recipes). rloo: r - mean of the others (arXiv "
        "2402.14740).",
        choices=["grpo", "leave_one_out", "rloo"],
    )
    invalid_action_advantage: float | None = _option(
        None,
        "Advantage of a call that cannot be parsed, at most 0 (NVIDIA's SWE recipes: -5). The means of the other "
        "samples still use its reward from the verifier.",
    )
    heldout_states: int = _option(256, "Maximum number of validation states that an evaluation samples.")
    mine_again_share: float = _option(
        0.5,
        "Report that it is time to mine again if this share of held-out pivots has equal rewards only (estimated for "
        "groups as large as in mining).",
    )
    demonstration_weight: float = _option(
        0.0, "Weight of a negative log-likelihood on demonstrated actions from demonstrations.parquet."
    )
    never_share: float | None = _option(
        None, "Maximum share, among these, of states that the policy never solves; by default their natural share."
    )
    sft_turns: str = _option(
        "all", "With --method sft: all demonstrated actions, or only turns with calls.", choices=["all", "calls"]
    )
    curriculum: bool = _option(False, "Draw domains by upper confidence bounds on their advantages (DUMP).")
    echo_weight: float = _option(
        0.0, "Weight of a next-token loss on the environment's recorded reply (ECHO; its paper uses 0.05)."
    )
    retrieval_prompts: int = _option(
        0,
        "Log how often a completion's own prompt is the one that makes it most likely, among this many prompts of the "
        "batch (RAGEN-2).",
    )

    def __post_init__(self) -> None:
        self.command: list[str] = []  # what was typed, for the card
        fixed, never, weight = self.invalid_action_advantage, self.never_share, self.demonstration_weight
        prompts = self.retrieval_prompts
        wrong = {
            f"--invalid_action_advantage {fixed}: a number of at most 0": fixed is not None and not -1e6 <= fixed <= 0,
            f"--demonstration_weight {weight}: in [0, 100]": not 0 <= weight <= 100,
            f"--never_share {never}: in [0, 1]": never is not None and not 0 <= never <= 1,
            f"--never_share {never}: only with --demonstration_weight": never is not None and weight == 0,
            f"--heldout_states {self.heldout_states}: at least 1": self.heldout_states < 1,
            f"--mine_again_share {self.mine_again_share}: in (0, 1]": not 0 < self.mine_again_share <= 1,
            f"--echo_weight {self.echo_weight}: in [0, 1]": not 0 <= self.echo_weight <= 1,
            f"--retrieval_prompts {prompts}: 0, or at least 2": prompts != 0 and prompts < 2,
        }
        if problem := next((words for words, is_wrong in wrong.items() if is_wrong), None):
            raise UserError(problem)
        if self.method == "sft" and (given := [name for name in _GRPO_ONLY if getattr(self, name)]):
            raise UserError(f"--{given[0]} is an option of --method grpo; leave it out")
        if self.method == "grpo" and self.sft_turns != "all":
            raise UserError("--sft_turns is an option of --method sft; leave it out")


@dataclass
class ModelSettings(ModelConfig):
    """TRL's ModelConfig with float32 weights: a bfloat16 weight has 8 significant bits and loses updates of 1e-6.

    Passes compute in bfloat16 if the hardware has it (`bf16`).
    """

    model_name_or_path: str | None = _option(
        None, "Folder or hub id of the policy, or folder of a LoRA adapter to train further.", aliases=["--model"]
    )
    lora_dropout: float = _option(
        0.0, "Dropout of the adapter. Above 0 the sampled policy is not the trained one, and prompts are not shared."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.use_peft and self.lora_target_modules is None and not self.lora_target_parameters:
            self.lora_target_modules = "all-linear"  # pyright: ignore[reportAttributeAccessIssue] - as peft reads it
        target: Any = self.lora_target_modules
        # TRL turns a single target into a string, which peft matches as a regular expression against whole names. A
        # plain name would match none.
        if isinstance(target, str) and re.fullmatch(r"[\w.]+", target):
            self.lora_target_modules = [target]


@dataclass
class GRPOSettings(GRPOConfig):
    """GRPO with the defaults of PivotRL's paper and NVIDIA's public pivot recipes.

    J = E_s[1 / sum_i |a_i| * sum_i sum_t min(w_it A_i, clip(w_it, 1 - 0.2, 1 + 0.28) A_i)] - beta * KL(pi || pi_0)
    with A_i the advantage of action i among the G actions of one state (`train.advantages`).

    Sources: "paper" is PivotRL, arXiv 2603.21383; "recipe" is NeMo RL's examples/nemo_gym/nemotron-3-super/
    stage2_swe1.yaml and grpo_qwen3_30ba3b_thinking_swe1.yaml. The recipe's leave-one-out baseline is
    `--advantages leave_one_out`; its advantage for invalid calls is `--invalid_action_advantage -5`.
    """

    num_generations: int | None = _option(16, "Actions per prompt, G (paper, recipe: 16).")
    prompts_per_step: int = _option(
        64, "Prompts per optimiser step (paper, recipe: 64); ignored if gradient_accumulation_steps is given."
    )
    per_device_train_batch_size: int = _option(16, "Actions per pass on one device.")
    gradient_accumulation_steps: int | None = _option(
        None, "Passes per optimiser step; by default as many as prompts_per_step needs."
    )
    num_iterations: int = _option(1, "Updates on one set of samples (recipe: 1, on-policy).")
    learning_rate: float = _option(
        1e-6,
        "Peak learning rate. By default 1e-6 (recipe); with an adapter 1e-5, ten times that (Schulman et al. 2025, "
        "LoRA Without Regret).",
    )
    lr_scheduler_type: SchedulerType | str = _option(  # noqa: RUF009
        "constant_with_warmup", "Schedule (recipe: constant)."
    )
    warmup_steps: float = _option(10, "Steps of warm-up (recipe: 10).")
    epsilon: float = _option(0.2, "Clip below (recipe: 0.2).")
    epsilon_high: float | None = _option(0.28, "Clip above (recipe: 0.28).")
    scale_rewards: str = _option("group", "Whose std divides the advantages. group: each group's (paper, recipe).")
    loss_type: str = _option("dapo", "dapo: the mean over all tokens of a step (recipe: token-level loss).")
    beta: float = _option(
        0.0,
        "Weight of the KL to the initial policy. The paper's objective and its theorem 3.3 have this term, the public "
        "recipes do not.",
    )
    mask_truncated_completions: bool = _option(
        True, "Truncated samples carry no loss (recipe: overlong filtering); their reward of 0 counts in the baseline."
    )
    temperature: float | None = _option(None, "By default the dataset's, as in mining.")
    top_p: float | None = _option(None, "By default the dataset's.")
    top_k: int | None = _option(None, "By default the dataset's.")
    max_completion_length: int | None = _option(None, "Token budget of one action; by default the dataset's.")
    vllm_importance_sampling_mode: str = _option("token_truncate", "Correction of vLLM's probabilities (recipe: TIS).")
    vllm_importance_sampling_clip_max: float | None = _option(5.0, "Maximum ratio in that correction (recipe: 5).")
    bf16: bool | None = _option(None, "Compute in bfloat16; by default if the hardware has it.")
    eval_strategy: IntervalStrategy | str = _option(  # noqa: RUF009
        "steps", "When to sample held-out pivots; `no`: never."
    )
    eval_steps: float | None = _option(20, "Steps between two evaluations.")
    eval_on_start: bool = _option(True, "Sample held-out pivots before the first step.")
    per_device_eval_batch_size: int | None = _option(None, "By default as in training, rounded up to whole groups.")
    save_steps: float = _option(20, "Steps between two checkpoints.")
    save_total_limit: int | None = _option(2, "Maximum number of checkpoints to keep.")
    logging_steps: float = _option(1, "Steps between two lines of metrics.")
    log_completions: bool = _option(True, "Write every sample once to OUTPUT_DIR/completions (`train.samples`).")
    num_completions_to_print: int | None = _option(0, "Samples to print; by default none, as they are raw model text.")

    def __post_init__(self) -> None:
        check_numbers(self)
        check_deepspeed(self.deepspeed)
        world_size = int(os.environ.get("WORLD_SIZE", "1"))
        generations = self.num_generations or 1
        if self.gradient_accumulation_steps is None:
            self.gradient_accumulation_steps = _accumulation(self, generations, world_size)
        if self.per_device_eval_batch_size is None:
            group = self.num_generations_eval or generations
            self.per_device_eval_batch_size = -(-self.per_device_train_batch_size // group) * group
        self.bf16 = _bf16(self)
        super().__post_init__()
        check_choices(self)


@dataclass
class SFTSettings(SFTConfig):
    """The baseline: next-token loss on demonstrated actions. Actions are never cut; by default any length is used."""

    learning_rate: float = _option(
        2e-5,
        "Peak learning rate. By default 2e-5 (TRL's SFTConfig); with an adapter 2e-4, ten times that (Schulman et al. "
        "2025, LoRA Without Regret).",
    )
    max_length: int | None = _option(
        None, "Maximum tokens of a demonstration, prompt included; longer ones are left out."
    )
    completion_only_loss: bool | None = _option(True, "The loss is on the demonstrated action only.")
    bf16: bool | None = _option(None, "Compute in bfloat16; by default if the hardware has it.")

    def __post_init__(self) -> None:
        check_numbers(self)
        check_deepspeed(self.deepspeed)
        self.bf16 = _bf16(self)
        super().__post_init__()
        check_choices(self)


SETTINGS: dict[str, type[GRPOSettings | SFTSettings]] = {"grpo": GRPOSettings, "sft": SFTSettings}


def parse(args: list[str]) -> tuple[PivotArguments, GRPOSettings | SFTSettings, ModelSettings]:
    """Parse a command line; UserError for values that make no sense, exit 2 for unknown options."""
    try:
        dataclasses: Any = (PivotArguments, SETTINGS[_method(args)], ModelSettings)
        # An abbreviated --method would not be seen by `_method`.
        parser = Parser(dataclasses, prog="pivotmine-train", usage=_USAGE, allow_abbrev=False)
        arguments, settings, model, unknown = parser.parse_args_and_config(args, return_remaining_strings=True)
    except (ValueError, TypeError, OSError, yaml.YAMLError) as error:
        raise UserError(str(error)) from None
    if unknown:
        _refuse_unknown(parser, unknown, settings)
    if model.model_name_or_path is None:
        raise UserError("no policy to train: give its folder or hub id by --model")
    arguments.command = args
    is_adapter = model.use_peft or (Path(model.model_name_or_path) / "adapter_config.json").is_file()
    # An omitted rate is the default object itself; a given rate is another object, even if it is equal.
    if is_adapter and settings.learning_rate is type(settings).learning_rate:
        settings.learning_rate *= 10
    return arguments, settings, model


def _refuse_unknown(parser: Parser, unknown: list[str], settings: GRPOSettings | SFTSettings) -> None:
    method, other = ("sft", "grpo") if isinstance(settings, SFTSettings) else ("grpo", "sft")
    theirs = {field.name for field in fields(SETTINGS[other])}
    given = [word.removeprefix("--").partition("=")[0] for word in unknown if word.startswith("--")]
    if wrong := [name for name in given if name in theirs]:
        raise UserError(f"--{wrong[0]} is an option of --method {other}, and this is --method {method}; leave it out")
    parser.error(f"there is no {' '.join(unknown)}")


def _method(args: list[str]) -> str:
    """Find the method before the full parse, because it decides which options exist."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--method")
    first.add_argument("--config", type=Path)
    known, _ = first.parse_known_args(args)
    method = known.method
    if method is None and known.config is not None:
        said = yaml.safe_load(known.config.read_text(encoding="utf-8"))
        method = said.get("method") if isinstance(said, dict) else None
    if (method or "grpo") not in METHODS:
        raise UserError(f"--method {method}: choose from {', '.join(METHODS)}")
    return method or "grpo"


def _accumulation(settings: GRPOSettings, generations: int, world_size: int) -> int:
    """Number of passes per optimiser step; UserError if it is not a whole number."""
    wanted, a_pass = settings.prompts_per_step * generations, settings.per_device_train_batch_size * world_size
    if wanted < a_pass or wanted % a_pass:
        fitting = math.lcm(generations, a_pass) // generations
        raise UserError(
            f"--prompts_per_step {settings.prompts_per_step} x --num_generations {generations} is not a multiple of "
            f"the {a_pass} actions of one pass (--per_device_train_batch_size x "
            f"{counted(world_size, 'process', 'processes')}); give a --prompts_per_step that is a multiple of "
            f"{fitting}, or another --per_device_train_batch_size"
        )
    return wanted // a_pass


def _bf16(settings: GRPOSettings | SFTSettings) -> bool:
    if settings.bf16 is None:
        return not settings.fp16 and is_torch_bf16_gpu_available()
    return settings.bf16
