"""Several processes: an error is printed once, and only as many processes can resume a checkpoint."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tiny
from refusing import refusal

from pivotmine_trainer.cli import console
from pivotmine_trainer.cli.app import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def trained(policy: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one step with one process."""
    out = tmp_path_factory.mktemp("trained") / "out"
    main(tiny.command(policy, dataset, out, save_steps=1, max_steps=1, eval_strategy="no"))
    return out


def test_two_processes_say_once_that_the_checkpoint_is_of_one(trained: Path, policy: Path, dataset: Path) -> None:
    options = {"per_device_train_batch_size": 16, "use_cpu": "true", "eval_strategy": "no"}
    args = tiny.command(policy, dataset, trained, **options, resume_from_checkpoint="true")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "pivotmine_trainer"]
    done = subprocess.run([*launch, *args], capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        f"error: {trained}/checkpoint-1 was written by 1 process, and this training has 2: start as many, or start "
        "over in another --output_dir"
    ]


def test_a_checkpoint_of_more_processes(
    trained: Path, policy: Path, dataset: Path, tmp_path: Path, capsys: Capture
) -> None:
    checkpoint = Path(shutil.copytree(trained, tmp_path / "out")) / "checkpoint-1"
    for place in range(3):
        shutil.copy(checkpoint / "rng_state.pth", checkpoint / f"rng_state_{place}.pth")
    (checkpoint / "rng_state.pth").unlink()
    args = tiny.command(policy, dataset, tmp_path / "out", eval_strategy="no", resume_from_checkpoint="true")
    assert refusal(args, capsys) == (
        f"{checkpoint} was written by 3 processes, and this training has 1: start as many, or start over in another "
        "--output_dir"
    )


@pytest.mark.parametrize(
    ("place", "grace_s", "least_s", "most_s"), [("1", 0.4, 0.4, 30), ("0", 60, 0, 30), (None, 60, 0, 30)]
)
@pytest.mark.parametrize(
    ("beta", "words"),
    [("-1", "error: --beta -1.0: 0 or more"), ("much", "error: argument --beta: invalid float value")],
)
def test_only_the_first_process_of_a_machine_speaks_at_once(
    beta: str,
    words: str,
    place: str | None,
    grace_s: float,
    least_s: float,
    most_s: float,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    """The others have an error of their own if their launcher has not ended them by then."""
    if place is not None:
        monkeypatch.setenv("LOCAL_RANK", place)
    monkeypatch.setattr(console, "GRACE_S", grace_s)
    started = time.monotonic()
    with pytest.raises(SystemExit):
        main(["--dataset", "owner/x", "--model", "y", "--output_dir", "z", "--beta", beta])
    assert least_s <= time.monotonic() - started < most_s
    assert words in capsys.readouterr().err


def test_two_processes_load_the_accelerate_config(policy: Path, dataset: Path, tmp_path: Path) -> None:
    """Each holds whole groups; every sample is kept once."""
    config = Path(__file__).parents[1] / "configs/accelerate.yaml"
    options = {"per_device_train_batch_size": 16, "use_cpu": "true", "max_steps": 1}
    args = tiny.command(policy, dataset, tmp_path / "out", **options)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, "--main_process_port", "0", "-m", "pivotmine_trainer", *args],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "prefixes" not in done.stdout
    rows = pq.read_table(tmp_path / "out/completions/train_00001.parquet").to_pylist()
    assert sorted(row["state_id"] for row in rows) == sorted(f"state{number}" for number in range(4) for _ in range(8))
    held_out = pq.read_table(tmp_path / "out/completions/validation_00001.parquet").to_pylist()
    assert sorted(row["state_id"] for row in held_out) == ["state4"] * 8 + ["state5"] * 8
