"""Continue samples that a smaller token budget truncated.

The text of a continued sample is decoded from all its tokens, since the cut may fall inside a character.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine_stages.engines.options import sample_from_tokens
from pivotmine_stages.engines.protocol import Request, Sample
from pivotmine_stages.policy.record import PolicyRecord
from pivotmine_stages.profiles.budgets import longest_rows, stored_rows

Row = Mapping[str, Any]
"""A row of `rollouts`."""


def stored_samples(run: Path, record: PolicyRecord, wanted: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """The longest row of each requested sample (state_id, sample_index), by state; all are held in memory."""
    if wanted.is_empty():
        return {}
    rows = stored_rows(run, record).join(wanted.lazy(), on=["state_id", "sample_index"], how="semi")
    found: dict[str, list[dict[str, Any]]] = {}
    for row in longest_rows(rows).sort("state_id", "sample_index").collect().iter_rows(named=True):
        found.setdefault(row["state_id"], []).append(row)
    return found


def continuing(request: Request, rows: Iterable[Row]) -> list[tuple[Request, dict[int, Row]]]:
    """Requests that continue the rows, each with its rows by sample index; samples with the same tokens share one.

    request: the state's request, whose `prompt_ids` are the prompt only.
    """
    groups: dict[tuple[int, ...], dict[int, Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row["token_ids"]), {})[row["sample_index"]] = row
    return [
        (
            replace(
                request,
                prompt_ids=[*request.prompt_ids, *token_ids],
                sample_indices=tuple(group),
                num_continued=len(token_ids),
            ),
            group,
        )
        for token_ids, group in groups.items()
    ]


def joined(tokenizer: Any, row: Row, drawn: Sample) -> Sample:
    """The whole sample: its stored tokens and the new tokens after them."""
    assert drawn.token_ids is not None, "the engine says that it continues samples"
    token_ids, logprobs = [*row["token_ids"], *drawn.token_ids], None
    if row["logprobs"] is not None and drawn.logprobs is not None:
        logprobs = [*row["logprobs"], *drawn.logprobs]
    return sample_from_tokens(tokenizer, drawn.sample_index, token_ids, logprobs, drawn.finish_reason)


def shortened(tokenizer: Any, row: Row, budget: int) -> dict[str, Any]:
    """The row as a smaller budget would have truncated it, for verifiers that judge truncated samples."""
    token_ids, logprobs = row["token_ids"][:budget], row["logprobs"] and row["logprobs"][:budget]
    cut = sample_from_tokens(tokenizer, row["sample_index"], token_ids, logprobs, "length")
    columns = {name: getattr(cut, name) for name in ("text", "token_ids", "logprobs", "finish_reason", "num_tokens")}
    return {**row, **columns, "budget": budget, "continues": None}
