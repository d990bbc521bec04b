"""Options of `compare`. Light: the command line reads them for its help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pivotmine.options import Option
from pivotmine_stages.command import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    one: Annotated[str, Option(is_argument=True, metavar="A")]
    """A profile (POLICY or POLICY/VERIFIER; a part of an id is enough) or a selection (pivots/NAME)."""
    other: Annotated[str, Option(is_argument=True, metavar="B")]
    """Another profile or selection."""
    num_examples: Annotated[int, Option(min=0)] = 3
    """Maximum number of states named for each change of class."""


COMMAND = Command(
    help="Compare two profiles by the states that changed class, or two selections by their states.",
    stage="pivotmine_stages.compare.stage:compare",
    report="pivotmine_stages.compare.stage:compare_report",
    options=(CompareConfig,),
    examples=("pivotmine compare runs/mine before after", "pivotmine compare runs/mine pivots/default pivots/mixed"),
)
