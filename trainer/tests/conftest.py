"""Fixtures: one small policy that sometimes succeeds, and a pivot dataset of its states."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A slow or busy machine is not a fault of the code: no deadline per example, and none for generating examples.
settings.register_profile("pivotmine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pivotmine")

# Nothing in the tests is on a hub: a wrong path must fail at once, not after requests to the hub.
os.environ["HF_HUB_OFFLINE"] = "1"
# The models are so small that a second thread costs more than it saves, above all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import tiny  # noqa: E402  (torch reads OMP_NUM_THREADS when it is imported)
from refusing import refusal  # noqa: E402

Refused = Callable[..., str]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let `datasets` keep its cache in a folder of the tests."""
    from datasets import config

    config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("datasets")


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that answers each state of `tiny.STATES` with the right call 40 % of the time."""
    return tiny.train_policy(tmp_path_factory.mktemp("policy") / "coin")


@pytest.fixture(scope="session")
def dataset(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with two states held out, and all others to train on."""
    rows = tiny.pivot_rows(policy)
    return tiny.write_dataset(tmp_path_factory.mktemp("runs") / "desk" / "pivots" / "default", rows[:-2], rows[-2:])


@pytest.fixture(scope="session")
def unloadable(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The policy's folder without its weights, so that loading the model fails with another message."""
    folder = tmp_path_factory.mktemp("policy") / "unloadable"
    folder.mkdir()
    for file in policy.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def refused(policy: Path, unloadable: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run the command on all of STATES with these columns changed; return its one-line refusal.

    Without the dataset's folder before the file's name.
    """

    def run(columns: dict[str, Any] | None = None, rows: Any = None, validation: Any = None, **options: Any) -> str:
        rows = tiny.pivot_rows(policy, **(columns or {})) if rows is None else rows
        validation = rows[:1] if validation is None else validation
        folder = tiny.write_dataset(tmp_path / "pivots", rows, validation)
        return refusal(tiny.command(unloadable, folder, tmp_path / "out", **options), capsys).replace(f"{folder}/", "")

    return run
