"""Scripted agents: their decisions, the way they write calls, and the conversation that results.

A domain's script lets the agent `call` tools and `choose` between a right option and wrong ones. Two tables define an
agent: the chance of the right choice, and the chance of each unusual way of writing a call. The base policy was
pre-trained on the mediocre agent. The agent's chances, not the turn number, make states hard or easy.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from pivotmine_desk.world import Desk, Tool, dumps

DONE, GAVE_UP = "Done.", "I could not do that."


class GiveUpError(Exception):
    """The agent ends the conversation because it has nothing more to try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """Chance in [0, 1] of each unusual but functionally equal way of writing a call."""

    defaults: float = 0.0
    """An argument is given although it equals its default; drawn for each argument."""
    reorder: float = 0.0
    """Arguments come in reverse order."""
    floats: float = 0.0
    """An integer is written as a float: 2.0."""
    words: float = 0.0
    """Free text starts with a capital letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Character:
    chances: Mapping[str, float] = field(default_factory=dict)
    """Key of a decision -> chance of the right choice."""
    otherwise: float = 1.0
    """Chance of the right choice for all other keys."""
    style: Style = Style()


PERFECT = Character()
TEACHER = Character(otherwise=0.97, style=Style(defaults=0.6, reorder=0.3, floats=0.5, words=0.6))
_SELDOM = Style(defaults=0.12, reorder=0.1, floats=0.12, words=0.12)
GUIDED = Character(style=_SELDOM)
"""Writes calls like the mediocre agent, and decides everything right."""
MEDIOCRE = Character(
    style=_SELDOM,
    chances={
        "orders.company": 0.5,
        "orders.locked": 0.004,
        "orders.delivered": 0.65,
        "orders.shipped": 0.004,
        "orders.lost": 0.004,
        "orders.damaged": 0.004,
        "travel.team": 0.004,
        "travel.seats": 0.8,
        "travel.none": 0.004,
        "travel.crew": 0.004,
        "travel.gold": 0.4,
        "files.folder": 0.75,
        "files.busy": 0.004,
        "files.final": 0.75,
        "files.secret": 0.004,
        "files.old": 0.004,
        "files.staff": 0.5,
        "files.owner": 0.004,
        "search.company": 0.004,
        "search.edition": 0.5,
        "search.stale": 0.004,
        "search.empty": 0.004,
        "search.disputed": 0.5,
    },
)
"""0.004: the policy knows the choice, but so rarely makes it that 16 samples seldom show it."""


class Agent:
    """One conversation of a scripted agent with a desk."""

    def __init__(self, desk: Desk, tools: dict[str, Tool], character: Character, rng: random.Random) -> None:
        self._desk, self._tools, self._character, self._rng = desk, tools, character, rng
        self.messages: list[dict[str, Any]] = []
        self.decisions: list[tuple[int, str, bool]] = []
        """(number of calls before the decision, its key, whether it was right)."""

    def choose(self, key: str, right: str, *wrong: str) -> str:
        """Return the right option with the character's chance, else a random wrong one."""
        chance = self._character.chances.get(key, self._character.otherwise)
        good = self._rng.random() < chance
        self.decisions.append((len(self.messages) // 2, key, good))
        return right if good else self._rng.choice(wrong)

    def call(self, name: str, /, **arguments: Any) -> Any:
        """Write and execute one call; return the answer as a JSON value. If the desk refuses, the agent gives up."""
        said = say(self._tools[name], arguments, self._character.style, self._rng)
        function = {"name": name, "arguments": dumps(said)}
        call_id = f"call_{len(self.messages) // 2 + 1}"
        call = {"id": call_id, "type": "function", "function": function}
        self.messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        answer = self._desk.call(name, said)
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": answer})
        value = json.loads(answer)
        if isinstance(value, dict) and "error" in value:
            self.give_up()
        return value

    def give_up(self) -> NoReturn:
        """End the conversation."""
        raise GiveUpError


def say(tool: Tool, arguments: dict[str, Any], style: Style, rng: random.Random) -> dict[str, Any]:
    """The call's arguments, written in a random style. The desk does the same for each style."""
    said: dict[str, Any] = {}
    for key, param in tool.params.items():
        value: Any = arguments.get(key, param.default)
        if key not in arguments and not rng.random() < style.defaults:
            continue
        if param.kind == "integer" and rng.random() < style.floats:
            value = float(value)
        if param.free_text and rng.random() < style.words:
            value = value[:1].upper() + value[1:]
        said[key] = value
    if len(said) > 1 and rng.random() < style.reorder:
        said = dict(reversed(said.items()))
    return said
