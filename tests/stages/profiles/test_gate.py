"""Which verifier judges which state, and what it sees of the state: the gate, and scores by a chosen verifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from runs import (
    TOOLS,
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
    take_as_written,
    trajectory,
)

from pivotmine.run import rundir
from pivotmine.run.states import demonstrated_turns
from pivotmine.verifiers import State
from pivotmine.verifiers.composed.third_party import trust
from pivotmine_stages.cli.config_file import verifier
from pivotmine_stages.profiles import gate as gate_module
from pivotmine_stages.profiles.gate import gate_states
from pivotmine_stages.score import stage as score_stage
from pivotmine_stages.score.stage import ScoreConfig, score

ASKED_FOR = "own_verifiers:asked_for"  # reads the messages: the action must name what was said last
trust(ASKED_FOR, "own_verifiers:twice")
CHOICE = verifier(
    {"choose": [{"domain": "shop", "tool": "stop", "verifier": ASKED_FOR}, {"kind": "message", "verifier": ASKED_FOR}]},
    "auto",
)


def message(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Calls and messages in two domains; one state has a demonstration of each kind."""
    run = make_run(
        tmp_path,
        trajectory(said("find A"), called("find", id="A"), answered("A"), message("A it is"), domain="shop"),
        trajectory(said("{}"), called("stop"), answered(""), domain="shop"),
        trajectory(said("stop"), called("stop"), answered(""), domain="bank"),
        trajectory(said("both"), called("find", id="A"), answered("A"), domain="bank"),
        trajectory(said("both"), message("both it is"), domain="bank"),
        trajectory(said("why"), message("because"), domain="bank"),
    )
    remember(run, policy_record())
    return run


def test_each_state_has_one_verifier_and_sees_its_messages_where_that_one_asks(run: Path) -> None:
    turns = demonstrated_turns(run)
    gates = gate_states(run, turns, CHOICE)
    assert list(gates) == list(turns["state_id"].unique(maintain_order=True))
    states = states_of(run)
    found = {name: (gates[state].gate, gates[state].verifier) for name, state in states.items()}
    assert {name: (gate, chosen and chosen.name) for name, (gate, chosen) in found.items()} == {
        "user: find A": ("correct", "tool_call"),
        "tool: A": ("correct", ASKED_FOR),
        "user: {}": ("correct", ASKED_FOR),
        "user: stop": ("correct", "tool_call"),
        "user: both": ("correct", "auto"),
        "user: why": ("wrong_text", None),
    }
    assert len(gates[states["user: both"]].usable) == 2
    assert all(gate.state == State(tools=tuple(TOOLS)) for gate in gates.values()), "messages are not kept"


@pytest.mark.parametrize("num_processes", [1, 2])
def test_samples_are_judged_by_the_verifier_of_their_state(
    run: Path, monkeypatch: pytest.MonkeyPatch, num_processes: int
) -> None:
    monkeypatch.setattr(score_stage, "SAMPLES_WORTH_PROCESSES", 1)
    states = states_of(run)
    texts = {
        "tool: A": ["I see A", "I see B"],
        "user: find A": [call_text("find", id="A"), "A"],
        "user: both": ["both!", call_text("find", id="A"), "neither", call_text("find", id="B")],
        "user: {}": [call_text("stop"), call_text("stop", a="{"), "{}"],
        "user: why": ["because"],
    }
    for part, (name, found) in enumerate(texts.items()):
        add_rollouts(run, {states[name]: [sample(text) for text in found]}, part=part)
    summary = score(ScoreConfig(verifier=CHOICE, num_processes=num_processes), run)
    rewards: dict[str, list[float | None]] = {}
    for row in sorted(rows(run, "scores"), key=lambda row: row["sample_index"]):
        rewards.setdefault(row["state_id"], []).append(row["reward"])
        assert row["verifier_id"] == CHOICE.verifier_id
    assert {name: rewards.get(state) for name, state in states.items()} == {
        "tool: A": [1.0, 0.0],
        "user: find A": [1.0, 0.0],
        "user: both": [1.0, 1.0, 0.0, 0.0],
        "user: {}": [1.0, 0.0, 1.0],
        "user: stop": None,
        "user: why": None,
    }
    assert (summary.verifier_id, summary.rejects) == (CHOICE.verifier_id, {"unverifiable": 1})


def test_a_gate_is_judged_once_and_read_from_then_on(run: Path) -> None:
    turns = demonstrated_turns(run)
    judged = gate_states(run, turns.filter(turns["domain"] == "shop"), CHOICE)
    path = run / "gates" / f"{CHOICE.verifier_id}.parquet"
    assert set(stored(path)) == set(judged), "only the states that were asked for"
    states = states_of(run)
    # A stored gate that no verifier would give shows that it is read.
    told = {"gate": "wrong_text", "detail": "told", "usable": []}
    rewrite(path, lambda row: {**row, **told} if row["state_id"] == states["user: find A"] else row)
    take_as_written(run, path)
    gates = gate_states(run, turns, CHOICE)
    assert set(stored(path)) == set(states.values())
    assert gates[states["user: find A"]][1:] == ({}, "wrong_text", "told", None)
    others = [state for state in judged if state != states["user: find A"]]
    assert {state: gates[state] for state in others} == {state: judged[state] for state in others}
    assert list(gates) == list(turns["state_id"].unique(maintain_order=True))


def test_stored_gates_are_those_that_were_judged(run: Path) -> None:
    turns = demonstrated_turns(run)
    assert gate_states(run, turns, CHOICE) == gate_states(run, turns, CHOICE)
    assert stored(run / "gates" / f"{CHOICE.verifier_id}.parquet")[states_of(run)["user: both"]]["usable"] == [0, 1]


def test_processes_that_judge_at_once_lose_nothing(run: Path) -> None:
    """Two writers, neither has seen the other's rows."""
    turns = demonstrated_turns(run)
    shop, bank = turns.filter(turns["domain"] == "shop"), turns.filter(turns["domain"] == "bank")
    with gate_module._GateWriter(run, CHOICE) as slow:  # pyright: ignore[reportPrivateUsage]
        gate_states(run, shop, CHOICE)
        row = {"verifier_id": CHOICE.verifier_id, "gate": "correct", "detail": None, "usable": [0]}
        slow.rows += [{**row, "state_id": state} for state in (shop["state_id"][0], "new")]
        gate_states(run, bank, CHOICE)
    assert set(stored(run / "gates" / f"{CHOICE.verifier_id}.parquet")) == {*states_of(run).values(), "new"}


def test_gates_that_the_machinery_failed_for_are_judged_again(run: Path) -> None:
    broken = verifier({}, "own_verifiers:twice")
    turns = demonstrated_turns(run)
    assert {gate.gate for gate in gate_states(run, turns, broken).values()} == {"error"}
    assert not (run / "gates" / f"{broken.verifier_id}.parquet").exists()


def test_score_judges_the_sampled_states_only(run: Path) -> None:
    state = states_of(run)["user: find A"]
    add_rollouts(run, {state: [sample(call_text("find", id="A"))]})
    score(ScoreConfig(verifier=CHOICE), run)
    assert set(stored(run / "gates" / f"{CHOICE.verifier_id}.parquet")) == {state}


def stored(path: Path) -> dict[str, dict[str, Any]]:
    return {row["state_id"]: row for row in pl.read_parquet(path, glob=False).to_dicts()}


def rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    rundir.write_rows(path, "gates", [change(row) for row in stored(path).values()])
