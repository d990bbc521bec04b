"""Options of `report`. Light: the command line reads them for its help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pivotmine.options import Option
from pivotmine_stages.command import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig:
    output: Annotated[str | None, Option(metavar="FILE")] = None
    """File to write; by default RUN/report.html."""
    policy: Annotated[str | None, Option()] = None
    """Policy id, or a part of it; needed only if the run has several."""
    verifier: Annotated[str | None, Option()] = None
    """Verifier id of the scores, or a part of it; needed only if there are several."""
    name: Annotated[str, Option()] = "default"
    """Pivot dataset at the end of the funnel."""
    price_per_hour: Annotated[float | None, Option(min=0)] = None
    """Price of one hour of the machine that sampled, in any currency."""
    max_states: Annotated[int, Option(min=1)] = 2000
    """Maximum number of states in the page; figures always cover all states."""


COMMAND = Command(
    help="Write what was mined as one HTML page that opens offline.",
    stage="pivotmine_stages.report.stage:report",
    report="pivotmine_stages.report.stage:report_text",
    options=(ReportConfig,),
    examples=("pivotmine report runs/mine --output report.html --price-per-hour 2.50",),
)
