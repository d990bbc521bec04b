import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from runs import take_as_written

from pivotmine.run import rundir
from pivotmine.run.segment_texts import tools_by_id
from pivotmine.run.states import demonstrated_turns, state_messages
from pivotmine_stages.extract.stage import ExtractConfig, extract

TOOLS = [{"type": "function", "function": {"name": "f"}}]


def message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


TALKS = [
    [
        message("user", "a"),
        {**message("assistant", "b"), "function_call": {"name": "f", "arguments": "{}"}},
        message("tool", "c"),
        message("user", "d"),
        message("assistant", "e"),
    ],
    [message("user", "z"), message("assistant", "f"), message("assistant", "g"), message("user", "h")],
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The two talks, the first with tools."""
    records = [{"messages": TALKS[0], "tools": TOOLS, "task_id": 5}, {"messages": TALKS[1]}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    extract(ExtractConfig(sources=(tmp_path / "a.jsonl",)), tmp_path / "run")
    return tmp_path / "run"


def test_a_state_is_what_stood_before_the_turn_and_the_reply_what_came_before_the_next(run: Path) -> None:
    turns = demonstrated_turns(run)
    first, second = TALKS
    found = list(state_messages(run, turns))
    assert [(s.messages, s.reply, s.tools) for s in found] == [
        (first[:1], first[2:4], TOOLS),
        (first[:4], [], TOOLS),
        (second[:1], [], None),
        (second[:2], second[3:], None),
    ]
    assert [s.turn for s in found] == turns.to_dicts()


def test_only_what_is_asked_for_segment_by_segment(run: Path) -> None:
    turns = demonstrated_turns(run)
    mixed = pl.concat([turns[3:], turns[1:2], turns[2:3]])
    assert [s.turn["turn_id"] for s in state_messages(run, mixed)] == turns[[3, 2, 1]]["turn_id"].to_list()
    assert list(state_messages(run, turns[:0])) == []


def test_demonstrated_turns_know_their_place_and_rejected_ones_are_none(run: Path) -> None:
    turns = demonstrated_turns(run)
    assert turns.select("turn_index", "source_index", "task_id").rows() == [
        (0, 0, "5"),
        (1, 0, "5"),
        (0, 1, None),
        (1, 1, None),
    ]
    (path,) = rundir.table_files(run, "turns")
    marked = pl.read_parquet(path).with_columns(reject_reason=pl.lit("masked"))
    marked.write_parquet(path)
    take_as_written(run, path)
    assert demonstrated_turns(run).is_empty()


def test_no_tools_are_none(run: Path) -> None:
    tools = tools_by_id(run)
    assert tools.pop(None) is None
    assert list(tools.values()) == [TOOLS]
