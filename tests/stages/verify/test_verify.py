"""verify: damage is named with its remedy; --repair redoes the damaged parts only."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

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
from trajectories import order_trajectory, write_jsonl

from pivotmine.errors import UserError
from pivotmine.run import parts, rundir
from pivotmine.verifiers import make_spec
from pivotmine_stages.cli.options import extract, rollout, select
from pivotmine_stages.cli.options import score as score_by_name
from pivotmine_stages.cli.usable_result import require_usable
from pivotmine_stages.score.stage import ScoreConfig, score
from pivotmine_stages.verify.options import VerifyConfig
from pivotmine_stages.verify.repair import MendedFile
from pivotmine_stages.verify.stage import VerifySummary, verify, verify_report

CHECK, REPAIR = VerifyConfig(), VerifyConfig(repair=True)
Damage = Callable[[Path], None]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two states, two samples of each in a part of its own, scored."""
    run = make_run(tmp_path, *(trajectory(said(f"Find {i}"), called("find", id=i), answered(i)) for i in ("A", "B")))
    remember(run, policy_record())
    for part, state_id in enumerate(sorted(states_of(run).values())):
        add_rollouts(run, {state_id: [sample(call_text("find", id="A")), sample("no")]}, part=part)
    score(ScoreConfig(verifier=make_spec("tool_call", {})), run)
    return run


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x04
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def empty(path: Path) -> None:
    path.write_text("{}")


def contents(run: Path) -> dict[str, bytes]:
    """Every table's files."""
    return {str(path.relative_to(run)): path.read_bytes() for t in rundir.TABLES for path in rundir.table_files(run, t)}


def broken(summary: VerifySummary, run: Path) -> dict[str, tuple[str, str]]:
    return {one.path.removeprefix(f"{run}/"): (one.table, one.problem) for one in summary.broken}


def test_a_whole_run_is_whole(run: Path) -> None:
    found = verify(CHECK, run)
    assert (found.broken, found.mended) == ([], [])
    assert found.files == len(contents(run))
    assert found.bytes == sum(map(len, contents(run).values()))
    assert verify_report(found).splitlines()[-1].strip().startswith("all whole")
    require_usable("verify", found)


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
@pytest.mark.parametrize(
    "pattern",
    [
        "messages/*.parquet",
        "turns/*.parquet",
        "gates/*.parquet",
        "scores/*/*/part-0of1-000001.parquet",
        "scores/*/*/profiles.parquet",
    ],
)
def test_what_follows_from_whole_files_is_made_again_byte_for_byte(run: Path, pattern: str, damage: Damage) -> None:
    before = contents(run)
    (path,) = run.glob(pattern)
    name, table = str(path.relative_to(run)), "profiles" if "profiles" in pattern else pattern.partition("/")[0]
    damage(path)
    words = "is damaged: its content has changed" if damage is flip else "is cut short"
    words = words if path.exists() else "is missing"
    found = verify(CHECK, run)
    assert broken(found, run) == {name: (table, words)}
    assert found.broken[0].remedy.endswith(f"or `pivotmine verify {run} --repair`")
    with pytest.raises(UserError, match=r"^1 of \d+ files are broken$"):
        require_usable("verify", found)
    times = {other: (run / other).stat().st_mtime_ns for other in before if other != name}
    mended = verify(REPAIR, run)
    assert (mended.broken, [one.path for one in mended.mended]) == ([], [str(path)])
    assert contents(run) == before
    changed = {other for other, time in times.items() if (run / other).stat().st_mtime_ns != time}
    assert all("profiles" in other or other.startswith("rejects/score") for other in changed), changed


def test_rollouts_cannot_be_made_again_and_are_set_aside(run: Path) -> None:
    lost, (left,) = "rollouts/policy-1/part-0of1-000001.parquet", rundir.table_files(run, "rollouts")[:1]
    flip(run / lost)
    (told,) = verify(CHECK, run).broken
    assert told.remedy.startswith("delete it and start the same `pivotmine rollout` again")
    done = verify(REPAIR, run)
    assert done.broken == []
    assert done.mended[0].how == "moved to set-aside; the same `pivotmine rollout` draws its samples again"
    assert (run / "set-aside" / lost).exists()
    assert rundir.table_files(run, "rollouts") == [left]
    profiles = rundir.scan(run, "profiles").collect()
    assert profiles["num_samples"].to_list() == [2]


def test_a_copy_is_no_second_sample(run: Path) -> None:
    before, part = contents(run), run / "rollouts/policy-1/part-0of1-000000.parquet"
    copy = shutil.copy(part, part.with_name("part-0of1-000009.parquet"))
    with pytest.raises(UserError, match=r"^\S+part-0of1-000009.parquet is not in the run's manifests: it is a copy"):
        score(ScoreConfig(verifier=make_spec("tool_call", {})), run)
    assert verify(REPAIR, run).mended == [
        MendedFile(str(copy), "rollouts", "moved to set-aside"),
    ]
    assert contents(run) == before


def test_a_copy_in_a_run_without_digests_is_told_by_its_samples(run: Path) -> None:
    part = run / "rollouts/policy-1/part-0of1-000000.parquet"
    for manifest in (run / "manifests").glob("parts-*.json"):
        manifest.unlink()
    shutil.copy(part, part.with_name("part-0of1-000009.parquet"))
    words = (
        r"samples of 1 state are stored twice, for example in part-0of1-000000.parquet, part-0of1-000009.parquet: one"
    )
    with pytest.raises(UserError, match=words):
        score(ScoreConfig(verifier=make_spec("tool_call", {})), run)


def test_a_part_without_a_digest_is_decoded(run: Path) -> None:
    for manifest in (run / "manifests").glob("parts-*.json"):
        manifest.unlink()
    found = verify(CHECK, run)
    assert (found.broken, found.without_digest) == ([], 7)
    path = run / "rollouts/policy-1/part-0of1-000000.parquet"
    data = path.read_bytes()
    path.write_bytes(data[:4] + bytes(len(data) // 2) + data[4 + len(data) // 2 :])
    assert broken(verify(CHECK, run), run)[str(path.relative_to(run))][0] == "rollouts"


@pytest.mark.parametrize("stage", ["parts", "score"])
def test_a_manifest_of_nothing_is_written_again(run: Path, stage: str) -> None:
    before = contents(run)
    for path in (run / "manifests").glob(f"{stage}-*.json"):
        empty(path)
        ((name, (table, problem)),) = broken(verify(CHECK, run), run).items()
        assert (name, table) == (str(path.relative_to(run)), "manifests")
        assert problem == "is cut short or damaged"
        assert verify(REPAIR, run).broken == []
    found = verify(CHECK, run)
    assert (found.broken, contents(run)) == ([], before)
    assert found.without_digest == 0


def test_extracts_manifest_of_nothing_stays_broken(run: Path) -> None:
    (path,) = (run / "manifests").glob("extract-*.json")
    empty(path)
    found = verify(REPAIR, run)
    assert [(one.path, one.remedy) for one in found.broken] == [
        (str(path), "extract the same sources again, into another --run")
    ]
    with pytest.raises(UserError, match=f"^{path} is cut short or damaged: extract the same sources again"):
        score(ScoreConfig(verifier=make_spec("tool_call", {})), run)


def test_other_sources_mend_nothing(run: Path) -> None:
    (source,) = run.parent.glob("*.jsonl")
    source.write_text(source.read_text().replace("Find A", "Find C"))
    (path,) = run.glob("messages/*.parquet")
    flip(path)
    done = verify(REPAIR, run)
    assert [one.path for one in done.broken] == [str(path)]
    assert not list(run.glob(".verify-*"))
    source.write_text(source.read_text().replace("Find C", "Find A"))
    moved = source.rename(source.with_name("moved.jsonl"))
    assert verify(VerifyConfig(repair=True, source=(moved,)), run).broken == []


def test_pivots_are_selected_again(tmp_path: Path, tiny_policy: Path) -> None:
    source = write_jsonl(tmp_path / "orders.jsonl", [order_trajectory(f"B{i}", task_id=i) for i in range(3)])
    run = tmp_path / "run"
    extract({}, sources=[source], run=run)
    rollout(
        {},
        run=run,
        model=str(tiny_policy),
        verifier="tool_call",
        engine="transformers",
        num_samples=2,
        max_new_tokens=4,
    )
    score_by_name({}, run=run, verifier="tool_call")
    select({}, run=run, strategy="random")
    before = contents(run)
    cut(run / "pivots/default/train.parquet")
    done = verify(REPAIR, run)
    assert (done.broken, [one.how for one in done.mended]) == ([], ["selected again"])
    assert contents(run) == before


@pytest.mark.parametrize("stage", ["score", "select"])
def test_rejects_are_checked_and_written_again(run: Path, tiny_policy: Path, stage: str) -> None:
    """A state that fails its gate is a reject of score; one that another rule wants, of select."""
    select({}, run=run, strategy="mixed", min_scored=1, validation_share=0.0, tokenizer=str(tiny_policy))
    before = contents(run)
    (path,) = run.glob(f"rejects/{stage}-*/rejects.parquet")
    for damage, words in ((flip, "is damaged: its content has changed"), (Path.unlink, "is missing")):
        damage(path)
        assert broken(verify(CHECK, run), run) == {str(path.relative_to(run)): ("rejects", words)}
        mended = verify(REPAIR, run)
        assert (mended.broken, mended.without_digest) == ([], 0)
        assert contents(run) == before


def test_rejects_that_rollout_alone_writes_are_set_aside(run: Path) -> None:
    config = {"policy_id": "policy-1", "verifier_id": "v"}
    folder = rundir.rejects_dir(run, "rollout", config)
    for share in ("0of2", "1of2"):
        row = {"stage": "rollout", "reason": "template_error", "state_id": share}
        parts.write_rejects(run, folder, rundir.table_of_rows("rejects", [row]), share)
    before, lost = contents(run), folder / "rejects-1of2.parquet"
    assert verify(CHECK, run).without_digest == 0
    flip(lost)
    assert broken(verify(CHECK, run), run)[str(lost.relative_to(run))][0] == "rejects"
    done = verify(REPAIR, run)
    assert done.mended[0].how == "moved to set-aside; the same `pivotmine rollout` writes it again"
    assert done.broken == []
    del before[str(lost.relative_to(run))]
    assert contents(run) == before


def test_rejects_of_an_earlier_version_get_a_digest_when_they_are_written(run: Path) -> None:
    (path,) = run.glob("rejects/score-*/rejects.parquet")
    for manifest in (run / "manifests").glob("parts-*.json"):
        if "rejects/" in manifest.read_text():
            manifest.unlink()
    found = verify(CHECK, run)
    assert (found.broken, found.without_digest) == ([], 1)
    score(ScoreConfig(verifier=make_spec("tool_call", {})), run)
    assert verify(CHECK, run).without_digest == 0
    flip(path)
    assert broken(verify(CHECK, run), run)[str(path.relative_to(run))][0] == "rejects"
