"""Fixtures that need a policy: small real models, made once per session."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

# The engines' fixtures serve the tests of engines and of decoding.
pytest_plugins = ["engine_fixtures"]

# A slow or busy machine is not a fault of the code: no deadline per example, and none for generating examples.
settings.register_profile("pivotmine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pivotmine")

# Nothing in the tests is on a hub: a wrong path must fail at once, not after requests to the hub.
os.environ["HF_HUB_OFFLINE"] = "1"
# The models are so small that a second thread costs more than it saves, above all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def policies() -> ModuleType:
    """The module `policies.py`, imported only if requested, because it needs torch."""
    import policies

    return policies


@pytest.fixture(scope="session")
def coin_policy(policies: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that answers `policies.COIN` with the right call about 60 % of the time."""
    return policies.train_coin_policy(tmp_path_factory.mktemp("policy") / "coin")


@pytest.fixture(scope="session")
def tiny_policy(policies: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights."""
    return policies.make_tiny_policy(tmp_path_factory.mktemp("policy") / "tiny")


@pytest.fixture(scope="session")
def coin_adapter(policies: ModuleType, coin_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter for the coin policy that ruins it: every distribution is another."""
    return policies.make_adapter(tmp_path_factory.mktemp("policy") / "adapter", coin_policy)
