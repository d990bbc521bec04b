"""Truncated files of a run: one line says what to do, and doing it restores everything."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from trajectories import order_trajectory, write_jsonl

from pivotmine.errors import UserError
from pivotmine.run import rundir, sql
from pivotmine_stages.cli.options import export, extract, rollout, score, select

TABLES = ("rollouts", "scores", "profiles", "pivots")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    return write_jsonl(folder / "orders.jsonl", [order_trajectory(f"B{i}", task_id=i) for i in range(3)])


@pytest.fixture
def run(source: Path, tiny_policy: Path, tmp_path: Path) -> Path:
    """Two parts of rollouts, of two starts."""
    extract({}, sources=[source], run=tmp_path / "run")
    mine(tmp_path / "run", tiny_policy, limit=2)
    mine(tmp_path / "run", tiny_policy)
    return tmp_path / "run"


def mine(run: Path, model: Path, **options: Any) -> None:
    settings: dict[str, Any] = {"engine": "transformers", "num_samples": 2, "max_new_tokens": 4, **options}
    rollout({}, run=run, model=str(model), verifier="tool_call", **settings)
    score({}, run=run, verifier="tool_call")
    select({}, run=run, strategy="random")


def contents(run: Path) -> dict[str, list[dict[str, Any]]]:
    frames = {table: rundir.scan(run, table).collect() for table in TABLES}
    return {
        table: frame.sort(frame.columns[:3]).drop("num_cached_tokens", strict=False).to_dicts()
        for table, frame in frames.items()
    }


def cut(path: Path) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


@pytest.mark.parametrize(
    "pattern",
    [
        *("rollouts/*/part-0of1-000000.parquet", "rollouts/*/part-0of1-000001.parquet", "rollouts/*/policy.json"),
        *("scores/*/*/part-0of1-000000.parquet", "scores/*/*/profiles.parquet", "scores/*/*/verifier.json"),
        *("pivots/default/train.parquet", "rejects/score-*/*.parquet", "manifests/select-*.json"),
    ],
)
def test_what_was_cut_short_is_deleted_and_made_anew(run: Path, tiny_policy: Path, pattern: str) -> None:
    before = contents(run)
    path = cut(next(run.glob(pattern)))
    with pytest.raises(UserError, match=f"^{path} is cut short.*(delete it and start the same `pivotmine|command)"):
        mine(run, tiny_policy)
    path.unlink()
    mine(run, tiny_policy)
    assert contents(run) == before
    export({}, run=run)
    assert sql.query(run, "select count(*) from scores").to_pylist() == [{"count_star()": len(before["rollouts"])}]


@pytest.mark.parametrize("table", rundir.EXTRACT_TABLES)
def test_what_extract_wrote_is_extracted_into_another_run(
    run: Path, source: Path, tiny_policy: Path, tmp_path: Path, table: str
) -> None:
    before = contents(run)
    path = cut(next(run.glob(f"{table}/*.parquet")))
    for stage in (lambda: mine(run, tiny_policy), lambda: sql.query(run, "select 1"), lambda: export({}, run=run)):
        with pytest.raises(
            UserError, match=f"^{path} is cut short: .*into another --run; the folder `rollouts` can be"
        ):
            stage()
    extract({}, sources=[source], run=tmp_path / "other")
    shutil.move(run / "rollouts", tmp_path / "other" / "rollouts")
    mine(tmp_path / "other", tiny_policy)
    assert contents(tmp_path / "other") == before


def test_scores_of_a_part_that_was_deleted_never_pass_for_those_of_the_next(run: Path, tiny_policy: Path) -> None:
    """Samples that are drawn again may differ: the scores of the old ones say nothing of them."""
    rollouts, scores = (
        sorted(run.glob(f"{folder}/part-0of1-000001.parquet")) for folder in ("rollouts/*", "scores/*/*")
    )
    rollouts[0].unlink()
    rollout({}, run=run, model=str(tiny_policy), engine="transformers", num_samples=2, max_new_tokens=4)
    assert not rollouts[0].exists()
    score({}, run=run, verifier="tool_call")
    assert not scores[0].exists()
    sampled = rundir.scan(run, "rollouts").select("state_id", "sample_index").collect()
    scored = rundir.scan(run, "scores").select("state_id", "sample_index").collect()
    assert scored.is_duplicated().sum() == 0
    assert scored.join(sampled, on=scored.columns, how="anti").is_empty()


@pytest.mark.parametrize("size", [0, 7, 100])
def test_a_table_that_was_cut_short_anywhere_is_told(tmp_path: Path, size: int) -> None:
    path = tmp_path / "rejects" / "score-a" / "rejects.parquet"
    rundir.write_rows(path, "rejects", [{"stage": "score", "reason": "x"}])
    rundir.require_whole(path, "rejects")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match="is cut short: delete it and start the command that wrote it again"):
        rundir.scan(tmp_path, "rejects")


def test_rejects_that_no_command_writes_again_are_only_lost(tmp_path: Path) -> None:
    path = tmp_path / "rejects" / "extract-a" / "part-000000.parquet"
    rundir.write_rows(path, "rejects", [{"stage": "extract", "reason": "x"}])
    with pytest.raises(UserError, match="is cut short: delete it; the run then lacks some rows of `rejects`"):
        rundir.require_whole(cut(path), "rejects")


def test_recorded_samples_are_recorded_under_another_name(tmp_path: Path) -> None:
    path = tmp_path / "rollouts" / "p-1" / "part-0123456789ab-000000.parquet"
    rundir.write_rows(path, "rollouts", [{"policy_id": "p-1", "state_id": "s", "sample_index": 0}])
    with pytest.raises(
        UserError, match=f"is cut short: remove {path.parent}, and record .* under another --policy-name"
    ):
        rundir.require_whole(cut(path), "rollouts")
