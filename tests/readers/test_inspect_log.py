import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hostile import broken, check_broken, read_records
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import read_file, turns_of

from pivotmine.messages import problem
from pivotmine.readers.inspect_log import READER
from pivotmine.readers.trajectory import BadTrajectory, Trajectory
from pivotmine.sources.eval_archive import read_archive
from pivotmine.sources.json_records import Record
from pivotmine.sources.sources import read_source

# As inspect_ai 0.3.285 logs samples (inspect_ai/log/_log.py, event/_model.py).
INFO = {"name": "bash", "description": "Run.", "parameters": {"type": "object", "properties": {}}, "options": {}}
TOOL = {"type": "function", "function": {k: INFO[k] for k in ("name", "description", "parameters")}}
HASH = "attachment://" + "0" * 31 + "1"


def said(role: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"id": f"{role}-{content}"[:20], "role": role, "content": content, **fields}


def calls(*names: str, content: Any = "I act.") -> dict[str, Any]:
    made = [{"id": n, "function": "bash", "arguments": {"cmd": n}, "type": "function"} for n in names]
    return said("assistant", content, source="generate", model="m", tool_calls=made)


def gives(call: str, **fields: Any) -> dict[str, Any]:
    return said("tool", f"of {call}", tool_call_id=call, function="bash", **fields)


def model(shown: list[Any], reply: Any, **fields: Any) -> dict[str, Any]:
    output = {"model": "m", "choices": [{"message": reply, "stop_reason": "stop"}]}
    return {"event": "model", "model": "m", "role": None, "input": shown, "tools": [INFO], "output": output, **fields}


def sample(final: list[Any], events: list[Any], **fields: Any) -> dict[str, Any]:
    base = {"id": 7, "epoch": 1, "input": "Do it.", "target": "x", "messages": final, "events": events}
    return {**base, "scores": {"match": {"value": "C", "answer": "x"}}, "attachments": {}, **fields}


def log(*samples: Any) -> dict[str, Any]:
    return {
        "version": 2,
        "status": "success",
        "eval": {"task": "t", "model": "m", "config": {}},
        "samples": list(samples),
    }


def reply(*names: str, **fields: Any) -> dict[str, Any]:
    made = [{"id": n, "type": "function", "function": {"name": "bash", "arguments": f'{{"cmd":"{n}"}}'}} for n in names]
    return {"role": "assistant", "content": "I act.", **fields, **({"tool_calls": made} if made else {})}


def result(call: str) -> dict[str, Any]:
    return {"role": "tool", "content": f"of {call}", "tool_call_id": call}


ASK, RULES, USER = (
    said("system", "Rules."),
    {"role": "system", "content": "Rules."},
    {"role": "user", "content": "Do it."},
)
BEGIN = [ASK, said("user", "Do it.")]
DONE = said("assistant", "Done.")
ANSWER = {"role": "assistant", "content": "Done."}
GROWN = [*BEGIN, calls("a"), gives("a")]
SAMPLE = sample([*GROWN, DONE], [model(BEGIN, calls("a")), {"event": "tool", "id": "a"}, model(GROWN, DONE)])


def read(record: Any) -> Trajectory:
    (found,) = read_records([record])
    assert isinstance(found, Trajectory), found
    return found


def test_the_samples_of_a_log_are_trajectories() -> None:
    other = {**SAMPLE, "id": "b", "epoch": 2, "scores": {"match": {"value": "I"}}}
    one, two, bad = read_records([log(SAMPLE, other, 5)])
    assert isinstance(one, Trajectory)
    assert isinstance(two, Trajectory)
    (segment,) = one.segments
    assert segment.messages == [RULES, USER, reply("a"), result("a"), ANSWER]
    assert (segment.tools, segment.num_inherited) == ([TOOL], 0)
    assert [(t.task_id, t.outcome, t.metadata["epoch"]) for t in (one, two)] == [("t:7", 1.0, 1), ("t:b", 0.0, 2)]
    assert one.metadata["eval"] == {"task": "t", "model": "m"}
    assert one.metadata["target"] == "x"
    assert str(bad) == "('bad_message', 'a sample is a JSON object')"
    assert [str(r) for r in read_records([log()])] == ["('no_messages', 'an Inspect log without samples')"]


def test_a_rewritten_context_is_a_segment_and_a_graders_call_is_not_the_agents() -> None:
    compacted = [ASK, said("user", "So far.")]
    grader = [
        {"event": "span_begin", "id": "sc", "parent_id": None, "name": "scorers", "type": None},
        {"event": "span_begin", "id": "in", "parent_id": "sc", "name": "x", "type": "x"},
        model([said("user", "Grade.")], DONE, span_id="in"),
        model([said("user", "Grade.")], DONE, role="grader"),
    ]
    failed = [model(GROWN, DONE, error="timeout"), model(GROWN, DONE, pending=True)]
    record = sample([*compacted, DONE], [model(BEGIN, calls("a")), *failed, model(compacted, DONE), *grader])
    old, new = read(record).segments
    assert old.messages == [RULES, USER, reply("a")]
    assert (new.num_inherited, new.messages) == (2, [RULES, {"role": "user", "content": "So far."}, ANSWER])


def test_the_results_of_a_turn_are_behind_it_though_the_context_was_rewritten() -> None:
    trimmed = [ASK, calls("a"), gives("a")]
    old, _ = read(sample([*trimmed, DONE], [model(BEGIN, calls("a")), model(trimmed, DONE)])).segments
    assert old.messages == [RULES, USER, reply("a"), result("a")]


def test_older_logs_have_steps_and_events_inside_of_events() -> None:
    scorer = [{"event": "step", "action": "begin", "type": "scorer", "name": "s"}, model(BEGIN, DONE)]
    scorer += [{"event": "step", "action": "end", "type": "scorer", "name": "s"}]
    nested = {"event": "subtask", "name": "x", "events": [model(BEGIN, calls("a"))]}
    assert turns_of(read(sample([*GROWN, DONE], [*scorer, nested, model(GROWN, DONE)]))) == [reply("a"), ANSWER]


def test_pooled_messages_and_attachments_are_looked_up() -> None:
    long = {**calls("a"), "content": HASH}
    pool = {"messages": [*BEGIN, long, gives("a")], "calls": []}
    events = [model([], long, input_refs=[[0, 2]]), model([], DONE, input_refs=[[0, 1], [1, 4]])]
    text = {HASH.removeprefix("attachment://"): "I act."}
    record = sample([*GROWN, DONE], events, events_data=pool, attachments=text)
    assert read(record).segments[0].messages == [RULES, USER, reply("a"), result("a"), ANSWER]
    record["attachments"] = {}
    found = read(record).segments[0].messages
    assert [problem(m) for m in found][2] == ("bad_message", "a text that should be among the attachments is not")
    record["events"][1]["input_refs"] = [[0, 9]]
    assert any(problem(m) for s in read(record).segments for m in s.messages)


def test_content_blocks_reasoning_and_errors() -> None:
    blocks = [
        {"type": "reasoning", "reasoning": "Hm.", "signature": "s"},
        {"type": "reasoning", "reasoning": "xx", "redacted": True, "summary": "Short."},
        {"type": "text", "text": "I act.", "refusal": None},
    ]
    failed = gives("a", error={"type": "timeout", "message": "too slow"})
    final = [*BEGIN, calls("a", content=blocks), failed, said("user", [{"type": "image", "image": "data:"}])]
    found = read(sample(final, [])).segments[0].messages
    assert found[2] == reply("a", reasoning_content="Hm.\nShort.")
    assert found[3] == {"role": "tool", "content": "Error: too slow", "tool_call_id": "a"}
    assert problem(found[4]) == ("image", "a content block")


@pytest.mark.parametrize("bad", [5, [5], [None], {"a": 1}, True])
def test_content_and_tools_that_are_none_end_what_can_be_used(bad: Any) -> None:
    found = read(sample([*BEGIN, said("assistant", bad)], [])).segments[0].messages
    assert [p[0] for p in map(problem, found) if p] == ["bad_message"]
    (rejected,) = read_records([sample([*BEGIN, DONE], [model(BEGIN, DONE, tools=bad)])])
    assert isinstance(rejected, BadTrajectory)
    assert rejected.reason == "bad_tools"


def test_without_model_events_the_conversation_is_one_segment_and_its_input_masked() -> None:
    given = said("assistant", "few-shot", source="input")
    found = read(sample([said("user", "a"), given, said("user", "b"), DONE], [])).segments[0]
    assert [m.get("weight") for m in found.messages] == [None, 0, None, None]
    assert found.tools is None


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"scores": None}, None),
        ({"scores": {"a": {"value": "P"}, "b": {"value": "I"}}}, 0.5),
        ({"scores": {"a": {"value": "N"}}}, 0.0),
        ({"scores": {"a": {"value": "Yes"}}}, 1.0),
        ({"scores": {"a": {"value": True}}}, 1.0),
        ({"scores": {"a": {"value": "0.25"}}}, 0.25),
        ({"scores": {}, "limit": {"type": "message", "limit": 5}}, 0.0),
        ({"scores": None, "error": {"message": "x"}}, 0.0),
        ({"error": {"message": "x"}}, 1.0),
    ],
)
def test_outcomes(fields: dict[str, Any], outcome: float | None) -> None:
    assert read({**SAMPLE, **fields}).outcome == outcome


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"scores": {"a": {"value": {"x": 1}}}}, "bad_outcome"), ({"invalidation": {"reason": "leak"}}, "invalidated")],
)
def test_what_says_nothing_good_is_a_reject(fields: dict[str, Any], reason: str) -> None:
    (found,) = read_records([{**SAMPLE, **fields}])
    assert isinstance(found, BadTrajectory)
    assert found.reason == reason


def test_what_matches() -> None:
    others = (
        {"messages": []},
        {"id": 1, "epoch": 1, "messages": []},
        {"samples": []},
        {"eval": 5, "samples": []},
        None,
    )
    assert not any(READER.matches(record) for record in others)


def archive(members: dict[str, Any], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file; zstd (method 93), which this Python's zipfile cannot write, is put in by hand."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED if method == 93 else method) as made:
        for name, value in members.items():
            data = json.dumps(value).encode()
            packed = zstandard.compress(data[:20]) + zstandard.compress(data[20:]) if method == 93 else data
            made.writestr(name, packed)
    whole = bytearray(sink.getvalue())
    if method == 93:
        for name, value in members.items():
            checksum = zlib.crc32(json.dumps(value).encode()).to_bytes(4, "little")
            for at, (method_at, sum_at, name_at) in ((b"PK\x03\x04", (8, 14, 30)), (b"PK\x01\x02", (10, 16, 46))):
                start = whole.find(at)
                while bytes(whole[start + name_at : start + name_at + len(name)]) != name.encode():
                    start = whole.find(at, start + 4)
                whole[start + method_at : start + method_at + 2] = (93).to_bytes(2, "little")
                whole[start + sum_at : start + sum_at + 4] = checksum
    return bytes(whole)


ABOUT = {"task": "t", "model": "m"}
MEMBERS = {
    "_journal/start.json": {"eval": {"task": "early"}},
    "samples/7_epoch_1.json": SAMPLE,
    "samples/b_epoch_1.json": {**SAMPLE, "id": "b"},
    "summaries.json": [],
    "header.json": {"version": 2, "eval": ABOUT},
}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, 93])
def test_an_archive_is_read_however_it_is_packed(tmp_path: Path, method: int) -> None:
    (tmp_path / "a.eval").write_bytes(archive(MEMBERS, method))
    found = [t for _, t in read_file(tmp_path / "a.eval") if isinstance(t, Trajectory)]
    assert [(t.task_id, len(turns_of(t))) for t in found] == [("t:7", 2), ("t:b", 2)]
    assert [r.index for r in read_source(tmp_path / "a.eval")] == [0, 1]


def test_of_members_with_one_name_the_last_counts() -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as made:
        made.writestr("samples/a.json", '{"old": 1}')
        with pytest.warns(UserWarning, match="Duplicate name"):
            made.writestr("samples/a.json", '{"new": 1}')
    assert list(read_archive(sink)) == [Record(0, {"new": 1})]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, 93])
def test_an_archive_that_ends_early_keeps_what_is_whole(method: int) -> None:
    whole = archive(MEMBERS, method)
    second = whole.index(b"samples/b_epoch_1.json")
    *found, last = read_archive(io.BytesIO(whole[: second + 200]))
    assert found == [Record(0, {**SAMPLE, "eval": {"task": "early"}})]
    assert last == Record(None, None, ("unreadable_source", "EOFError: the archive is cut off"))


def test_a_changed_text_is_told_by_its_checksum() -> None:
    changed = archive(MEMBERS, zipfile.ZIP_STORED).replace(b"Do it.", b"Do not", 1)
    first, second = read_archive(io.BytesIO(changed))
    why = ("unreadable_source", "samples/7_epoch_1.json: ValueError: its checksum is wrong")
    assert (first, second.problem) == (Record(0, None, why), None)


def test_other_zip_archives_and_odd_methods_are_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(archive({"x.json": {}}))
    (found,) = read_source(tmp_path / "a.zip")
    assert found.problem == ("unreadable_source", "a zip archive without samples: of these, Inspect's are read")
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_LZMA) as made:
        made.writestr("samples/a.json", "{}")
    (found,) = read_archive(sink)
    detail = "samples/a.json: ValueError: packed by method 14, which is not read"
    assert found == Record(0, None, ("unreadable_source", detail))


@settings(max_examples=60)
@given(st.data())
def test_a_broken_archive_never_raises_and_never_loses_silently(data: st.DataObject) -> None:
    content = bytearray(archive(MEMBERS, data.draw(st.sampled_from([zipfile.ZIP_DEFLATED, 93]))))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(4, len(content) - 1))]
    else:
        content[data.draw(st.integers(4, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    records = list(read_archive(io.BytesIO(bytes(content))))
    whole = [r for r in records if r.problem is None and r.value["id"] in (7, "b")]
    assert len(whole) == 2 or any(r.problem for r in records)


@settings(max_examples=60)
@given(broken([log(SAMPLE, sample([*GROWN, DONE], [model([], calls("a"), input_refs=[[0, 1]])],
                                  events_data={"messages": BEGIN}, attachments={"x": "y"}))]))  # fmt: skip
def test_a_broken_log_never_raises(records: list[Any]) -> None:
    check_broken(records)
    check_broken(records, "inspect")
