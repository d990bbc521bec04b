import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from extracting import (
    GOOD,
    TOOLS,
    assistant,
    fixture,
    mine,
    mine_nothing,
    rows,
    user,
    write_lines,
)

from pivotmine.errors import UserError
from pivotmine.run import rundir

LABELLED = {label: {"messages": [user(f"{label}"), assistant("x")], "reward": label} for label in (0, 0.4, 0.9, 1)}


@pytest.mark.parametrize(
    ("labels", "min_outcome", "demonstrated", "needed"),
    [
        ([0, 0.4, 1], None, [1.0], 1.0),
        ([0, 0.4, 0.9], None, [0.9], 0.9),
        ([0], None, [], None),
        ([0, 0.4, 1], 0.4, [0.4, 1.0], 0.4),
        ([0, 1], 0, [0.0, 1.0], 0.0),
        ([0, 1], 1.5, [], 1.5),
    ],
)
def test_which_outcomes_make_demonstrations(
    tmp_path: Path, labels: list[float], min_outcome: float | None, demonstrated: list[float], needed: float | None
) -> None:
    run = tmp_path / "run"
    source = write_lines(tmp_path / "a.jsonl", *(LABELLED[label] for label in labels))
    summary = (mine if demonstrated else mine_nothing)(run, source, min_outcome=min_outcome)
    turns = rows(run, "turns", "outcome", "reject_reason")
    assert [t["outcome"] for t in turns if t["reject_reason"] is None] == demonstrated
    assert {t["reject_reason"] for t in turns if t["outcome"] not in demonstrated} <= {"low_outcome"}
    told = (summary.demonstrations, summary.min_outcome, summary.all_failed)
    assert told == (len(demonstrated), needed, labels == [0])


def test_an_unlabelled_source_counts_as_good_beside_a_labelled_one(tmp_path: Path) -> None:
    unlabelled = write_lines(tmp_path / "a.jsonl", {"messages": [user("u"), assistant("x")]})
    failures = write_lines(tmp_path / "b.jsonl", LABELLED[0])
    summary = mine(tmp_path / "run", unlabelled, failures)
    assert rows(tmp_path / "run", "turns", "outcome", "reject_reason") == [
        {"outcome": None, "reject_reason": None},
        {"outcome": 0.0, "reject_reason": "low_outcome"},
    ]
    assert (summary.outcomes, summary.all_failed) == ({"0.0": 1, "None": 1}, True)


def test_a_least_outcome_that_is_no_number_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--min-outcome nan: a number"):
        mine(tmp_path / "run", fixture(tmp_path), min_outcome=math.nan)


def test_tools_of_a_file_are_for_trajectories_that_carry_none(tmp_path: Path) -> None:
    tools_file = tmp_path / "tools.json"
    tools_file.write_text("\ufeff" + json.dumps([{"name": "mine"}]))
    own = {"messages": [user("x"), assistant("y")], "tools": TOOLS}
    run = tmp_path / "run"
    mine(run, write_lines(tmp_path / "a.jsonl", GOOD, own), tools_file=tools_file)
    assert [json.loads(row["tools"]) for row in rows(run, "tools")] == [
        [{"type": "function", "function": {"name": "mine"}}],
        TOOLS,
    ]
    assert [row["tools_id"] for row in rows(run, "turns")] == [row["tools_id"] for row in rows(run, "tools")]
    tools_file.write_text(json.dumps([{"name": "other"}]))
    with pytest.raises(UserError, match=r"\(tools: '[0-9a-f]{32}' -> '[0-9a-f]{32}'\)"):
        mine(run, tmp_path / "a.jsonl", tools_file=tools_file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: "),
        (b"\xff\xfe", "cannot be read: "),
        (b"{", "is not a JSON list of tool definitions: "),
        (b'{"a": 1}', "is not a JSON list of tool definitions: tools are a list, not dict"),
        (b'[{"a": 1}]', "is not a JSON list of tool definitions: a tool without a name"),
        (b"[]", "contains no tool: write a JSON list of tool definitions"),
        (b"", "contains no tool: write a JSON list of tool definitions"),
    ],
)
def test_a_tools_file_that_is_none_is_a_user_error(tmp_path: Path, text: bytes | None, message: str) -> None:
    tools_file = tmp_path / "tools.json"
    if text is not None:
        tools_file.write_bytes(text)
    with pytest.raises(UserError) as raised:
        mine(tmp_path / "run", write_lines(tmp_path / "a.jsonl", GOOD), tools_file=tools_file)
    assert str(raised.value).startswith(f"--tools {tools_file} {message}")


def test_domain_limit_and_format_do_what_they_say(tmp_path: Path) -> None:
    records = [{**GOOD, "domain": "own", "area": area, "n": n} for n, area in enumerate(["x", None, 5])]
    source = write_lines(tmp_path / "a.jsonl", *records)
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["own", "own", "own"]),
        ({"domain": "given"}, ["given"] * 3),
        ({"domain_column": "area"}, ["x", "own", "5"]),
        ({"limit": 2}, ["own", "own"]),
    ]
    for number, (options, domains) in enumerate(cases):
        mine(tmp_path / str(number), source, **options)
        assert [row["domain"] for row in rows(tmp_path / str(number), "turns")] == domains
    with pytest.raises(UserError, match=r"^--domain-column aera: no record has that key; name one of a record's keys$"):
        mine(tmp_path / "misspelt", source, domain_column="aera")
    assert not rundir.is_run(tmp_path / "misspelt")
    with pytest.raises(
        UserError, match=r"^nothing is left of 3 records: no_messages 3 \(first: .*: no list of messages under `traj`\)"
    ):
        mine(tmp_path / "tau", source, format="tau_bench")


def test_a_source_whose_name_is_no_text_is_read_all_the_same(tmp_path: Path) -> None:
    source = Path(os.fsdecode(os.fsencode(tmp_path) + b"/gr\xfcn.jsonl"))
    source.write_text(json.dumps(GOOD))
    mine(tmp_path / "run", source)
    assert rows(tmp_path / "run", "trajectories", "source") == [{"source": f"{tmp_path}/gr\\udcfcn.jsonl"}]
