"""What is stored if rollout is killed, the disk is full or the engine stops answering."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from order_samples import calling_states, keys, rows, sample

import pivotmine_stages.rollout.stage as stage
from pivotmine.run.parts import PartsManifest
from pivotmine_stages.cli.options import extract
from pivotmine_stages.engines.protocol import Reply, Request
from pivotmine_stages.engines.transformers.engine import TransformersEngine


def test_killed_at_any_time_and_started_again_it_equals_an_undisturbed_run(
    run: Path, source: Path, tiny_policy: Path, tmp_path: Path
) -> None:
    extract({}, sources=[source], run=tmp_path / "calm")
    sample(tmp_path / "calm", tiny_policy, max_new_tokens=48)
    # Parts of eight samples, so that some are written before the kill and some are not.
    command = (
        "import sys; import pivotmine_stages.rollout.stage as stage; stage.SAMPLES_PER_PART = 8; "
        "from pivotmine_stages.cli.app import main; main()"
    )
    flags = f"--model {tiny_policy} --engine transformers --num-samples 3 --max-new-tokens 48 --batch-size 16"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "rollout", str(run), *flags.split(), "--verifier", "tool_call"]
    )
    deadline = time.monotonic() + 120
    while not list(run.glob("rollouts/*/part-*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    written = len(rows(run))
    assert 0 < written < len(rows(tmp_path / "calm"))
    sample(run, tiny_policy, max_new_tokens=48)
    columns = ["policy_id", "state_id", "sample_index", "token_ids", "text", "finish_reason", "prompt_hash"]
    assert rows(run).select(columns).equals(rows(tmp_path / "calm").select(columns))


def test_a_torn_part_is_no_part(run: Path, tiny_policy: Path) -> None:
    """What a kill leaves while a part is written has a temporary name, and nobody reads it."""
    summary = sample(run, tiny_policy, limit=2)
    (run / "rollouts" / summary.policy_id / "part-0of1-000009.parquet.77.tmp").write_bytes(b"PAR1 torn")
    assert sample(run, tiny_policy, limit=2).missing_samples == 0
    assert len(keys(run)) == 6


@pytest.mark.parametrize("polite", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_kill_writes_what_is_sampled(run: Path, tiny_policy: Path, polite: signal.Signals) -> None:
    """As clusters and people send it: parts are large and young, yet nothing that was sampled is lost."""
    flags = f"--model {tiny_policy} --engine transformers --num-samples 3 --max-new-tokens 48 --batch-size 3".split()
    report = (
        "import sys; import pivotmine_stages.rollout.stage as stage; collect = stage._collect\n"
        "def told(replies, work, shown):\n"
        "    collect((print('got', flush=True) or reply for reply in replies), work, shown)\n"
        "stage._collect = told\n"
        "from pivotmine_stages.cli.app import main; main()"
    )
    command = [sys.executable, "-c", report, "rollout", str(run), *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(2):  # the first reply is taken in when the second one comes
        assert process.stdout.readline() == "got\n"
    process.send_signal(polite)
    _, said = process.communicate()
    assert process.returncode == (143 if polite is signal.SIGTERM else 130)
    word = "stopped" if polite is signal.SIGTERM else "interrupted"
    assert f"pivotmine: {word}; the same command continues from here\n" in said
    assert len(rows(run)) >= 3
    assert sample(run, tiny_policy, max_new_tokens=48).missing_samples == 0
    assert sorted(set(keys(run))) == keys(run)


def test_a_part_that_cannot_be_written_is_told_and_sampled_again(
    run: Path, tiny_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full for the second part only: its error ends the command, what came after it is written."""
    write, written = PartsManifest.write, list[str]()

    def full_at_second(manifest: PartsManifest, path: Path, table: pa.Table) -> None:
        if path.name == "part-0of1-000001.parquet":
            raise OSError(28, "No space left on device")
        write(manifest, path, table)
        written.extend([path.name] if path.name.startswith("part-") else [])

    monkeypatch.setattr(stage, "SAMPLES_PER_PART", 12)
    monkeypatch.setattr(stage, "SECONDS_PER_PART", 1e9)
    with monkeypatch.context() as patch:
        patch.setattr(PartsManifest, "write", full_at_second)
        with pytest.raises(OSError, match="No space left"):
            sample(run, tiny_policy, batch_size=6)
    assert written == ["part-0of1-000000.parquet", "part-0of1-000002.parquet"]
    assert 12 < len(keys(run)) <= 12 + 12
    assert sample(run, tiny_policy).missing_samples == 0
    assert keys(run) == [(state, index) for state in sorted(calling_states(run)) for index in range(3)]


def test_what_is_sampled_is_written_in_time_though_no_further_reply_comes(
    run: Path, tiny_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's second reply comes when the first one is on the disk, and not before."""
    draw, found = TransformersEngine.sample, list[tuple[str, int]]()

    def halting(engine: TransformersEngine, requests: Iterable[Request]) -> Iterator[Reply]:
        replies, deadline = draw(engine, requests), time.monotonic() + 30
        yield next(replies)
        while not found and time.monotonic() < deadline:
            time.sleep(0.01)
            found.extend(keys(run))
        yield from replies

    monkeypatch.setattr(TransformersEngine, "sample", halting)
    monkeypatch.setattr(stage, "SECONDS_PER_PART", 0.1)
    sample(run, tiny_policy, limit=3)
    assert len(found) == 3
    assert len(keys(run)) == 9
