"""`status` has no options. Light: the command line reads this for its help."""

from __future__ import annotations

from pivotmine_stages.command import Command

COMMAND = Command(
    help="Show what a run holds and lacks, and the next command.",
    stage="pivotmine_stages.status.stage:status",
    report="pivotmine_stages.status.stage:status_report",
    examples=("pivotmine status runs/mine",),
)
