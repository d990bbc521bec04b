import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from extracting import (
    GOOD,
    TOOLS,
    assistant,
    call,
    contents,
    fixture,
    mine,
    mine_nothing,
    rejects,
    rows,
    tool,
    user,
    write_lines,
)

from pivotmine import messages, progress
from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.run.tables import TABLES
from pivotmine_stages.command import to_json
from pivotmine_stages.extract.summary import RejectCount


def test_the_tables_of_a_small_source(tmp_path: Path) -> None:
    source, run = fixture(tmp_path), tmp_path / "run"
    summary = mine(run, source)
    trajectories = rows(run, "trajectories")
    ids = [row.pop("trajectory_id") for row in trajectories]
    shared = {"source": str(source), "format": "openai", "num_segments": 1}
    assert trajectories == [
        {
            **shared,
            "source_index": 0,
            "task_id": "t1",
            "domain": "days",
            "outcome": 1.0,
            "num_turns": 3,
            "metadata": '{"reward":1,"task_id":"t1"}',
        },
        {
            **shared,
            "source_index": 1,
            "task_id": "t1",
            "domain": None,
            "outcome": 1.0,
            "num_turns": 2,
            "metadata": '{"reward":1,"task_id":"t1"}',
        },
        {
            **shared,
            "source_index": 2,
            "task_id": None,
            "domain": None,
            "outcome": 1.0,
            "num_turns": 2,
            "metadata": '{"reward":1}',
        },
        {
            **shared,
            "source_index": 3,
            "task_id": None,
            "domain": None,
            "outcome": 0.0,
            "num_turns": 1,
            "metadata": '{"reward":0,"note":"bad"}',
        },
    ]
    assert len(set(ids)) == 4
    tools_id = messages.tools_id(TOOLS)
    assert rows(run, "tools") == [
        {"tools_id": tools_id, "tools": json.dumps(TOOLS, separators=(",", ":")), "num_tools": 2}
    ]
    assert rows(run, "segments", "segment_id", "trajectory_id", "segment_index", "tools_id") == [
        {"segment_id": f"{i}/0", "trajectory_id": i, "segment_index": 0, "tools_id": t}
        for i, t in zip(ids, [tools_id, tools_id, None, None], strict=True)
    ]
    turns = rows(run, "turns")
    looks = '[{"name":"look","arguments":{"day":1}},{"name":"look","arguments":{"day":2}}]'
    look = f'{{"reasoning":"Hm.","message":"I look twice.","tool_calls":{looks}}}'
    assert [
        (t["turn_id"], t["position"], t["kind"], t["demonstration"], t["outcome"], t["reject_reason"]) for t in turns
    ] == [
        (f"{ids[0]}:0", 2, "tool_call", look, 1.0, None),
        (f"{ids[0]}:1", 5, "tool_call", '{"tool_calls":[{"name":"book","arguments":{"day":2}}]}', 1.0, None),
        (f"{ids[0]}:2", 7, "message", '{"message":"Booked."}', 1.0, None),
        (f"{ids[1]}:0", 2, "tool_call", '{"tool_calls":[{"name":"book","arguments":{"day":1}}]}', 1.0, "failed_call"),
        (f"{ids[1]}:1", 4, "message", '{"message":"Sorry."}', 1.0, None),
        (f"{ids[2]}:0", 2, "message", '{"message":"Example."}', 1.0, "masked"),
        (f"{ids[2]}:1", 4, "message", '{"message":"Done."}', 1.0, None),
        (f"{ids[3]}:0", 2, "message", '{"message":"No."}', 0.0, "low_outcome"),
    ]
    assert [t["domain"] for t in turns] == ["days"] * 3 + [None] * 5
    # The first state with tools is met twice, the one without them twice; all others once.
    states = [t["state_id"] for t in turns]
    assert states[0] == states[3] != states[5] == states[7]
    assert len(set(states)) == 6
    assert rejects(run) == [
        ("failed_call", 1, 1, "Error: full"),
        ("low_outcome", 3, 1, "outcome 0.0"),
        ("masked", 2, 1, "the source excludes it from training: `weight`"),
    ]
    assert all(row["turn_id"] and row["state_id"] and row["trajectory_id"] for row in rows(run, "rejects"))
    assert to_json(summary) == {
        **{"trajectories": 4, "segments": 4, "messages": 15, "tools": 1, "turns": 8, "states": 6},
        **{"demonstrations": 5, "demonstrated_states": 5, "kinds": {"tool_call": 2, "message": 3}},
        "outcomes": {"0.0": 1, "1.0": 3},
        **{"min_outcome": 1.0, "all_failed": False, "formats": {"openai": 4}, "outcome_keys": {"reward": 4}},
        **{"calls_without_tools": 0, "states_without_user": 0, "undocumented_masks": 0},
        "rejects": {
            "failed_call": {"rows": 1, "turns": 1, "first": f"{source}, line 2: Error: full"},
            "low_outcome": {"rows": 1, "turns": 1, "first": f"{source}, line 4: outcome 0.0"},
            "masked": {
                **{"rows": 1, "turns": 1},
                "first": f"{source}, line 3: the source excludes it from training: `weight`",
            },
        },
        "seconds": summary.seconds,
    }


def test_a_column_is_null_only_where_the_contract_says_so(tmp_path: Path) -> None:
    run = tmp_path / "run"
    mine(run, fixture(tmp_path), write_lines(tmp_path / "more.jsonl", "{oops", {"messages": [user("x")]}))
    for name in (*rundir.EXTRACT_TABLES, "rejects"):
        frame = rundir.scan(run, name).collect()
        for column in TABLES[name]:
            if b"null" not in column.metadata[b"doc"]:
                assert frame[column.name].null_count() == 0, (name, column.name)


def test_bad_input_is_rejects_with_their_place_and_the_rest_goes_on(tmp_path: Path) -> None:
    picture = {
        "role": "user",
        "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:"}}],
    }
    source = write_lines(
        tmp_path / "a.jsonl",
        "{oops",
        GOOD,
        {"messages": [user("hi"), user("ho")]},
        {"messages": [user("1"), assistant("2"), picture, assistant("3"), assistant("4")]},
        {"messages": [{"role": "wizard", "content": "x"}, assistant("5")]},
        {"messages": [user("6"), assistant(None, call("a", "f", "{not json")), tool("a", "?"), assistant("7")]},
        GOOD,
        {"prompt": "x"},
        {"messages": [user("8"), assistant(" \n")], "tools": "nonsense"},
        {"messages": [user("9"), assistant(" \n")]},
        {"messages": [user("10"), {"role": "assistant", "content": [{"type": ["text"]}]}]},
        {"messages": "none"},
    )
    run = tmp_path / "run"
    summary = mine(run, source)
    assert {row["source"] for row in rows(run, "rejects")} == {str(source)}
    first = rows(run, "trajectories", "trajectory_id")[0]["trajectory_id"]
    assert rejects(run) == [
        (
            "bad_arguments",
            5,
            1,
            "the arguments are not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ("bad_json", 0, None, "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("bad_message", 10, 1, "message 1: unknown content block \"['text']\""),
        ("bad_tools", 8, 1, "the tools are no JSON: Expecting value: line 1 column 1 (char 0)"),
        ("duplicate_trajectory", 6, 1, f"the same as trajectory {first}"),
        ("empty_turn", 9, 1, "neither text nor call"),
        ("image", 3, 2, "message 2: a content block"),
        ("no_messages", 11, None, "`messages` is text and no JSON: Expecting value: line 1 column 1 (char 0)"),
        ("no_turns", 2, 0, "no assistant message"),
        (
            "unknown_format",
            7,
            None,
            "no reader knows {prompt: text}; the nearest reader is prompt_completion, but it needs completion too; "
            "name the reader with --format, or the column of messages with --messages-column",
        ),
        ("unknown_role", 4, 1, "message 0: 'wizard'"),
    ]
    assert (summary.trajectories, summary.turns, summary.demonstrations) == (4, 5, 3)
    image = RejectCount(rows=1, turns=2, first=f"{source}, line 4: message 2: a content block")
    assert summary.rejects["image"] == image
    assert summary.rejects["bad_json"].turns is None


def test_a_legacy_function_call_is_a_call_and_its_result_is_judged(tmp_path: Path) -> None:
    legacy = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}}
    fine = [user("x"), legacy, {"role": "function", "name": "f", "content": "5"}, assistant("five")]
    broken = [user("y"), legacy, {"role": "function", "name": "f", "content": "Error: no"}]
    run = tmp_path / "run"
    mine(run, write_lines(tmp_path / "a.jsonl", {"messages": fine}, {"messages": broken}))
    demonstration = '{"tool_calls":[{"name":"f","arguments":{"a":1}}]}'
    assert [tuple(row.values()) for row in rows(run, "turns", "kind", "demonstration", "reject_reason")] == [
        ("tool_call", demonstration, None),
        ("message", '{"message":"five"}', None),
        ("tool_call", demonstration, "failed_call"),
    ]


@pytest.mark.parametrize(
    ("mark", "reason"),
    [({"weight": 0}, "masked"), ({"is_demo": True}, "masked"), ({"weight": 1}, None), ({"is_demo": False}, None)],
)
def test_a_turn_that_the_source_excludes_is_masked(tmp_path: Path, mark: dict[str, Any], reason: str | None) -> None:
    source = write_lines(tmp_path / "a.jsonl", [user("x"), assistant("y", **mark)])
    (mine_nothing if reason else mine)(tmp_path / "run", source)
    assert rows(tmp_path / "run", "turns", "reject_reason") == [{"reject_reason": reason}]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{oops"], "the only record was rejected: bad_json 1 (first: {}, line 1: Expecting property name"),
        (
            [{"messages": [user("x")]}, "5"],
            "nothing is left of 2 records: no_turns 1 (first: {0}, line 1: no assistant message); "
            "unknown_format 1 (first: {0}, line 2: no reader knows number; ",
        ),
        (
            [{"messages": [{"role": "\x1b[2J"}, assistant("x")]}],
            "the only record was rejected: unknown_role 1 (first: {}, line 1: message 0: '\\x1b[2J'",
        ),
        ([{"\x07\n": 1}], "the only record was rejected: unknown_format 1 (first: {}, line 1: no reader knows {{\\x07"),
        (["[]"], "the only record was rejected: no_turns 1 (first: {}, line 1: no assistant message)"),
        ([""], "the only record was rejected: empty_source 1 (first: {}: the file holds nothing but white space)"),
    ],
)
def test_everything_rejected_is_a_user_error_and_the_rejects_are_kept(
    tmp_path: Path, lines: list[Any], message: str
) -> None:
    source, run = write_lines(tmp_path / "a.jsonl", *lines), tmp_path / "run"
    with pytest.raises(UserError) as raised:
        mine(run, source)
    assert str(raised.value).startswith(message.format(source))
    assert str(raised.value).isprintable()
    kept = rows(run, "rejects")
    assert len(kept) == len(lines)
    assert str(raised.value).endswith(f"; every reject is a row in {rundir.table_files(run, 'rejects')[0].parent}")
    assert [rows(run, table) for table in rundir.EXTRACT_TABLES] == [[]] * 5
    mine(run, write_lines(source, GOOD))  # mended, the same command goes through
    assert (len(rows(run, "turns")), rows(run, "rejects")) == (1, [])


def test_a_run_without_a_demonstration_is_an_error_each_time_until_its_settings_change(tmp_path: Path) -> None:
    source, run = write_lines(tmp_path / "a.jsonl", {"messages": GOOD["messages"], "reward": 0}), tmp_path / "run"
    for _ in range(2):
        with pytest.raises(UserError, match=r"^the only turn is not a demonstration: low_outcome 1 .*--min-outcome"):
            mine(run, source)
    assert mine(run, source, min_outcome=0).demonstrations == 1
    assert len(list((run / "manifests").iterdir())) == len(list((run / "rejects").iterdir())) == 1


def test_a_hostile_file_name_is_inert_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"bad_json 1 \(first: .*/a\\x1b\[2J\.jsonl, line 1: "):
        mine(tmp_path / "run", write_lines(tmp_path / "a\x1b[2J.jsonl", "{oops"))


def test_an_array_of_nothing_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^the sources hold no record at all$"):
        mine(tmp_path / "run", write_lines(tmp_path / "a.json", "[ ]"))


def test_the_same_command_again_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, run = fixture(tmp_path), tmp_path / "run"
    first = mine(run, source)
    before = contents(run)
    assert mine(run, source) == first
    monkeypatch.chdir(tmp_path)
    assert mine(run, Path("days.jsonl"), tmp_path / "days.jsonl") == first  # another spelling, named twice
    moved = (tmp_path / "elsewhere").mkdir() or source.rename(tmp_path / "elsewhere" / "days.jsonl")
    assert mine(run, moved.parent) == first
    assert contents(run) == before


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"min_outcome": 0.5}, "(min_outcome: not given -> 0.5)"),
        ({"limit": 2, "domain": "d"}, "(domain: not given -> 'd', limit: not given -> 2)"),
        ({"format": "openai"}, "(format: not given -> 'openai')"),
        ({"domain_column": "note"}, "(domain_column: not given -> 'note')"),
    ],
)
def test_a_changed_setting_is_named_and_nothing_is_overwritten(
    tmp_path: Path, change: dict[str, Any], difference: str
) -> None:
    source, run = fixture(tmp_path), tmp_path / "run"
    mine(run, source)
    before = contents(run)
    with pytest.raises(UserError) as raised:
        mine(run, source, **change)
    assert str(raised.value) == f"{run} was extracted with other settings {difference}: choose another --run"
    assert contents(run) == before


def test_a_changed_or_another_source_is_named(tmp_path: Path) -> None:
    source, run = fixture(tmp_path), tmp_path / "run"
    other = write_lines(tmp_path / "sub" / "days.jsonl", GOOD)
    mine(run, source)
    with pytest.raises(UserError, match=r" \(sources: \+days\.jsonl [0-9a-f]{32}\): choose"):
        mine(run, source, other)
    with source.open("a") as file:
        file.write(json.dumps(GOOD))
    with pytest.raises(UserError, match=r" \(sources: -days\.jsonl [0-9a-f]{32} \+days\.jsonl [0-9a-f]{32}\): choose"):
        mine(run, source)


def test_two_sources_of_one_name_are_two_sources_in_the_order_given(tmp_path: Path) -> None:
    first, second = (write_lines(tmp_path / d / "a.jsonl", {"messages": [user(d), assistant("x")]}) for d in "pq")
    run = tmp_path / "run"
    assert mine(run, first, second).trajectories == 2
    assert [row["source"] for row in rows(run, "trajectories")] == [str(first), str(second)]
    with pytest.raises(UserError, match=r"\(sources: the same in another order\)"):
        mine(run, second, first)


def test_a_folder_of_several_formats_around_the_run_itself(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", GOOD)
    write_lines(tmp_path / "b.json", [{"traj": [user("t"), assistant("u")], "reward": 1, "task_id": 0}])
    pl.DataFrame({"messages": [json.dumps([user("p"), assistant("q")])]}).write_parquet(tmp_path / "c.parquet")
    write_lines(tmp_path / "notes.txt", "nothing")
    run = tmp_path / "run"
    first = mine(run, tmp_path)
    assert [(Path(row["source"]).name, row["format"]) for row in rows(run, "trajectories", "source", "format")] == [
        ("a.jsonl", "openai"),
        ("b.json", "tau_bench"),
        ("c.parquet", "openai"),
    ]
    assert mine(run, tmp_path) == first  # the run's own Parquet and JSON are no sources


def test_a_strange_folder_is_refused(tmp_path: Path) -> None:
    source, run = fixture(tmp_path), tmp_path / "documents"
    write_lines(run / "messages" / "letter.txt", "dear")
    with pytest.raises(
        UserError, match=r"^--run .*documents holds 'messages' and is not a run: name a new or an empty"
    ):
        mine(run, source)
    assert (run / "messages" / "letter.txt").read_text() == "dear\n"


@pytest.mark.parametrize("moved_in", [False, True])
def test_an_interrupted_extract_is_redone(tmp_path: Path, *, moved_in: bool) -> None:
    source, run, undisturbed = fixture(tmp_path), tmp_path / "run", tmp_path / "undisturbed"
    mine(undisturbed, source)
    mine(run, source)
    (manifest,) = (run / "manifests").iterdir()
    manifest.unlink()  # it is written last
    write_lines(run / ".extract.tmp" / "turns" / "part-00007.parquet", "half a file")
    if not moved_in:
        (run / "turns").rename(run / ".extract.tmp" / "messages")
    mine(run, source)
    for table in (*rundir.EXTRACT_TABLES, "rejects"):
        assert rows(run, table) == rows(undisturbed, table)
    assert contents(run).keys() == contents(undisturbed).keys()


def test_killed_while_it_writes_nothing_is_a_run_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, run = fixture(tmp_path), tmp_path / "run"
    whole = rundir.write_manifest

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rundir, "write_manifest", die)
    with pytest.raises(KeyboardInterrupt):
        mine(run, source)
    assert not rundir.is_run(run)
    monkeypatch.setattr(rundir, "write_manifest", whole)
    assert mine(run, source).turns == 8


@pytest.mark.parametrize(("suffix", "total"), [(".jsonl", "/0.6 MB"), (".jsonl.gz", "")])
def test_a_log_tells_how_many_of_all_bytes_are_read(
    suffix: str, total: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [{"messages": [user("x" * 300_000), assistant(name)]} for name in ("a", "b")]
    text = "".join(json.dumps(record) + "\n" for record in records)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    mine(tmp_path / "run", path)
    first = capsys.readouterr().err.splitlines()[0].split("  ")
    assert first[:2] == ["extract", f"0.6 MB{total}"]
    assert first[3].endswith(" records/s")
