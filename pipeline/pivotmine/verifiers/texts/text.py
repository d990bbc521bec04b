"""`text`: messages that state the same facts, take the same stance and are worded alike.

A message passes where all of this holds, in this order:

1. Its facts are the demonstration's: numbers and percentages by value, dates and times, ids exact to the letter,
   names, and the values that the state's tools list (`enum`). One that is missing or added fails. A name is a word
   with a capital inside a sentence, or of capitals only, that neither the state nor the two messages ever write small;
   one that only addresses the user ("Thank you, Mia.") is free. A date's year and an amount's currency may go
   unsaid where the state has them.
2. Facts of one kind in another order keep the words or facts beside them: two values that changed places fail, and
   so does one that stands for another where both are stated.
3. Both ask for something or neither does, and neither denies what the other says.
4. The words are similar: rapidfuzz's `token_sort_ratio` reaches `min_similarity`.

A message that is a JSON object or list passes where the other is the same JSON value, whatever the spelling: one flag
or word in it decides what a program does with it, and similarity sees neither.

Symmetric, but for `added_facts`. What it cannot see: two verbs swapped, an antonym ("accepted", "rejected") in a long
text, a denial in a language whose words `text_stance` does not list. So a text mostly in other than Latin letters
passes word for word only. Text with a tool call is compared by its call alone, by other verifiers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from pivotmine.actions.action import Action
from pivotmine.errors import UserError
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier, shown_text, unproven
from pivotmine.verifiers.texts.json_texts import json_of
from pivotmine.verifiers.texts.state_facts import Known, Values, choices_of, known_of, stripped
from pivotmine.verifiers.texts.text_facts import Fact, Facts, Word, facts_of, plain
from pivotmine.verifiers.texts.text_stance import asks, contradiction
from pivotmine.verifiers.tool_calls.canonical import canonical_form
from pivotmine.verifiers.tool_calls.schema import Schema

MAX_CHARS = 20_000
"""Longer texts, of which similarity would cost too much, pass word for word only."""

_GREETING = """hi hello hey dear thank thanks you sure of course certainly great alright okay ok yes no sorry welcome
    absolutely understood good morning afternoon evening i'm apologies so much perfect very well"""
_GREETINGS = frozenset(_GREETING.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOptions:
    min_similarity: float = 75.0
    """Least `token_sort_ratio` of the words, 0 to 100. Of 443 pairs of messages from one step of two trials of an
    airline task (tau-bench), 132 pass; of 30 of these that were read, 29 do the same. Of 13 pairs read that have equal
    facts and stance and 62 to 70 here, four did not; of four between 70 and 75, one."""
    added_facts: bool = False
    """A message may add facts that the state holds (numbers, ids, dates, names). It may then also name the wrong
    one beside the right one."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_similarity <= 100:
            raise UserError(f"verifier text, option min_similarity: must be 0 to 100, is {self.min_similarity}")


class _Item(NamedTuple):
    """A word of a message as it is compared."""

    kind: str
    """A fact's kind, `name`, `value`; empty for any other word."""
    value: str


def prepare(state: State, demonstration: Action, options: TextOptions) -> Callable[[Action], Verdict]:
    """A judge of messages against one demonstrated message."""
    demonstrated = demonstration.message
    words = demonstrated.split()

    @cache  # asked for by the first message that is not the demonstration word for word
    def read() -> _Gold:
        return _Gold(_Message(demonstrated), known_of(state), choices_of(state.tools))

    @cache
    def read_json() -> Any:
        return _json_form(demonstrated)

    def judge(action: Action) -> Verdict:
        if action.tool_calls:
            return Verdict(0.0, Outcome.WRONG_KIND, f"a call of {shown_text(action.tool_calls[0].name)}")
        if not words:
            return Verdict(0.0, Outcome.EMPTY, "no word is demonstrated")
        if action.message.split() == words:
            return Verdict(1.0, Outcome.CORRECT)
        if not any(map(str.isalnum, action.message)):
            return Verdict(0.0, Outcome.EMPTY, "no word")
        if max(len(action.message), len(demonstrated)) > MAX_CHARS:
            return unproven(f"more than {MAX_CHARS:,} characters, and not word for word")
        form = _json_form(action.message)
        if form is not None or read_json() is not None:
            return _compare_json(read_json(), form)
        return _compare(read(), _Message(action.message), options)

    return judge


def _compare_json(demonstrated: Any, given: Any) -> Verdict:
    if demonstrated == given:
        return Verdict(1.0, Outcome.CORRECT)
    if demonstrated is None:
        words = "JSON, where none is demonstrated"
    else:
        words = "no JSON, as demonstrated" if given is None else "another JSON value"
    return Verdict(0.0, Outcome.WRONG_TEXT, words)


class _Message:
    """A message, read once."""

    __slots__ = ("facts", "plain", "small", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.plain = plain(text)
        self.facts = facts_of(text)
        self.small = frozenset(word.text for word in self.facts.words if word.text.islower())


_NO_SCHEMA = Schema(None)


def _json_form(text: str) -> Any:
    """What is compared of a message that is JSON; None of any other."""
    value = json_of(text)
    return None if value is None else canonical_form(value, _NO_SCHEMA)


class _Gold(NamedTuple):
    message: _Message
    known: Known
    values: Values


def _compare(demonstrated: _Gold, given: _Message, options: TextOptions) -> Verdict:
    gold, known, values = demonstrated
    small = known.small | gold.small | given.small
    names = _names(gold.facts.words, small, known) | _names(given.facts.words, small, known)
    items, given_items = _items(gold.facts, names, values), _items(given.facts, names, values)
    wrong = (
        _in_facts(gold.facts, given.facts, items, given_items, known, options)
        or _in_order(items, given_items)
        or _in_stance(gold, given)
    )
    if wrong is not None:
        return Verdict(0.0, Outcome.WRONG_TEXT, shown_text(wrong))
    if _foreign(gold.text) or _foreign(given.text):
        return unproven("not in Latin letters, and not word for word")
    return _by_similarity(_wording(items), _wording(given_items), options.min_similarity)


def _by_similarity(words: str, given: str, least: float) -> Verdict:
    from rapidfuzz import fuzz

    similarity = fuzz.token_sort_ratio(words, given)
    if similarity >= least:
        return Verdict(1.0, Outcome.CORRECT)
    return Verdict(0.0, Outcome.WRONG_TEXT, f"similarity {similarity:.0f}, needed {least:g}")


def _wording(items: Iterable[_Item]) -> str:
    return " ".join(item.value for item in items)


def _in_facts(
    gold: Facts, given: Facts, items: list[_Item], given_items: list[_Item], known: Known, options: TextOptions
) -> str | None:
    stated = {item for item in items if item.kind}
    given_stated = {item for item in given_items if item.kind}
    for kind, value in sorted(stated - given_stated):
        if (kind, value) not in given.possible and (kind, value) not in given.optional:
            return f"lacks the {kind} {value}"
    for kind, value in sorted(given_stated - stated):
        free = options.added_facts and _holds(known, kind, value)
        if not free and (kind, value) not in gold.possible and (kind, value) not in gold.optional:
            return f"states the {kind} {value}"
    for kind, value in sorted(gold.optional ^ given.optional):
        if not _holds(known, "number" if kind == "year" else kind, value) and not _holds(known, kind, value):
            return f"only one states the {kind} {value}"
    return None


def _holds(known: Known, kind: str, value: str) -> bool:
    if kind in ("name", "value"):
        return any(word.casefold() == value for word in known.words)
    return Fact(kind, value) in known.facts


def _in_order(items: list[_Item], given: list[_Item]) -> str | None:
    """What stands elsewhere than demonstrated, where facts of one kind come in another order or number."""
    counts, given_counts = Counter(items), Counter(given)
    anchors = {item for item, number in counts.items() if number == 1 == given_counts[item]}
    sides, given_sides = _neighbours(items, anchors), _neighbours(given, anchors)
    for kind in sorted({item.kind for item in items if item.kind}):
        order = [item for item in items if item.kind == kind]
        given_order = [item for item in given if item.kind == kind and item in counts]
        if Counter(order) != Counter(given_order):
            if len(order) == len(given_order):
                return f"a {kind} stands for another"
            order, given_order = list(dict.fromkeys(order)), list(dict.fromkeys(given_order))
        if order == given_order:
            continue
        for item in order:
            if item in given_sides and not _keeps_a_side(sides[item], given_sides[item]):
                return f"the {kind} {item.value} stands in another place"
    return None


_Sides = tuple[Counter[_Item], Counter[_Item]]


def _neighbours(items: list[_Item], anchors: set[_Item]) -> dict[_Item, _Sides]:
    """The anchors, words that both messages have once, nearest to each fact on its left and on its right."""
    found: dict[_Item, _Sides] = {}
    for side, ordered in ((0, items), (1, list(reversed(items)))):
        nearest: _Item | None = None
        for item in ordered:
            if item.kind:
                sides = found.setdefault(item, (Counter(), Counter()))
                if nearest is not None:
                    sides[side][nearest] += 1
            if item in anchors:
                nearest = item
    return found


def _keeps_a_side(sides: _Sides, given: _Sides) -> bool:
    return any(
        one and other and (one & other).total() == min(one.total(), other.total())
        for one, other in zip(sides, given, strict=True)
    )


def _in_stance(gold: _Message, given: _Message) -> str | None:
    if asks(gold.plain) != asks(given.plain):
        return "asks for something" if asks(given.plain) else "asks for nothing"
    return contradiction(gold.plain, given.plain)


def _items(facts: Facts, names: set[str], values: Values) -> list[_Item]:
    words = facts.words
    lows = [stripped(word.text).casefold() for word in words]
    items: list[_Item] = []
    at = 0
    while at < len(words):
        word, low, taken = words[at], lows[at], 1
        if word.fact:
            items.append(_Item(*word.fact))
        elif low in names:
            items.append(_Item("name", low))
        elif taken := _value_length(values, lows, at):
            items.append(_Item("value", " ".join(lows[at : at + taken])))
        else:
            taken = 1
            items.append(_Item("", low))
        at += taken
    return items


def _value_length(values: Values, lows: list[str], at: int) -> int:
    for value in values.get(lows[at], ()):
        if tuple(lows[at : at + len(value)]) == value:
            return len(value)
    return 0


def _names(words: list[Word], small: frozenset[str], known: Known) -> set[str]:
    """The names in a message, in lower case, but for those that a greeting addresses."""
    names = set[str]()
    greeting = False
    for word in words:
        low = stripped(word.text).casefold()
        greeting = low in _GREETINGS if word.starts else greeting
        named = word.name or (low in known.names and word.text[0].isupper())
        if named and low not in small and not greeting:
            names.add(low)
        greeting = greeting and low in _GREETINGS
    return names


def _foreign(text: str) -> bool:
    letters = [char for char in text if char.isalpha()]
    return sum(ord(char) > 0x24F for char in letters) * 2 > len(letters)


VERIFIER = Verifier(
    prepare=prepare,
    options=TextOptions,
    version=2,
    kinds=frozenset({"message"}),
    abstains=True,
    needs_messages=True,
    requires=("rapidfuzz",),
)
