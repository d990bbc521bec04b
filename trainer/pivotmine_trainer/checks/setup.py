"""Check before loading weights that training can be set up: make optimiser, schedule and reporters without a model.

The library makes them with the trainer or in the first step. There a refusal is a traceback after minutes of loading;
here it is one line.
"""

from __future__ import annotations

import torch
from transformers import Trainer
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.optimization import get_scheduler
from transformers.utils.import_utils import is_liger_kernel_available

from pivotmine.errors import UserError
from pivotmine_trainer.checks.policies import refusals
from pivotmine_trainer.cli.arguments import GRPOSettings, SFTSettings

_OF_THE_MODEL = ("galore", "apollo", "lomo", "adalomo")
"""Optimisers that need modules of the model. Without the model, only their installation can be checked."""


def check_training(settings: GRPOSettings | SFTSettings) -> None:
    """Raise UserError if the library refuses the optimiser, the schedule, the kernels or a reporter."""
    optimiser = _optimiser(settings)
    if optimiser is not None:
        _check_schedule(settings, optimiser)
    if settings.use_liger_kernel and not is_liger_kernel_available():
        raise UserError("--use_liger_kernel: liger-kernel is not installed; install it, or leave it out")
    for name in settings.report_to or ():
        with refusals(f"--report_to {name}"):
            for reporter in get_reporting_integration_callbacks([name]):
                reporter()


def _optimiser(settings: GRPOSettings | SFTSettings) -> torch.optim.Optimizer | None:
    """Make the optimiser for a stand-in module; None if that works only with the model itself."""
    name, stand_in = str(getattr(settings.optim, "value", settings.optim)), torch.nn.Linear(1, 1)
    try:
        kind, options = Trainer.get_optimizer_cls_and_kwargs(settings, stand_in)  # pyright: ignore[reportArgumentType]
        is_plain = isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)
        return kind(stand_in.parameters(), **options) if is_plain else None
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        if name.startswith(_OF_THE_MODEL) and not isinstance(error, ImportError):
            return None
        raise UserError(f"--optim {name}: {error}") from None


def _check_schedule(settings: GRPOSettings | SFTSettings, optimiser: torch.optim.Optimizer) -> None:
    name = str(getattr(settings.lr_scheduler_type, "value", settings.lr_scheduler_type))
    num_steps = settings.max_steps if settings.max_steps > 0 else 1000
    try:
        get_scheduler(
            name,
            optimiser,
            num_warmup_steps=settings.get_warmup_steps(num_steps),
            num_training_steps=num_steps,
            scheduler_specific_kwargs=settings.lr_scheduler_kwargs,  # pyright: ignore[reportArgumentType]
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"--lr_scheduler_type {name}: {error}") from None
