"""pivotmine: mine the turns worth training on from recorded agent trajectories.

`open_run` gives the tables of a run. The stages are functions of the package `pivotmine_stages`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pivotmine.run.run_frames import Run

__version__ = "0.1.0"
__all__ = ["__version__", "open_run"]


def open_run(path: Path | str) -> Run:
    """The tables of a run as polars lazy frames, and SQL over them.

    UserError if there is no run at the path, or if a newer pivotmine wrote it.
    """
    from pivotmine.run.run_frames import Run  # it imports polars and DuckDB

    return Run(Path(path))
