"""What `export --to verifiers` writes: an installable package with an environment of the `verifiers` library.

    verifiers/
      pyproject.toml  README.md
      pivots_NAME/    __init__.py, and the rows of both splits

The package has the data and a few lines of code. The environment itself is `single_turn` (for the library up to 0.3)
or `taskset` (from 0.4 on).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pivotmine.run.tables import PIVOTS
from pivotmine.verifiers.dataset_rows import COLUMNS

ROWS = pa.schema([PIVOTS.field(name) for name in (*COLUMNS, "prompt", "prompt_ids", "domain", "mean")])
"""The columns that the environments read."""

_MODULE = '''\
"""Pivots of pivotmine as an environment of the `verifiers` library, in the form that the installed version reads."""

from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).parent
__all__ = ["load_environment"]


def load_environment(verifier: str | None = None):
    """The environment for versions up to 0.3; `verifier` replaces each row's own verifier."""
    from pivotmine_stages.export.verifiers import single_turn

    return single_turn.load(FOLDER, verifier)


if tuple(map(int, version("verifiers").split(".")[:2])) >= (0, 4):
    from pivotmine_stages.export.verifiers.taskset import PivotHarness, PivotTaskset

    class Pivots(PivotTaskset):
        folder = FOLDER

    __all__ = ["PivotHarness", "Pivots"]
'''


def package_name(name: str) -> str:
    """Name of a pivot dataset's Python package; the library uses the same name with `-` for `_`."""
    return "pivots_" + (re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_") or "dataset")


def package_files(name: str, sampling: dict[str, Any]) -> dict[str, str]:
    """The text files of the package, by path; `sampling` has the mined policy's sampling parameters."""
    module = package_name(name)
    project = module.replace("_", "-")
    return {
        f"{module}/__init__.py": _MODULE,
        "pyproject.toml": _project(project, module),
        "README.md": _readme(project, sampling),
    }


def read_rows(folder: Path, split: str) -> list[dict[str, Any]]:
    """The rows of a split, with the columns of ROWS."""
    return pq.read_table(folder / f"{split}.parquet").to_pylist()


def _project(project: str, module: str) -> str:
    return f"""\
[project]
name = "{project}"
version = "0.1.0"
description = "Pivots mined by pivotmine, as an environment of the verifiers library"
requires-python = ">=3.11"
dependencies = ["pivotmine", "verifiers"]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.hatch.build.targets.wheel]
packages = ["{module}"]
"""


def _readme(project: str, sampling: dict[str, Any]) -> str:
    parameters = ", ".join(f"{key} {value}" for key, value in sampling.items()) or "see the dataset"
    return f"""\
# {project}

An environment of the `verifiers` library: each task is one state of a recorded trajectory, the policy takes one action,
and pivotmine's verifier gives the reward. Mining sampled with: {parameters}. Train with the same.

    pip install pivotmine && pip install .

| library | tested | what it loads |
|---|---|---|
| 0.4, prime-rl | 0.4.0 | the taskset `{project}` |
| 0.1.9, Tinker's cookbook | 0.1.9.post3 | `load_environment("{project}")`; the cookbook's `vf_env_id={project}` |

With 0.4 the trainer renders messages and tools. The metric `prompt_as_mined` is 1 if its tokens are those of the mined
prompt. The harness calls the policy once and executes nothing: `--env.agent.runtime.type subprocess` is enough.
`--env.taskset.split validation` runs the held-out split. With 0.1.9 the mined prompt is sent as text, tools included,
through the completions API.

If the verifier cannot judge an action, 0.4 reports an error and the trainer drops the sample. With 0.1.9 the action
gets the mean reward that mining found in its state.
"""
