"""`search_query`: queries that a search engine answers alike, by what they name and by their words; symmetric.

What the two queries name must agree: numbers and every word with a digit, phrases in quotes, operators (`site:`,
`filetype:`, a word with a minus before it, OR), and each word that either of them writes with a capital must occur
in the other. Where a word relates others (from, to, before, without, than, ...), all words must come in the same
order: Paris to London is not London to Paris. Then the words are compared without regard to case, order and function
words. One query may have words that the other lacks, within the F1 of the option; a word against
another word (red for blue) never passes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from pivotmine.actions.action import Action
from pivotmine.errors import UserError
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier
from pivotmine.verifiers.tool_calls.one_argument import prepare_code

MAX_CHARS = 2_000
"""Longer queries are the same only where their text is."""

FUNCTION_WORDS = frozenset(("a", "an", "the", "of", "in", "on", "for", "at", "is", "are", "and", "me", "please"))
"""Words that do not count."""

RELATIONS = frozenset((
    "from", "to", "into", "before", "after", "since", "until", "by", "than", "over", "under", "between", "vs", "versus",
    "not", "no", "non", "never", "only", "without", "except", "excluding", "minus", "if", "or", "against", "with", "as",
))  # fmt: skip
"""Words that count, and with which the order of all words does."""

_PHRASE = re.compile(r'"([^"]*+)"|“([^“”]*+)”')
_OPERATOR = re.compile(r"-\w|[a-z]{2,12}:\S", re.IGNORECASE)
_OPENING, _CLOSING = "([{'‘", ".,;:!?)]}'’"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQueryOptions:
    arguments: tuple[str, ...] = ("query", "q", "search_query", "search_term", "keywords")
    """Arguments that hold a query: the first of them that a call has. The rest compares as in `tool_call`."""
    min_f1: float = 0.85
    """Least F1 of the two queries' words, in (0, 1]: at 0.85 one of four words may be surplus, at 1 none."""

    def __post_init__(self) -> None:
        if not 0 < self.min_f1 <= 1:
            raise UserError(f"verifier search_query, option min_f1: must be above 0 and at most 1, is {self.min_f1}")


class _Query(NamedTuple):
    text: str
    fixed: Counter[str]
    """Numbers, phrases and operators."""
    capitals: frozenset[str]
    """Words with a capital, as they are compared."""
    words: tuple[str, ...]
    """All words that count, in order."""


def prepare(state: State, demonstration: Action, options: SearchQueryOptions) -> Callable[[Action], Verdict]:
    """A judge of actions against one demonstration with at least one call."""

    def compare(demonstrated: _Query, given: _Query) -> Outcome:
        return _compare(demonstrated, given, options.min_f1)

    return prepare_code(state, demonstration, options.arguments, _read, compare)


def _read(value: Any) -> _Query | None:
    if not isinstance(value, str):
        return None
    text = " ".join(value[: MAX_CHARS + 1].split())
    if len(text) > MAX_CHARS or len(value) > MAX_CHARS:
        return _Query(value.strip(), Counter(), frozenset(), ())
    phrases = [next(filter(None, match.groups()), "").casefold() for match in _PHRASE.finditer(text)]
    tokens = _PHRASE.sub(" ", text).split()
    operators = [token for token in tokens if _OPERATOR.match(token) or token == "OR"]
    plain = [token.lstrip(_OPENING).rstrip(_CLOSING) for token in tokens if token not in operators]
    words = [_word(token) for token in plain if token and token.casefold() not in FUNCTION_WORDS]
    numbers = [word for word in words if any(char.isdigit() for char in word)]
    fixed = Counter([*[f'"{phrase}' for phrase in phrases], *[f":{token.casefold()}" for token in operators], *numbers])
    return _Query(text, fixed, frozenset(_word(token) for token in plain if token[:1].isupper()), tuple(words))


def _word(token: str) -> str:
    return token.casefold().removesuffix("'s").removesuffix("’s")


def _compare(demonstrated: _Query, given: _Query, min_f1: float) -> Outcome:
    if demonstrated.text == given.text:
        return Outcome.CORRECT
    one, other = Counter(demonstrated.words), Counter(given.words)
    if demonstrated.fixed != given.fixed or bool(one) != bool(other):
        return Outcome.WRONG_ARGUMENTS
    if not one:
        return Outcome.CORRECT if demonstrated.fixed else Outcome.WRONG_ARGUMENTS
    capitals = (demonstrated.capitals | given.capitals) - FUNCTION_WORDS
    if not all(word in one and word in other for word in capitals):
        return Outcome.WRONG_ARGUMENTS
    if not RELATIONS.isdisjoint((*one, *other)):
        return Outcome.CORRECT if demonstrated.words == given.words else Outcome.WRONG_ARGUMENTS
    shared = (one & other).total()
    if one - other and other - one:
        return Outcome.WRONG_ARGUMENTS
    return Outcome.CORRECT if 2 * shared >= min_f1 * (one.total() + other.total()) else Outcome.WRONG_ARGUMENTS


VERIFIER = Verifier(prepare=prepare, options=SearchQueryOptions, version=1, kinds=frozenset({"tool_call"}))
