"""Digests of parts: reports of damage, and no kill leaves a part that the manifests do not list."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from runs import (
    add_rollouts,
    answered,
    call_text,
    called,
    make_run,
    policy_record,
    remember,
    said,
    sample,
    states_of,
    trajectory,
)

from pivotmine.errors import UserError
from pivotmine.run import parts, rundir
from pivotmine.run.atomic_files import settle
from pivotmine.run.parts import ABSENT, PartsManifest, file_digest, known_parts, require_sound
from pivotmine.run.run_format import read_format

ROWS = pa.table({"stage": ["score"], "reason": ["x"]})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two states with two samples each, in two parts."""
    run = make_run(tmp_path, *(trajectory(said(f"Find {i}"), called("find", id=i), answered(i)) for i in ("A", "B")))
    remember(run, policy_record())
    for part, (state_id, order) in enumerate(zip(sorted(states_of(run).values()), ("A", "B"), strict=False)):
        add_rollouts(run, {state_id: [sample(call_text("find", id=order))] * 2}, part=part)
    return run


def rollout(run: Path, number: int = 0) -> Path:
    return run / "rollouts" / "policy-1" / f"part-0of1-{number:06d}.parquet"


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


def told(run: Path, table: str) -> str:
    with pytest.raises(UserError) as error:
        require_sound(run, table)
    return str(error.value).replace(f"{run}/", "")


def test_every_part_of_a_run_has_its_digest(run: Path) -> None:
    digests = known_parts(run).digests
    files = [path for table in rundir.TABLES for path in rundir.table_files(run, table)]
    assert digests == {path.relative_to(run).as_posix(): [file_digest(path)] for path in files}
    for table in rundir.TABLES:
        assert require_sound(run, table) == rundir.table_files(run, table)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("table", ["turns", "messages", "rollouts"])
def test_a_flipped_bit_anywhere_is_told(run: Path, table: str, share: float) -> None:
    path = rundir.table_files(run, table)[0]
    flip(path, int(share * path.stat().st_size))
    assert told(run, table).startswith(f"{path.relative_to(run)} is damaged: its content has changed: ")


def test_a_change_after_a_check_is_told(run: Path) -> None:
    require_sound(run, "rollouts")
    flip(rollout(run), 100)
    assert "is damaged" in told(run, "rollouts")


def test_a_copy_a_part_of_another_run_and_a_lost_part_are_told(run: Path) -> None:
    shutil.copy(rollout(run), rollout(run, 7))
    assert told(run, "rollouts") == (
        "rollouts/policy-1/part-0of1-000007.parquet is not in the run's manifests: it is a copy, or from another run: "
        f"move it away; `pivotmine verify {run} --repair` does so"
    )
    rollout(run, 7).replace(rollout(run, 1))
    assert "part-0of1-000001.parquet is damaged: its content has changed" in told(run, "rollouts")
    rollout(run, 1).unlink()
    assert told(run, "rollouts").startswith(
        "rollouts/policy-1/part-0of1-000001.parquet is missing: start the same `pivotmine rollout` again, which draws "
    )
    assert require_sound(run, "rollouts", run / "rollouts" / "policy-1", may_lack=True) == [rollout(run)]
    (table,) = rundir.table_files(run, "messages")
    table.unlink()
    assert told(run, "messages").startswith("messages/part-000000.parquet is missing: extract the same sources again")


def test_the_parts_of_an_earlier_version_are_not_checked_until_a_writer_takes_them(run: Path) -> None:
    for manifest in (run / "manifests").glob("parts-*.json"):
        manifest.unlink()
    shutil.copy(rollout(run), rollout(run, 7))
    assert require_sound(run, "rollouts") == [rollout(run), rollout(run, 1), rollout(run, 7)]
    PartsManifest(run, rollout(run).parent, "0of1").write(rollout(run, 8), ROWS)
    flip(rollout(run, 7), 100)
    assert "part-0of1-000007.parquet is damaged" in told(run, "rollouts")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_around_the_rename_leaves_a_run_that_is_sound(
    run: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    folder = rollout(run).parent

    def killed(place: Path, path: Path) -> None:
        if when == "after" or path.suffix == ".json":
            settle(place, path)
        if path.suffix == ".parquet":
            raise KeyboardInterrupt

    monkeypatch.setattr("pivotmine.run.parts.settle", killed)
    with pytest.raises(KeyboardInterrupt):
        PartsManifest(run, folder, "0of1").write(rollout(run, 2), ROWS)
    monkeypatch.undo()
    name = "rollouts/policy-1/part-0of1-000002.parquet"
    assert known_parts(run).digests[name][0] == ABSENT
    assert len(require_sound(run, "rollouts")) == (2 if when == "before" else 3)
    manifest = PartsManifest(run, folder, "0of1")
    assert manifest.has(rollout(run, 2)) == (when == "after")
    manifest.close()
    assert (name in known_parts(run).digests) == (when == "after")


def test_two_writers_share_a_folder(run: Path) -> None:
    folder = rollout(run).parent
    other = folder / "part-1of2-000000.parquet"
    PartsManifest(run, folder, "1of2").write(other, ROWS)
    assert require_sound(run, "rollouts") == [rollout(run), rollout(run, 1), other]
    other.unlink()
    assert PartsManifest(run, folder, "0of1").forget_lost() == []
    assert PartsManifest(run, folder, "1of2").forget_lost() == [other]
    assert require_sound(run, "rollouts") == [rollout(run), rollout(run, 1)]


@pytest.mark.parametrize("text", ["{}", "[]", "", '{"config": {}, "parts": {"a": [1]}}', '{"config": {}, "parts": []}'])
@pytest.mark.parametrize("stage", ["parts", "extract"])
def test_a_manifest_of_anything_is_one_line(run: Path, stage: str, text: str) -> None:
    (path,) = (run / "manifests").glob(f"{stage}-*.json")
    path.write_text(text.replace('"parts"', '"summary": {}, "parts"') if stage == "extract" else text)
    with pytest.raises(UserError, match=f"^{path} is (cut short or )?damaged: "):
        require_sound(run, "rollouts")


def test_manifests_of_before_the_digests_are_read(run: Path) -> None:
    (path,) = (run / "manifests").glob("extract-*.json")
    body = json.loads(path.read_text())
    del body["parts"]
    rundir.write_text(path, json.dumps(body))
    flip(rundir.table_files(run, "messages")[0], 50)
    assert len(require_sound(run, "messages")) == 1
    assert read_format(run) == rundir.FORMAT
    assert parts.first_problem(run) is None
