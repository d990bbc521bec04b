"""`extract --dry-run`: count what the sources hold and what their prompts would cost. Nothing is written to the run.

The sources are extracted in full, into a temporary folder that is deleted at the end. The size of a prompt counts its
messages and tools, not what a chat template adds. The distinct prefixes of all prompts form a tree, whose nodes are
states. An unbounded prefix cache computes each node once.
"""

from __future__ import annotations

import functools
import tempfile
from array import array
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pivotmine import strict_json
from pivotmine.errors import UserError
from pivotmine.messages import StateHash, reasoning_of, text_of
from pivotmine.progress import track
from pivotmine.run import rundir
from pivotmine_stages.engines.options import EngineOptions, context_length
from pivotmine_stages.extract import merge
from pivotmine_stages.extract.options import CountOptions, ExtractConfig
from pivotmine_stages.extract.stage import extract
from pivotmine_stages.extract.summary import ExtractSummary

if TYPE_CHECKING:
    from pivotmine.run.states import StateMessages

Size = Callable[[str], int]
"""Counts the tokens, or the characters, of a text."""
_NODES = pa.schema([("node", pa.string()), ("size", pa.int64())])
_NODES_PER_PART = 100_000
_TEXTS_REMEMBERED = 1 << 12


def extract_or_count(config: ExtractConfig, counting: CountOptions, run: Path) -> ExtractSummary:
    """Run `pivotmine extract`: extract, or only count with --dry-run."""
    if counting.tokenizer is not None and not counting.dry_run:
        raise UserError("--tokenizer counts the tokens of a --dry-run: add --dry-run, or give it to rollout")
    return count_sources(config, counting.tokenizer) if counting.dry_run else extract(config, run)


def count_sources(config: ExtractConfig, tokenizer: str | None) -> ExtractSummary:
    """Return the summary that `extract` would give, with sizes of the prompts: in characters without a tokenizer."""
    unit, size = ("characters", len) if tokenizer is None else ("tokens", _tokens(tokenizer))
    with tempfile.TemporaryDirectory(prefix="pivotmine-") as name:
        run = Path(name) / "run"
        summary = extract(config, run)
        prompts, distinct = _prompts(run, Path(name) / "nodes", functools.lru_cache(_TEXTS_REMEMBERED)(size))
    longest = max(prompts, default=0)
    sizes: dict[str, int] = {
        f"prompt_{unit}": sum(prompts),
        f"distinct_prefix_{unit}": distinct,
        f"longest_prompt_{unit}": longest,
    }
    context = None if tokenizer is None else context_length(EngineOptions(model=tokenizer))
    fit = {} if context is None else {"max_model_len": context, "too_long": sum(size >= context for size in prompts)}
    return replace(summary, dry_run=True, **sizes, **fit)


def _tokens(name: str) -> Size:
    from pivotmine_stages.policy.prompts import load_renderer

    tokenizer = load_renderer(name, {}).tokenizer
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _prompts(run: Path, folder: Path, size: Size) -> tuple[array[int], int]:
    """Return the size of each prompt, and the total size of all distinct prefixes. The prefixes are counted on disk."""
    from pivotmine.run.states import action_formats, state_messages  # here: only a dry run needs polars

    turns = rundir.scan(run, "turns").select("segment_id", "position", "tools_id").collect()
    turns = turns.join(action_formats(run), on="segment_id", how="left", maintain_order="left")
    folder.mkdir()
    prompts, nodes, num_parts = array("q"), list[tuple[str, int]](), 0
    states = track(state_messages(run, turns), "extract", "prompts", len(turns))
    for _, segment in groupby(states, lambda state: state.turn["segment_id"]):
        for prompt, new in _prefixes(segment, size):
            prompts.append(prompt)
            nodes += new
        if len(nodes) >= _NODES_PER_PART:
            _write(folder, num_parts, nodes)
            nodes, num_parts = [], num_parts + 1
    _write(folder, num_parts, nodes)
    # Messages of equal states may differ in call ids and white space, and so in size: the largest counts.
    query = "select coalesce(sum(size), 0)::bigint from (select max(size) as size from read_parquet(?) group by node)"
    answer = merge.connect(folder).execute(query, [[str(p) for p in folder.glob("*.parquet")]]).fetchone()
    assert answer is not None
    return prompts, answer[0]


def _prefixes(segment: Iterator[StateMessages], size: Size) -> Iterator[tuple[int, list[tuple[str, int]]]]:
    """For each turn of a segment, yield the size of its prompt and the nodes (state, size) that the turn adds."""
    state, seen, prompt = None, 0, 0
    for turn in segment:
        new: list[tuple[str, int]] = []
        if state is None:
            state = StateHash(turn.turn["tools_id"], turn.turn["action_format"])
            prompt = size(strict_json.dumps(turn.tools)) if turn.tools else 0
            new.append((state.state_id(), prompt))
        for message in turn.messages[seen:]:
            state.add(message)
            new.append((state.state_id(), _message_size(message, size)))
            prompt += new[-1][1]
        seen = len(turn.messages)
        yield prompt, new


def _message_size(message: dict[str, Any], size: Size) -> int:
    reasoning = reasoning_of(message)
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    calls += [message["function_call"]] if message.get("function_call") else []
    texts = [text_of(message.get("content")), *([str(reasoning)] if reasoning else []), *map(strict_json.dumps, calls)]
    return sum(size(text) for text in texts if text)


def _write(folder: Path, number: int, nodes: list[tuple[str, int]]) -> None:
    columns = [pa.array([node for node, _ in nodes], pa.string()), pa.array([n for _, n in nodes], pa.int64())]
    pq.write_table(pa.Table.from_arrays(columns, schema=_NODES), folder / f"part-{number:06d}.parquet")
