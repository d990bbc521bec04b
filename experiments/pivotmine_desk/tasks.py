"""Tasks, and episodes of scripted agents on them. Only this module knows domains, names and agents together."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Any

from pivotmine_desk.agent import DONE, GAVE_UP, PERFECT, Agent, Character, GiveUpError
from pivotmine_desk.domains import DOMAINS
from pivotmine_desk.names import Names, Split
from pivotmine_desk.world import Desk, Tables, Task

DOMAIN_NAMES = tuple(DOMAINS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    task: Task
    messages: list[dict[str, Any]]
    """System and user message, turns and tool results, and the closing message."""
    outcome: int
    """1 if the tables at the end are as wanted, else 0."""
    decisions: list[tuple[int, str, bool]]
    """(turn number from 0, decision, right?) of the scripted agent."""


def make_task(domain: str, split: Split, number: int) -> Task:
    """Make the task of a number, the same on every machine."""
    task_id = f"{domain}-{split}-{number}"
    rng = random.Random(task_id)
    names = Names(rng, split)
    draft = DOMAINS[domain].make(rng, names)
    return Task(
        task_id=task_id,
        domain=domain,
        split=split,
        request=draft.request,
        tables=draft.tables,
        facts=draft.facts,
        entities=frozenset(names.drawn),
    )


def numbered_task(split: Split, number: int) -> Task:
    """The task of a number, with the domains in turn."""
    return make_task(DOMAIN_NAMES[number % len(DOMAIN_NAMES)], split, number)


@cache
def tool_definitions(domain: str) -> tuple[dict[str, Any], ...]:
    """The domain's tools in OpenAI form."""
    return tuple(tool.definition(name) for name, tool in DOMAINS[domain].TOOLS.items())


def open_desk(task: Task) -> Desk:
    return Desk(task.tables, DOMAINS[task.domain].TOOLS)


def opening(task: Task) -> list[dict[str, Any]]:
    """The messages before the first turn."""
    return [
        {"role": "system", "content": f"{task.domain} desk"},
        {"role": "user", "content": task.request},
    ]


def wanted_tables(task: Task) -> Tables:
    """The tables that an agent leaves if every decision is right."""
    desk = open_desk(task)
    _work(task, Agent(desk, DOMAINS[task.domain].TOOLS, PERFECT, random.Random(0)))
    return desk.tables


def succeeded(task: Task, desk: Desk) -> bool:
    """Whether the desk's tables are as the task wants them."""
    return desk.tables == wanted_tables(task)


def play(task: Task, character: Character, seed: int) -> Episode:
    """Play one episode with a scripted agent."""
    rng = random.Random(f"{task.task_id}/{seed}")
    desk = open_desk(task)
    agent = Agent(desk, DOMAINS[task.domain].TOOLS, character, rng)
    closing = _work(task, agent)
    return Episode(
        task=task,
        messages=[*opening(task), *agent.messages, {"role": "assistant", "content": closing}],
        outcome=int(succeeded(task, desk)),
        decisions=agent.decisions,
    )


def _work(task: Task, agent: Agent) -> str:
    try:
        DOMAINS[task.domain].script(task, agent)
    except GiveUpError:
        return GAVE_UP
    return DONE
