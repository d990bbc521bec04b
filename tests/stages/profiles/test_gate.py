"""Which verifier judges which state, and what it sees of it: the gate, and the scores by a choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    trajectory,
)

from pivotmine.run.states import demonstrated_turns
from pivotmine.verifiers import State
from pivotmine_stages.cli.config_file import verifier
from pivotmine_stages.profiles.gate import gate_states
from pivotmine_stages.score import stage as score_stage
from pivotmine_stages.score.stage import ScoreConfig, score

ASKED_FOR = "own_verifiers:asked_for"  # reads the messages: the action must name what was said last
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
    assert (summary["verifier_id"], summary["rejects"]) == (CHOICE.verifier_id, {"unverifiable": 1})
