"""A run with a pivot, for the tests of select."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import (
    answered,
    called,
    make_run,
    said,
    trajectory,
)
from selecting import MIXED, RIGHT, mine, save_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tokenizer(tmp_path_factory.mktemp("policy") / "policy")


@pytest.fixture
def run(tmp_path: Path, tokenizer: Path) -> Path:
    """Three states (a pivot, one too easy, a message), and one that was not sampled."""
    run = make_run(
        tmp_path,
        trajectory(said("hard"), called("find", id="A"), answered("found"), {"role": "assistant", "content": "Done."}),
        trajectory(said("easy"), called("find", id="A"), answered("found"), task_id="easy", domain="orders"),
        trajectory(said("new"), called("find", id="A"), answered("found")),
    )
    mine(run, tokenizer, {"user: hard": MIXED, "user: easy": [RIGHT] * 4})
    return run
