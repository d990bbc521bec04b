"""`--method sft`: what is too long is left out whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
from refusing import refusal

from pivotmine_trainer.cli.app import main
from pivotmine_trainer.sft.demonstrations import continuations

Capture = pytest.CaptureFixture[str]
SFT: dict[str, Any] = {"method": "sft", "num_generations": None, "prompts_per_step": None, "eval_strategy": "no"}


def test_demonstrations_longer_than_max_length_are_left_out_whole(
    policy: Path, dataset: Path, tmp_path: Path, capsys: Capture
) -> None:
    lengths = sorted(demonstrated_lengths(policy)[:-2])
    fitting = [length for length in lengths if length < lengths[-1]]
    assert fitting
    main(tiny.command(policy, dataset, tmp_path / "out", **SFT, max_length=fitting[-1], max_steps=1))
    count = len(lengths) - len(fitting)
    first, *_ = capsys.readouterr().out.splitlines()
    assert first == f"train     {len(fitting)} demonstrations; left out: longer_than_max_length {count}"
    said = refusal(tiny.command(policy, dataset, tmp_path / "none", **SFT, max_length=9), capsys)
    assert said == "--max_length 9: all demonstrations of train are longer; give more, or leave it out"


def test_demonstrations_longer_than_the_context(policy: Path, dataset: Path, tmp_path: Path, capsys: Capture) -> None:
    short = tiny.save(tmp_path / "short", tiny.make_model(context=40), tiny.load_tokenizer(policy))
    longest = max(demonstrated_lengths(policy)[:-2])
    assert refusal(tiny.command(short, dataset, tmp_path / "out", **SFT), capsys) == (
        f"a demonstration of train has {longest} tokens, more than the model's context of 40; --max_length 40 leaves "
        "such out"
    )


def demonstrated_lengths(policy: Path) -> list[int]:
    """Tokens of each state with its demonstration."""
    tokenizer = tiny.load_tokenizer(policy)
    return [
        len(row["prompt_ids"]) + len(found.action_ids)
        for row in tiny.pivot_rows(policy)
        for found in continuations(tokenizer, row)
    ]
