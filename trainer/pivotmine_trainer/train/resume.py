"""Resume a killed training from its last complete checkpoint: exactly, with the same data and settings, or refuse."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerState
from transformers.trainer import TRAINING_ARGS_NAME

from pivotmine.errors import UserError
from pivotmine_trainer.checks import policies
from pivotmine_trainer.checks.model import flaw
from pivotmine_trainer.cli.arguments import GRPOSettings, SFTSettings
from pivotmine_trainer.cli.console import counted, say

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_RANDOM = re.compile(r"rng_state_(\d+)\.pth")
_LAST = ("true", "last", "1", "yes")
_INEXACT = {
    "ignore_data_skip": "a resumed training would begin with its first prompts again",
    "sync_ref_model": "checkpoints do not hold the synchronised reference model, so none can be resumed",
}
"""Options that prevent an exact resumption, and why."""
_STATE = {
    "model.safetensors": ("*model*.safetensors", "pytorch_model*", "global_step*"),
    "optimizer.pt": ("*optimizer*", "global_step*"),
    "scheduler.pt": ("scheduler.pt", "global_step*"),
}
"""File that a resumption reads -> its possible names: FSDP and DeepSpeed (global_step*) have their own."""


def checkpoint_to_resume(settings: GRPOSettings | SFTSettings) -> str | None:
    """The checkpoint that `--resume_from_checkpoint true|FOLDER` means; None if training starts from the beginning.

    UserError if the folder is not a checkpoint, if files in it are missing or broken, or if a new training would mix
    its checkpoints with those of an earlier one.
    """
    output_dir, given = Path(str(settings.output_dir)), settings.resume_from_checkpoint
    last = last_checkpoint(output_dir)
    if given is None or given.lower() in ("false", "no", "0"):
        if last is not None:
            raise UserError(
                f"{output_dir} holds {last.name} of an earlier training: add --resume_from_checkpoint true to continue "
                "it, or choose another --output_dir"
            )
        return None
    if given.lower() not in _LAST:
        if not is_whole(Path(given)):
            raise UserError(f"--resume_from_checkpoint {given}: not a complete checkpoint; name a folder checkpoint-N")
        last = Path(given)
    if last is None:
        say(f"resume    {output_dir} holds no checkpoint: training starts from the beginning")
        return None
    if inexact := [name for name in _INEXACT if getattr(settings, name, False)]:
        raise UserError(f"--{inexact[0]}: {_INEXACT[inexact[0]]}; leave it out, or start over in another --output_dir")
    _check_processes(last, settings.world_size)
    _check_state(last, _random_files(settings))
    return str(last)


def _random_files(settings: GRPOSettings | SFTSettings) -> list[str]:
    """Files in a checkpoint with the random states of this machine's processes."""
    if settings.world_size <= 1:
        return ["rng_state.pth"]
    first, count = settings.process_index - settings.local_process_index, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return [f"rng_state_{first + place}.pth" for place in range(count)]


def _check_processes(checkpoint: Path, ours: int) -> None:
    """Raise UserError if another number of processes wrote the checkpoint: each process needs its own random state.

    If there are several machines, each may hold only the files of its own processes, so fewer files prove nothing.
    """
    places = [int(match[1]) for path in checkpoint.glob("rng_state_*.pth") if (match := _RANDOM.fullmatch(path.name))]
    if not places and not (checkpoint / "rng_state.pth").is_file():
        return
    theirs = max(places, default=0) + 1
    is_one_machine = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) == ours
    if theirs > ours or (theirs < ours and is_one_machine):
        raise UserError(
            f"{checkpoint} was written by {counted(theirs, 'process', 'processes')}, and this training has {ours}: "
            "start as many, or start over in another --output_dir"
        )


def _check_state(checkpoint: Path, random_files: list[str]) -> None:
    """Raise UserError if a file is missing (transformers would silently ignore that) or broken."""
    instead = "resume from another checkpoint, or start over in another --output_dir"
    for name, patterns in {**_STATE, **{name: (name,) for name in random_files}}.items():
        if not any(path for pattern in patterns for path in checkpoint.glob(pattern)):
            raise UserError(f"{checkpoint}: {name} is missing; {instead}")
    if found := flaw(checkpoint, "safetensors", "pt", "pth", "bin"):
        raise UserError(f"{checkpoint}: {found}; {instead}")


def last_checkpoint(output_dir: Path) -> Path | None:
    """Find the latest complete checkpoint; one that a kill left unfinished is skipped."""
    found = [
        (int(match[1]), path)
        for path in output_dir.glob("checkpoint-*")
        if (match := _CHECKPOINT.fullmatch(path.name)) and is_whole(path)
    ]
    return max(found)[1] if found else None


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint is complete: the file that is written last can be read."""
    try:
        TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    except (OSError, ValueError, TypeError):
        return False
    return True


def only_to_save(settings: GRPOSettings | SFTSettings, resumed: str | None) -> bool:
    """Whether all requested steps are done, and only the model was not saved because of a kill.

    UserError if nothing is left to do: transformers would train one more step.
    """
    if resumed is None or settings.max_steps <= 0:
        return False
    done = _state(resumed).global_step
    if done > settings.max_steps or (done == settings.max_steps and _is_saved(settings, resumed)):
        steps = counted(done, "step")
        raise UserError(f"{resumed} has {steps} of --max_steps {settings.max_steps}: nothing is left to train")
    return done == settings.max_steps


def _is_saved(settings: GRPOSettings | SFTSettings, resumed: str) -> bool:
    """Whether the output folder holds the file that saving a model writes last, and it is not an earlier training's."""
    last = Path(str(settings.output_dir)) / TRAINING_ARGS_NAME
    return last.is_file() and last.stat().st_mtime >= (Path(resumed) / "trainer_state.json").stat().st_mtime


def _state(checkpoint: str) -> TrainerState:
    return TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json"))


def train(trainer: Trainer, resumed: str | None, *, only_to_save: bool) -> None:
    """Train to the last step. If only saving is left, restore the trainer's state after that step."""
    if resumed is None or not only_to_save:
        trainer.add_callback(_SayFrom(resumed))
        trainer.train(resume_from_checkpoint=resumed)
        return
    state = _state(resumed)
    say(f"resume    {resumed}: {counted(state.global_step, 'step')} done, none left; the model still has to be saved")
    with policies.refusals(f"{resumed} cannot be loaded"):
        trainer._load_from_checkpoint(resumed)  # pyright: ignore[reportPrivateUsage]
    trainer.state.global_step, trainer.state.epoch = state.global_step, state.epoch
    trainer.state.log_history = state.log_history


class _SayFrom(TrainerCallback):
    """If training resumes from a checkpoint, say once from which one and how many steps remain."""

    def __init__(self, resumed: str | None) -> None:
        self._resumed = resumed

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        if self._resumed is not None:
            steps, left = counted(state.max_steps, "step"), state.max_steps - state.global_step
            say(f"resume    {self._resumed}: {state.global_step} of {steps} done, {left} left")


def save_samples(checkpoint: Path, trainer: Any) -> None:
    """Save this process's samples that later steps still train on (`--num_iterations`, `--steps_per_generation`)."""
    if trainer._step % (trainer.args.steps_per_generation * trainer.num_iterations) and trainer._buffered_inputs:
        torch.save(trainer._buffered_inputs, checkpoint / _samples_file(trainer))


def load_samples(checkpoint: Path, trainer: Any) -> None:
    """Restore the samples that are still in use, and the position in them; UserError if they are missing."""
    trainer._step = trainer.state.global_step * trainer.args.gradient_accumulation_steps
    if trainer._step % (trainer.args.steps_per_generation * trainer.num_iterations) == 0:
        return
    path = checkpoint / _samples_file(trainer)
    try:
        loaded: Any = torch.load(path, map_location=trainer.accelerator.device, weights_only=True)
    except Exception as error:  # missing, truncated or foreign files raise a dozen types
        raise UserError(
            f"{path} is missing or broken ({type(error).__name__}): step {trainer.state.global_step} is in the middle "
            "of these samples, and new ones would train differently; resume from another checkpoint, or start over in "
            "another --output_dir"
        ) from None
    trainer._buffered_inputs = loaded


def _samples_file(trainer: Any) -> str:
    return f"samples_{trainer.accelerator.process_index}.pt"
