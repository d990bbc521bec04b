"""`search_query`: queries that ask a search engine for the same. Symmetric.

Same: what the queries name is equal (numbers and words with a digit, quoted phrases, operators such as `site:`), and
so are their words in order. These do not count: letter case, function words, a regular plural, British or American
spelling, and a frame such as "what is the" or "how to" if the other query has none. "A of B", "A in B" and "B A"
are the same order.

Different: another number, phrase or operator; a capitalised word that the other query lacks; words on both sides that
the other lacks (red for blue); another order around a relation (from, to, than, without). Unproven: one query has
all words of the other and more, or the same words in another order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pivotmine.actions.action import Action
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier
from pivotmine.verifiers.tool_calls.one_argument import prepare_code
from pivotmine.verifiers.tool_calls.tool_call import ToolCallOptions

MAX_CHARS = 2_000
"""Longer queries are the same only if their texts are."""

FUNCTION_WORDS = frozenset(("a", "an", "the", "of", "in", "on", "for", "at", "is", "are", "and", "me", "please"))
"""Words that do not count."""

SWAPS = ("of", "in", "at")
"""A query with one of these, and only one, means the same as its two halves in the other order without it."""

RELATIONS = frozenset((
    "from", "to", "into", "before", "after", "since", "until", "by", "than", "over", "under", "between", "vs", "versus",
    "not", "no", "non", "never", "only", "without", "except", "excluding", "minus", "if", "or", "against", "with", "as",
))  # fmt: skip
"""Words around which another order asks for something else."""

_FRAMES = {
    "what": re.compile(
        r"(?:what(?:'s|’s| is| are| was| were)|tell me about|information (?:on|about)) (?:the |an? )?", re.IGNORECASE
    ),
    "how": re.compile(r"how (?:to|do i|do you|can i|does one) ", re.IGNORECASE),
}
_REQUEST = re.compile(r"(?:please )?(?:search for|look up|find|google) ", re.IGNORECASE)
_AMERICAN = {
    "aeroplane": "airplane", "aluminium": "aluminum", "analyse": "analyze", "armour": "armor", "behaviour": "behavior",
    "catalogue": "catalog", "centre": "center", "cheque": "check", "colour": "color", "defence": "defense",
    "dialogue": "dialog", "favour": "favor", "favourite": "favorite", "fibre": "fiber", "flavour": "flavor",
    "grey": "gray", "harbour": "harbor", "honour": "honor", "humour": "humor", "jewellery": "jewelry",
    "labour": "labor", "licence": "license", "litre": "liter", "metre": "meter", "mould": "mold",
    "neighbour": "neighbor", "offence": "offense", "organisation": "organization", "organise": "organize",
    "paediatric": "pediatric", "plough": "plow", "programme": "program", "pyjamas": "pajamas", "rumour": "rumor",
    "theatre": "theater", "travelling": "traveling", "tyre": "tire", "vapour": "vapor",
}  # fmt: skip
_NO_PLURALS = frozenset((
    "aids", "arms", "athletics", "customs", "economics", "glasses", "goods", "jeans", "lens", "maths", "means", "news",
    "pajamas", "pants", "physics", "politics", "series", "shorts", "species", "sports", "statistics", "windows",
    "works",
))  # fmt: skip
"""Words that only look like plurals, or mean something else than their singular."""

_PHRASE = re.compile(r'"([^"]*+)"|“([^“”]*+)”')
_OPERATOR = re.compile(r"-\w|[a-z]{2,12}:\S", re.IGNORECASE)
_OPENING, _CLOSING = "([{'‘", ".,;:!?)]}'’"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQueryOptions:
    arguments: tuple[str, ...] = ("query", "q", "search_query", "search_term", "keywords")
    """Arguments that hold a query: the first of them that a call has. The rest compares as in `tool_call`."""
    rest: ToolCallOptions = field(default_factory=ToolCallOptions)
    """How the other arguments compare: options of `tool_call`; those of the same file, if it has any, by default."""


class _Query(NamedTuple):
    text: str
    fixed: Counter[str]
    """Numbers, phrases and operators."""
    capitals: frozenset[str]
    """Words with a capital, as they are compared."""
    words: tuple[str, ...]
    """All words that count, in order."""
    frame: str
    """The kind of question around the words; empty: none."""


def prepare(state: State, demonstration: Action, options: SearchQueryOptions) -> Callable[[Action], Verdict]:
    """Return a scorer for one demonstration with at least one call."""
    return prepare_code(state, demonstration, options.arguments, _read, _compare, options.rest)


def _read(value: Any) -> _Query | None:
    if not isinstance(value, str):
        return None
    text = " ".join(value[: MAX_CHARS + 1].split())
    if len(text) > MAX_CHARS or len(value) > MAX_CHARS:
        return _Query(value.strip(), Counter(), frozenset(), (), "")
    phrases = [next(filter(None, match.groups()), "").casefold() for match in _PHRASE.finditer(text)]
    frame, bare = _without_frame(_PHRASE.sub(" ", text).strip())
    tokens = bare.split()
    operators = [token for token in tokens if _OPERATOR.match(token) or token == "OR"]
    plain = [token.lstrip(_OPENING).rstrip(_CLOSING) for token in tokens if token not in operators]
    plain = [token for token in plain if token]
    ordered = [_word(token) for token in _in_one_order(plain) if token.casefold() not in FUNCTION_WORDS]
    numbers = [word for word in ordered if any(char.isdigit() for char in word)]
    fixed = Counter([*[f'"{phrase}' for phrase in phrases], *[f":{token.casefold()}" for token in operators], *numbers])
    named = [token for token in plain if token[0].isupper() and token.casefold() not in FUNCTION_WORDS]
    # The words of names and dates stay in order; a number by itself may stand anywhere.
    words = tuple([word for word in ordered if not word.isdigit()])
    return _Query(text, fixed, frozenset(map(_word, named)), words, frame)


def _without_frame(text: str) -> tuple[str, str]:
    text = _REQUEST.sub("", text, count=1) if _REQUEST.match(text) else text
    for frame, pattern in _FRAMES.items():
        if found := pattern.match(text):
            return frame, text[found.end() :]
    return "", text


def _in_one_order(tokens: list[str]) -> list[str]:
    places = [place for place, token in enumerate(tokens) if token.casefold() in SWAPS]
    if len(places) != 1 or any(token.casefold() in RELATIONS or token.casefold() == "on" for token in tokens):
        return tokens
    return [*tokens[places[0] + 1 :], *tokens[: places[0]]]


def _word(token: str) -> str:
    word = token.casefold().removesuffix("'s").removesuffix("’s")
    if word in _NO_PLURALS or not word.isalpha() or not word.isascii() or len(word) < 4:
        return _AMERICAN.get(word, word)
    if word.endswith("ies") and len(word) > 4:
        word = f"{word[:-3]}y"
    elif word.endswith(("ches", "shes", "sses", "xes", "zes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    return _AMERICAN.get(word, word)


def _compare(demonstrated: _Query, given: _Query) -> Outcome:
    if demonstrated.text == given.text:
        return Outcome.CORRECT
    one, other = Counter(demonstrated.words), Counter(given.words)
    if demonstrated.fixed != given.fixed or bool(one) != bool(other):
        return Outcome.WRONG_ARGUMENTS
    if not one:
        return Outcome.CORRECT if demonstrated.fixed else Outcome.WRONG_ARGUMENTS
    if not all(word in one and word in other for word in demonstrated.capitals | given.capitals):
        return Outcome.WRONG_ARGUMENTS
    if one - other and other - one:
        return Outcome.WRONG_ARGUMENTS
    if demonstrated.words == given.words:
        same_frame = demonstrated.frame == given.frame or "" in (demonstrated.frame, given.frame)
        return Outcome.CORRECT if same_frame else Outcome.UNPROVEN
    related = not RELATIONS.isdisjoint((*one, *other))
    return Outcome.WRONG_ARGUMENTS if related else Outcome.UNPROVEN


VERIFIER = Verifier(
    prepare=prepare, options=SearchQueryOptions, version=2, kinds=frozenset({"tool_call"}), abstains=True
)
