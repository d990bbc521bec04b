"""States as messages and tools, read segment by segment, with memory for one segment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from pivotmine.run import rundir
from pivotmine.run.parts import require_sound
from pivotmine.run.segment_texts import SegmentTexts


class StateMessages(NamedTuple):
    turn: dict[str, Any]
    """The given row."""
    messages: list[dict[str, Any]]
    """The state: the messages before the turn."""
    reply: list[dict[str, Any]]
    """The recorded environment's answer: the messages after the turn, up to the next assistant message."""
    tools: list[dict[str, Any]] | None
    """The state's tools in OpenAI form; None if it has none."""
    message: dict[str, Any]
    """The turn itself, as recorded."""


def demonstrated_turns(run: Path) -> pl.DataFrame:
    """The turns worth imitating, in the order of the sources.

    They have the columns of `turns`, and `source`, `source_index`, `task_id` and `action_format`.
    """
    return scan_demonstrated(run).collect()


def scan_demonstrated(run: Path) -> pl.LazyFrame:
    """`demonstrated_turns` as a lazy frame."""
    turns = _checked(run, "turns").filter(pl.col("reject_reason").is_null())
    places = _checked(run, "trajectories").select("trajectory_id", "source", "source_index", "task_id")
    turns = turns.join(places, on="trajectory_id", how="left", maintain_order="left")
    return turns.join(action_formats(run).lazy(), on="segment_id", how="left", maintain_order="left")


def action_formats(run: Path) -> pl.DataFrame:
    """`segment_id` and `action_format` of every segment; null in runs older than the column."""
    return _checked(run, "segments").select("segment_id", "action_format").collect()


def _checked(run: Path, table: str) -> pl.LazyFrame:
    return rundir.scan(run, table, require_sound(run, table))


def state_messages(run: Path, turns: pl.DataFrame, texts: SegmentTexts | None = None) -> Iterator[StateMessages]:
    """The state of each turn (columns `segment_id`, `position`, `tools_id`), grouped by segment in their given order.

    Each segment's messages are read once for all of its turns. texts: shared with other calls; None makes a file for
    this call. A new segment costs a pass over `messages`.
    """
    with ExitStack() as stack:
        texts = stack.enter_context(SegmentTexts(run)) if texts is None else texts
        texts.add(turns)
        for (segment_id,), group in turns.group_by("segment_id", maintain_order=True):
            messages = texts.messages(str(segment_id))
            for turn in group.iter_rows(named=True):
                position = turn["position"]
                reply, known = _reply(messages[position + 1 :]), texts.tools(turn["tools_id"])
                yield StateMessages(turn, messages[:position], reply, known, messages[position])


def _reply(after: list[dict[str, Any]]) -> list[dict[str, Any]]:
    end = next((i for i, message in enumerate(after) if message["role"] == "assistant"), len(after))
    return after[:end]
