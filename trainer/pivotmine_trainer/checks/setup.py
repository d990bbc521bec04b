"""Can training be set up? What the options ask for is made once without a model, before a weight is loaded.

The library makes optimiser and schedule in the first step, reporters and kernels with the trainer: what it would say
then, after minutes of loading and with a traceback, is said here in one line.
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
"""Optimisers that look for modules of the model: of these only whether they are installed can be told without it."""


def check_training(settings: GRPOSettings | SFTSettings) -> None:
    """UserError where the library refuses the optimiser, the schedule, the kernels or where to report to."""
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
    """The optimiser of a module that stands for the model; None where only the model's own would do."""
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
