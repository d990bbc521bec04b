"""A command without a usable result exits with 1 and a reason; a command that finds everything done exits with 0."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import Command
from summaries import ROLLED, SCORED
from trajectories import order_trajectory, write_jsonl

from pivotmine.errors import UserError
from pivotmine_stages.cli.usable_result import require_usable
from pivotmine_stages.rollout.stage import Sampled, Stored

SAMPLE = ("--engine", "transformers", "--num-samples", 2, "--max-new-tokens", 4, "--verifier", "tool_call")


def test_no_demonstration(pivotmine: Command, tmp_path: Path) -> None:
    failed = write_jsonl(tmp_path / "failed.jsonl", [order_trajectory("B1", reward=0, task_id=1)])
    code, _, err = pivotmine("extract", failed, "--run", tmp_path / "run")
    assert code == 1
    assert err.startswith("pivotmine: none of the 3 turns is a demonstration: low_outcome 3 (first: ")
    assert "--min-outcome NUMBER sets which outcome label is good enough" in err
    code, _, err = pivotmine("audit", tmp_path / "run")
    assert (code, err) == (
        1,
        "pivotmine: nothing to try: the run has no demonstration; the rejects of extract say why\n",
    )


def test_no_prompt_fits_and_a_rerun_is_done(
    pivotmine: Command, source: Path, tmp_path: Path, tiny_policy: Path
) -> None:
    run = tmp_path / "run"
    pivotmine("extract", source, "--run", run)
    code, _, err = pivotmine("rollout", run, "--model", tiny_policy, *SAMPLE, "--max-model-len", 50)
    assert code == 1
    assert err.startswith(
        "pivotmine: nothing was sampled: no_verifier 3, prompt_too_long 6; the first prompt_too_long: "
    )
    assert [pivotmine("rollout", run, "--model", tiny_policy, *SAMPLE)[0] for _ in range(2)] == [0, 0]
    # The longest prompt of this run does not fit, and never will: everything else is done.
    assert pivotmine("rollout", run, "--model", tiny_policy, *SAMPLE, "--max-model-len", 220)[0] == 0


def test_no_row_is_selected(pivotmine: Command, source: Path, tmp_path: Path, tiny_policy: Path) -> None:
    run = tmp_path / "run"
    pivotmine("extract", source, "--run", run)
    pivotmine("rollout", run, "--model", tiny_policy, *SAMPLE)
    assert pivotmine("score", run, "--verifier", "tool_call")[0] == 0
    code, out, err = pivotmine("select", run)
    assert out.startswith("select    pivots/default: 0 training and 0 validation rows\n")
    assert (code, err) == (1, "pivotmine: no row is selected, no dataset is written: never 6, not_profiled 3\n")
    assert not (run / "pivots").exists()
    assert pivotmine("select", run, "--strategy", "all")[0] == 0


UNSCORED = replace(SCORED, scored=0, samples=4800, verifier_id="judge-1", outcomes={})
UNSAMPLED = replace(ROLLED, stored=Stored(0, 0, 0), sampled=Sampled(), rejects={}, causes={})
STORED = replace(UNSAMPLED, stored=Stored(8, 8, 8))


@pytest.mark.parametrize(
    ("command", "summary", "reason"),
    [
        (
            "score",
            replace(UNSCORED, outcomes={"verifier_error": 4800}),
            "0 of 4,800 samples are scored by judge-1: verifier_error 4,800",
        ),
        (
            "score",
            replace(UNSCORED, rejects={"no_verifier": 3}),
            "0 of 4,800 samples are scored by judge-1: no_verifier 3",
        ),
        ("score", replace(UNSCORED, scored=1), None),
        (
            "rollout",
            replace(UNSAMPLED, rejects={"engine_error": 10}, causes={"engine_error": "404"}),
            "nothing was sampled: engine_error 10; the first engine_error: 404",
        ),
        (
            "rollout",
            replace(STORED, rejects={"engine_error": 10}),
            "nothing was sampled: engine_error 10",
        ),
        ("rollout", replace(STORED, rejects={"prompt_too_long": 10}), None),
        ("rollout", STORED, None),
        ("export", {}, None),
    ],
)
def test_the_reason(command: str, summary: Any, reason: str | None) -> None:
    if reason is None:
        require_usable(command, summary)
        return
    with pytest.raises(UserError) as raised:
        require_usable(command, summary)
    assert str(raised.value) == reason


def test_a_damaged_run_is_one_line_where_a_command_would_fail_on_it(
    pivotmine: Command, source: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    pivotmine("extract", source, "--run", run)
    (path,) = run.glob("turns/*.parquet")
    data = path.read_bytes()
    path.write_bytes(data[:4] + bytes(len(data) // 4) + data[4 + len(data) // 4 :])
    code, _, err = pivotmine("status", run)
    assert code == 1
    assert f"pivotmine: {path} is damaged: its content has changed: extract the same sources again" in err
    assert "Traceback" not in err
    code, out, err = pivotmine("verify", run)
    assert (code, err) == (1, "pivotmine: 1 of 6 files are broken\n")
    assert f"{path} (turns) is damaged: its content has changed: " in out
    code, out, _ = pivotmine("verify", run, "--repair")
    assert (code, f"mended {path} (turns): extracted again" in out) == (0, True)
