"""Each cost is counted once, even if several arms use it or a stage was killed."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from pivotmine_claims.ledger import Cost, Entry, as_json, from_json, locked, stage, total


def test_costs_add_up_and_come_back_from_a_file() -> None:
    mining = Entry(stage="mine", kind="mining", cost=Cost(turns=8, generated=80, prefilled=30), found={"never": 1})
    training = Entry(stage="train", kind="training", cost=Cost(turns=2, generated=20, trained=50, groups=1, cpu_s=1.5))
    assert from_json(json.loads(json.dumps(as_json([mining, training])))) == [mining, training]
    both = total([mining.cost, training.cost])
    assert both == Cost(turns=10, generated=100, prefilled=30, trained=50, groups=1, cpu_s=1.5)
    assert both.tokens == 180
    assert total([]) == Cost()


def test_a_stage_runs_once_and_counts_the_seconds_of_attempts_that_failed(tmp_path: Path) -> None:
    def fails(folder: Path) -> dict[str, Any]:
        sum(i * i for i in range(3_000_000))
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        stage(tmp_path / "one", fails)
    assert not (tmp_path / "one" / "done.json").exists()
    first = stage(tmp_path / "one", lambda folder: {"answer": 1})
    again = stage(tmp_path / "one", lambda folder: {"answer": 2})
    alone = stage(tmp_path / "two", lambda folder: {"answer": 1})
    assert first["answer"] == 1
    assert again == first
    assert first["cpu_s"] > alone["cpu_s"]


def test_a_lock_is_given_back_by_a_process_that_ends(tmp_path: Path) -> None:
    words = (
        "import sys, time; from pathlib import Path; from pivotmine_claims.ledger import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", words, str(tmp_path / "lock")],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert process.stdout is not None
    with process, process.stdout:
        assert process.stdout.readline() == b"held\n"
        with locked(tmp_path / "lock", wait=False) as free:
            assert not free
        process.kill()
    with locked(tmp_path / "lock", wait=False) as free:
        assert free
