"""Properties of the records of every reader, after any change to them."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from extracting import assistant, call, mine, mine_nothing, rows, tool, user, write_lines
from format_samples import EVERY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pivotmine.errors import UserError
from pivotmine.messages import MASK_KEYS
from pivotmine.readers import detect
from pivotmine_stages.extract.demonstrations import masking_key

PROPERTY = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
WHOLE = [user("u"), assistant(None, call("a", "f", "{}")), tool("a", "r"), assistant("done")]


def states(run: Path) -> list[Any]:
    return [row["state_id"] for row in rows(run, "turns", "state_id")]


@PROPERTY
@given(st.lists(st.sampled_from(EVERY), min_size=1, max_size=4))
def test_a_record_is_read_by_the_same_reader_whatever_stands_before_it(
    tmp_path_factory: pytest.TempPathFactory, chosen: list[tuple[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("mixed")
    alone, among = folder / "alone", folder / "among"
    (name, record), before = chosen[-1], [one for _, one in chosen[:-1] if detect(one) != chosen[-1][0]]
    source = write_lines(folder / "a.jsonl", record)
    mixed = write_lines(folder / "b.jsonl", *before, record)
    for run, path in ((alone, source), (among, mixed)):
        with suppress(UserError):
            mine(run, path)
    read = [row["format"] for row in rows(alone, "trajectories", "format")]
    # A log that holds several records numbers them by itself: the last rows are the last record's.
    found = [row["format"] for row in rows(among, "trajectories", "format")]
    assert found[len(found) - len(read) :] == read, (name, before)


@PROPERTY
@given(st.data())
def test_nothing_demonstrates_behind_something_unread(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("unread")
    place = data.draw(st.integers(0, len(WHOLE)))
    bad = data.draw(st.sampled_from([5, {"role": "wizard"}, {"role": "user", "content": [{"type": "image_url"}]}]))
    messages = [*WHOLE[:place], bad, *WHOLE[place:]]
    lines: list[Any] = [json.dumps(message) for message in WHOLE]
    lines.insert(place, "{oops")
    for name, records in (("record", [{"messages": messages}]), ("lines", lines)):
        run = folder / name
        with suppress(UserError):
            mine(run, write_lines(folder / f"{name}.jsonl", *records))
        kept = [turn for turn in rows(run, "turns") if turn["reject_reason"] is None]
        assert all(turn["position"] < place for turn in kept)
        lost = sum(row["num_turns"] or 0 for row in rows(run, "rejects") if row["turn_id"] is None)
        assert len(rows(run, "turns")) + lost == 2


@PROPERTY
@given(
    st.sampled_from(MASK_KEYS),
    st.sampled_from([False, True, 0, 1, 0.0, 1.0, None, [True, False], "x"]),
)
def test_a_masked_turn_demonstrates_nothing_and_splits_no_state(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    folder = tmp_path_factory.mktemp("masked")
    marked = assistant("a", **{key: value})
    mine(folder / "run", write_lines(folder / "a.jsonl", [user("q"), marked, user("q"), assistant("b")]))
    mine(folder / "plain", write_lines(folder / "b.jsonl", [user("q"), assistant("a"), user("q"), assistant("b")]))
    wanted = (key == "mask") == bool(value) and isinstance(value, bool | int | float)
    reasons = [row["reject_reason"] for row in rows(folder / "run", "turns", "reject_reason")]
    assert reasons == ["masked" if wanted else None, None]
    assert (masking_key(marked) is not None) is wanted
    assert states(folder / "run") == states(folder / "plain")


@PROPERTY
@given(st.data())
def test_bookkeeping_on_messages_changes_no_state(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("bookkeeping")
    keys = st.sampled_from(["usage", "model", "cost", "id", "created_at", "timestamp", "metadata", "finish_reason"])
    marks = st.dictionaries(keys, st.integers() | st.text("ab") | st.just({"n": 1}), max_size=3)
    marked = [{**message, **data.draw(marks)} for message in WHOLE]
    for name, messages in (("plain", WHOLE), ("marked", marked)):
        mine(folder / name, write_lines(folder / f"{name}.jsonl", messages))
    assert states(folder / "marked") == states(folder / "plain")


def test_the_summary_tells_of_masks_that_nobody_documents(tmp_path: Path) -> None:
    lines = [[user("q"), assistant("a", mask=False), user("r"), assistant("b", mask=False)]]
    assert mine(tmp_path / "run", write_lines(tmp_path / "a.jsonl", *lines)).undocumented_masks == 2


def test_the_summary_tells_of_calls_without_tools_and_states_without_a_user(tmp_path: Path) -> None:
    alone = [
        {"role": "system", "content": "Go."},
        assistant(None, call("a", "f", "{}")),
        tool("a", "r"),
        assistant("x"),
    ]
    offered = {"messages": WHOLE, "tools": [{"type": "function", "function": {"name": "f"}}]}
    summary = mine(tmp_path / "run", write_lines(tmp_path / "a.jsonl", alone, alone, WHOLE, offered))
    assert (summary.calls_without_tools, summary.states_without_user) == (2, 2)


def test_a_text_convention_offers_its_tools_in_the_prompt(tmp_path: Path) -> None:
    """A list of tools would make the policy write calls that the harness does not read."""
    said = [user("Fix it. Answer with one command."), assistant("Let me look.\n```\nls\n```"), user("a.py")]
    source = write_lines(tmp_path / "a.jsonl", [*said, assistant("Done.\n```\nsubmit\n```")])
    summary = mine(tmp_path / "run", source, action_format="swe_agent_thought")
    assert [row["action_format"] for row in rows(tmp_path / "run", "segments")] == ["swe_agent_thought"]
    assert [row["kind"] for row in rows(tmp_path / "run", "turns")] == ["tool_call", "tool_call"]
    assert summary.calls_without_tools == 0


@pytest.mark.parametrize("answer", ["164,000", '{"score": 1}', "A rubric."])
def test_ground_truth_is_no_demonstration_and_its_record_a_log(tmp_path: Path, answer: str) -> None:
    output = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I say 3."}]}]
    record = {
        "responses_create_params": {"input": [{"role": "user", "content": "How many?"}]},
        **{"expected_answer": answer, "response": {"output": output}, "reward": 1.0},
    }
    summary = mine(tmp_path / "run", write_lines(tmp_path / "a.jsonl", record))
    assert [row["demonstration"] for row in rows(tmp_path / "run", "turns")] == ['{"message":"I say 3."}']
    assert (summary.outcomes, summary.formats) == ({"1.0": 1}, {"responses": 1})
    keystrokes = '{"analysis": "a", "plan": "p", "commands": [{"keystrokes": "ls"}]}'
    summary = mine(tmp_path / "pivot", write_lines(tmp_path / "b.jsonl", {**record, "expected_answer": keystrokes}))
    assert summary.formats == {"nemo_gym": 1}


@pytest.mark.parametrize(
    ("fields", "label", "key"),
    [
        ({"reward_info": {"reward": 0.5}}, 0.5, "reward_info.reward"),
        ({"metadata": {"reward": 1}}, 1.0, "metadata.reward"),
        ({"label": True}, 1.0, "label"),
        ({"target": True}, 1.0, "target"),
        ({"score": 12.0, "resolved": True}, 1.0, "resolved"),
        ({"resolved": None, "reward": "0.5"}, 0.5, "reward"),
        ({"result": "1.0", "trial_name": "t"}, 1.0, "result"),
        ({"result": "AgentTimeoutError", "trial_name": "t"}, 0.0, "result"),
        ({"label": "positive", "target": "x.py", "result": "4", "metadata": {"reward": None}}, None, None),
    ],
)
def test_where_labels_are_found(tmp_path: Path, fields: dict[str, Any], label: float | None, key: str | None) -> None:
    source = write_lines(tmp_path / "a.jsonl", {"messages": WHOLE, **fields})
    summary = (mine_nothing if label == 0 else mine)(tmp_path / "run", source)
    assert [row["outcome"] for row in rows(tmp_path / "run", "trajectories")] == [label]
    assert summary.outcome_keys == ({} if key is None else {key: 1})


def test_labels_in_words_under_a_column_that_the_user_names(tmp_path: Path) -> None:
    records = [
        {"messages": [user(word), assistant("x")], "eval": {"verdict": word}, "score": 3} for word in ("Pass", "fail")
    ]
    source, words = write_lines(tmp_path / "a.jsonl", *records), "pass=1, fail=0"
    summary = mine(tmp_path / "run", source, outcome_column="eval.verdict", outcome_words=words)
    assert (summary.outcomes, summary.outcome_keys) == ({"0.0": 1, "1.0": 1}, {"eval.verdict": 2})
    with pytest.raises(UserError, match=r"bad_outcome 2 \(first: .*'pass' is not a number"):
        mine(tmp_path / "undeclared", source, outcome_column="eval.verdict")
    with pytest.raises(UserError, match=r"^--outcome-column eval.verdit: no record has a label there"):
        mine(tmp_path / "misspelt", source, outcome_column="eval.verdit")
    with pytest.raises(UserError, match=r"^--outcome-words good: give words with their labels, such as pass=1,fail=0$"):
        mine(tmp_path / "words", source, outcome_column="eval.verdict", outcome_words="good")
    with pytest.raises(UserError, match=r"^--outcome-words needs --outcome-column"):
        mine(tmp_path / "alone", source, outcome_words=words)


@pytest.mark.parametrize("key", ["outcome", "info.resolved"])
def test_words_where_a_reader_looks_for_its_own_label(tmp_path: Path, key: str) -> None:
    name, _, inner = key.partition(".")
    source = write_lines(
        tmp_path / "a.jsonl",
        *({"messages": [user(w), assistant("x")], name: {inner: w} if inner else w} for w in ("Pass", "fail")),
    )
    summary = mine(tmp_path / "run", source, outcome_column=key, outcome_words="pass=1,fail=0")
    assert (summary.outcomes, summary.outcome_keys) == ({"0.0": 1, "1.0": 1}, {key: 2})
    if not inner:
        how = (
            r"bad_outcome 2 \(first: .*'pass' is not a number; .* --outcome-column KEY --outcome-words pass=1,fail=0\)"
        )
        with pytest.raises(UserError, match=how):
            mine(tmp_path / "undeclared", source)


def test_a_completion_keeps_its_prompt(tmp_path: Path) -> None:
    record = {"prompt": [user("q")], "completion": [assistant("a")], "chosen": [user("q"), assistant("b")]}
    source = write_lines(tmp_path / "a.jsonl", record)
    mine(tmp_path / "run", source, messages_column="completion")
    mine(tmp_path / "plain", write_lines(tmp_path / "b.jsonl", [user("q"), assistant("a")]))
    assert states(tmp_path / "run") == states(tmp_path / "plain")
    mine(tmp_path / "chosen", source, messages_column="chosen")
    assert states(tmp_path / "chosen") == states(tmp_path / "plain")


@pytest.mark.parametrize("arguments", ["", "null", " ", None, "{}", {}])
def test_a_call_without_arguments_is_one_with_none(tmp_path: Path, arguments: Any) -> None:
    messages = [user("q"), assistant(None, call("a", "f", arguments)), tool("a", "r"), assistant("x")]
    mine(tmp_path / "run", write_lines(tmp_path / "a.jsonl", messages))
    (first, second) = rows(tmp_path / "run", "turns", "demonstration", "state_id")
    assert first["demonstration"] == '{"tool_calls":[{"name":"f","arguments":{}}]}'
    mine(
        tmp_path / "plain",
        write_lines(
            tmp_path / "b.jsonl", [*messages[:1], assistant(None, call("z", "f", "{}")), tool("z", "r"), assistant("x")]
        ),
    )
    assert states(tmp_path / "plain") == [first["state_id"], second["state_id"]]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            {
                "conversations": [
                    {"from": "user", "value": "w"},
                    {"from": "assistant", "value": '[Get Weather(city="Oslo")]'},
                ]
            },
            "ToolACE",
        ),
        ({"messages": [{"role": "user", "parts": []}, {"role": "assistant", "parts": [], "content": "x"}]}, "Vercel"),
        ({"messages": [user("x"), {"role": "assistant", "content": [{"type": "tool-call"}]}]}, "Vercel"),
    ],
)
def test_formats_that_would_be_half_read_are_refused(tmp_path: Path, record: Any, words: str) -> None:
    with pytest.raises(UserError, match=rf"^the only record was rejected: unknown_format 1 .*{words}"):
        mine(tmp_path / "run", write_lines(tmp_path / "a.jsonl", record))


def test_csv_is_refused_by_name_and_by_its_first_line(tmp_path: Path) -> None:
    for name, text in (("a.csv", "x"), ("b.jsonl", "messages,reward\n[],1\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=r"CSV is not read: convert it to JSON lines or Parquet"):
            mine(tmp_path / f"run-{name}", tmp_path / name)
