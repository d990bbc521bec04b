"""General skills outside the desk, each with a generator and an exact checker.

They are what narrow training may cost the base policy. A question belongs to the split of its text, so `pretrain`
questions never occur in `test`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pivotmine_desk.names import SYLLABLES, Split, split_of, words
from pivotmine_desk.world import dumps

WORDS = words("apple bird cup door egg fish game hat ink jam key leaf moon nest oil pen rope salt tree wind")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    skill: str
    messages: list[dict[str, Any]]
    """One user message."""
    tools: list[dict[str, Any]]
    """Empty for all skills but `tools`."""
    answer: str
    """The only right reply as text; JSON for calls."""


Draw = tuple[str, str]
"""The user's message and the right reply."""


def _add(rng: random.Random) -> Draw:
    a, b = rng.randint(10, 99), rng.randint(10, 99)
    return f"Add {a} and {b}.", str(a + b)


def _sort(rng: random.Random) -> Draw:
    digits = rng.sample("0123456789", rng.randint(4, 6))
    return f"Sort {' '.join(digits)}.", " ".join(sorted(digits))


def _largest(rng: random.Random) -> Draw:
    numbers = rng.sample(range(10, 100), rng.randint(3, 4))
    return f"Largest of {' '.join(map(str, numbers))}?", str(max(numbers))


def _copy(rng: random.Random) -> Draw:
    parts = [_token(rng) for _ in range(rng.randint(2, 5))]
    return f"Repeat: {' '.join(parts)}", " ".join(parts)


def _reverse(rng: random.Random) -> Draw:
    words = rng.sample(WORDS, rng.randint(3, 6))
    return f"Reverse {' '.join(words)}.", " ".join(reversed(words))


def _recall(rng: random.Random) -> Draw:
    """Ask for several look-ups: with one, a small model copies any number of the list, not the one asked for."""
    table = {word: rng.randint(10, 99) for word in rng.sample(WORDS, rng.randint(3, 6))}
    asked = rng.sample(list(table), rng.randint(1, len(table)))
    listed, answer = (", ".join(f"{word} {table[word]}" for word in words) for words in (table, asked))
    return f"{listed}. Which number has {', '.join(asked)}?", answer


def _format(rng: random.Random) -> Draw:
    words = rng.sample(WORDS, 3)
    how, answer = rng.choice(
        [
            ("as JSON list", dumps(words)),
            ("joined by +", "+".join(words)),
            ("in brackets", f"({', '.join(words)})"),
            (f"as JSON with key {words[0]}", dumps({words[0]: words})),
            ("only the last", words[-1]),
            ("twice", " ".join(words + words)),
        ]
    )
    return f"Write {' '.join(words)} {how}.", answer


TEXT_SKILLS: dict[str, Callable[[random.Random], Draw]] = {
    "add": _add,
    "sort": _sort,
    "largest": _largest,
    "copy": _copy,
    "reverse": _reverse,
    "recall": _recall,
    "format": _format,
}
SKILLS = (*TEXT_SKILLS, "tools")
"""`tools`: call one of several tools with made-up names and parameters."""


def question(skill: str, split: Split, rng: random.Random) -> Question:
    """Draw questions until one belongs to the split."""
    while True:
        drawn = _unseen_tool(rng) if skill == "tools" else _text(skill, rng)
        if split_of(drawn.messages[0]["content"]) == split:
            return drawn


def check(question: Question, reply: str) -> bool:
    """Whether a reply without its end-of-turn token is exactly right. Calls are compared as JSON values."""
    text = reply.strip()
    if question.skill != "tools":
        return text == question.answer
    if not (text.startswith("<tool_call>") and text.endswith("</tool_call>")):
        return False
    try:
        value = json.loads(text.removeprefix("<tool_call>").removesuffix("</tool_call>"))
    except (ValueError, RecursionError):
        return False
    return value == json.loads(question.answer)


def reply_message(question: Question) -> dict[str, Any]:
    """The right reply as an OpenAI message."""
    if question.skill != "tools":
        return {"role": "assistant", "content": question.answer}
    call = json.loads(question.answer)
    function = {"name": call["name"], "arguments": dumps(call["arguments"])}
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}


def _text(skill: str, rng: random.Random) -> Question:
    asked, answer = TEXT_SKILLS[skill](rng)
    return Question(skill=skill, messages=[{"role": "user", "content": asked}], tools=[], answer=answer)


def _unseen_tool(rng: random.Random) -> Question:
    names = list({_syllables(rng, 2): None for _ in range(12)})[:9]
    tools = {names[3 * i]: names[3 * i + 1 : 3 * i + 1 + rng.randint(1, 2)] for i in range(len(names) // 3)}
    name = rng.choice(list(tools))
    arguments = {param: _token(rng) for param in tools[name]}
    words = f"Use {name}: {', '.join(f'{key} is {value}' for key, value in arguments.items())}."
    definitions = [_definition(tool, params) for tool, params in tools.items()]
    answer = dumps({"name": name, "arguments": arguments})
    return Question(skill="tools", messages=[{"role": "user", "content": words}], tools=definitions, answer=answer)


def _definition(name: str, params: list[str]) -> dict[str, Any]:
    properties = {param: {"type": "string"} for param in params}
    parameters = {"type": "object", "properties": properties, "required": params}
    return {"type": "function", "function": {"name": name, "description": name, "parameters": parameters}}


def _token(rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.4:
        return rng.choice(WORDS)
    if draw < 0.7:
        return f"{chr(rng.randrange(65, 91))}{rng.randrange(1000):03d}"
    return _syllables(rng, 3)


def _syllables(rng: random.Random, count: int) -> str:
    return "".join(rng.choice(SYLLABLES) for _ in range(count))
