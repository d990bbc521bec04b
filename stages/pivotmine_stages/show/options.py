"""Options of `show`. Light: the command line reads them for its help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pivotmine.options import Option
from pivotmine_stages.command import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowConfig:
    state: Annotated[str | None, Option(is_argument=True, metavar="[STATE]")] = None
    """A state_id, or its beginning."""
    reward_class: Annotated[
        Literal["never", "sometimes", "always", "undecided", "constant", "unscored"] | None, Option(spelling="--class")
    ] = None
    """Show only states of this class."""
    num_states: Annotated[int, Option(spelling="-n", min=1)] = 1
    """Maximum number of states to show."""
    domain: Annotated[str | None, Option()] = None
    """Show only states of this domain."""
    tool: Annotated[str | None, Option()] = None
    """Show only states whose demonstration calls this tool first."""
    outcome: Annotated[str | None, Option()] = None
    """Show only states in which a sample has this outcome."""
    sort: Annotated[Literal["variance", "mean", "depth", "prompt tokens"], Option()] = "variance"
    """Order of the states."""
    policy: Annotated[str | None, Option()] = None
    """Policy id, or a part of it; needed only if the run has several."""
    verifier: Annotated[str | None, Option()] = None
    """Verifier id of the scores, or a part of it; needed only if there are several."""


COMMAND = Command(
    help="Print states with what was demonstrated and, once it is scored, what the policy did.",
    stage="pivotmine_stages.show.stage:show",
    report="pivotmine_stages.show.stage:show_report",
    options=(ShowConfig,),
    examples=("pivotmine show runs/mine --class never -n 3", "pivotmine show runs/mine 38a31d"),
)
