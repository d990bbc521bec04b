"""What a state holds that messages are compared by: its facts, its words, its names, and the choices of its tools."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from pivotmine import strict_json
from pivotmine.verifiers.base import State
from pivotmine.verifiers.texts.text_facts import Fact, facts_of

MAX_STATE_CHARS = 200_000
"""So much of the state is read, from its end."""
MAX_SCHEMA_NODES = 10_000
"""So many values of the tools are looked through for `enum`."""

_NO_CHOICE = {
    "yes",
    "no",
    "true",
    "false",
    "none",
    "other",
    "all",
    "any",
    "null",
    "default",
    "auto",
    "name",
    "id",
    "type",
}


class Known(NamedTuple):
    """What the messages of a state hold."""

    facts: frozenset[Fact]
    words: frozenset[str]
    """As written."""
    small: frozenset[str]
    """Those written small."""
    names: frozenset[str]
    """Those that may be names, in lower case."""


Values = dict[str, list[tuple[str, ...]]]
"""Values as words in lower case, longest first, by their first word."""


def stripped(word: str) -> str:
    """A word without the ending of a possessive, or of the plural of an abbreviation."""
    word = word.removesuffix("'s")
    return word[:-1] if len(word) > 2 and word.endswith("s") and word[:-1].isupper() else word


def choices_of(tools: Iterable[Any]) -> Values:
    """What the tools' schemas list as choices, where the choice is made of words."""
    found = set[tuple[str, ...]]()
    pending: list[Any] = list(tools)
    for _ in range(MAX_SCHEMA_NODES):
        if not pending:
            break
        node = pending.pop()
        if isinstance(node, dict):
            choices = node.get("enum")
            if isinstance(choices, list) and len(choices) > 1:
                found.update(_words_of(choice) for choice in choices[:100] if isinstance(choice, str))
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node[:100])
    values: Values = {}
    for words in sorted(found - {()}, key=lambda words: (-len(words), words)):
        values.setdefault(words[0], []).append(words)
    return values


def _words_of(choice: str) -> tuple[str, ...]:
    words = tuple(choice[:60].replace("_", " ").replace("-", " ").casefold().split())
    usable = 0 < len(words) <= 4 and all(word.isalpha() for word in words)
    return words if usable and not (len(words) == 1 and (words[0] in _NO_CHOICE or len(words[0]) < 3)) else ()


def known_of(state: State) -> Known:
    """What the messages of a state hold, of the last MAX_STATE_CHARS characters."""
    facts, words, names = set[Fact](), set[str](), set[str]()
    left = MAX_STATE_CHARS
    for text in _texts(state.messages):
        if left <= 0:
            break
        found, said, named = _of_one_text(text[:left])
        facts |= found
        words |= said
        names |= named
        left -= len(text)
    small = frozenset(word for word in words if word.islower())
    return Known(frozenset(facts), frozenset(words), small, frozenset(names - small))


@lru_cache(maxsize=512)  # the states of one trajectory share their messages
def _of_one_text(text: str) -> tuple[frozenset[Fact], frozenset[str], frozenset[str]]:
    facts = facts_of(text)
    stated = {*facts.stated, *facts.optional, *facts.possible}
    names = frozenset(stripped(word.text).casefold() for word in facts.words if word.name)
    return frozenset(stated), frozenset(stripped(word.text) for word in facts.words), names


def _texts(messages: Iterable[Any]) -> Iterator[str]:
    """The texts of messages, the last first: contents, arguments, and the values where a text is JSON."""
    for message in reversed(list(messages)):
        if isinstance(message, dict):
            yield "".join(_strings(message))


def _strings(message: dict[str, Any]) -> Iterator[str]:
    pending: list[Any] = [message.get("content"), message.get("tool_calls"), message.get("function_call")]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            pending.extend((*node.values(), *node.keys()))
        elif isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, str):
            value = _json(node)
            pending.append(value)
            # A value is no sentence: its first word may be a name like any other.
            yield "" if value else f"\n{node}" if " " in node else f" ; {node}"
        elif node is not None:
            yield f" ; {node}"


def _json(text: str) -> Any:
    """The value of a text that is a JSON array or object; else nothing."""
    try:
        return strict_json.loads(text) if text.lstrip()[:1] in ("{", "[") else None
    except ValueError:
        return None
