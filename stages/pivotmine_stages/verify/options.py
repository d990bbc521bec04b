"""Options of `verify`. Light: the command line reads them for its help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pivotmine.options import Option
from pivotmine_stages.command import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyConfig:
    repair: Annotated[bool, Option()] = False
    """Remake broken files from undamaged ones. Broken rollouts are moved to RUN/set-aside, because only the policy can
    draw them again."""
    source: Annotated[tuple[Path, ...], Option()] = ()
    """Where the sources are now, to repair the tables of extract; by default where extract found them."""


COMMAND = Command(
    help="Check every file of a run against its digest, and name the broken ones and their remedy.",
    stage="pivotmine_stages.verify.stage:verify",
    report="pivotmine_stages.verify.stage:verify_report",
    options=(VerifyConfig,),
    examples=("pivotmine verify runs/mine", "pivotmine verify runs/mine --repair"),
)
