"""Fixtures: one small policy that sometimes does right, and a pivot dataset of its states."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A slow or busy machine is no fault of the code: no deadline per example, none for the making of examples.
settings.register_profile("pivotmine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pivotmine")

# Nothing in the tests is on a hub: a wrong path must fail at once, not after a search for it.
os.environ["HF_HUB_OFFLINE"] = "1"
# The models are so small that a second thread costs more than it gives, a busy machine's second core most of all.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import tiny  # noqa: E402  (torch reads OMP_NUM_THREADS when it is imported)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """`datasets` keeps what it reads in a folder of the tests."""
    from datasets import config

    config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("datasets")


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers each state of `tiny.STATES` with the right call 40 % of the time."""
    return tiny.train_policy(tmp_path_factory.mktemp("policy") / "coin")


@pytest.fixture(scope="session")
def dataset(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All states but two to train on, those two held out."""
    rows = tiny.pivot_rows(policy)
    return tiny.write_dataset(tmp_path_factory.mktemp("runs") / "desk" / "pivots" / "default", rows[:-2], rows[-2:])
