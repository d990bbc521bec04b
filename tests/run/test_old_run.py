"""A run that an older version wrote stays usable: it opens, scores, selects, exports, and needs no new samples."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pivotmine.run import sql
from pivotmine.run.tables import TABLES
from pivotmine_stages.cli.app import main

FIXTURE = Path(__file__).parents[1] / "fixtures" / "old_run"
POLICY = "policy-243826d65f48"
VERIFIER = "auto-b3884911"

Summary = Callable[..., dict[str, Any]]


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURE / "run", tmp_path / "old run"))


@pytest.fixture
def pivotmine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Summary:
    """Run a command; returns its JSON summary."""

    def command(*arguments: object) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", ["pivotmine", *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as done:
            main()
        captured = capsys.readouterr()
        assert not done.value.code, captured.err
        return json.loads(captured.out)

    return command


def test_every_table_of_it_opens(old_run: Path) -> None:
    stored = {
        table: pl.scan_parquet(files).select(pl.len()).collect().item()
        for table, pattern in {
            "turns": "turns/*.parquet",
            "rollouts": "rollouts/*/*.parquet",
            "scores": "scores/*/*/part-*.parquet",
            "profiles": "scores/*/*/profiles.parquet",
            "pivots": "pivots/*/*.parquet",
        }.items()
        if (files := sorted(old_run.glob(pattern)))
    }
    assert stored == {"turns": 78, "rollouts": 662, "scores": 584, "profiles": 73, "pivots": 7}
    for table, schema in TABLES.items():
        found = sql.query(old_run, f'select * from "{table}"')
        assert [name for name in found.column_names if name != "pivots_name"] == schema.names
        assert found.num_rows == stored.get(table, found.num_rows)


def test_rollout_with_its_recorded_settings_draws_nothing(old_run: Path, pivotmine: Summary) -> None:
    settings = ["--engine", "transformers", "--num-samples", "8", "--config", FIXTURE / "run.toml"]
    found = pivotmine("rollout", old_run, "--model", FIXTURE / "policy", *settings)
    assert found["policy_id"] == POLICY
    assert (found["wanted_samples"], found["missing_samples"], found["sampled"]) == (584, 0, {})


def test_it_is_scored_selected_and_exported(old_run: Path, pivotmine: Summary) -> None:
    scored = pivotmine("score", old_run, "--policy", POLICY, "--config", FIXTURE / "run.toml")
    assert (scored["states"], scored["samples"], scored["scored"]) == (73, 584, 584)
    # The tokenizer's recorded path was on another machine.
    given = ["--policy", POLICY, "--verifier", scored["verifier_id"], "--tokenizer", FIXTURE / "policy"]
    selected = pivotmine("select", old_run, *given, "--name", "again")
    assert selected["train"] + selected["validation"] == 7
    exported = pivotmine("export", old_run, "--name", "again", "--format", "nemo_gym")
    assert exported["train"] == selected["train"]


def test_its_scores_are_made_again_where_they_are_gone(old_run: Path, pivotmine: Summary) -> None:
    before = sql.query(old_run, "select * from scores order by all")
    shutil.rmtree(old_run / "scores")
    again = pivotmine("score", old_run, "--policy", POLICY, "--config", FIXTURE / "run.toml")
    if again["verifier_id"] == VERIFIER:  # a verifier whose verdicts changed has another id
        assert sql.query(old_run, "select * from scores order by all").equals(before)
