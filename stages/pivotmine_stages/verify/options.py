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
    """Remake broken files from undamaged ones. Rollouts are moved to RUN/set-aside: only a policy can draw them."""
    source: Annotated[tuple[Path, ...], Option()] = ()
    """Where the sources are now, for the repair of extract's tables; by default where extract found them."""


COMMAND = Command(
    help="Check every file of a run against its digest, and name the broken ones and their remedy.",
    stage="pivotmine_stages.verify.stage:verify",
    report="pivotmine_stages.verify.stage:verify_report",
    options=(VerifyConfig,),
    examples=("pivotmine verify runs/mine", "pivotmine verify runs/mine --repair"),
)
