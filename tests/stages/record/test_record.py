"""record: which actions become samples of which states, their rewards, and that no action is recorded twice."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reading import needs_real_data, real_file, records_of
from runs import answered, called, make_run, rows, said, states_of, trajectory

from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.sources.sources import content_hash
from pivotmine_stages.command import to_json
from pivotmine_stages.extract.stage import ExtractConfig, extract
from pivotmine_stages.record import stage
from pivotmine_stages.record.stage import RecordConfig, RecordSummary, record

ASK = said("find order 7")
DEMONSTRATED = trajectory(ASK, called("find", id="7"), answered("open"), called("stop"), answered("ok"), reward=1)


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def rewarded(name: str, reward: float | None, **more: Any) -> dict[str, Any]:
    """A response in the first state, as a NeMo Gym rollout."""
    call = {"type": "function_call", "call_id": "x", "name": name, "arguments": '{"id": "7"}'}
    tools = [{"type": "function", **tool["function"]} for tool in DEMONSTRATED["tools"]]
    params = {"input": [{"role": "user", "content": "find order 7", "type": "message"}], "tools": tools}
    labels = {} if reward is None else {"reward": reward}
    return {"responses_create_params": params, "response": {"output": [call]}, **labels, **more}


def record_in(run: Path, *sources: Path, **options: Any) -> RecordSummary:
    return record(RecordConfig(sources=sources, policy_name=options.pop("policy_name", "gpt"), **options), run)


def test_rewards_become_scores_and_profiles(tmp_path: Path) -> None:
    run = make_run(tmp_path, DEMONSTRATED)
    first = states_of(run)["user: find order 7"]
    truncated = {"output": rewarded("find", 0)["response"]["output"], "incomplete_details": {"reason": "length"}}
    source = write(
        tmp_path / "rollouts.jsonl",
        rewarded("find", 1.0, _ng_task_index=0, _ng_rollout_index=0),
        rewarded("stop", 0.0, _ng_task_index=0, _ng_rollout_index=1),
        rewarded("find", 0.5),
        rewarded("find", 2),
        rewarded("find", None),
        rewarded("find", 0.0, response=truncated),
    )
    summary = record_in(run, source)
    assert {k: getattr(summary, k) for k in ("sources", "records", "turns", "samples", "rewarded", "rejects")} == {
        **{"sources": 1, "records": 6, "turns": 6, "samples": 6, "rewarded": 5, "rejects": 0}
    }
    stored = rows(run, "rollouts")
    assert [(r["state_id"], r["sample_index"]) for r in stored] == [(first, i) for i in range(6)]
    assert [r["finish_reason"] for r in stored] == ["stop"] * 5 + ["length"]
    call = {"id": "x", "type": "function", "function": {"name": "find", "arguments": '{"id": "7"}'}}
    assert json.loads(stored[0]["message"]) == {"role": "assistant", "tool_calls": [call]}
    assert {r[k] for r in stored for k in ("token_ids", "logprobs", "num_tokens", "prompt_hash")} == {None}
    scores = [(s["sample_index"], s["reward"], s["outcome"]) for s in rows(run, "scores")]
    assert sorted(scores, key=lambda score: score[0]) == [
        (0, 1.0, "correct"),
        (1, 0.0, "wrong_tool"),
        (2, 0.5, "partial"),
        (3, None, "error"),
        (4, None, "error"),
        (5, 0.0, "truncated"),
    ]
    (profile,) = rows(run, "profiles")
    assert (profile["gate"], profile["num_samples"], profile["num_scored"]) == ("correct", 6, 4)
    assert (profile["mean"], profile["reward_class"]) == (0.375, "sometimes")
    assert summary.score is not None
    assert summary.score.states == 1


def test_the_same_source_is_recorded_once_and_another_goes_on_counting(tmp_path: Path) -> None:
    run = make_run(tmp_path, DEMONSTRATED)
    source = write(tmp_path / "a.jsonl", rewarded("find", 1.0), rewarded("stop", 0.0))
    first = record_in(run, source)
    stored = rows(run, "rollouts")
    again = record_in(run, source.rename(tmp_path / "renamed.jsonl"))
    assert rows(run, "rollouts") == stored
    assert replace(again, seconds=0, score=None) == replace(first, seconds=0, score=None)
    record_in(run, write(tmp_path / "b.jsonl", rewarded("find", 0.5)))
    assert sorted(r["sample_index"] for r in rows(run, "rollouts")) == [0, 1, 2]
    (profile,) = rows(run, "profiles")
    assert (profile["num_samples"], profile["mean"]) == (3, 0.5)


def test_a_stopped_command_is_done_again_without_doubles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "SAMPLES_PER_PART", 2)
    run = make_run(tmp_path, DEMONSTRATED)
    source = write(tmp_path / "a.jsonl", *(rewarded("find", i / 4) for i in range(5)))
    record_in(run, source)
    whole = rows(run, "rollouts"), rows(run, "scores")
    (manifest,) = (run / "manifests").glob("record-*.json")
    manifest.unlink()
    (*_, last) = sorted((run / "rollouts").glob("*/part-*.parquet"))
    last.unlink()
    record_in(run, source)
    assert (rows(run, "rollouts"), rows(run, "scores")) == whole


def test_the_label_of_a_single_turn_is_its_reward(tmp_path: Path) -> None:
    run = make_run(tmp_path, DEMONSTRATED)
    request = {"messages": [ASK], "tools": DEMONSTRATED["tools"]}
    logged = {"request": request, "response": {"choices": [{"message": called("stop")}]}, "score": 0.25}
    labelled = [trajectory(ASK, called("find", id="7"), reward=1, n=1), trajectory(ASK, called("stop"), n=2)]
    record_in(run, write(tmp_path / "a.jsonl", *labelled), write(tmp_path / "b.jsonl", logged))
    found = [
        (r["reward"], json.loads(r["message"])["tool_calls"][0]["function"]["name"]) for r in rows(run, "rollouts")
    ]
    assert sorted(found, key=str) == [(0.25, "stop"), (1.0, "find"), (None, "stop")]


def test_actions_without_rewards_are_rollouts_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path, DEMONSTRATED)
    summary = record_in(run, write(tmp_path / "plain.jsonl", DEMONSTRATED))
    assert (summary.samples, summary.rewarded, "score" in to_json(summary)) == (2, 0, False)
    assert (len(rows(run, "rollouts")), rows(run, "scores"), rows(run, "profiles")) == (2, [], [])
    # Beside a source with rewards they have null verdicts, and are no success for being the demonstration.
    record_in(run, write(tmp_path / "rewarded.jsonl", rewarded("stop", 0.0)))
    found = sorted((s["outcome"], s["reward"]) for s in rows(run, "scores") if s["reward"] is None)
    assert found == [("error", None)] * 2
    assert sorted(p["num_scored"] for p in rows(run, "profiles")) == [0, 1]


def test_only_the_states_of_the_run_have_samples(tmp_path: Path) -> None:
    run = make_run(tmp_path, DEMONSTRATED)
    other = trajectory(ASK, called("find", id="7"), answered("gone"), called("stop"), said("x"), called("stop"))
    broken = trajectory(ASK, called("find", id="7"), {"role": "wizard"}, called("stop"))
    source = write(tmp_path / "a.jsonl", other, broken, {"nothing": 1})
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write("{oops\n")
    summary = record_in(run, source)
    assert (summary.records, summary.turns, summary.samples, summary.rejects) == (4, 3, 2, 5)
    found = [(r["reason"], r["source_index"], r["num_turns"]) for r in rows(run, "rejects") if r["stage"] == "record"]
    assert sorted(found) == [
        ("bad_json", 3, None),
        ("unknown_format", 2, None),
        ("unknown_role", 1, 1),
        ("unknown_state", 0, 1),
        ("unrecorded_context", 0, 1),  # the last turn stands behind a call without a result
    ]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "a.jsonl",
            json.dumps([ASK, called("find", id="7"), answered("open"), called("stop")]),
            "none of 2 turns in 1 record is in a state of this run; the first reject is {}, record 0: "
            "unknown_state: the run has no such state",
        ),
        (
            "a.jsonl",
            json.dumps([ASK]) + '\n{"nothing": 1}\n',
            "none of 0 turns in 2 records is in a state of this run; the first reject is {}, record 0: "
            "no_turns: no assistant message",
        ),
        (
            "a.jsonl",
            "",
            "none of 0 turns in 1 record is in a state of this run; the first reject is {}: "
            "empty_source: the file holds nothing but white space",
        ),
        ("a.json", "[ ]", "the sources hold no record at all"),
    ],
)
def test_logs_of_which_nothing_fits_are_a_user_error(tmp_path: Path, name: str, text: str, words: str) -> None:
    run = make_run(tmp_path, DEMONSTRATED)
    source = tmp_path / name
    source.write_text(text)
    for _ in range(2):  # again, it is known already
        with pytest.raises(UserError) as raised:
            record_in(run, source)
        assert str(raised.value) == words.format(source)
    # A policy without samples does not count.
    assert not (run / "rollouts").exists()


def test_a_manifest_of_an_earlier_version_says_nothing_of_a_source_without_samples(tmp_path: Path) -> None:
    run = make_run(tmp_path, DEMONSTRATED)
    source, fitting = write(tmp_path / "a.jsonl", [ASK]), write(tmp_path / "b.jsonl", DEMONSTRATED)
    summary = record_in(run, fitting)
    (manifest,) = rundir.read_manifests(run, "record")
    known = {key: manifest["config"][key] for key in ("policy_id", "source")}
    rundir.write_manifest(run, "record", known, {"summary": manifest["summary"]})
    next((run / "manifests").glob(f"record-{rundir.config_digest(manifest['config'])}.json")).unlink()
    without = {**manifest["summary"], "samples": 0}
    rundir.write_manifest(run, "record", {**known, "source": content_hash(source)[:12]}, {"summary": without})
    with pytest.raises(UserError, match=r"the first reject is .*a\.jsonl, record 0: no_turns"):
        record_in(run, source)
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps(DEMONSTRATED["tools"]), encoding="utf-8")
    assert record_in(run, fitting, tools_file=tools).samples == summary.samples


def test_a_source_of_which_nothing_fits_is_no_error_beside_one_that_fits(tmp_path: Path) -> None:
    run = make_run(tmp_path, DEMONSTRATED)
    summary = record_in(run, write(tmp_path / "a.jsonl", [ASK]), write(tmp_path / "b.jsonl", DEMONSTRATED))
    assert (summary.records, summary.samples, summary.rejects) == (2, 2, 1)


def test_what_a_folder_holds_beside_its_logs_is_a_reject(tmp_path: Path) -> None:
    run, folder = make_run(tmp_path, DEMONSTRATED), tmp_path / "logs"
    folder.mkdir()
    write(folder / "a.jsonl", DEMONSTRATED)
    (folder / "b.csv").touch()
    summary = record_in(run, folder)
    assert (summary.sources, summary.samples, summary.rejects) == (1, 2, 1)
    (reject,) = [r for r in rows(run, "rejects") if r["stage"] == "record"]
    assert (reject["source"], reject["reason"]) == (str(folder), "skipped_files")


def test_histories_are_the_same_state_where_it_is_said_so(tmp_path: Path) -> None:
    """With `actions`, what the environment answered makes no difference; what was asked and done does."""
    run = make_run(tmp_path, DEMONSTRATED)
    states = states_of(run)
    answered_otherwise = trajectory(ASK, called("find", id="7"), answered("pid 17"), called("stop"))
    asked_otherwise = trajectory(said("find order 8"), called("find", id="7"), answered("open"), called("stop"))
    did_otherwise = trajectory(ASK, called("find", id="8"), answered("open"), called("stop"))
    source = write(tmp_path / "a.jsonl", answered_otherwise, asked_otherwise, did_otherwise)
    exact = record_in(run, source)
    actions = record_in(run, source, state_key="actions")
    assert exact.policy_id != actions.policy_id
    counted = Counter((r["policy_id"], r["state_id"]) for r in rows(run, "rollouts"))
    first, second = states["user: find order 7"], states["tool: open"]
    assert counted == {
        (exact.policy_id, first): 2,
        (actions.policy_id, first): 2,
        (actions.policy_id, second): 1,
    }


def test_the_samples_of_one_key_go_to_the_first_demonstrated_state(tmp_path: Path) -> None:
    failed = trajectory(ASK, called("find", id="7"), answered("busy"), called("stop"), reward=0)
    good = [
        trajectory(ASK, called("find", id="7"), answered(text), called("stop"), reward=1, n=i)
        for i, text in enumerate(("open", "shut"))
    ]
    run = make_run(tmp_path, failed, *good)
    record_in(run, write(tmp_path / "a.jsonl", failed, *good), state_key="actions")
    second = states_of(run)["tool: open"]
    assert Counter(r["state_id"] for r in rows(run, "rollouts"))[second] == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"state_key": "near"}, "--state-key near: choose from exact, actions"),
        ({"tools_file": Path("nowhere.json")}, "--tools nowhere.json cannot be read"),
    ],
)
def test_wrong_options(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    run = make_run(tmp_path, DEMONSTRATED)
    with pytest.raises(UserError, match=words):
        record_in(run, write(tmp_path / "a.jsonl", DEMONSTRATED), **options)


def test_sources_without_tools_take_those_that_the_run_has(tmp_path: Path) -> None:
    bare = {k: v for k, v in DEMONSTRATED.items() if k != "tools"}
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps(DEMONSTRATED["tools"]), encoding="utf-8")
    run = make_run(tmp_path, DEMONSTRATED)
    source = write(tmp_path / "bare.jsonl", bare)
    with pytest.raises(UserError, match="unknown_state"):
        record_in(run, source)
    assert record_in(run, source, tools_file=tools).samples == 2
    # What did not fit before is no reject any more.
    assert [r for r in rows(run, "rejects") if r["stage"] == "record"] == []
    with pytest.raises(UserError) as raised:
        record_in(run, source)
    (tools_id,) = {turn["tools_id"] for turn in rows(run, "turns")}
    difference = f"tools: {tools_id!r} -> not given"
    assert str(raised.value) == f"{source} is recorded with other settings ({difference}): give another --policy-name"


@needs_real_data
def test_four_models_at_one_query_as_independent_code_counts_them(tmp_path: Path) -> None:
    """First actions meet in the query's state; later ones only where the histories are the same."""
    folder, run = real_file("intercode/bash"), tmp_path / "run"
    histories: list[Any] = [
        (entry["query"], entry["turn_history"])
        for path in sorted(folder.glob("*.json"))
        for entry in records_of(path).values()  # pyright: ignore[reportAttributeAccessIssue]
    ]
    extract(ExtractConfig(sources=(folder,)), run)
    for key in ("exact", "actions"):
        expected: defaultdict[str, list[float]] = defaultdict(list)
        for query, history in histories:
            for i, reward in enumerate(history["rewards"]):
                before: Any = history["actions"][:i]
                if key == "exact":
                    results = zip(history["observations"][:i], history["valid_action"], strict=False)
                    before = [before, [(text.strip(), valid is not False) for text, valid in results]]
                expected[json.dumps([query, before])].append(reward)
        summary = record_in(run, folder, policy_name="four", state_key=key)
        policy = summary.policy_id
        assert summary.samples == summary.rewarded == sum(map(len, expected.values())) == 702
        found = [p for p in rows(run, "profiles") if p["policy_id"] == policy]
        assert sorted(p["num_samples"] for p in found) == sorted(map(len, expected.values()))
        assert len(expected) == {"exact": 617, "actions": 614}[key]
    assert rundir.table_files(run, "scores")


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\x1b[31m"])
def test_a_name_that_nobody_can_read_is_refused(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path, DEMONSTRATED)
    with pytest.raises(UserError, match=r"^--policy-name .*: letters, digits, dots, - and _"):
        record_in(run, write(tmp_path / "log.jsonl", rewarded("find", 1.0)), policy_name=name)
    assert not (run / "rollouts").exists()


def test_a_trace_with_tokens_is_a_rollout_with_tokens(tmp_path: Path) -> None:
    run = make_run(tmp_path, {**DEMONSTRATED, "tools": None})
    answer = {"parent": 0, "message": called("find", id="7"), "sampled": True, "finish_reason": "length"}
    tokens = {"token_ids": [4, 5, 6], "mask": [False, True, True], "logprobs": [-0.5, -1]}
    for number, more in enumerate((tokens, {**tokens, "logprobs": [0.5, -1]}, {"token_ids": [2**40], "mask": [True]})):
        nodes = [{"parent": None, "message": ASK, "sampled": False}, {**answer, **more}]
        record_in(
            run, write(tmp_path / f"{number}.jsonl", {"nodes": nodes, "reward": number / 2}), policy_name=f"p{number}"
        )
    columns = ("token_ids", "logprobs", "num_tokens", "finish_reason", "reward")
    assert sorted([tuple(row[c] for c in columns) for row in rows(run, "rollouts")], key=lambda row: row[-1]) == [
        ([5, 6], [-0.5, -1.0], 2, "length", 0.0),
        ([5, 6], None, 2, "length", 0.5),
        (None, None, None, "length", 1.0),
    ]
