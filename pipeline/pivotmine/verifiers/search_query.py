"""`search_query`: queries that ask a search engine for the same. Symmetric.

Same: the queries have equal numbers (and words with a digit), quoted phrases and operators such as `site:`, and the
same words in the same order, prepositions included. These do not count: letter case, articles, a plural whose singular
is certain, British or American spelling, the place of a year, and a frame such as "what is the" or "how to" if the
other query has none. "weather in Oslo" is "Oslo weather", because "weather" is in ATTRIBUTES; other words do not
change places around a preposition. A word with a capital keeps its form, because it may be a name.

Different: another number, phrase or operator; a capitalised word that the other query lacks; words in each query that
the other lacks (red for blue); another order around a relation (from, to, than, without). Unproven: one query has
all words of the other and more, the same words in another order, another preposition, or words that may be forms of
one word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pivotmine.actions.action import Action
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier
from pivotmine.verifiers.tool_calls.one_argument import prepare_code
from pivotmine.verifiers.tool_calls.tool_call import ToolCallOptions

MAX_CHARS = 2_000
"""Longer queries are the same only if their texts are equal."""

FUNCTION_WORDS = frozenset(("a", "an", "the", "is", "are", "and"))
"""Words that do not count. `The` and `An` do not either; `A` counts (vitamin A), and so do `IS` and `AND`."""

_LETTERED = frozenset((
    "vitamin", "hepatitis", "influenza", "type", "group", "grade", "plan", "class", "series", "model", "size", "level",
    "section", "part", "exhibit", "point", "star", "option", "team", "line", "appendix", "schedule", "form", "blood",
))  # fmt: skip
"""After these words, `a` is a letter, not an article."""

PREPOSITIONS = frozenset(("of", "in", "on", "for", "at"))
"""A query with another preposition is not the same, but not proven different either."""

ATTRIBUTES = frozenset((
    "altitude", "area", "boiling point", "capital", "climate", "color", "cost", "currency", "definition", "density",
    "depth", "elevation", "flag", "forecast", "gdp", "height", "history", "hotel", "length", "map", "mayor",
    "melting point", "meaning", "museum", "population", "president", "price", "restaurant", "size", "symptom",
    "temperature", "time", "timezone", "treatment", "weather", "weight", "width",
))  # fmt: skip
"""Nouns for which "N of B" and "N in B" mean the same as "B N"."""

RELATIONS = frozenset((
    "from", "to", "into", "before", "after", "since", "until", "by", "than", "over", "under", "between", "vs", "versus",
    "not", "no", "non", "never", "only", "without", "except", "excluding", "minus", "if", "or", "against", "with", "as",
))  # fmt: skip
"""Words around which another word order changes the meaning."""

_NEGATIONS = frozenset(("not", "no", "non", "never", "only", "without", "except", "excluding", "minus"))
_FRAMES = {
    "what": re.compile(
        r"(?:what(?:'s|’s| is| are)|tell me about|information (?:on|about)) (?:the |an? )?", re.IGNORECASE
    ),
    "how": re.compile(r"how (?:to|do i|do you|can i|does one) (?=\S+ +\S)", re.IGNORECASE),
}
_REQUEST = re.compile(r"please (?=\S)|(?:please )?(?:search for|look up) (?=\S+ +\S)", re.IGNORECASE)
_AMERICAN = {
    "aeroplane": "airplane", "aluminium": "aluminum", "analyse": "analyze", "armour": "armor", "behaviour": "behavior",
    "catalogue": "catalog", "centre": "center", "cheque": "check", "colour": "color", "defence": "defense",
    "dialogue": "dialog", "favour": "favor", "favourite": "favorite", "fibre": "fiber", "flavour": "flavor",
    "harbour": "harbor", "honour": "honor", "humour": "humor", "jewellery": "jewelry",
    "labour": "labor", "licence": "license", "litre": "liter", "metre": "meter", "mould": "mold",
    "neighbour": "neighbor", "offence": "offense", "organisation": "organization", "organise": "organize",
    "paediatric": "pediatric", "plough": "plow", "programme": "program", "pyjamas": "pajamas", "rumour": "rumor",
    "theatre": "theater", "travelling": "traveling", "tyre": "tire", "vapour": "vapor",
}  # fmt: skip
_NOUNS = frozenset((
    "accident", "actor", "airline", "airport", "album", "algorithm", "animal", "answer", "apartment", "article",
    "artist", "author", "bank", "beach", "bicycle", "bike", "bird", "book", "boot", "bottle", "bridge", "building",
    "cable", "camera", "car", "cat", "chair", "child", "church", "city", "club", "coin", "company", "computer",
    "concert", "country", "coupon", "course", "dentist", "diet", "disease", "doctor", "dog", "drug", "email",
    "exercise", "factor", "family", "farm", "festival", "film", "fish", "flight", "flower", "game", "garden", "guitar",
    "hospital", "hotel", "idea", "image", "island", "job", "keyboard", "kitchen", "knife", "lake", "language", "laptop",
    "law", "lawyer", "lesson", "library", "list", "machine", "map", "medicine", "meeting", "monitor", "mountain",
    "movie", "museum", "name", "newspaper", "novel", "number", "ocean", "office", "park", "party", "password", "person",
    "phone", "photo", "picture", "planet", "plant", "player", "poem", "price", "printer", "problem", "product",
    "program", "quote", "recipe", "report", "restaurant", "result", "review", "river", "road", "school", "shop", "shoe",
    "song", "soup", "sport", "stadium", "station", "stock", "store", "street", "student", "study", "supermarket",
    "symptom", "table", "tablet", "tax", "teacher", "theater", "ticket", "tool", "toy", "train", "tree", "truck",
    "tutorial", "university", "vaccine", "vegetable", "video", "village", "website", "word", "writer", "zoo",
)) - {"fish", "child", "person", "knife", "sport", "stock", "park"}  # fmt: skip
"""Nouns whose regular plural has no other meaning."""
_NOUN_ENDINGS = ("tion", "sion", "ment", "ity", "ology", "ship")

_PHRASE = re.compile(r'([^\s"“”]{0,20})(?:"([^"]*+)"|“([^“”]*+)”)')
_OPERATOR = re.compile(r"-\w|[a-z]{2,12}:\S", re.IGNORECASE)
_LOGIC = frozenset(("OR", "AND", "NOT", "|", "NEAR"))
_YEAR = re.compile(r"1[0-9]{3}|20[0-9]{2}", re.ASCII)
_OPENING, _CLOSING = "([{'‘", ".,;:!?)]}'’"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQueryOptions:
    arguments: tuple[str, ...] = ("query", "q", "search_query", "search_term", "keywords")
    """Names of arguments that hold a query; the first one that a call has counts. `tool_call` compares the rest."""
    rest: ToolCallOptions = field(default_factory=ToolCallOptions)
    """Options of `tool_call` for the other arguments; by default those in the same file, if it has any."""


class _Query(NamedTuple):
    text: str
    fixed: Counter[str]
    """Numbers, phrases and operators."""
    capitals: frozenset[str]
    """Stems of the words with a capital."""
    words: tuple[tuple[str, str], ...]
    """The words that count, in order: each in lower case and in its plain form (empty if it may be a name)."""
    stems: tuple[str, ...]
    """The stems of these words, without prepositions and years. Different stems are different words."""
    frame: str
    """The kind of question around the words; empty if there is none."""


def prepare(state: State, demonstration: Action, options: SearchQueryOptions) -> Callable[[Action], Verdict]:
    """Return a scorer for one demonstration with at least one call."""
    return prepare_code(state, demonstration, options.arguments, _read, _compare, options.rest)


def _read(value: Any) -> _Query | None:
    if not isinstance(value, str):
        return None
    text = " ".join(value[: MAX_CHARS + 1].split())
    if len(text) > MAX_CHARS or len(value) > MAX_CHARS:
        return _Query(value.strip(), Counter(), frozenset(), (), (), "")
    phrases = [f'{found[1]}"{found[2] or found[3] or ""}'.casefold() for found in _PHRASE.finditer(text)]
    frame, bare = _without_frame(_PHRASE.sub(" ", text).strip())
    tokens = bare.split()
    operators = [token for token in tokens if _OPERATOR.match(token)]
    plain = [token.lstrip(_OPENING).rstrip(_CLOSING) for token in tokens if token not in operators]
    content = [token for place, token in enumerate(plain) if token and not _is_function_word(plain, place)]
    # "the cure" may be a name: an article in front of a single word counts.
    plain = plain if len(content) == 1 else content
    logic = [token for token in tokens if token in _LOGIC]
    numbers = [token.casefold() for token in plain if any(char.isdigit() for char in token)]
    fixed = Counter([*phrases, *[f":{token.casefold()}" for token in operators], *logic, *numbers])
    named = frozenset(_stem(token) for token in plain if token[0].isupper() and token.casefold() not in PREPOSITIONS)
    if not logic:
        # The place of a single year does not matter. Other numbers belong to their neighbours.
        years = [token for token in numbers if token.isdigit()]
        free = years[0] if len(years) == 1 and _YEAR.fullmatch(years[0]) else ""
        ordered = [token for token in _in_one_order(plain) if token != free]
        words = tuple([(token.casefold(), _plain_form(token)) for token in ordered])
    else:
        ordered, words = plain, tuple([(token, "") for token in text.casefold().split()])
    stems = tuple(_stem(token) for token in ordered if token.casefold() not in PREPOSITIONS)
    return _Query(text, fixed, named, words, stems, frame)


def _is_function_word(tokens: list[str], place: int) -> bool:
    token = tokens[place]
    if token.casefold() not in FUNCTION_WORDS:
        return False
    if token.casefold() == "a":
        return place + 1 < len(tokens) and (
            place == 0 or (token == "a" and tokens[place - 1].casefold() not in _LETTERED)
        )
    return token.islower() or token in ("The", "An") or (place == 0 and token.istitle())


def _without_frame(text: str) -> tuple[str, str]:
    text = _REQUEST.sub("", text, count=1) if _REQUEST.match(text) else text
    for frame, pattern in _FRAMES.items():
        if found := pattern.match(text):
            return frame, text[found.end() :]
    return "", text


def _in_one_order(tokens: list[str]) -> list[str]:
    """Rewrite "N of B" to "B N" if N is an attribute and no other word relates the two."""
    places = [place for place, token in enumerate(tokens) if token.casefold() in PREPOSITIONS]
    if len(places) != 1 or tokens[places[0]].casefold() not in ("of", "in", "at"):
        return tokens
    before, behind = tokens[: places[0]], tokens[places[0] + 1 :]
    head = " ".join(_plain_form(token.casefold()) for token in before)
    other = {_plain_form(token.casefold()) for token in behind}
    if head not in ATTRIBUTES or not behind or not other.isdisjoint(ATTRIBUTES | RELATIONS):
        return tokens
    return [*behind, *before]


def _plain_form(token: str) -> str:
    """A token in the singular and with American spelling; empty if it has a capital and may be a name."""
    if not token.isascii() or not token.islower():
        return ""
    word = _AMERICAN.get(token, token)
    for singular in _singulars(word):
        if singular in ATTRIBUTES or singular in _NOUNS or (len(singular) > 7 and singular.endswith(_NOUN_ENDINGS)):
            return singular
    return word


def _singulars(word: str) -> Iterable[str]:
    """The possible singulars of a regular plural."""
    if word.endswith("s") and len(word) > 3 and not word.endswith(("ss", "us", "is")):
        ending = (("ies", "y"), ("es", ""), ("s", ""))
        bare = [word.removesuffix(plural) + single for plural, single in ending if word.endswith(plural)]
        # "es" is the plural's ending only after a hissing sound.
        return [one for one in bare if one + "s" == word or one.endswith(("y", "s", "x", "z", "ch", "sh"))]
    return []


def _stem(token: str) -> str:
    """One stem for all possible forms of a word. Different stems are different words."""
    word = token.casefold().removesuffix("'s").removesuffix("’s")
    word = _AMERICAN.get(word, word)
    if not word.isalpha() or not word.isascii() or len(word) < 3 or word.endswith(("ss", "us", "is")):
        return word
    word = word.removesuffix("s").removesuffix("e")
    return f"{word[:-1]}i" if word.endswith("y") else word


def _compare(demonstrated: _Query, given: _Query) -> Outcome:
    if demonstrated.text == given.text:
        return Outcome.CORRECT
    one, other = Counter(demonstrated.stems), Counter(given.stems)
    if demonstrated.fixed != given.fixed or bool(one) != bool(other):
        return Outcome.WRONG_ARGUMENTS
    if not one:
        same = demonstrated.fixed and _are_equal(demonstrated.words, given.words)
        return Outcome.CORRECT if same else Outcome.WRONG_ARGUMENTS
    if not all(word in one and word in other for word in demonstrated.capitals | given.capitals):
        return Outcome.WRONG_ARGUMENTS
    if one - other and other - one:
        return Outcome.WRONG_ARGUMENTS
    if _are_equal(demonstrated.words, given.words):
        same_frame = demonstrated.frame == given.frame or "" in (demonstrated.frame, given.frame)
        return Outcome.CORRECT if same_frame else Outcome.UNPROVEN
    is_moved = one == other and demonstrated.stems != given.stems and not RELATIONS.isdisjoint(one)
    is_negated = not _NEGATIONS.isdisjoint((*(one - other), *(other - one)))
    return Outcome.WRONG_ARGUMENTS if is_moved or is_negated else Outcome.UNPROVEN


def _are_equal(words: Sequence[tuple[str, str]], others: Sequence[tuple[str, str]]) -> bool:
    pairs = zip(words, others, strict=False)
    return len(words) == len(others) and all(one[0] == other[0] or one[1] == other[1] != "" for one, other in pairs)


VERIFIER = Verifier(
    prepare=prepare, options=SearchQueryOptions, version=5, kinds=frozenset({"tool_call"}), abstains=True
)
