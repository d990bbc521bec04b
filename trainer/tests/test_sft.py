"""`--method sft`: whole trajectories, each prefix once; demonstrations that are too long are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
from refusing import refusal

from pivotmine_trainer.cli.app import main
from pivotmine_trainer.cli.console import counted
from pivotmine_trainer.sft.demonstrations import continuations
from pivotmine_trainer.sft.sft import Demonstration, join

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
    written = f"{counted(len(fitting), 'demonstration')} in {counted(len(fitting), 'sequence')}"
    assert first == f"train     {written}; left out: longer_than_max_length {count}"
    said = refusal(tiny.command(policy, dataset, tmp_path / "none", **SFT, max_length=9), capsys)
    assert said == "--max_length 9: all demonstrations of train are longer; give more, or leave it out"


def test_demonstrations_longer_than_the_context(policy: Path, dataset: Path, tmp_path: Path, capsys: Capture) -> None:
    short = tiny.save(tmp_path / "short", tiny.make_model(context=40), tiny.load_tokenizer(policy))
    longest = max(demonstrated_lengths(policy)[:-2])
    assert refusal(tiny.command(short, dataset, tmp_path / "out", **SFT), capsys) == (
        f"a demonstration of train has {longest} tokens, more than the model's context of 40; --max_length 40 leaves "
        "out such demonstrations"
    )


def demonstrated_lengths(policy: Path) -> list[int]:
    """Number of tokens of each state with its demonstration."""
    tokenizer = tiny.load_tokenizer(policy)
    return [
        len(row["prompt_ids"]) + len(found.action_ids)
        for row in tiny.pivot_rows(policy)
        for found in continuations(tokenizer, row)
    ]


def test_turns_that_go_on_are_one_sequence_with_the_loss_on_actions() -> None:
    turns = [Demonstration([1, 2], [3]), Demonstration([1, 2, 3, 4], [5, 6]), Demonstration([1, 2, 3, 4, 5, 6, 7], [8])]
    expected = {"input_ids": [1, 2, 3, 4, 5, 6, 7, 8], "completion_mask": [0, 0, 1, 0, 1, 1, 0, 1]}
    assert join(turns[::-1]) == [expected]


def test_a_history_that_was_rewritten_begins_a_new_sequence() -> None:
    """Another demonstration of a state, and a turn whose prompt shows the earlier action differently."""
    turns = [Demonstration([1, 2], [3]), Demonstration([1, 2], [9]), Demonstration([1, 2, 4], [5])]
    assert join(turns) == [
        {"input_ids": [1, 2, 3], "completion_mask": [0, 0, 1]},
        {"input_ids": [1, 2, 9], "completion_mask": [0, 0, 1]},
        {"input_ids": [1, 2, 4, 5], "completion_mask": [0, 0, 0, 1]},
    ]


def test_call_turns_only(policy: Path, tmp_path: Path, capsys: Capture) -> None:
    rows = tiny.pivot_rows(policy)
    rows[0] |= {"kind": "message"}
    folder = tiny.write_dataset(tmp_path / "pivots", rows, [])
    main(tiny.command(policy, folder, tmp_path / "out", **SFT, sft_turns="calls", max_steps=1))
    assert "train     5 demonstrations in 5 sequences; left out: not_a_call 1\n" in capsys.readouterr().out
    messages = tiny.write_dataset(tmp_path / "messages", [row | {"kind": "message"} for row in rows], [])
    said = refusal(tiny.command(policy, messages, tmp_path / "none", **SFT, sft_turns="calls"), capsys)
    assert said == "--sft_turns calls: no row of train is a call (6 rows); leave it out"
