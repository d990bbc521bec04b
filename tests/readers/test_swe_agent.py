import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hostile import broken, check_broken, read_records
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import needs_real_data, real_file, trajectories, turns_of

from pivotmine.messages import problem
from pivotmine.readers.swe_agent import READER
from pivotmine.readers.trajectory import BadTrajectory, Trajectory
from pivotmine.sources.json_records import Record

SYSTEM = {"role": "system", "content": "Fix bugs.", "agent": "main", "message_type": "system_prompt"}


def observed(text: str, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, "agent": "main", "message_type": "observation", **fields}


def acted(command: str, **fields: Any) -> dict[str, Any]:
    content = f"Next.\n```\n{command}\n```"
    parts = {"thought": "Next.", "action": command, "agent": "main", "message_type": "action"}
    return {"role": "assistant", "content": content, **parts, **fields}


def bare(entry: dict[str, Any]) -> dict[str, Any]:
    return {"role": entry["role"], "content": entry["content"]}


def run(num_turns: int, processor: Any = None, **fields: Any) -> dict[str, Any]:
    history = [SYSTEM, observed("An issue.")]
    for number in range(num_turns):
        history += [acted(f"cat {number}"), observed(f"line\nline {number}")]
    config = {"agent": {"history_processors": [processor]}} if processor else {}
    return {
        "trajectory": [],
        "history": history,
        "info": {"exit_status": "submitted"},
        "replay_config": config,
    } | fields


def read(record: Any) -> Trajectory:
    assert READER.matches(record)
    return READER.read(record)


def test_a_run_without_processors_is_one_segment() -> None:
    record = run(3)
    found = read(record)
    assert [s.messages for s in found.segments] == [[bare(entry) for entry in record["history"]]]
    assert (found.outcome, found.segments[0].num_inherited, found.segments[0].tools) == (None, 0, None)
    assert found.metadata == {"info": {"exit_status": "submitted"}, "replay_config": {}}


@pytest.mark.parametrize("as_text", [False, True])
def test_elided_observations_open_a_segment_a_turn(as_text: bool) -> None:  # noqa: FBT001
    record = run(5, {"type": "last_n_observations", "n": 2})
    messages = [bare(entry) for entry in record["history"]]
    if as_text:
        record["replay_config"] = json.dumps(record["replay_config"])
    first, second, third = read(record).segments
    # Of 4 observations (the issue is one, and is never elided) the last two are kept, of 5 likewise.
    old = [{**m, "content": "Old environment output: (2 lines omitted)"} for m in messages]
    assert first.messages == messages[:8]
    assert (second.num_inherited, second.messages) == (8, [*messages[:3], old[3], *messages[4:10]])
    assert (third.num_inherited, third.messages) == (10, [*messages[:3], old[3], messages[4], old[5], *messages[6:12]])
    assert [len(turns_of(read(record)))] == [5]


def test_polling_elides_several_observations_at_once() -> None:
    record = run(6, {"type": "last_n_observations", "n": 1, "polling": 3})
    # Observations before the turns: 1 to 6. Three make the next multiple: all but one of them are elided then.
    assert [(s.num_inherited, len(s.messages)) for s in read(record).segments] == [(0, 6), (6, 12), (12, 14)]


@pytest.mark.parametrize("processor", ["ClosedWindow", {"type": "remove_regex"}, {"type": "last_n_observations"}, 5])
def test_a_context_that_the_file_does_not_tell_is_a_reject(processor: Any) -> None:
    with pytest.raises(BadTrajectory, match="unrecorded_context"):
        read(run(1, processor))


def test_what_the_steps_say_that_the_model_saw_counts_more_than_the_history() -> None:
    record = run(2, {"type": "remove_regex"})
    system, issue, first, result, second, last = record["history"]
    shown = observed("shown otherwise")
    record["trajectory"] = [{"query": [system, issue]}, {"query": [system, shown, first, result]}]
    one, other = read(record).segments
    assert one.messages == [bare(m) for m in (system, issue, first, result)]
    assert (other.num_inherited, other.messages) == (4, [bare(m) for m in (system, shown, first, result, second, last)])
    record["trajectory"][1]["query"][1] = issue
    assert [s.messages for s in read(record).segments] == [[bare(m) for m in record["history"]]]


def test_demonstrations_are_masked() -> None:
    record = run(1)
    demo = [acted("ls", is_demo=True), observed("a.py", is_demo=True)]
    record["history"][1:1] = demo
    found = read(record).segments[0].messages
    assert found[1] == {"role": "assistant", "content": demo[0]["content"], "is_demo": True, "weight": 0}
    assert found[2] == {**bare(demo[1]), "is_demo": True, "weight": 0}
    assert [m["content"] for m in found if m["role"] == "assistant" and m.get("weight") != 0] == [
        acted("cat 0")["content"]
    ]


def test_function_calls_thinking_and_results_are_kept() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}
    record = run(1)
    record["history"][2] |= {"tool_calls": [call], "thinking_blocks": [{"type": "thinking", "thinking": "Hm."}]}
    record["history"][3] |= {"role": "tool", "tool_call_ids": ["c"]}
    reply, result = read(record).segments[0].messages[2:]
    assert reply == {**bare(acted("cat 0")), "tool_calls": [call], "reasoning_content": "Hm."}
    assert result == {"role": "tool", "content": "line\nline 0", "tool_call_id": "c"}


def test_functions_in_the_text_stay_text() -> None:
    """As SWE-agent's `xml_function_calling` writes them; a rewritten context opens a segment as ever."""
    texts = [f"I look.\n<function=bash>\n<parameter=command>cat {i}</parameter>\n</function>" for i in range(2)]
    record = run(2)
    for entry, text in zip(record["history"][2::2], texts, strict=True):
        entry["content"] = text
    (found,) = read(record).segments
    assert (found.messages, found.action_format) == ([*map(bare, record["history"])], "swe_agent_function_tags")
    record["trajectory"] = [{"query": record["history"][:2]}, {"query": [SYSTEM, acted("a"), record["history"][4]]}]
    one, two = read(record).segments
    assert one.messages == [*map(bare, record["history"][:4])]
    assert (two.num_inherited, two.messages[3]) == (3, bare(record["history"][4]))
    assert [one.action_format, two.action_format] == ["swe_agent_function_tags"] * 2


@pytest.mark.parametrize(
    ("content", "action_format"),
    [
        ("Look.\n```\nls\n```", "swe_agent_thought"),
        ("Look.\n<command>\nls\n</command>", "swe_agent_xml"),
        ("```\ngrep '<function=' a\n```", "swe_agent_thought"),
        ("I do nothing.", None),
    ],
)
def test_the_convention_is_the_one_that_reads_the_replies(content: str, action_format: str | None) -> None:
    record = run(3)
    for entry in record["history"][2::2]:
        entry["content"] = content
    assert {segment.action_format for segment in read(record).segments} == {action_format}


def test_the_configured_parser_names_the_convention() -> None:
    for name, action_format in [("thought_action", "swe_agent_thought"), ("function_calling", "native")]:
        agent = {"tools": {"parse_function": {"type": name}}}
        found = read({**run(1), "replay_config": {"agent": agent}})
        assert found.segments[0].action_format == action_format
    old = read({**run(1), "replay_config": {"agent": {"parse_function": "XMLThoughtActionParser"}}})
    assert old.segments[0].action_format == "swe_agent_xml"


def test_each_agent_has_a_context_of_its_own() -> None:
    record = run(1)
    record["history"] += [{**SYSTEM, "agent": "sub"}, {**acted("rm"), "agent": "sub"}]
    main, sub = read(record).segments
    assert len(main.messages) == 4
    assert (sub.num_inherited, sub.messages) == (1, [bare(SYSTEM), bare(acted("rm"))])


def test_attempts_are_trajectories_of_their_own() -> None:
    attempts: list[Any] = [run(1), run(2, info={"exit_status": "exit_cost"}), "broken"]
    record = {**attempts[0], "attempts": attempts, "environment": "e", "instance_id": "i"}
    one, two, three = read_records([record])
    assert isinstance(one, Trajectory)
    assert isinstance(two, Trajectory)
    assert [(t.task_id, len(turns_of(t)), t.outcome, t.metadata["attempt"]) for t in (one, two)] == [
        ("i", 1, None, 0),
        ("i", 2, 0.0, 1),
    ]
    assert str(three) == "('no_messages', 'attempt 2 is not an attempt')"


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, None),
        ({"info": {"exit_status": "submitted (exit_cost)"}}, None),
        ({"info": {"exit_status": "exit_context"}}, 0.0),
        ({"info": {"exit_status": None}}, None),
        ({"info": {"exit_status": "exit_cost", "resolved": True}}, 1.0),
        ({"resolved": False}, 0.0),
        ({"info": {"report": {"resolved": True}}}, 1.0),
        ({"instance_id": "a", "report": {"a": {"resolved": True}}}, 1.0),
    ],
)
def test_the_outcome_is_the_report_or_that_nothing_was_submitted(fields: dict[str, Any], outcome: float | None) -> None:
    assert read(run(1, **fields)).outcome == outcome


def test_a_message_without_content_ends_what_can_be_used() -> None:
    record = run(2)
    del record["history"][3]["content"]
    found = read(record).segments[0].messages
    assert [problem(m) for m in found] == [None, None, None, ("bad_message", "a message without `content`"), None, None]


def test_what_matches() -> None:
    assert not any(READER.matches(r) for r in ({"history": [{"source": "agent"}]}, {"history": []}, [], None, {}))
    assert READER.matches({"history": [], "trajectory": []})


@needs_real_data
@pytest.mark.parametrize(
    ("name", "num_kept"),
    [("function_calling", 5), ("function_calling_simple", None), ("thought_action", None), ("xml", 5)],
)
def test_real_files(name: str, num_kept: int | None) -> None:
    path = real_file(f"swe-agent/{name}.traj")
    record = json.loads(path.read_text())
    history = record["history"]
    replies = [m for m in history if m["role"] == "assistant"]
    (found,) = trajectories(path, "swe_agent")
    turns = turns_of(found)
    assert [t["content"] for t in turns] == [m["content"] for m in replies]
    assert [t.get("tool_calls") for t in turns] == [m.get("tool_calls") for m in replies]
    assert found.outcome is None
    assert (found.task_id is None) == ("replay_config" not in record)
    # The issue is the first observation; turn k sees k + 1, of which all but the last 5 (and the first) are elided.
    num_elided = [max(0, k + 1 - num_kept - 1) if num_kept else 0 for k in range(len(replies))]
    assert len(found.segments) == 1 + sum(n > 0 for n in num_elided)
    contexts = [s.messages[:i] for s in found.segments for i, m in enumerate(s.messages) if any(m is t for t in turns)]
    for context, elided, place in zip(contexts, num_elided, _places(history), strict=True):
        assert len(context) == place
        assert sum(str(m["content"]).startswith("Old environment output: (") for m in context) == elided


def _places(history: list[Any]) -> list[int]:
    return [place for place, m in enumerate(history) if m["role"] == "assistant"]


DEMO = run(2, {"type": "last_n_observations", "n": 1})
DEMO["history"].insert(1, acted("ls", is_demo=True))
DEMO["trajectory"] = [{"query": DEMO["history"][:3]}, {"query": DEMO["history"][:5]}]


@settings(max_examples=60)
@given(broken([run(3, {"type": "last_n_observations", "n": 1}), DEMO, {**run(1), "attempts": [run(1), DEMO]}]))
def test_a_broken_record_never_raises(records: list[Any]) -> None:
    check_broken(records)
    check_broken(copy.deepcopy(records), "swe_agent")


@needs_real_data
@settings(max_examples=25)
@given(st.sampled_from(["function_calling_simple", "xml"]), st.data())
def test_a_broken_real_file_never_raises(name: str, data: st.DataObject) -> None:
    record = json.loads(real_file(f"swe-agent/{name}.traj").read_text())
    check_broken(data.draw(broken([record])))


def test_a_file_that_is_no_json_is_a_reject(tmp_path: Path) -> None:
    assert [str(r) for r in read_records([Record(0, None, ("bad_json", "x"))])] == ["('bad_json', 'x')"]
