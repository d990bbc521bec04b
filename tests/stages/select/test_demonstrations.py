"""The third split: which demonstrated states are drawn, with what probability, and which never are."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from runs import answered, called, make_run, policy_record, reject_counts, remember, rows, said, states_of, trajectory
from selecting import MIXED, RIGHT, TEMPLATE, WRONG, card, dataset, many_tasks, mine, save_tokenizer

from pivotmine_stages.cli.reports import select_report
from pivotmine_stages.select.dataset import validation_trajectories
from pivotmine_stages.select.draw import Drawn
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.stage import select


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tokenizer(tmp_path_factory.mktemp("policy") / "policy")


def asked(row: dict[str, Any]) -> str:
    return json.loads(row["prompt_messages"])[-1]["content"]


def test_every_demonstrated_state_is_there_with_its_class(tmp_path: Path, tokenizer: Path) -> None:
    """The profiled ones with theirs, the others with null; only demonstrations that pass the gate."""
    run = make_run(
        tmp_path,
        *[trajectory(said(name), called("find", id="A"), answered("ok")) for name in ("some", "none", "all", "new")],
        trajectory(said("some"), called("dance"), answered("no such tool")),
        trajectory(said("no gate"), called("dance"), answered("no such tool")),
    )
    mine(run, tokenizer, {"user: some": MIXED, "user: none": [WRONG] * 4, "user: all": [RIGHT] * 4})
    summary = select(SelectConfig(validation_share=0.0), run)
    found = rows(run, "demonstrations")
    assert {asked(row): row["reward_class"] for row in found} == {
        **{"some": "sometimes", "none": "never", "all": "always"},
        **{"new": None, "no gate": None},
    }
    calls = {
        asked(row): [one["action"]["tool_calls"][0]["name"] for one in json.loads(row["demonstrations"])]
        for row in found
    }
    assert calls["some"] == ["find"]
    assert calls["no gate"] == ["dance"]
    assert summary.demonstrations == Drawn(states=5, rows=5)
    assert "5 demonstrations, drawn from the 5 states outside validation" in select_report(summary)
    assert "of the 5 demonstrated states that no held-out task has met" in card(run)


def test_no_state_that_a_held_out_task_has_met_is_drawn(tmp_path: Path, tokenizer: Path) -> None:
    """A state that training tasks and held-out ones share is left out, in whichever split its own row is."""
    shared = [
        trajectory(
            said("hello"), called("find", id="A"), answered(f"{i}"), called("stop"), answered(""), task_id=f"t{i}"
        )
        for i in range(20)
    ]
    run = make_run(tmp_path, *shared)
    states = [state_id for name, state_id in states_of(run).items() if name.startswith("tool")]
    mine(run, tokenizer, {"user: hello": MIXED, **{f"tool: {i}": MIXED for i in range(20)}})
    for strategy in ("pivots", "all"):
        config = SelectConfig(name=strategy, validation_share=0.4, strategy=strategy)  # pyright: ignore[reportArgumentType]
        select(config, run)
        held_out = validation_trajectories(run, config)
        assert 0 < len(held_out) < 20
        found = rows(run, "demonstrations")
        assert len(found) == 20 - len(held_out)
        assert not {row["trajectory_id"] for row in found} & held_out
        assert {row["state_id"] for row in found} < set(states)
        turns = {one["turn_id"] for row in found for one in json.loads(row["demonstrations"])}
        assert not {turn_id.split(":")[0] for turn_id in turns} & held_out
        (run / "pivots" / strategy / "demonstrations.parquet").unlink()


def test_every_state_has_the_same_chance(tmp_path: Path, tokenizer: Path) -> None:
    """Long trajectories and short ones, pivots and others: 5 of 25 states are drawn under each of 40 salts."""
    records = [
        trajectory(
            *[part for step in range(length) for part in (called("find", id="A"), answered(f"{length} {step}"))],
            task_id=f"t{length}",
        )
        for length in range(1, 6)
    ]
    records = [{**record, "messages": [said(record["task_id"]), *record["messages"]]} for record in records]
    run = make_run(tmp_path, *records, *many_tasks(5))
    remember(run, policy_record(tokenizer=str(tokenizer)))
    counted: Counter[str] = Counter()
    for salt in range(40):
        options = SelectConfig(name=f"s{salt}", strategy="all", validation_share=0.0, num_demonstrations=5, seed=salt)
        assert select(options, run).demonstrations == Drawn(states=25, rows=5)
    counted.update(row["state_id"] for row in rows(run, "demonstrations"))
    assert (len(counted), sum(counted.values())) == (25, 200)
    assert max(counted.values()) <= 18  # 8 expected: a chance of 1e-3 for any of them in a fair draw
    by_length = Counter(len(json.loads(row["prompt_messages"])) == 1 for row in rows(run, "demonstrations"))
    assert by_length[True] == pytest.approx(80, abs=30)


def test_what_cannot_be_written_is_counted_and_another_state_is_drawn(tmp_path: Path) -> None:
    refusing = TEMPLATE + "{% if messages[0].content == 'bad' %}{{ raise_exception('no') }}{% endif %}"
    run = make_run(
        tmp_path,
        *[trajectory(said(name), called("find", id="A"), answered("ok")) for name in ("bad", "b", "c", "d" * 99)],
    )
    remember(run, policy_record(tokenizer=str(save_tokenizer(tmp_path / "policy", refusing))))
    config = SelectConfig(strategy="all", validation_share=0.0, max_prompt_tokens=90, num_demonstrations=2)
    summary = select(config, run)
    assert {asked(row) for row in rows(run, "demonstrations")} == {"b", "c"}
    found = summary.demonstrations
    assert (found.states, found.rows) == (4, 2)
    assert set(found.left_out) <= {"template_error", "prompt_too_long"}
    everything = select(SelectConfig(name="more", strategy="all", validation_share=0.0, max_prompt_tokens=90), run)
    left_out = {"template_error": 1, "prompt_too_long": 1}
    assert everything.demonstrations == Drawn(states=4, rows=2, left_out=left_out)
    assert "drawn and left out: template_error (1), prompt_too_long (1)" in select_report(everything)
    assert "left out and replaced by others: template\\_error 1" in card(run, "more")
    # The rows of the dataset have their own rejects, once.
    assert reject_counts(run, "select") == {"template_error": 2, "prompt_too_long": 2}


def test_none_are_written_if_none_are_asked_for(tmp_path: Path, tokenizer: Path) -> None:
    run = make_run(tmp_path, trajectory(said("x"), called("find", id="A"), answered("ok")))
    remember(run, policy_record(tokenizer=str(tokenizer)))
    summary = select(SelectConfig(strategy="all", num_demonstrations=0), run)
    assert summary.demonstrations == Drawn()
    assert len(dataset(run)) == 1
    assert not (run / "pivots" / "default" / "demonstrations.parquet").exists()
    assert "## Demonstrations" not in card(run)
    assert "drawn from" not in select_report(summary)
