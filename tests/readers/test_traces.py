"""The formats of traces and logs: the content of each record, and where its states end."""

import json
from typing import Any

import pytest
from trace_samples import CALL, CALLED, RESULT, SAID, TOOL, TRACE_SAMPLES, USER

from pivotmine.messages import problem
from pivotmine.readers import READERS, detect, grouped
from pivotmine.readers.trajectory import BadTrajectory, Segment, Trajectory
from pivotmine.sources.json_records import Record


def read_all(*values: Any) -> list[Trajectory]:
    """What the readers make of the records of a file."""
    found = grouped(Record(n, value) for n, value in enumerate(values))
    return [READERS[detect(record.value)].read(record.value) for record in found]


def sample(name: str, number: int = 0) -> Trajectory:
    (found,) = read_all(TRACE_SAMPLES[name][number])
    return found


def reasons(messages: list[Any]) -> list[str | None]:
    return [None if (found := problem(message)) is None else found[0] for message in messages]


CALLED_FLAT = {**CALLED, "tool_calls": [{**CALL, "function": {"name": "find", "arguments": '{"id":7}'}}]}
OPEN = {"role": "assistant", "content": "It is open."}


def test_anthropic_blocks_are_calls_results_and_reasoning() -> None:
    thought = {**CALLED_FLAT, "content": "", "reasoning_content": "Hm."}
    tools = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
    system = {"role": "system", "content": "Be kind."}
    (segment,) = sample("anthropic_messages").segments
    assert segment == Segment(messages=[system, USER, thought, RESULT], tools=tools)


def test_anthropic_request_logs_are_one_growing_conversation() -> None:
    record = TRACE_SAMPLES["anthropic_messages"][0]
    request = {key: record[key] for key in ("system", "messages", "tools")}
    first = {**request, "messages": record["messages"][:1]}
    answers: list[Any] = [record["messages"][1]["content"], [{"type": "text", "text": "It is open."}]]
    lines = [
        {"request": r, "response": {"role": "assistant", "content": a}}
        for r, a in zip((first, request), answers, strict=True)
    ]
    (found,) = read_all(*lines)
    (segment,) = found.segments
    assert segment.messages == [*sample("anthropic_messages").segments[0].messages, OPEN]
    assert (segment.num_inherited, segment.verbatim) == (2, True)


@pytest.mark.parametrize("block", [{"type": "image", "source": {}}, {"type": "server_tool_use", "id": "x"}])
def test_an_anthropic_block_of_another_kind_ends_the_state(block: dict[str, Any]) -> None:
    record = TRACE_SAMPLES["anthropic_messages"][0]
    bad = {"role": "assistant", "content": [block]}
    (found,) = read_all({**record, "messages": [*record["messages"], bad]})
    assert reasons(found.segments[0].messages) == [None] * 4 + ["bad_message"]


def test_prompt_and_completion() -> None:
    assert sample("prompt_completion") == Trajectory(
        segments=(Segment(messages=[USER, CALLED, RESULT, SAID], tools=[TOOL], num_inherited=1),),
        outcome=1.0,
        metadata={"label": True},
    )
    second = sample("prompt_completion", 1)
    assert (second.segments[0].tools, second.task_id) == ([TOOL], "3")
    as_text = {**CALLED, "tool_calls": [json.dumps(CALL)]}
    (found,) = read_all({"prompt": [USER], "completion": [as_text], "system": "s"})
    assert found.segments[0].messages[1:] == [USER, CALLED]
    assert found.segments[0].num_inherited == 2


def test_a_trace_of_verifiers_keeps_what_was_sampled() -> None:
    found = sample("verifiers_trace")
    extra = {"token_ids": [6], "logprobs": [-0.5]}
    assert found.segments[0].messages == [USER, {**SAID, "extra": extra}]
    assert (found.outcome, found.domain, found.segments[0].tools) == (0.5, "T", [TOOL])


def test_branches_of_a_trace_are_segments_and_each_node_is_a_turn_once() -> None:
    def node(parent: int | None, message: Any, *, sampled: bool = True) -> dict[str, Any]:
        return {"parent": parent, "message": message, "sampled": sampled}

    other, given = {"role": "assistant", "content": "b"}, {"role": "assistant", "content": "given"}
    nodes = [node(None, USER), node(0, given, sampled=False), node(1, USER), node(2, SAID), node(2, other)]
    (found,) = read_all({"nodes": nodes})
    masked = {**given, "weight": 0}
    assert [(s.messages, s.num_inherited) for s in found.segments] == [
        ([USER, masked, USER, SAID], 0),
        ([USER, given, USER, other], 3),
    ]
    with pytest.raises(BadTrajectory, match="names no earlier node"):
        read_all({"nodes": [node(None, USER), node(1, SAID)]})


def test_a_trace_with_too_many_branches_is_refused() -> None:
    nodes: list[Any] = [{"parent": None, "message": USER}]
    for depth in range(3000):
        nodes += [{"parent": len(nodes) - 1 - (depth > 0), "message": USER}, {"parent": len(nodes), "message": SAID}]
    with pytest.raises(BadTrajectory, match="too_many_branches"):
        read_all({"nodes": nodes})


HEADER = {"type": "session_meta", "payload": {"id": "x", "base_instructions": {"text": "Be kind."}}}


def item(**payload: Any) -> dict[str, Any]:
    return {"type": "response_item", "payload": payload}


ASKED = item(type="message", role="user", content=[{"type": "input_text", "text": "u"}])
ANSWERED = item(type="message", role="assistant", content=[{"type": "output_text", "text": "a"}])
CALLING = item(type="custom_tool_call", call_id="c", name="apply_patch", input="*** Begin")
DONE = item(type="custom_tool_call_output", call_id="c", output="ok")


def test_a_session_of_codex() -> None:
    shown = {"type": "event_msg", "payload": {"type": "user_message", "message": "u"}}
    (found,) = read_all(HEADER, ASKED, shown, CALLING, DONE, ANSWERED)
    (segment,) = found.segments
    assert [m["role"] for m in segment.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert segment.messages[0]["content"] == "Be kind."
    function = segment.messages[2]["tool_calls"][0]["function"]
    assert function == {"name": "apply_patch", "arguments": '{"input":"*** Begin"}'}
    assert (segment.num_inherited, found.metadata["unrecorded"]) == (0, ["tools"])


def test_a_compaction_of_codex_opens_a_segment_if_its_history_is_there() -> None:
    compacted = {"type": "compacted", "payload": {"message": "s", "replacement_history": [ASKED["payload"]]}}
    (found,) = read_all(HEADER, ASKED, ANSWERED, compacted, ANSWERED)
    assert [(len(s.messages), s.num_inherited) for s in found.segments] == [(3, 0), (3, 2)]
    assert reasons(found.segments[1].messages) == [None] * 3
    (found,) = read_all(HEADER, ASKED, ANSWERED, {"type": "compacted", "payload": {"message": "s"}}, ANSWERED)
    assert reasons(found.segments[1].messages) == [None, "unrecorded_context", None]


@pytest.mark.parametrize(
    ("lines", "ends"),
    [
        ([ASKED, ANSWERED], 0),
        (
            [HEADER, ASKED, {"type": "event_msg", "payload": {"type": "thread_rolled_back", "num_turns": 1}}, ANSWERED],
            2,
        ),
    ],
)
def test_where_a_session_of_codex_is_not_whole(lines: list[Any], ends: int) -> None:
    (found,) = read_all(*lines)
    assert reasons(found.segments[0].messages).index("unrecorded_context") == ends


STS = {"type": "session", "harness": "mine", "id": "s"}


def said(message: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "message": message, **fields}


def test_session_traces_are_a_header_and_messages() -> None:
    found = read_all(
        STS, said(USER), said(CALLED), said(RESULT), said(SAID), {**STS, "id": "t"}, said(USER), said(SAID)
    )
    assert [t.segments for t in found] == [
        (Segment(messages=[USER, CALLED, RESULT, SAID]),),
        (Segment(messages=[USER, SAID]),),
    ]
    assert found[0].metadata == {"harness": "mine", "id": "s", "unrecorded": ["system prompt", "tools"]}
    (headless,) = read_all(said(USER), said(SAID))
    assert reasons(headless.segments[0].messages) == ["unrecorded_context", None, None]


def test_a_line_of_a_session_that_could_not_be_read_ends_it() -> None:
    lines = [Record(n, value) for n, value in enumerate([STS, said(USER), said(SAID), said(USER), said(SAID)])]
    lines.insert(3, Record(9, None, ("bad_json", "x")))
    bad, joined = grouped(iter(lines))
    assert bad.problem == ("bad_json", "x")
    (segment,) = READERS["sessions"].read(joined.value).segments
    assert reasons(segment.messages) == [None, None, "unrecorded_context", None, None]


PI = {"type": "session", "version": 3, "id": "s", "cwd": "/x"}


def test_entries_of_pi_are_a_tree() -> None:
    call = {"type": "toolCall", "id": "c", "name": "find", "arguments": {"id": 7}}
    result = {"role": "toolResult", "toolCallId": "c", "toolName": "find", "content": [{"type": "text", "text": "r"}]}
    thinking = {"type": "thinking", "thinking": "Hm."}
    lines = [
        said(USER, id="1", parentId=None),
        {"type": "model_change", "id": "2", "parentId": "1", "timestamp": "t"},
        said({"role": "assistant", "content": [thinking, call], "stopReason": "toolUse"}, id="3", parentId="2"),
        said({**result, "isError": True}, id="4", parentId="3"),
        said({"role": "assistant", "content": [], "stopReason": "aborted"}, id="5", parentId="4"),
        said(SAID, id="6", parentId="1"),
        said(SAID, id="7", parentId="lost"),
    ]
    (found,) = read_all(PI, *lines)
    first, second, third = found.segments
    assert first.messages[1] == {**CALLED_FLAT, "content": "", "reasoning_content": "Hm."}
    assert first.messages[2] == {"role": "tool", "content": "r", "tool_call_id": "c", "name": "find", "is_error": True}
    assert first.messages[3] == {"role": "assistant", "content": "", "weight": 0}
    assert (second.messages, second.num_inherited) == ([USER, SAID], 1)
    assert reasons(third.messages) == ["unrecorded_context", None]


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "compaction", "id": "2", "parentId": "1", "timestamp": "t", "summary": "x"},
        said({"role": "bashExecution", "command": "ls"}, id="2", parentId="1"),
    ],
)
def test_what_pi_words_for_the_model_itself_ends_the_state(entry: dict[str, Any]) -> None:
    (found,) = read_all(PI, said(USER, id="1", parentId=None), entry, said(SAID, id="3", parentId="2"))
    assert reasons(found.segments[0].messages) == [None, "unrecorded_context", None]


def test_the_agent_data_protocol() -> None:
    found = sample("agent_data_protocol")
    call = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"id":7}'}}
    assert found.segments[0].messages == [
        USER,
        {"role": "assistant", "content": "I look.", "tool_calls": [call]},
        {"role": "tool", "content": "It is open.", "tool_call_id": "call_1"},
        OPEN,
    ]
    assert (found.task_id, found.outcome, found.outcome_key) == ("t", 1.0, "details.reward")
    code = {
        "class_": "code_action",
        "language": "bash",
        "content": "ls",
        "reasoning_content": "Hm.",
        "tool_call_id": "k",
    }
    shown = {"class_": "text_observation", "content": "a", "source": "user", "tool_call_id": "k"}
    page = {"class_": "web_observation", "html": "x"}
    (found,) = read_all({"id": "t", "content": [code, shown, page]})
    made = found.segments[0].messages
    assert made[0]["tool_calls"][0]["function"] == {"name": "bash", "arguments": '{"code":"ls"}'}
    assert (made[0]["reasoning_content"], made[1]["tool_call_id"], reasons(made)[2]) == (
        "Hm.",
        "k",
        "unrecorded_context",
    )


def test_a_simulation_of_tau2_as_the_agent_sees_it() -> None:
    found = sample("tau2")
    result = {"role": "tool", "content": "It is open.", "tool_call_id": "c"}
    hello = {"role": "assistant", "content": "Hello."}
    assert found.segments[0].messages == [hello, USER, CALLED_FLAT, result, {"role": "user", "content": "And?"}, OPEN]
    assert (found.task_id, found.outcome) == ("t", 1.0)
    file = {"simulations": TRACE_SAMPLES["tau2"][:1] * 2, "info": {"environment_info": {"domain_name": "retail"}}}
    assert [one.domain for one in read_all(file)] == ["retail"] * 2


def test_trajectory_columns() -> None:
    found = sample("trajectory_column")
    assert (found.segments[0].messages, found.outcome, found.task_id) == ([USER, CALLED, RESULT, SAID], 1.0, "i")
    nebius = sample("trajectory_column", 1)
    assert nebius.segments[0].messages == [
        {"mask": False, "role": "system", "content": "Be kind."},
        {**USER, "mask": False},
        {**OPEN, "mask": False},
    ]
    assert nebius.outcome == 1.0


def test_calls_of_swift_in_a_row_are_one_turn() -> None:
    call = {"role": "tool_call", "content": '{"name": "f", "arguments": {}}'}
    messages = [USER, call, call, {"role": "tool_response", "content": "r"}, {"role": "tool", "content": "s"}]
    (found,) = read_all({"messages": messages})
    _, turn, first, second = found.segments[0].messages
    assert [c["id"] for c in turn["tool_calls"]] == [first["tool_call_id"], second["tool_call_id"]]


def test_langchain_in_each_form() -> None:
    (segment,) = sample("langchain").segments
    assert segment.messages[:2] == [USER, {**CALLED_FLAT, "content": ""}]
    assert segment.messages[2] == {"role": "tool", "content": "It is open.", "tool_call_id": "c", "status": "success"}
    for number in (1, 2):
        assert [m["content"] for m in sample("langchain", number).segments[0].messages] == ["x", "y"]
    blocks = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "t"}, {"type": "tool_use", "id": "c"}]
    invalid = [{"name": "f", "args": "{oops", "id": "c"}]
    ai = {"type": "ai", "content": blocks, "invalid_tool_calls": invalid}
    (found,) = read_all([{"type": "human", "content": "u"}, ai])
    turn = found.segments[0].messages[1]
    assert (turn["content"], turn["reasoning_content"]) == ("t", "Hm.")
    assert turn["tool_calls"][0]["function"]["arguments"] == "{oops"
    legacy = {"type": "ai", "content": "", "additional_kwargs": {"tool_calls": [CALL]}}
    (found,) = read_all([{"type": "human", "content": "u"}, legacy])
    assert found.segments[0].messages[1]["tool_calls"] == [CALL]


def test_items_in_an_array_or_a_line_each_are_one_conversation() -> None:
    items = TRACE_SAMPLES["response_list"][0]
    ((segment,),) = [found.segments for found in read_all(*items)]
    assert [m["role"] for m in segment.messages] == ["user", "assistant", "tool"]
    assert sample("response_list").segments == (segment,)


def test_text_behind_a_call_is_a_later_response() -> None:
    text = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]}
    calls = [{"type": "function_call", "call_id": c, "name": "f", "arguments": "{}"} for c in "ab"]
    (found,) = read_all({"input": "go", "output": [text, *calls, text]})
    assert [len(m.get("tool_calls", [])) for m in found.segments[0].messages[1:]] == [2, 0]


def spans(*, gen_ai: bool) -> list[Any]:
    if gen_ai:
        asked: Any = {"role": "user", "parts": [{"type": "text", "content": "Find order 7."}]}
        call = {"type": "tool_call", "id": "c", "name": "find", "arguments": {"id": 7}}
        called: Any = {"role": "assistant", "parts": [call]}
        given: Any = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "response": "It is open."}]}
        told: Any = {"role": "assistant", "parts": [{"type": "text", "content": "It is open."}]}
        attributes = [
            {
                "gen_ai.input.messages": json.dumps(context),
                "gen_ai.output.messages": [answer],
                "gen_ai.tool.definitions": [TOOL],
            }
            for context, answer in (([asked], called), ([asked, called, given], told))
        ]
        return [{"traceId": "t", "startTimeUnixNano": n, "attributes": a} for n, a in enumerate(attributes)]
    wrapped = [{"message": m} for m in (USER, {**CALLED, "tool_calls": [{"tool_call": CALL}]}, RESULT, SAID)]
    tool = {"tool": {"json_schema": json.dumps(TOOL)}}
    made = [
        {"llm": {"input_messages": wrapped[:n], "output_messages": wrapped[n : n + 1], "tools": [tool]}} for n in (1, 3)
    ]
    return [{"context": {"trace_id": "t"}, "start_time": f"0{n}", "attributes": a} for n, a in enumerate(made)]


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested attributes as dotted keys."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if pairs is None:
        return {path: value}
    return {k: v for key, inner in pairs for k, v in flat(inner, f"{path}.{key}" if path else str(key)).items()}


@pytest.mark.parametrize("gen_ai", [False, True])
def test_spans_of_a_trace_are_one_growing_conversation(*, gen_ai: bool) -> None:
    made = spans(gen_ai=gen_ai)
    chain = {**made[0], "attributes": {"openinference.span.kind": "CHAIN"}}
    (found,) = read_all(made[1], chain, made[0])
    (segment,) = found.segments
    called = CALLED_FLAT if gen_ai else CALLED
    assert segment == Segment(messages=[USER, called, RESULT, OPEN], tools=[TOOL], num_inherited=1)


def test_attributes_may_be_flat_or_those_of_an_otlp_export() -> None:
    made = spans(gen_ai=False)
    plain = read_all(*made)
    dotted = [{**one, "attributes": flat(one["attributes"])} for one in made]
    assert read_all(*dotted) == plain
    listed = [
        {"traceId": "t", "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in one["attributes"].items()]}
        for one in dotted
    ]
    export = {"resourceSpans": [{"scopeSpans": [{"spans": listed}]}]}
    assert [t.segments for t in read_all(export)] == [t.segments for t in plain]


def test_a_trace_without_model_calls_is_no_trajectory() -> None:
    with pytest.raises(BadTrajectory, match="no span of the trace is a model call"):
        read_all({"trace_id": "t", "attributes": {"a": 1}})
