"""The commands that run a stage. To add one: a folder with `stage.py` and `options.py`, and its line here."""

from __future__ import annotations

from pivotmine_stages.audit import options as audit
from pivotmine_stages.command import Command
from pivotmine_stages.compare import options as compare
from pivotmine_stages.export import options as export
from pivotmine_stages.extract import options as extract
from pivotmine_stages.record import options as record
from pivotmine_stages.report import options as report
from pivotmine_stages.rollout import options as rollout
from pivotmine_stages.score import options as score
from pivotmine_stages.select import options as select
from pivotmine_stages.show import options as show
from pivotmine_stages.status import options as status
from pivotmine_stages.verify import options as verify
from pivotmine_stages.view import options as view

COMMANDS: dict[str, Command] = {
    "extract": extract.COMMAND,
    "rollout": rollout.COMMAND,
    "score": score.COMMAND,
    "select": select.COMMAND,
    "record": record.COMMAND,
    "export": export.COMMAND,
    "audit": audit.COMMAND,
    "report": report.COMMAND,
    "view": view.COMMAND,
    "show": show.COMMAND,
    "status": status.COMMAND,
    "compare": compare.COMMAND,
    "verify": verify.COMMAND,
}
STAGES = ("extract", "rollout", "score", "select")
"""The stages of `pivotmine run`, in order."""
