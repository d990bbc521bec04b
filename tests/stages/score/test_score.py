"""score on hand-written rollouts: rewards, what is scored again, and what is refused."""

from __future__ import annotations

import json
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from judge_server import Server, judge_server
from runs import (
    add_rollouts,
    answered,
    call_text,
    called,
    make_run,
    policy_record,
    remember,
    rows,
    said,
    sample,
    states_of,
    trajectory,
)

from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.verifiers import VerifierSpec, base, make_spec
from pivotmine.verifiers.composed.auto import Rule
from pivotmine_stages.command import to_json
from pivotmine_stages.score import stage as score_stage
from pivotmine_stages.score.stage import ScoreConfig, ScoreSummary, score

TOOL_CALL = make_spec("tool_call", {})
RIGHT = call_text("find", id="A")
WRONG = call_text("find", id="B")
MESSAGE = {"role": "assistant", "content": "Here it is."}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Four states: a call, a message, an impossible call, and a state in which one of two demonstrations is right."""
    run = make_run(
        tmp_path,
        trajectory(said("A, please"), called("find", id="A"), answered("found"), MESSAGE),
        trajectory(said("nonsense"), called("dance"), answered("?")),
        trajectory(said("either"), called("dance"), answered("?"), said("no"), called("stop"), answered("")),
        trajectory(said("either"), called("find", id="A"), answered("found")),
    )
    remember(run, policy_record())
    return run


def score_run(run: Path, verifier: VerifierSpec = TOOL_CALL, **settings: Any) -> ScoreSummary:
    return score(ScoreConfig(verifier=verifier, **settings), run)


def verdicts(run: Path) -> list[tuple[str, float | None]]:
    ordered = sorted(rows(run, "scores"), key=lambda row: (row["state_id"], row["sample_index"]))
    return [(row["outcome"], row["reward"]) for row in ordered]


def profiles_by_state(run: Path) -> dict[str, dict[str, Any]]:
    return {row["state_id"]: row for row in rows(run, "profiles")}


def test_each_sample_is_worth_what_it_says(run: Path) -> None:
    state = states_of(run)["user: A, please"]
    cases = [
        (sample(RIGHT), "correct", 1.0),
        (sample(f"Let me look.{RIGHT}<|im_end|>"), "correct", 1.0),
        (sample(call_text("find", id=" A ", deep=False)), "correct", 1.0),
        (sample(WRONG), "wrong_arguments", 0.0),
        (sample(call_text("stop")), "wrong_tool", 0.0),
        (sample(RIGHT, finish_reason="length"), "truncated", 0.0),
        (sample('<tool_call>{"name": "find", "arguments": {"id": "A"</tool_call>'), "invalid_call", 0.0),
        (sample("I will not."), "wrong_kind", 0.0),
        (sample(""), "empty", 0.0),
        (sample(f"I think\n</think>\n{RIGHT}", opened_reasoning=True), "correct", 1.0),
        (sample(f"I think of {RIGHT}", opened_reasoning=True), "empty", 0.0),
        (sample(RIGHT + RIGHT), "surplus_calls", 0.0),
    ]
    add_rollouts(run, {state: [row for row, _, _ in cases]})
    summary = score_run(run)
    assert verdicts(run) == [(outcome, reward) for _, outcome, reward in cases]
    (profile,) = rows(run, "profiles")
    counts = {key: n for key, n in profile.items() if key.startswith("num_") and n}
    assert counts == {
        **{"num_samples": 12, "num_scored": 12, "num_correct": 4, "num_wrong_arguments": 1, "num_wrong_tool": 1},
        **{"num_truncated": 1, "num_invalid_call": 1, "num_wrong_kind": 1, "num_empty": 2, "num_surplus_calls": 1},
    }
    assert (profile["mean"], profile["variance"]) == (pytest.approx(1 / 3), pytest.approx(2 / 9))
    assert (profile["reward_class"], profile["gate"]) == ("sometimes", "correct")
    assert to_json(summary) == {
        "policy_id": "policy-1",
        "verifier_id": TOOL_CALL.verifier_id,
        "max_new_tokens": 64,
        "states": 1,
        "samples": 12,
        "pending": 0,
        "scored": 12,
        "classes": {"sometimes": 1},
        "outcomes": {
            **{"correct": 4, "empty": 2, "wrong_tool": 1, "wrong_kind": 1, "wrong_arguments": 1},
            **{"truncated": 1, "surplus_calls": 1, "invalid_call": 1},
        },
        "mean": pytest.approx(1 / 3),
        "domains": {},
        "rejects": {},
        "seconds": summary.seconds,
    }


def server(message: dict[str, Any] | str, **columns: Any) -> dict[str, Any]:
    """A sample that a chat server parsed."""
    text = message if isinstance(message, str) else json.dumps(message)
    content = "" if isinstance(message, str) else message.get("content") or ""
    return sample(content, message=text, **columns)


def test_messages_of_a_chat_server(run: Path) -> None:
    state = states_of(run)["user: A, please"]
    right = called("find", id="A")
    broken = '<tool_call>{"name": "find", "arguments": {"id": </tool_call>'
    cases = [
        (server(right), "correct"),
        (server({**right, "content": "Looking.", "reasoning_content": "Hm."}), "correct"),
        (server(right, finish_reason="length"), "truncated"),
        (server({"role": "assistant", "content": "No."}), "wrong_kind"),
        (server({"role": "assistant", "content": None}), "empty"),
        # A server that could not parse the call, and one that parses none at all.
        (server({"role": "assistant", "content": broken}), "invalid_call"),
        (server({**right, "content": broken}), "invalid_call"),
        (server({"role": "assistant", "content": RIGHT}), "correct"),
        (server({"role": "assistant", "content": WRONG, "reasoning_content": "Hm."}), "wrong_arguments"),
        (server({"role": "assistant", "content": "<function=find>"}), "invalid_call"),
        # Calls that are no calls, and a message that is no message.
        (server({"role": "assistant", "content": RIGHT, "tool_calls": [7]}), "invalid_call"),
        (server('{"content": "\\ud800"}'), "invalid_call"),
        (server('{"content": NaN}'), "invalid_call"),
    ]
    add_rollouts(run, {state: [row for row, _ in cases]})
    score_run(run)
    assert [outcome for outcome, _ in verdicts(run)] == [outcome for _, outcome in cases]
    actions = {row["sample_index"]: json.loads(row["action"]) for row in rows(run, "scores")}
    assert actions[8] == {"reasoning": "Hm.", "tool_calls": [{"name": "find", "arguments": {"id": "B"}}]}


def test_states_that_fail_the_gate_have_null_profiles_and_a_reject(run: Path) -> None:
    states = states_of(run)
    stray = "0" * 32  # rollouts copied from another run
    names = ["user: A, please", "user: nonsense", "tool: found", "user: either"]
    add_rollouts(run, {**{states[name]: [sample(RIGHT), sample(WRONG)] for name in names}, stray: [sample(RIGHT)]})
    summary = score_run(run)
    found = {state_id: (p["gate"], p["num_samples"], p["mean"]) for state_id, p in profiles_by_state(run).items()}
    assert found == {
        states["user: A, please"]: ("correct", 2, 0.5),
        states["user: either"]: ("correct", 2, 0.5),
        states["user: nonsense"]: ("wrong_tool", 2, None),
        states["tool: found"]: ("no_verifier", 2, None),
        stray: (None, 1, None),
    }
    assert {row["state_id"] for row in rows(run, "scores")} == {states["user: A, please"], states["user: either"]}
    assert summary.rejects == {"no_verifier": 1, "not_demonstrated": 1, "unverifiable": 1}
    assert (summary.samples, summary.scored) == (9, 4)
    rejects = {row["reason"]: row for row in rows(run, "rejects") if row["stage"] == "score"}
    turn = next(row for row in rows(run, "turns") if row["state_id"] == states["user: nonsense"])
    assert rejects["unverifiable"] == {
        "stage": "score",
        "reason": "unverifiable",
        "source": str(run.parent / "source.jsonl"),
        "source_index": 1,
        "trajectory_id": turn["trajectory_id"],
        "turn_id": turn["turn_id"],
        "state_id": turn["state_id"],
        "num_turns": 1,
        "detail": "dance: no tool of this state, though demonstrated",
    }
    assert rejects["no_verifier"]["detail"] == "tool_call does not verify message turns"


def part_times(run: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in run.glob("scores/*/*/part-*")}


def test_a_part_is_scored_once_and_a_new_one_alone(run: Path) -> None:
    state = states_of(run)["user: A, please"]
    add_rollouts(run, {state: [sample(RIGHT), sample(WRONG)]})
    first = score_run(run)
    times = part_times(run)
    profiles = rows(run, "profiles")
    assert replace(score_run(run), seconds=0) == replace(first, seconds=0)
    assert part_times(run) == times
    assert rows(run, "profiles") == profiles
    add_rollouts(run, {state: [sample(RIGHT), sample(RIGHT)]}, part=1, first=2)
    assert score_run(run).samples == 4
    assert {name: time for name, time in part_times(run).items() if name in times} == times
    assert len(part_times(run)) == 2
    assert [row["mean"] for row in rows(run, "profiles")] == [0.75]


def test_a_policy_without_samples_yet_has_no_profiles(run: Path) -> None:
    summary = score_run(run)
    assert (summary.states, summary.samples, summary.mean, summary.classes) == (0, 0, None, {})
    assert rows(run, "profiles") == []


def test_a_run_without_demonstrations_can_be_scored(tmp_path: Path) -> None:
    run = make_run(tmp_path, {"messages": [said("x"), {**called("stop"), "weight": 0}]})
    remember(run, policy_record())
    add_rollouts(run, {"0" * 32: [sample(RIGHT)]})
    assert score_run(run).rejects == {"not_demonstrated": 1}


def test_the_same_words_are_worth_another_thing_in_another_state(run: Path) -> None:
    states = states_of(run)
    add_rollouts(
        run, {states[name]: [sample(RIGHT), sample(call_text("stop"))] for name in ("user: A, please", "user: no")}
    )
    score_run(run)
    found = {(row["state_id"], row["sample_index"]): row["outcome"] for row in rows(run, "scores")}
    assert found == {
        (states["user: A, please"], 0): "correct",
        (states["user: A, please"], 1): "wrong_tool",
        (states["user: no"], 0): "wrong_tool",
        (states["user: no"], 1): "correct",
    }


def test_another_parser_is_an_error_that_names_the_difference(run: Path) -> None:
    add_rollouts(run, {states_of(run)["user: A, please"]: [sample(RIGHT)]})
    score_run(run)
    before = verdicts(run)
    with pytest.raises(UserError, match=r"parser: 'hermes' -> 'mistral'"):
        score_run(run, parser="mistral")
    with pytest.raises(UserError, match="no parser 'hermse': choose from hermes, llama3_json, mistral, qwen3_xml"):
        score_run(run, parser="hermse")
    assert verdicts(run) == before


def test_a_parser_that_does_not_exist_leaves_nothing_behind(run: Path) -> None:
    add_rollouts(run, {states_of(run)["user: A, please"]: [sample(RIGHT)]})
    with pytest.raises(UserError):
        score_run(run, parser="hermse")
    assert score_run(run).outcomes == {"correct": 1}


def test_another_verifier_scores_beside_the_first(run: Path) -> None:
    add_rollouts(run, {states_of(run)["user: A, please"]: [sample(call_text("find", id=" A "))]})
    exact = make_spec("exact", {})
    assert score_run(run).mean == 1
    assert score_run(run, verifier=exact).mean == 0
    assert {row["verifier_id"]: row["mean"] for row in rows(run, "profiles")} == {
        TOOL_CALL.verifier_id: 1,
        exact.verifier_id: 0,
    }


def test_which_policy_must_be_said_where_there_are_several(run: Path) -> None:
    remember(run, policy_record(policy_id="policy-2"))
    add_rollouts(run, {states_of(run)["user: A, please"]: [sample(RIGHT)]}, policy_id="policy-2")
    with pytest.raises(UserError, match=r"^2 policies match: policy-1 .*, policy-2 .*; choose one with --policy$"):
        score_run(run)
    with pytest.raises(UserError, match=r"no policy matches 'x': there are policy-1, policy-2"):
        score_run(run, policy="x")
    assert score_run(run, policy="2").samples == 1
    # A full id is itself, even where another begins with it.
    remember(run, policy_record(policy_id="policy-22"))
    assert score_run(run, policy="policy-2").samples == 1
    assert score_run(run, policy="22").samples == 0
    with pytest.raises(UserError, match="is not a run"):
        score_run(run.parent)


def test_no_policy_at_all(tmp_path: Path) -> None:
    run = make_run(tmp_path, trajectory(said("A, please"), called("stop"), answered("")))
    with pytest.raises(UserError, match=r"no policy in .*run: run `pivotmine rollout .*run` first"):
        score_run(run)


TEXTS = [RIGHT, WRONG, "no", call_text("stop"), "<tool_call>", ""]


def many_samples(run: Path, seed: int) -> list[dict[str, Any]]:
    """Thirty samples in each of two states, in one order for each seed."""
    states = states_of(run)
    stored = [
        {"policy_id": "policy-1", "state_id": states[name], "sample_index": index, **sample(TEXTS[index % len(TEXTS)])}
        for name in ("user: A, please", "user: either")
        for index in range(30)
    ]
    random.Random(seed).shuffle(stored)
    return stored


def test_order_of_samples_and_number_of_processes_change_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables: list[Any] = []
    for seed, num_processes in ((0, 1), (1, 1), (1, 2)):
        monkeypatch.setattr(score_stage, "SAMPLES_WORTH_PROCESSES", 1 if num_processes > 1 else 10**9)
        stored = many_samples(run, seed)
        for part in range(3):
            path = run / "rollouts" / "policy-1" / f"part-0of1-{part:06d}.parquet"
            rundir.write_rows(path, "rollouts", stored[part * 20 : part * 20 + 20])
        score_run(run, num_processes=num_processes)
        scores = pl.DataFrame(rows(run, "scores")).sort("state_id", "sample_index")
        tables.append((scores.rows(), rows(run, "profiles")))
        (run / "scores").rename(tmp_path / f"scores-{len(tables)}")
    assert len(tables[0][0]) == 60
    assert tables[0] == tables[1] == tables[2]


def judged(server: Server, **options: Any) -> VerifierSpec:
    return make_spec("judge", {"base_url": server.url, "model": "m", "both_orders": False, **options})


def slowly(question: str, number: int) -> str:
    time.sleep(0.02)
    return f"VERDICT: {'SAME' if 'B3' in question else 'DIFFERENT'}"


def judged_samples(run: Path) -> tuple[list[Any], list[Any]]:
    """What is scored, in the order in which it is stored, and the profiles."""
    ids = ("verifier_id",)
    scores = [{key: value for key, value in row.items() if key not in ids} for row in rows(run, "scores")]
    profiles = [{key: value for key, value in row.items() if key not in ids} for row in rows(run, "profiles")]
    return scores, profiles


def test_verdicts_that_wait_are_asked_for_at_once_and_stored_in_order(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_stage, "SAMPLES_WORTH_PROCESSES", 1)
    state = states_of(run)["user: A, please"]
    add_rollouts(run, {state: [sample(call_text("find", id=f"B{i}")) for i in range(12)]})
    found: list[Any] = []
    for num_at_once in (1, 4):
        with judge_server() as server:
            server.say = slowly
            score_run(run, judged(server, max_concurrency=num_at_once))
            found.append(judged_samples(run))
            assert (server.most_at_once, len(server.asked)) == (num_at_once, 12)
        (run / "scores").rename(tmp_path / f"scores-{num_at_once}")
    assert found[0] == found[1]
    assert [(row["sample_index"], row["reward"]) for row in found[0][0]] == [(i, float(i == 3)) for i in range(12)]


def test_beside_verdicts_that_wait_the_others_are_made_as_ever(run: Path) -> None:
    states = states_of(run)
    with judge_server() as server:
        server.say = slowly
        rules = [Rule(verifier=judged(server), domains=("no domain",)), Rule(verifier=TOOL_CALL)]
        spec = make_spec("auto", {"rules": rules})
        assert spec.num_waiting == 16
        add_rollouts(run, {states["user: A, please"]: [sample(RIGHT), sample(WRONG)]})
        score_run(run, spec)
        assert server.asked == []
    assert [row["reward"] for row in rows(run, "scores")] == [1.0, 0.0]


def test_scoring_goes_on_with_the_same_judge_at_another_address(run: Path) -> None:
    state = states_of(run)["user: A, please"]
    add_rollouts(run, {state: [sample(call_text("find", id="B3"))]})
    for num_samples in (1, 2):
        with judge_server() as server:
            server.say = slowly
            score_run(run, judged(server))
            assert len(server.asked) == 1, "only what is new"
        assert len(rows(run, "scores")) == num_samples
        add_rollouts(run, {state: [sample(call_text("find", id="B4"))]}, part=1, first=1)


FENCE = "```\n%s\n```"


def made_of_answers(tmp_path: Path, same: int, different: int, unproven: int, worth: str) -> dict[str, Any]:
    """The profile of a state with this many samples of each answer, and the bounds that the summary says."""
    run = make_run(tmp_path, trajectory(said("list"), {"role": "assistant", "content": FENCE % "ls -l"}))
    remember(run, policy_record())
    (state,) = states_of(run).values()
    texts = [FENCE % "ls  -l"] * same + [FENCE % "rm -r a"] * different + [FENCE % "ls -a"] * unproven
    add_rollouts(run, {state: [sample(text) for text in texts]})
    summary = score_run(run, make_spec("shell", {"unproven": worth}))
    (profile,) = rows(run, "profiles")
    return {**profile, "said": (summary.mean_low, summary.mean_high)}


@pytest.mark.parametrize(
    ("answers", "null", "zero"),
    [
        ((3, 0, 13), (3, 1.0, 3 / 16, 1.0, "undecided"), (16, 3 / 16, 3 / 16, 1.0, "sometimes")),
        ((1, 1, 14), (2, 0.5, 1 / 16, 15 / 16, "sometimes"), (16, 1 / 16, 1 / 16, 15 / 16, "sometimes")),
        ((0, 0, 4), (0, None, 0.0, 1.0, "undecided"), (4, 0.0, 0.0, 1.0, "never")),
        ((2, 2, 0), (4, 0.5, 0.5, 0.5, "sometimes"), (4, 0.5, 0.5, 0.5, "sometimes")),
    ],
)
def test_what_is_unproven_bounds_the_mean(
    answers: tuple[int, int, int], null: tuple[Any, ...], zero: tuple[Any, ...], tmp_path: Path
) -> None:
    names = ("num_scored", "mean", "mean_low", "mean_high", "reward_class")
    for worth, expected in (("null", null), ("zero", zero)):
        profile = made_of_answers(tmp_path / worth, *answers, worth)
        assert tuple(profile[name] for name in names) == expected, worth
        assert (profile["num_samples"], profile["num_unproven"]) == (sum(answers), answers[2])
        assert profile["said"] == ((profile["mean_low"], profile["mean_high"]) if answers[2] else (None, None))


def test_the_summary_names_the_defaults_of_auto_that_are_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = base.find_spec
    monkeypatch.setattr(base, "find_spec", lambda name: None if name == "sqlglot" else find_spec(name))
    run = make_run(tmp_path, trajectory(said("A, please"), called("find", id="A"), answered("done")))
    remember(run, policy_record())
    add_rollouts(run, {state: [sample(RIGHT)] for state in states_of(run).values()})
    assert score_run(run, make_spec("auto", {})).not_installed == {"sql": ["sqlglot"]}
    assert score_run(run).not_installed is None
