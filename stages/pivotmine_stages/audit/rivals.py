"""Words and commands of the run's other turns, for mutations that a similarity measure takes for the original."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pivotmine.actions import Action
from pivotmine.verifiers.composed.call_kinds import command_of

MAX_SOURCES = 20_000
"""Maximum number of demonstrations that are read, the first ones."""
_DETERMINERS = "the a an your my our his her their this that these those another no any each every"
# After a determiner stands a noun or an adjective. Exchanging it changes the meaning.
_NAMED = re.compile(rf"\b({'|'.join(_DETERMINERS.split())}) ([a-z]{{3,}})\b")
_STEM = 4


class Rivals(NamedTuple):
    """Words and commands of a run's demonstrations, in their order."""

    words: Mapping[str, Sequence[str]] = {}
    """Determiner -> the content words that follow it in messages."""
    commands: Sequence[str] = ()
    """Distinct commands of calls."""

    def exchanged(self, text: str, num: int) -> Iterator[str]:
        """Yield the text with one content word replaced by a word that it does not have, at up to `num` places."""
        place = zlib.crc32(text.encode("utf-8", "replace"))
        own = {word[:_STEM] for word in re.findall(r"[a-z]+", text.lower())}
        for found in _NAMED.finditer(text):
            others = [word for word in self.words.get(found[1], ()) if word[:_STEM] not in own]
            if others and num:
                num, place = num - 1, place + 1
                yield text[: found.start(2)] + others[place % len(others)] + text[found.end(2) :]

    def other_commands(self, command: str, num: int) -> Iterator[str]:
        """Yield up to `num` commands of other turns whose letters and digits differ in more than their order."""
        at = self.commands.index(command) if command in self.commands else 0
        following = [*self.commands[at + 1 :][: 10 * num], *self.commands[: min(at, 10 * num)]]
        letters = _letters(command)
        others = [other for other in following if _letters(other) != letters]
        yield from others[:num]


def rivals_of(demonstrations: Iterable[Action]) -> Rivals:
    """Collect words and commands from the first MAX_SOURCES demonstrations."""
    words: dict[str, dict[str, None]] = {}
    commands: dict[str, None] = {}
    for _, action in zip(range(MAX_SOURCES), demonstrations, strict=False):
        for found in _NAMED.finditer("" if action.tool_calls else action.message):
            words.setdefault(found[1], {})[found[2]] = None
        commands.update(dict.fromkeys(found[1] for call in action.tool_calls if (found := command_of(call))))
    return Rivals({word: tuple(behind) for word, behind in words.items()}, tuple(commands))


def _letters(command: str) -> list[str]:
    return sorted(filter(str.isalnum, command))
