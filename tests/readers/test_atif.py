import json
from typing import Any

import pytest
from hostile import broken, check_broken
from hypothesis import given, settings
from reading import needs_real_data, real_file, trajectories, turns_of

from pivotmine.messages import problem
from pivotmine.readers import detect
from pivotmine.readers.atif import READER
from pivotmine.readers.trajectory import Segment, Trajectory

AGENT = {"name": "terminus-2", "version": "2.0.0", "model_name": "m"}
TOOL = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}


def step(source: str, message: Any, **fields: Any) -> dict[str, Any]:
    return {"source": source, "message": message, **fields}


def called(*names: str, results: list[Any] | None = None, **fields: Any) -> dict[str, Any]:
    calls = [{"tool_call_id": name, "function_name": name, "arguments": {"of": name}} for name in names]
    observation = {} if results is None else {"observation": {"results": results}}
    return step("agent", "I act.", tool_calls=calls, **observation, **fields)


def document(*steps: Any, **fields: Any) -> dict[str, Any]:
    numbered = [{"step_id": i + 1, **s} if isinstance(s, dict) else s for i, s in enumerate(steps)]
    return {"schema_version": "ATIF-v1.6", "session_id": "s", "agent": AGENT, "steps": numbered, **fields}


def read(record: Any) -> Trajectory:
    assert detect(record) == "atif"
    return READER.read(record)


def messages_of(*steps: Any, **fields: Any) -> list[Any]:
    (segment,) = read(document(*steps, **fields)).segments
    return segment.messages


def reply(*names: str, **fields: Any) -> dict[str, Any]:
    calls = [
        {
            "id": name,
            "type": "function",
            "function": {"name": name, "arguments": json.dumps({"of": name}).replace(" ", "")},
        }
        for name in names
    ]
    return {"role": "assistant", "content": "I act.", "tool_calls": calls, **fields}


def test_a_step_is_a_turn_with_its_results() -> None:
    results = [{"source_call_id": "b", "content": "of b"}, {"source_call_id": "a", "content": "of a"}]
    record = document(
        step("system", "Rules."),
        step("user", "Do it."),
        called("a", "b", results=results, reasoning_content="Hm.", metrics={"cost_usd": 1}),
        step("agent", "Done."),
        agent={**AGENT, "tool_definitions": [TOOL]},
    )
    expected = [
        {"role": "system", "content": "Rules."},
        {"role": "user", "content": "Do it."},
        reply("a", "b", reasoning_content="Hm."),
        {"role": "tool", "tool_call_id": "b", "content": "of b"},
        {"role": "tool", "tool_call_id": "a", "content": "of a"},
        {"role": "assistant", "content": "Done."},
    ]
    left = {k: record[k] for k in ("schema_version", "session_id", "agent")}
    assert read(record) == Trajectory(segments=(Segment(messages=expected, tools=[TOOL]),), metadata=left)


def test_a_result_without_an_id_answers_the_only_call_or_is_what_the_environment_said() -> None:
    seen = [{"content": "seen"}]
    user = {"role": "user", "content": "seen"}
    assert messages_of(called("a", results=seen)) == [
        reply("a"),
        {"role": "tool", "tool_call_id": "a", "content": "seen"},
    ]
    assert messages_of(called("a", "b", results=seen)) == [reply("a", "b"), user]
    assert messages_of(called(results=seen)) == [{"role": "assistant", "content": "I act."}, user]
    assert messages_of(called("a", results=[])) == [reply("a")]
    assert messages_of(called("a", "b", results=[{"content": None}])) == [reply("a", "b")]


def test_content_parts_are_text_where_all_are() -> None:
    text = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    image = [{"type": "image", "source": {"media_type": "image/png", "path": "x.png"}}]
    one, other = messages_of(step("user", text), step("user", image))
    assert one == {"role": "user", "content": "ab"}
    assert problem(other) == ("image", "a content block")


def test_a_continuation_file_repeats_no_turn() -> None:
    copied = [step("user", "Do it."), called("a", results=[{"content": "x"}])]
    (segment,) = read(document(*({**s, "is_copied_context": True} for s in copied), called("b"))).segments
    assert segment.num_inherited == 3
    assert segment.messages[3:] == [reply("b")]
    late = messages_of(step("user", "Do it."), called("a"), {**called("b"), "is_copied_context": True})
    assert late[1:] == [reply("a"), {**reply("b"), "weight": 0}]


@pytest.mark.parametrize(("count", "weight"), [(None, None), (1, None), (0, 0), (3, 0)])
def test_what_no_single_model_call_made_is_masked(count: int | None, weight: int | None) -> None:
    (message,) = messages_of(step("agent", "Hi.", llm_call_count=count))
    assert message.get("weight") == weight


def test_a_replaced_context_is_a_new_segment() -> None:
    extra = {"context_management": {"type": "compaction", "boundary": "replace"}}
    boundary = step("system", "Compacted.", extra=extra)
    steps = [
        step("system", "Rules."),
        step("user", "Do it."),
        called("a"),
        boundary,
        step("user", "So far."),
        called("b"),
    ]
    old, new = read(document(*steps)).segments
    assert (old.num_inherited, len(old.messages)) == (0, 3)
    rules, summary = {"role": "system", "content": "Rules."}, {"role": "user", "content": "So far."}
    assert (new.num_inherited, new.messages) == (1, [rules, summary, reply("b")])


def test_turns_behind_a_context_that_only_sub_agents_know_are_a_reject() -> None:
    refs = {"results": [{"subagent_trajectory_ref": [{"trajectory_path": "t.json"}]}]}
    handoff = step("system", "Summarised.", observation=refs)
    old, new = read(
        document(step("user", "Do it."), called("a"), handoff, step("user", "Go on."), called("b"))
    ).segments
    assert old.messages[-1] == reply("a")
    assert [problem(m) and m["role"] for m in new.messages] == ["user", None, None]
    assert str(problem(new.messages[0])).startswith("('unrecorded_context', 'sub-agents replaced")
    # A sub-agent that a call of the agent's started does not touch its context.
    inner = [{"source_call_id": "a", "content": "x", "subagent_trajectory_ref": [{"trajectory_path": "t.json"}]}]
    assert len(read(document(called("a", results=inner), called("b"))).segments) == 1


def test_embedded_sub_agents_are_segments() -> None:
    inner = document(step("user", "Look."), called("c"), trajectory_id="t")
    main, sub, lost = read(document(called("a"), subagent_trajectories=[inner, "x"])).segments
    assert main.messages == [reply("a")]
    assert (sub.num_inherited, sub.messages) == (0, [{"role": "user", "content": "Look."}, reply("c")])
    assert problem(lost.messages[0]) == ("bad_message", "a sub-agent's trajectory without `steps`")


@pytest.mark.parametrize(
    "bad",
    [
        5,
        {"source": "robot", "message": "x"},
        {"source": "agent", "message": "x", "tool_calls": [5]},
        {"source": "agent", "message": "x", "tool_calls": 5, "observation": {"results": [{"content": "y"}]}},
        {"source": "agent", "message": "x", "reasoning_content": 5},
        {"source": "agent", "message": 5},
        {"source": "agent", "message": "x", "observation": {"results": 5}},
        {"source": "agent", "message": "x", "tool_calls": [{"arguments": {}}]},
    ],
)
def test_a_step_that_cannot_be_read_ends_what_can_be_used(bad: Any) -> None:
    found = messages_of(step("user", "Do it."), bad, called("b"))
    first_bad = next(i for i, m in enumerate(found) if problem(m))
    assert first_bad < len(found) - 1
    assert found[-1] == reply("b")


@pytest.mark.parametrize(
    ("fields", "outcome", "task"),
    [
        ({}, None, None),
        ({"final_metrics": {"total_steps": 2, "extra": {"reward": 0.5}}}, 0.5, None),
        ({"extra": {"resolved": True, "task_name": "t"}, "final_metrics": {"extra": {"score": 0}}}, 0.0, "t"),
        ({"reward": 1, "extra": {"reward": 0}, "task_id": 3}, 1.0, "3"),
    ],
)
def test_labels(fields: dict[str, Any], outcome: float | None, task: str | None) -> None:
    found = read(document(called("a"), **fields))
    assert (found.outcome, found.task_id) == (outcome, task)


@needs_real_data
def test_a_real_file_of_native_calls() -> None:
    path = real_file("harbor-atif/openhands-hello-world.trajectory.json")
    record = json.loads(path.read_text())
    (found,) = trajectories(path, "atif")
    (segment,) = found.segments
    steps = [s for s in record["steps"] if s["source"] == "agent"]
    turns = turns_of(found)
    assert [t["content"] for t in turns] == [s["message"] for s in steps]
    assert [t.get("reasoning_content") for t in turns] == [s.get("reasoning_content") for s in steps]
    made = [
        [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in t.get("tool_calls", [])]
        for t in turns
    ]
    assert made == [[(c["function_name"], c["arguments"]) for c in s.get("tool_calls", [])] for s in steps]
    results = [r["content"] for s in steps for r in s.get("observation", {}).get("results", [])]
    assert len(segment.messages) == len(record["steps"]) + len(results)
    assert [m["content"] for m in segment.messages if m["content"] in results] == results
    assert segment.tools == record["agent"].get("tool_definitions")
    assert found.outcome is None


@needs_real_data
@pytest.mark.parametrize(("name", "num_whole"), [("hello-world-invalid-json", 2), ("hello-world-timeout", 1)])
def test_real_files_of_terminus(name: str, num_whole: int) -> None:
    """Turns up to the first answer that was parsed; behind it the model's words are missing."""
    record = json.loads(real_file(f"harbor-atif/{name}.trajectory.json").read_text())
    (segment,) = read(record).segments
    assert segment.action_format == "terminus_2"
    steps = [s for s in record["steps"] if s["source"] == "agent"]
    problems = [problem(message) for message in segment.messages]
    first = next(place for place, found in enumerate(problems) if found)
    assert problems[first] is not None
    assert problems[first][0] == "unrecorded_context"
    turns = [m for m in segment.messages[:first] if m["role"] == "assistant"]
    assert len(turns) == num_whole
    assert [t["content"] for t in turns[:-1]] == [s["message"] for s in steps[: num_whole - 1]]
    keystrokes = [c["arguments"]["keystrokes"] for c in steps[num_whole - 1]["tool_calls"]]
    call = turns[-1]["extra"]["parsed_action"]["tool_calls"][0]
    assert [c["keystrokes"] for c in call["arguments"]["commands"]] == keystrokes


def test_the_parts_of_a_terminus_answer() -> None:
    agent = {**AGENT, "extra": {"parser": "json"}}
    calls = [
        {"tool_call_id": "a", "function_name": "bash_command", "arguments": {"keystrokes": "ls\n", "duration": 0.1}},
        {"tool_call_id": "b", "function_name": "mark_task_complete", "arguments": {}},
    ]
    said = step("agent", "Analysis: x\nPlan: y", tool_calls=calls)
    (segment,) = read(document(step("user", "Do."), said, agent=agent)).segments
    arguments = {"commands": [{"keystrokes": "ls\n", "duration": 0.1}], "task_complete": True}
    parsed = {
        "reasoning": "Analysis: x\nPlan: y",
        "tool_calls": [{"name": "send_keystrokes", "arguments": arguments}],
    }
    assert segment.messages[1]["extra"] == {"parsed_action": parsed}
    assert (segment.messages[1]["content"], problem(segment.messages[1])) == (None, None)
    (xml,) = read(document(step("user", "Do."), said, agent={**AGENT, "extra": {"parser": "xml"}})).segments
    assert [found and found[0] for found in map(problem, xml.messages[:2])] == [None, "unrecorded_context"]
    raw = step("agent", "no JSON", observation={"results": [{"content": "ERROR: no JSON"}]})
    (broken,) = read(document(step("user", "Do."), raw, agent=agent)).segments
    assert broken.messages[1:] == [
        {"role": "assistant", "content": "no JSON"},
        {"role": "user", "content": "ERROR: no JSON"},
    ]


FUZZED = document(
    step("system", "Rules."),
    {**step("user", "Do it."), "is_copied_context": True},
    called("a", "b", results=[{"source_call_id": "b", "content": "of b"}]),
    step("system", "Compacted.", extra={"context_management": {"boundary": "replace"}}),
    called("c", results=[{"content": [{"type": "text", "text": "of c"}]}]),
    agent={**AGENT, "tool_definitions": [TOOL]},
    subagent_trajectories=[document(called("d"), trajectory_id="t")],
)


@settings(max_examples=80)
@given(broken([FUZZED]))
def test_a_broken_record_never_raises(records: list[Any]) -> None:
    check_broken(records)
    check_broken(records, "atif")
