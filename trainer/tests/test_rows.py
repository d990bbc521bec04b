"""An error about a row names the row, its file and the column."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from refusing import refusal

from pivotmine_trainer.cli.app import main

Refused = Callable[..., str]


@pytest.mark.parametrize("text", ["[]", "{", '[{"turn_id": "x"}]', "null"])
def test_demonstrations_that_cannot_be_read(refused: Refused, text: str) -> None:
    said = refused({"demonstrations": text})
    assert said.startswith("row 0 of train.parquet (state state0): demonstrations cannot be read: ")


def test_tokens_that_differ_from_the_mined_ones(policy: Path, refused: Refused) -> None:
    rows = tiny.pivot_rows(policy)
    mined = rows[3]["prompt_ids"]
    rows[3]["prompt_ids"] = [5, *mined[1:]]
    said = refused(rows=rows)
    assert said.startswith("row 3 of train.parquet (state state3): prompt_ids: the tokenizer of ")
    assert said.endswith("other tokens than were mined: at token 0 1 '<|im_start|>' instead of 5 '!'")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"verifier_options": "{"}, "verifier_options cannot be read"),
        ({"sampling": "["}, "the dataset's sampling cannot be read"),
        ({"sampling": "[]"}, "the dataset's sampling is not an object: []"),
        ({"prompt_messages": "[1]"}, "prompt_messages cannot be read: it is not a list of objects"),
        ({"tools": '{"a": 1}'}, "tools cannot be read: it is not a list of objects"),
    ],
)
def test_json_that_is_none_or_another(refused: Refused, columns: dict[str, str], words: str) -> None:
    assert words in refused(columns)


def nested(levels: int) -> str:
    """A list with an object that contains nested lists, `levels` in all."""
    return '[{"a":' + "[" * (levels - 2) + "]" * (levels - 2) + "}]"


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"prompt_ids": [1, -5]}, "prompt_ids cannot be read: -5 is not a token id"),
        ({"prompt_ids": [1, None]}, "prompt_ids cannot be read: null is not a token id"),
        ({"verifier_options": "[]"}, "verifier_options cannot be read: not a JSON object"),
        ({"verifier_options": None}, "verifier_options cannot be read: the JSON object must be str"),
        ({"verifier_options": nested(100_000)}, "verifier_options cannot be read: maximum recursion depth"),
        ({"template_options": "["}, "template_options cannot be read: Expecting value"),
        ({"template_options": "[]"}, "template_options cannot be read: it is not an object"),
        ({"tools": nested(100_000)}, "tools cannot be read: maximum recursion depth exceeded"),
        ({"tools": nested(101)}, "tools cannot be read: it is nested more than 100 levels deep"),
        ({"prompt_messages": nested(101)}, "prompt_messages cannot be read: it is nested more than 100 levels deep"),
        ({"demonstrations": nested(101)}, "demonstrations cannot be read: it is nested more than 100 levels deep"),
    ],
)
def test_a_row_that_cannot_be_read(policy: Path, refused: Refused, columns: dict[str, Any], said: str) -> None:
    """It is named correctly even if earlier rows were left out."""
    rows = tiny.pivot_rows(policy)
    rows[1] |= {"verifier": None, "verifier_options": None, "verifier_id": None}
    rows[3] |= columns
    assert refused(rows=rows).startswith(f"row 3 of train.parquet (state state3): {said}")


def test_a_token_that_the_tokenizer_does_not_have(policy: Path, refused: Refused) -> None:
    """The row's number is the one in the file, not the one among the remaining rows."""
    rows = tiny.pivot_rows(policy)
    rows[1] |= {"verifier": None, "verifier_options": None, "verifier_id": None}
    rows[3]["prompt_ids"] = [10_000, *rows[3]["prompt_ids"][1:]]
    said = refused(rows=rows)
    assert said.startswith("row 3 of train.parquet (state state3): prompt_ids: the tokenizer of ")
    assert said.endswith("at token 0 1 '<|im_start|>' instead of 10000, which it does not have")


def test_the_file_is_named(policy: Path, unloadable: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tiny.pivot_rows(policy)
    folder = tiny.write_dataset(tmp_path / "pivots", rows, [*rows[:2], {**rows[2], "prompt": None}])
    said = refusal(tiny.command(unloadable, folder, tmp_path / "out"), capsys)
    assert said.startswith(f"row 2 of {folder}/validation.parquet: prompt is null")


def test_as_deep_as_can_be_it_trains(policy: Path, tmp_path: Path) -> None:
    """Reward, template and verifier can process what is not refused."""
    tool = {**tiny.TOOLS[0], "x": json.loads(nested(97))}
    rows = tiny.pivot_rows(policy, tools=json.dumps([tool, *tiny.TOOLS[1:]]))
    folder = tiny.write_dataset(tmp_path / "pivots", rows, rows[:1])
    main(tiny.command(policy, folder, tmp_path / "out", echo_weight=0.05, max_steps=1))
