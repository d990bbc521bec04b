"""The simulated desk with its teacher, with every way of writing a call, and with arbitrary calls."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pivotmine.actions import Action, ToolCall
from pivotmine.verifiers import State, make_spec, verify
from pivotmine_desk.agent import MEDIOCRE, PERFECT, TEACHER, Agent, Character, Style
from pivotmine_desk.domains import DOMAINS
from pivotmine_desk.evaluate import FREE_TEXT
from pivotmine_desk.tasks import (
    Episode,
    numbered_task,
    open_desk,
    play,
    succeeded,
    tool_definitions,
)
from pivotmine_desk.teacher import record, trajectories
from pivotmine_desk.world import Desk, Task, Tool

DATA = Path(__file__).parents[2] / "data" / "desk"
FUNCTIONAL = make_spec("tool_call", {"free_text": list(FREE_TEXT)})
NUMBERS = st.integers(0, 2000)
LISTING = {"sort", "order"}
"""Arguments that only order a list, where they are not an id: without effect on a list of one."""


def calls_of(messages: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any], str]]:
    """(name, arguments, recorded answer) of each call."""
    return [
        (call["function"]["name"], json.loads(call["function"]["arguments"]), messages[i + 1]["content"])
        for i, message in enumerate(messages)
        for call in message.get("tool_calls", ())
    ]


def replay(task: Task, messages: list[dict[str, Any]]) -> Desk:
    desk = open_desk(task)
    for name, arguments, answer in calls_of(messages):
        assert desk.call(name, arguments) == answer
    return desk


def desk_before(episode: Episode, turn: int) -> Desk:
    desk = open_desk(episode.task)
    for name, arguments, _ in calls_of(episode.messages)[:turn]:
        desk.call(name, arguments)
    return desk


def accepts(task: Task, right: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]]) -> bool:
    demonstration, action = (
        Action(tool_calls=(ToolCall(name=name, arguments=arguments),)) for name, arguments in (right, other)
    )
    state = State(tools=tool_definitions(task.domain))
    return verify(FUNCTIONAL, state, [demonstration], action).reward == 1.0


def test_committed_trajectories_replay_to_their_outcome() -> None:
    lines = (DATA / "trajectories.jsonl").read_text().splitlines()
    assert len(lines) == 400
    for number, line in enumerate(lines):
        row = json.loads(line)
        task = numbered_task("train", number)
        assert row["task_id"] == task.task_id
        assert row["tools"] == list(tool_definitions(task.domain))
        assert row["outcome"] == int(succeeded(task, replay(task, row["messages"])))


def test_committed_trajectories_are_what_the_teacher_says_today() -> None:
    lines = (DATA / "trajectories.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [record(e) for e in trajectories("train", 400)]


def test_teacher_mostly_succeeds_in_three_to_eight_turns() -> None:
    episodes = [play(numbered_task("validation", number), TEACHER, 0) for number in range(1000)]
    outcomes = [episode.outcome for episode in episodes]
    assert 0.9 < sum(outcomes) / 1000 < 0.99
    turns = {sum(m["role"] == "assistant" for m in e.messages) for e in episodes if e.outcome}
    assert turns == {3, 4, 5, 6, 7, 8}


def test_faultless_agent_always_succeeds() -> None:
    assert all(play(numbered_task("test", number), PERFECT, 0).outcome for number in range(500))


def test_hopeless_agent_never_succeeds_where_it_had_to_choose() -> None:
    lucky: dict[str, float] = dict.fromkeys(
        ("travel.seats", "travel.crew", "orders.damaged", "files.old"), 1.0
    )  # a guess may be right
    hopeless = Character(chances=lucky, otherwise=0.0)
    episodes = [play(numbered_task("test", number), hopeless, 0) for number in range(500)]
    decided = [e for e in episodes if any(not right for _, _, right in e.decisions)]
    assert len(decided) > 300
    assert [e.task.task_id for e in decided if e.outcome] == []


def test_every_decision_of_the_scripts_has_a_chance() -> None:
    met = {key for n in range(2000) for _, key, _ in play(numbered_task("pretrain", n), PERFECT, 0).decisions}
    assert met == set(MEDIOCRE.chances) | {"orders.pending", "files.draft", "files.guest", "travel.seats"}


def test_reading_more_than_needed_does_not_matter_but_writing_does() -> None:
    task = numbered_task("test", 0)
    messages = play(task, PERFECT, 0).messages
    desk = replay(task, messages)
    desk.call("get_rule", {"status": "damaged"})
    assert succeeded(task, desk)
    other = next(key for key, row in task.tables["orders"].items() if row == desk.tables["orders"][key])
    desk.call("recall_order", {"order": other})
    assert not succeeded(task, desk)


def equivalents(draw: st.DrawFn, tool: Tool, arguments: dict[str, Any]) -> dict[str, Any]:
    """Another way of saying the same arguments."""
    said: dict[str, Any] = {}
    for key, param in tool.params.items():
        value = arguments.get(key, param.default)
        at_default = param.default is not None and value == param.default
        if at_default and draw(st.booleans()):
            continue
        if param.kind == "integer" and draw(st.booleans()):
            value = float(value)
        if param.free_text:
            value = draw(st.sampled_from([value, value.upper(), value.replace(" ", "  \n")]))
        if param.kind == "string" and not param.options:
            value = f"{draw(st.sampled_from(['', ' ']))}{value}{draw(st.sampled_from(['', ' ', chr(10)]))}"
        said[key] = value
    return dict(draw(st.permutations(list(said.items()))))


def others(draw: st.DrawFn, domain: str, name: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A call that does something else, or nothing."""
    tools = DOMAINS[domain].TOOLS
    required = [key for key, param in tools[name].params.items() if param.default is None]
    how = draw(st.sampled_from(["tool", "value", "missing", "unknown"]))
    if how == "tool":
        return draw(st.sampled_from([other for other in tools if other != name] + ["help"])), arguments
    if how == "missing":
        gone = draw(st.sampled_from(required))
        return name, {key: value for key, value in arguments.items() if key != gone}
    if how == "unknown":
        return name, arguments | {"colour": "red"}
    key = draw(st.sampled_from(list(tools[name].params)))
    param = tools[name].params[key]
    value: Any = arguments.get(key, param.default)
    if param.options:
        changed = draw(st.sampled_from([option for option in param.options if option != value] + ["none of them"]))
    elif param.kind == "boolean":
        changed = not value
    elif param.kind == "integer":
        changed = value + draw(st.sampled_from([1, -1, 0.5]))
    else:
        changed = draw(st.sampled_from([value + "x", "", value[:-1], 7, None, [value]]))
    return name, arguments | {key: changed}


@given(data=st.data(), number=NUMBERS)
@settings(deadline=None, max_examples=150)
def test_each_equivalent_way_of_saying_a_call_leads_to_the_same_world(data: st.DataObject, number: int) -> None:
    episode = play(numbered_task("test", number), PERFECT, 0)
    made = calls_of(episode.messages)
    turn = data.draw(st.integers(0, len(made) - 1))
    name, arguments, answer = made[turn]
    tool = DOMAINS[episode.task.domain].TOOLS[name]
    other = data.draw(st.composite(equivalents)(tool, arguments))
    one, two = desk_before(episode, turn), desk_before(episode, turn)
    assert one.call(name, arguments) == two.call(name, other) == answer
    assert one.tables == two.tables
    assert accepts(episode.task, (name, arguments), (name, other))


@given(data=st.data(), number=NUMBERS)
@settings(deadline=None, max_examples=150)
def test_each_wrong_call_leads_elsewhere(data: st.DataObject, number: int) -> None:
    episode = play(numbered_task("test", number), PERFECT, 0)
    made = calls_of(episode.messages)
    turn = data.draw(st.integers(0, len(made) - 1))
    name, arguments, answer = made[turn]
    other, changed = data.draw(st.composite(others)(episode.task.domain, name, arguments))
    lists = [key for key in LISTING if changed.get(key) != arguments.get(key)]
    assume(not (lists and other == name and len(json.loads(answer)) == 1))
    one, two = desk_before(episode, turn), desk_before(episode, turn)
    assert (one.call(name, arguments), one.tables) != (two.call(other, changed), two.tables)
    assert not accepts(episode.task, (name, arguments), (other, changed))


@pytest.mark.parametrize("style", [MEDIOCRE.style, TEACHER.style])
def test_both_agents_say_calls_in_every_way(style: Style) -> None:
    base, said = Character(), Character(style=style)
    ways: set[str] = set()
    for number in range(1500):
        task = numbered_task("pretrain", number)
        plain, styled = calls_of(play(task, base, 0).messages), calls_of(play(task, said, 0).messages)
        for (name, one, _), (_, two, _) in zip(plain, styled, strict=True):
            assert accepts(task, (name, one), (name, two))
            ways |= {"defaults" for key in two if key not in one}
            ways |= {"floats" for value in two.values() if isinstance(value, float)}
            ways |= {"words" for key in one if key in two and one[key] != two[key] and key in ("reason", "note")}
            order = [key for key in DOMAINS[task.domain].TOOLS[name].params if key in two]
            ways |= {"reorder"} if list(two) != order else set()
    assert ways == {"defaults", "floats", "words", "reorder"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data(), number=st.integers(0, 40))
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_desk_survives_any_call(data: st.DataObject, number: int) -> None:
    task = numbered_task("test", number)
    desk = open_desk(task)
    ids = [key for table in task.tables.values() for key in table]
    for _ in range(data.draw(st.integers(1, 5))):
        name = data.draw(st.sampled_from(list(DOMAINS[task.domain].TOOLS)) | JSON)
        tool = DOMAINS[task.domain].TOOLS.get(name) if isinstance(name, str) else None
        values = st.sampled_from(ids) | st.sampled_from([1, 2.0, True, "new"]) | JSON
        keys = st.sampled_from(list(tool.params)) if tool else st.text()
        arguments = data.draw(st.dictionaries(keys, values, max_size=4) | JSON)
        before = json.dumps(desk.tables)
        answer = json.loads(desk.call(name, arguments))
        if isinstance(answer, dict) and "error" in answer:
            assert json.dumps(desk.tables) == before
    assert isinstance(succeeded(task, desk), bool)


def test_task_tables_stay_as_they_were() -> None:
    task = numbered_task("test", 4)
    before = json.dumps(task.tables)
    play(task, TEACHER, 0)
    assert json.dumps(task.tables) == before


def test_agent_says_what_the_desk_heard() -> None:
    task = numbered_task("test", 1)
    desk = open_desk(task)
    agent = Agent(desk, DOMAINS[task.domain].TOOLS, PERFECT, random.Random(0))
    found = agent.call("find_traveller", name=task.facts["name"])
    assert [message["role"] for message in agent.messages] == ["assistant", "tool"]
    assert json.loads(agent.messages[1]["content"]) == found
