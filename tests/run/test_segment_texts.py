"""Messages of segments in any order, from one pass over `messages`."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from runs import add_rollouts, answered, call_text, called, make_run, policy_record, remember, said, sample, trajectory

from pivotmine.run import parts, rundir
from pivotmine.run.segment_texts import SegmentTexts
from pivotmine.run.states import demonstrated_turns
from pivotmine.verifiers import make_spec
from pivotmine_stages import parallel
from pivotmine_stages.score.stage import ScoreConfig, score

NUM = 40


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """40 trajectories of a call and a message, in many parts of `messages`; 2 samples a state, in 8 parts."""
    monkeypatch.setattr(parallel, "BLOCK_BYTES", 2000)
    done = {"role": "assistant", "content": "It is open until nine."}
    run = make_run(
        tmp_path,
        *(trajectory(said(f"Find {i}"), called("find", id=f"{i}"), answered("open"), done) for i in range(NUM)),
    )
    remember(run, policy_record())
    turns = demonstrated_turns(run)
    for part in range(8):
        states = turns["state_id"].to_list()[part::8]
        add_rollouts(
            run,
            {one: [sample("It is open until nine."), sample(call_text("find", id="1"))] for one in states},
            part=part,
        )
    return run


@pytest.fixture
def reads(run: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often parts are read: `messages` with their texts, `rollouts` one by one, any file for its digest."""
    found: Counter[str] = Counter()
    read, scan, digest = pl.read_parquet, pl.scan_parquet, parts.file_digest

    def counted_read(path: Path, **options: Any) -> pl.DataFrame:
        found[f"text {path.relative_to(run)}"] += "message" in options["columns"]
        return read(path, **options)

    def counted_scan(paths: list[Path], **options: Any) -> pl.LazyFrame:
        found[f"one {paths[0].relative_to(run)}"] += len(paths) == 1
        return scan(paths, **options)

    def counted_digest(path: Path) -> str:
        found[f"digest {path.relative_to(run)}"] += 1
        return digest(path)

    monkeypatch.setattr(pl, "read_parquet", counted_read)
    monkeypatch.setattr(pl, "scan_parquet", counted_scan)
    monkeypatch.setattr(parts, "file_digest", counted_digest)
    return found


def test_any_order_and_any_process(run: Path) -> None:
    turns = demonstrated_turns(run)
    with SegmentTexts(run) as texts:
        texts.add(turns.head(3))
        texts.add(turns)
        assert len(list(run.glob(".messages-*.tmp"))) == 1
        for segment_id in reversed(turns["segment_id"].unique(maintain_order=True).to_list()):
            found = texts.messages(segment_id)
            assert [message["role"] for message in found] == ["user", "assistant", "tool", "assistant"]
            stored = rundir.scan(run, "trajectories").filter(pl.col("trajectory_id") == segment_id.split("/")[0])
            assert found[0]["content"] == f"Find {stored.collect()['source_index'].item()}"
        last = turns.tail(1)
        only = pickle.loads(pickle.dumps(texts.only(last)))
        assert only.messages(last["segment_id"].item()) == texts.messages(last["segment_id"].item())
        assert only.tools(last["tools_id"].item()) == texts.tools(last["tools_id"].item()) is not None
        with pytest.raises(KeyError):
            only.messages(turns["segment_id"][0])
    assert not list(run.glob(".messages-*.tmp"))


def test_score_reads_each_message_once_and_each_part_once(run: Path, reads: Counter[str]) -> None:
    """Two verifiers in one: `auto` reads the messages of the states whose demonstration is a message.

    A part of rollouts is read once for its texts, and twice for what its rows count for, however many parts there are.
    """
    messages, rollouts = (rundir.table_files(run, table) for table in ("messages", "rollouts"))
    assert (len(messages) > 8, len(rollouts)) == (True, 8)
    reads.clear()
    summary = score(ScoreConfig(verifier=make_spec("auto", {}), num_processes=1), run)
    assert (summary.samples, summary.states) == (4 * NUM, 2 * NUM)
    assert _of(reads, "text messages/") == [1] * len(messages)
    assert _of(reads, "one rollouts/") == [3] * len(rollouts)
    assert max(reads[f"digest {path.relative_to(run)}"] for path in [*messages, *rollouts]) <= 1
    reads.clear()
    assert score(ScoreConfig(verifier=make_spec("auto", {}), num_processes=1), run).samples == 4 * NUM
    assert not _of(reads, "text messages/")
    assert _of(reads, "one rollouts/") == [2] * len(rollouts)


def _of(reads: Counter[str], start: str) -> list[int]:
    return [number for name, number in reads.items() if name.startswith(start) and number]


def test_the_file_of_a_killed_process_is_swept(run: Path) -> None:
    program = """
import os, signal, sys; from pathlib import Path
from pivotmine.run.segment_texts import SegmentTexts; from pivotmine.run.states import demonstrated_turns
run = Path(sys.argv[1])
texts = SegmentTexts(run); texts.add(demonstrated_turns(run)); os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program, str(run)], check=False)
    (left,) = run.glob(".messages-*.tmp")
    with SegmentTexts(run) as texts, SegmentTexts(run) as others:
        texts.add(demonstrated_turns(run))
        others.add(demonstrated_turns(run))
        found = list(run.glob(".messages-*.tmp"))
        assert (len(found), left in found) == (2, False)
