"""OUTPUT_DIR/completions: every sample once, in training and held out, with its reward and advantage.

Files: `train_<step>.parquet` (`train_<step>_<n>.parquet` if a step samples several times) and
`validation_<step>.parquet`.

| column | meaning |
|---|---|
| split | `train` or `validation` |
| step | train: the optimiser step, from 1, that the sample is drawn for; validation: optimiser steps done |
| state_id | the state |
| completion | raw text, special tokens kept |
| completion_ids | token ids, the end of turn included |
| logprobs | natural log-probability of each token at the sampling temperature; null if the sampler does not report it |
| budget | token budget: a sample with this many tokens and no end of turn is truncated, and can be continued |
| pivot_reward | the verifier's reward; null if not scored |
| outcome, detail | the verdict |
| watch_reward, watch_outcome | the same from `--watch_verifier`; null if the option was not given, or not scored |
| advantage | the advantage in the loss; null in validation |
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_TEXT, _NUMBER = pa.string(), pa.float64()
SCHEMA = pa.schema(
    [
        ("split", _TEXT),
        ("step", pa.int64()),
        ("state_id", _TEXT),
        ("completion", _TEXT),
        ("completion_ids", pa.list_(pa.int64())),
        ("logprobs", pa.list_(_NUMBER)),
        ("budget", pa.int64()),
        ("pivot_reward", _NUMBER),
        ("outcome", _TEXT),
        ("detail", _TEXT),
        ("watch_reward", _NUMBER),
        ("watch_outcome", _TEXT),
        ("advantage", _NUMBER),
    ]
)


def write(output_dir: Path, rows: list[dict[str, Any]], part: int = 0) -> None:
    """Write one file of samples of one split and step. It replaces an earlier file of the same name."""
    folder = output_dir / "completions"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{rows[0]['split']}_{rows[0]['step']:05d}{f'_{part}' if part else ''}.parquet"
    half = folder / f"{name}.tmp"
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), half, compression="zstd")
    half.replace(folder / name)


def first_of_each(rows: list[dict[str, Any]], num_generations: int) -> list[dict[str, Any]]:
    """Keep the first `num_generations` samples of each state: several processes evaluate some states twice."""
    seen: dict[str, int] = {}
    kept: list[dict[str, Any]] = []
    for row in rows:
        seen[row["state_id"]] = seen.get(row["state_id"], 0) + 1
        if seen[row["state_id"]] <= num_generations:
            kept.append(row)
    return kept
