from pathlib import Path
from typing import Any

from pivotmine import rundir
from pivotmine.readers.trajectory import Segment, Trajectory
from pivotmine_stages.trajectory_rows import Place, Tables, store_trajectory

A, B, C, D = ({"role": role, "content": text} for role, text in zip(["user", "assistant"] * 2, "abcd", strict=True))
PLACE = Place("s.jsonl", 3)


def store(folder: Path, *segments: Segment) -> tuple[bool, dict[str, list[dict[str, Any]]]]:
    tables = Tables(folder)
    stored = store_trajectory(tables, Trajectory(segments=segments), reader="r", place=PLACE)
    tables.close()
    names = (*rundir.EXTRACT_TABLES, "rejects")
    return stored, {
        name: rundir.scan(folder, name, sorted((folder / name).iterdir())).collect().to_dicts() for name in names
    }


def test_what_a_segment_inherits_is_part_of_its_states_and_no_turn_again(tmp_path: Path) -> None:
    first, second = Segment(messages=[A, B]), Segment(messages=[A, B, C, D], num_inherited=2)
    stored, tables = store(tmp_path, first, second)
    assert stored
    (trajectory,) = tables["trajectories"]
    identity = trajectory["trajectory_id"]
    assert (trajectory["num_segments"], trajectory["num_turns"]) == (2, 2)
    assert [(t["turn_id"], t["segment_id"], t["position"]) for t in tables["turns"]] == [
        (f"{identity}:0", f"{identity}/0", 1),
        (f"{identity}:1", f"{identity}/1", 3),
    ]
    assert [len(s["message_ids"]) for s in tables["segments"]] == [2, 4]
    assert len(tables["messages"]) == 4
    assert tables["rejects"] == []


def test_turns_lost_in_an_inherited_stretch_are_counted_where_they_were_taken(tmp_path: Path) -> None:
    wizard = {"role": "wizard"}
    first = Segment(messages=[A, B, wizard, B])
    stored, tables = store(tmp_path, first, Segment(messages=[A, B, wizard, B, C, D], num_inherited=4))
    assert stored
    assert [t["position"] for t in tables["turns"]] == [1]
    lost = [(r["reason"], r["source"], r["source_index"], r["num_turns"], r["detail"]) for r in tables["rejects"]]
    assert lost == [("unknown_role", *PLACE, 1, "message 2: 'wizard'")] * 2


def test_a_trajectory_cut_to_nothing_is_counted_once(tmp_path: Path) -> None:
    stored, tables = store(tmp_path, Segment(messages=[5, B, D]))
    assert not stored
    assert [(r["reason"], r["num_turns"]) for r in tables["rejects"]] == [("bad_message", 2)]
    assert tables["trajectories"] == tables["segments"] == tables["messages"] == tables["turns"] == []


def test_tools_and_segments_make_another_trajectory(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    tool = {"type": "function", "function": {"name": "f"}}
    variants = [
        (Segment(messages=[A, B]),),
        (Segment(messages=[A, B], tools=[tool]),),
        (Segment(messages=[A, B]), Segment(messages=[A, B])),
        (Segment(messages=[A, B]), Segment(messages=[A, B], num_inherited=1)),
    ]
    assert [store_trajectory(tables, Trajectory(segments=v), reader="r", place=PLACE) for v in variants * 2] == [
        *(True,) * 4,
        *(False,) * 4,
    ]
