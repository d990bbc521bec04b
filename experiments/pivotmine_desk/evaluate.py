"""Measure a policy: classes of held-out states, success in episodes, general skills."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pivotmine.actions import Action, ToolCall, parse_action
from pivotmine.verifiers import State, VerifierSpec, make_spec, prepare
from pivotmine_desk import skills
from pivotmine_desk.agent import TEACHER
from pivotmine_desk.conversation import encode, render
from pivotmine_desk.names import Split
from pivotmine_desk.sampling import Policy, sample
from pivotmine_desk.tasks import numbered_task, open_desk, opening, play, succeeded, tool_definitions
from pivotmine_desk.turn_cache import PrefilledTurn
from pivotmine_desk.world import MAX_TURNS, Desk, Task, dumps

FREE_TEXT = ("*.reason", "*.note")
"""The desk's arguments with words for a person; the value of `tool_call`'s option `free_text`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherState:
    task_id: str
    domain: str
    turn: int
    """Counted from 0."""
    messages: list[dict[str, Any]]
    """Messages before the turn."""
    demonstration: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRewards:
    state: TeacherState
    functional: list[float]
    """Rewards of the K samples by `tool_call`."""
    strict: list[float]
    """Rewards of the same samples by `exact`."""

    @property
    def kind(self) -> str:
        """`never`, `mixed` or `always`."""
        if max(self.functional) == min(self.functional):
            return "always" if self.functional[0] else "never"
        return "mixed"


def teacher_states(split: Split, count: int) -> list[TeacherState]:
    """The first `count` tool-call states of the teacher's successful episodes on a split's tasks."""
    found: list[TeacherState] = []
    number = 0
    while len(found) < count:
        episode = play(numbered_task(split, number), TEACHER, 0)
        if episode.outcome:
            found += _states(episode.task, episode.messages)
        number += 1
    return found[:count]


def _states(task: Task, messages: list[dict[str, Any]]) -> Iterator[TeacherState]:
    turns = [i for i, message in enumerate(messages) if message.get("tool_calls")]
    for turn, index in enumerate(turns):
        function = messages[index]["tool_calls"][0]["function"]
        call = ToolCall(name=function["name"], arguments=json.loads(function["arguments"]))
        yield TeacherState(
            task_id=task.task_id,
            domain=task.domain,
            turn=turn,
            messages=messages[:index],
            demonstration=Action(tool_calls=(call,)),
        )


def profile(policy: Policy, states: list[TeacherState], *, num_samples: int, seed: int) -> list[StateRewards]:
    """Sample `num_samples` actions in each state at temperature 1, and judge them."""
    functional, strict = make_spec("tool_call", {"free_text": list(FREE_TEXT)}), make_spec("exact", {})
    prompts = [prompt_ids(policy, state.messages, tool_definitions(state.domain)) for state in states]
    texts = sample(policy, prompts, num_samples=num_samples, generator=_generator(policy, seed))
    rewarded: list[StateRewards] = []
    for state, samples in zip(states, texts, strict=True):
        actions = [parse_action(text, parser="hermes") for text in samples]
        rewarded.append(
            StateRewards(
                state=state,
                functional=_rewards(functional, state, actions),
                strict=_rewards(strict, state, actions),
            )
        )
    return rewarded


def _rewards(spec: VerifierSpec, state: TeacherState, actions: list[Action]) -> list[float]:
    judge = prepare(spec, State(tools=tool_definitions(state.domain)), [state.demonstration])
    rewards = [judge(action).reward for action in actions]
    assert None not in rewards, "nothing in the desk's verifiers can fail"
    return [reward or 0.0 for reward in rewards]


def class_shares(rewarded: list[StateRewards]) -> dict[str, float]:
    """Shares of the classes of states, accuracies of guessing the class, and mean rewards; all in [0, 1].

    `majority` guesses the most frequent class. `turn_alone` guesses the most frequent class of the turn number,
    counted on the same states, which is an upper bound.
    """
    total = len(rewarded)
    kinds = Counter(row.kind for row in rewarded)
    by_turn: Mapping[int, Counter[str]] = defaultdict(Counter)
    for row in rewarded:
        by_turn[row.state.turn][row.kind] += 1
    return {
        "never": kinds["never"] / total,
        "mixed": kinds["mixed"] / total,
        "always": kinds["always"] / total,
        "majority": max(kinds.values()) / total,
        "turn_alone": sum(max(c.values()) for c in by_turn.values()) / total,
        "functional": sum(sum(row.functional) / len(row.functional) for row in rewarded) / total,
        "strict": sum(sum(row.strict) / len(row.strict) for row in rewarded) / total,
    }


@dataclass(slots=True, kw_only=True)
class EpisodeRun:
    """An unfinished episode."""

    task: Task
    desk: Desk
    messages: list[dict[str, Any]]
    turn: PrefilledTurn | None = None
    """Its last prompt."""


def episode_success(policy: Policy, split: Split, numbers: range, *, temperature: float, seed: int) -> dict[str, float]:
    """Share of successful tasks: `all`, and by domain."""
    tasks = [numbered_task(split, number) for number in numbers]
    won = episode_outcomes(policy, split, numbers, temperature=temperature, seed=seed)
    shares = {"all": sum(won.values()) / len(won)}
    for domain in sorted({task.domain for task in tasks}):
        mine = [won[task.task_id] for task in tasks if task.domain == domain]
        shares[domain] = sum(mine) / len(mine)
    return shares


def episode_outcomes(policy: Policy, split: Split, numbers: range, *, temperature: float, seed: int) -> dict[str, bool]:
    """task_id -> whether the policy's episode succeeds."""
    tasks = [numbered_task(split, number) for number in numbers]
    runs = [EpisodeRun(task=task, desk=open_desk(task), messages=opening(task)) for task in tasks]
    generator = _generator(policy, seed)
    active = runs
    for _ in range(MAX_TURNS):
        prompts = [prompt_ids(policy, run.messages, tool_definitions(run.task.domain)) for run in active]
        turns = [run.turn for run in active]
        texts = sample(policy, prompts, temperature=temperature, generator=generator, batch=96, turns=turns)
        for run, turn in zip(active, turns, strict=True):
            run.turn = turn
        active = [run for run, (text,) in zip(active, texts, strict=True) if act(run, text)]
        if not active:
            break
    return {run.task.task_id: succeeded(run.task, run.desk) for run in runs}


def act(run: EpisodeRun, text: str) -> bool:
    """Execute a turn's calls. Returns whether the episode continues; a turn without a call ends it."""
    action = parse_action(text, parser="hermes")
    if not action.tool_calls:
        return False
    calls = [
        {"id": f"call_{i}", "type": "function", "function": {"name": c.name, "arguments": dumps(c.arguments)}}
        for i, c in enumerate(action.tool_calls)
    ]
    run.messages.append({"role": "assistant", "content": action.message, "tool_calls": calls})
    for i, call in enumerate(action.tool_calls):
        answer = run.desk.call(call.name, call.arguments)
        run.messages.append({"role": "tool", "tool_call_id": f"call_{i}", "content": answer})
    return sum(len(m["content"]) for m in run.messages) < MAX_CHARACTERS


MAX_CHARACTERS = 1500
"""Maximum characters in an episode: a policy that repeats itself must not exceed its context."""


def skill_scores(
    policy: Policy, *, count: int, temperature: float, seed: int, split: Split = "test"
) -> dict[str, float]:
    """Share of right replies to `count` held-out questions of each skill."""
    rng = random.Random(f"skills/{seed}")
    asked = [skills.question(skill, split, rng) for skill in skills.SKILLS for _ in range(count)]
    prompts = [prompt_ids(policy, question.messages, question.tools) for question in asked]
    texts = sample(policy, prompts, temperature=temperature, generator=_generator(policy, seed))
    right: Counter[str] = Counter()
    for question, (text,) in zip(asked, texts, strict=True):
        right[question.skill] += skills.check(question, text)
    return {skill: right[skill] / count for skill in skills.SKILLS}


def prompt_ids(policy: Policy, messages: list[dict[str, Any]], tools: Any) -> list[int]:
    """Token ids of the next turn's prompt."""
    return encode(policy.tokenizer, render(policy.tokenizer, messages, tools, prompt=True))


def _generator(policy: Policy, seed: int) -> torch.Generator:
    return torch.Generator(policy.model.device).manual_seed(seed)
