"""Options of `view`. Light: the command line reads them for its help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pivotmine.options import Option
from pivotmine_stages.command import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewConfig:
    policy: Annotated[str | None, Option()] = None
    """Policy id, or a part of it; needed only if the run has several."""
    verifier: Annotated[str | None, Option()] = None
    """Verifier id of the scores, or a part of it; needed only if there are several."""
    name: Annotated[str, Option()] = "default"
    """Pivot dataset at the end of the funnel."""
    price_per_hour: Annotated[float | None, Option(min=0)] = None
    """Price of one hour of the machine that sampled, in any currency."""
    port: Annotated[int, Option(min=0, max=65535)] = 0
    """Port on the loopback interface; 0 takes a free one."""


COMMAND = Command(
    help="Serve the report's page for a run of any size, on the loopback interface, until Ctrl-C.",
    stage="pivotmine_stages.view.stage:view",
    report="pivotmine_stages.view.stage:view_text",
    options=(ViewConfig,),
    examples=("pivotmine view runs/mine --port 8400",),
)
