"""States as messages and tools: read once a segment, in the order of the turns, with memory for one segment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from pivotmine.run import rundir, sql
from pivotmine.run.parts import require_sound

SEGMENTS_PER_BATCH = 2048


class StateMessages(NamedTuple):
    turn: dict[str, Any]
    """The row asked for."""
    messages: list[dict[str, Any]]
    """The state: the messages before the turn."""
    reply: list[dict[str, Any]]
    """What the recorded environment answered: the messages after the turn, up to the next assistant message."""
    tools: list[dict[str, Any]] | None
    """The state's tools in OpenAI form; None: none."""
    message: dict[str, Any]
    """The turn itself, as recorded."""


def demonstrated_turns(run: Path) -> pl.DataFrame:
    """The turns worth imitating, in the order of the sources.

    They have the columns of `turns`, and `source`, `source_index`, `task_id` and `action_format`.
    """
    turns = _checked(run, "turns").filter(pl.col("reject_reason").is_null())
    places = _checked(run, "trajectories").select("trajectory_id", "source", "source_index", "task_id")
    turns = turns.join(places, on="trajectory_id", how="left", maintain_order="left")
    return turns.join(action_formats(run).lazy(), on="segment_id", how="left", maintain_order="left").collect()


def action_formats(run: Path) -> pl.DataFrame:
    """`segment_id` and `action_format` of every segment; null in runs that were written before the column."""
    return _checked(run, "segments").select("segment_id", "action_format").collect()


def tools_by_id(run: Path) -> dict[str | None, list[dict[str, Any]] | None]:
    """Tool definitions by `tools_id`; None has none."""
    rows = _checked(run, "tools").collect().iter_rows(named=True)
    return {None: None, **{row["tools_id"]: json.loads(row["tools"]) for row in rows}}


def _checked(run: Path, table: str) -> pl.LazyFrame:
    return rundir.scan(run, table, require_sound(run, table))


def state_messages(run: Path, turns: pl.DataFrame) -> Iterator[StateMessages]:
    """For each turn (columns `segment_id`, `position`, `tools_id`): its state, segment by segment as they come.

    The prefix of a turn is never written out: each segment's messages are read once for all of its turns.
    """
    tools = tools_by_id(run)
    for table in ("segments", "messages"):
        require_sound(run, table)
    grouped = turns.group_by("segment_id", maintain_order=True)
    pending: list[tuple[str, pl.DataFrame]] = []
    for (segment_id,), group in grouped:
        pending.append((str(segment_id), group))
        if len(pending) == SEGMENTS_PER_BATCH:
            yield from _batch(run, pending, tools)
            pending = []
    yield from _batch(run, pending, tools)


def _batch(run: Path, pending: list[tuple[str, pl.DataFrame]], tools: dict[str | None, Any]) -> Iterator[StateMessages]:
    found = _segment_messages(run, [segment_id for segment_id, _ in pending])
    for segment_id, group in pending:
        messages = [json.loads(text) for text in found[segment_id]]
        for turn in group.iter_rows(named=True):
            position = turn["position"]
            reply, known = _reply(messages[position + 1 :]), tools[turn["tools_id"]]
            yield StateMessages(turn, messages[:position], reply, known, messages[position])


def _reply(after: list[dict[str, Any]]) -> list[dict[str, Any]]:
    end = next((i for i, message in enumerate(after) if message["role"] == "assistant"), len(after))
    return after[:end]


def _segment_messages(run: Path, segment_ids: list[str]) -> dict[str, list[str]]:
    if not segment_ids:
        return {}
    rows = (
        sql.connect(run)
        .execute(
            """
            select g.segment_id, list(m.message order by g.place)
            from (
                select segment_id, unnest(message_ids) as message_id, generate_subscripts(message_ids, 1) as place
                from segments where segment_id in (select unnest(?))
            ) g join messages m using (message_id)
            group by g.segment_id
            """,
            [segment_ids],
        )
        .fetchall()
    )
    return dict(rows)
