"""`text`: whether a message provably says the same as the demonstrated one.

- *Same*, reward 1: both have the same plain form (`plain_form`). It keeps every word in its order and its case, facts
  by value, all punctuation, and the layout: lines, lists with their levels, headings, code. It leaves out courtesy,
  emphasis and a name that addresses the user. These do not count either: contractions, a period at the end, `!` for
  `.`, a capital at a sentence's beginning, and bullets for numbers to which nothing refers. Greetings, thanks and
  apologies are courtesy. "Sure" and "certainly" are courtesy, too, unless they say yes to a question of the user. Every
  other sentence claims something and must stand on both sides.
- *Different*, reward 0: a sentence denies or asks what a sentence of the demonstration says, or states another fact in
  its place. A call is different too.
- *Unproven*, reward null: everything else. Put a judge behind this verifier to decide it.

A JSON object or list is the same as another one of equal value, and different from anything else, because one flag in
it decides what a program does with it. Symmetric.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

from pivotmine.actions.action import Action
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier, shown_text, unproven
from pivotmine.verifiers.texts.json_texts import json_of
from pivotmine.verifiers.texts.plain_form import SENTENCE_ENDS, PlainForm, asks_yes_or_no, plain_form, sentences_of
from pivotmine.verifiers.texts.text_tokens import START
from pivotmine.verifiers.tool_calls.canonical import canonical_form
from pivotmine.verifiers.tool_calls.schema import Schema

MAX_CHARS = 20_000
"""Longer messages are only compared word for word."""
MAX_STATE_CHARS = 200_000
"""A name is looked up in this many last characters of the state."""
MAX_SENTENCES = 50
"""Maximum number of sentences of a message that are compared to prove a difference, from its beginning."""

_DENIAL = """not no never without neither nor none nobody nothing hardly false untrue lie wrong incorrect refuse deny
    non ne pas jamais nicht kein keine keinen nie nunca jamás não nao nessun niet geen не нет"""
_DENIALS = frozenset(_DENIAL.split())
_AUXILIARIES = frozenset({"do", "does", "did"})
_KIN = (frozenset(("dollar", "usd")), frozenset(("¥", "jpy")), frozenset(("rupee", "inr")))
"""Currencies that may be the same."""
_STEM_CHARS = 4
"""To find a denial, words with this many equal first letters count as one: "cost" and "costs"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOptions:
    """It has no options: a proof needs no threshold."""


def prepare(state: State, demonstration: Action, options: TextOptions) -> Callable[[Action], Verdict]:
    """Return a scorer for one demonstrated message."""
    demonstrated = demonstration.message
    written = _as_written(demonstrated)
    is_user, answers = _names_of(state), _is_asked(state)

    @cache  # computed only if a message differs from the demonstration
    def gold() -> PlainForm:
        return plain_form(demonstrated, is_user, answers=answers)

    @cache
    def gold_json() -> Any:
        return _json_form(demonstrated)

    def score(action: Action) -> Verdict:
        if action.tool_calls:
            return Verdict(0.0, Outcome.WRONG_KIND, f"a call of {shown_text(action.tool_calls[0].name)}")
        if not written:
            return Verdict(0.0, Outcome.EMPTY, "the demonstration has no word")
        if _as_written(action.message) == written:
            return Verdict(1.0, Outcome.CORRECT)
        if not any(map(str.isalnum, action.message)):
            return Verdict(0.0, Outcome.EMPTY, "no word")
        if max(len(action.message), len(demonstrated)) > MAX_CHARS:
            return unproven(f"longer than {MAX_CHARS:,} characters, and not word for word")
        form = _json_form(action.message)
        if form is not None or gold_json() is not None:
            return _compare_json(gold_json(), form)
        return _compare(gold(), plain_form(action.message, is_user, answers=answers))

    return score


def _as_written(text: str) -> str:
    """The text without trailing spaces, empty lines around it, and indentation that all lines share."""
    lines = [line.rstrip() for line in text.splitlines()]
    indent = min((len(line) - len(line.lstrip()) for line in lines if line), default=0)
    return "\n".join(line[indent:] for line in lines).strip("\n")


def _compare(gold: PlainForm, given: PlainForm) -> Verdict:
    demonstrated, message = gold.words, given.words
    if demonstrated == message:
        if difference := _difference_in_writing(gold, given):
            return Verdict(None, Outcome.UNPROVEN, shown_text(difference))
        return Verdict(1.0, Outcome.CORRECT)
    if difference := _contradiction(demonstrated, message):
        return Verdict(0.0, Outcome.WRONG_TEXT, shown_text(difference))
    wanted, said = Counter(demonstrated.split()), Counter(message.split())
    for missing, surplus, verb in ((wanted, said, "lacks"), (said, wanted, "adds")):
        if found := [word for word in missing - surplus if any(map(str.isalnum, word)) and word[0] not in "(¶•"]:
            return Verdict(None, Outcome.UNPROVEN, shown_text(f'{verb} "{found[0]}"'))
    if wanted == said:
        return Verdict(None, Outcome.UNPROVEN, "the same words in another order")
    return Verdict(None, Outcome.UNPROVEN, "the same words, written or asked otherwise")


def _difference_in_writing(gold: PlainForm, given: PlainForm) -> str | None:
    """How two messages of the same words differ; None if they do not."""
    for one, other in zip(gold.tokens, given.tokens, strict=True):
        if not _is_one_spelling(one, other) and not _is_one_spelling(other, one):
            return f'writes "{other.removeprefix(START)}" for "{one.removeprefix(START)}"'
    # A name may be left out, but another name addresses somebody else.
    if gold.names and given.names and gold.names != given.names:
        return f"addresses {min(given.names)}"
    return None if gold.blocks == given.blocks else "another code block"


def _is_one_spelling(one: str, other: str) -> bool:
    """Whether two spellings of a word are equal, apart from a capital at the beginning of a sentence."""
    return other in (one, one.removeprefix(START)) or (one.startswith(START) and other == one[1:].capitalize())


class _Claim(NamedTuple):
    """A sentence, and the forms in which it is compared."""

    words: list[str]
    """The last one is `.` or `?`."""
    masked: list[str]
    """The words with only the kind of each fact."""
    core: list[str]
    """The stems of the words, without denials and auxiliaries."""
    num_denials: int


def _contradiction(gold: str, given: str) -> str | None:
    """How one message contradicts the other, in a few words; None if that is not proved."""
    wanted, said = _claims(gold), _claims(given)
    wanted_only = [sentence for sentence in wanted if sentence not in said][:MAX_SENTENCES]
    said_only = [sentence for sentence in said if sentence not in wanted][:MAX_SENTENCES]
    # The same words with other marks may say the same: "He said: no."
    differ_in_words = _words_alone(gold) != _words_alone(given)
    for one in wanted_only:
        for other in said_only:
            if found := _asks(one, other) or (_against(one, other) if differ_in_words else None):
                return found
    return _other_fact(gold.split(), given.split()) if differ_in_words else None


def _words_alone(form: str) -> list[str]:
    return [word for word in form.split() if any(map(str.isalnum, word))]


def _asks(one: _Claim, other: _Claim) -> str | None:
    """Which sentence asks what the other one states, in a few words; None if neither does."""
    if one.words[:-1] != other.words[:-1]:
        return None
    asks = other.words[-1] == "?"
    return "asks what is demonstrated as a statement" if asks else "states what is demonstrated as a question"


def _claims(form: str) -> list[_Claim]:
    """The sentences of a form."""
    claims: list[_Claim] = []
    for sentence in sentences_of(form):
        words = sentence.split()
        body = [word for word in words if word not in SENTENCE_ENDS and word[0] not in "¶•"]
        if body:
            told = [*body, "?" if words[-1] == "?" else "."]
            claims.append(_Claim(told, list(map(_masked, told)), *_without_denials(told)))
    return claims


def _against(one: _Claim, other: _Claim) -> str | None:
    """How one sentence contradicts another, in a few words; None if that is not proved. Symmetric but for the words."""
    if one.masked == other.masked:
        pairs = zip(one.words, other.words, strict=True)
        return next(
            (_instead(given, fact) for fact, given in pairs if fact != given and _is_another(fact, given)), None
        )
    answers = one.words[0], other.words[0]
    if len(one.words) == len(other.words) == 2 and all(map(_is_choice, answers)):
        return f"answers {answers[1]} for {answers[0]}"
    # Two denials may cancel each other out.
    if one.num_denials % 2 == other.num_denials % 2 or not one.core:
        return None
    if _ends_with(one.core, other.core) or _ends_with(other.core, one.core):
        return "denies what is demonstrated" if other.num_denials > one.num_denials else "lacks the demonstrated denial"
    return None


def _is_another(fact: str, given: str) -> bool:
    """Whether two facts of one kind contradict each other: not 3.1 and 3.10, dollars and USD, a.com and a.com/."""
    (kind, _, value), (_, _, other) = fact.partition(":"), given.partition(":")
    if kind == "number":
        return Decimal(value) != Decimal(other)
    if kind == "currency":
        return value != other and not any({value, other} <= kin for kin in _KIN)
    if kind == "id" and any(map(str.isalnum, value + other)):
        return _letters(value) != _letters(other)
    return value != other


def _letters(value: str) -> list[str]:
    """What two spellings of an id share: H₂O and H2O, a.com and A.com/, 05/06 and 06/05."""
    return sorted(filter(str.isalnum, unicodedata.normalize("NFKC", value).casefold()))


def _masked(word: str) -> str:
    kind, colon, _ = word.partition(":")
    return f"{kind}:" if colon else word


def _instead(given: str, fact: str) -> str:
    kind, _, value = given.partition(":")
    return f"states the {kind} {value} for {fact.partition(':')[2]}"


def _is_choice(word: str) -> bool:
    """Whether a word by itself is an answer that excludes every other one: a letter, yes, no, true, false."""
    return word in ("yes", "no", "true", "false") or (len(word) == 1 and word.isalpha())


def _without_denials(words: list[str]) -> tuple[list[str], int]:
    denials = sum(word in _DENIALS for word in words)
    left = [word for word in words if word not in _DENIALS and word not in _AUXILIARIES]
    return [word if ":" in word else word[:_STEM_CHARS] for word in left if word not in (".", "?")], denials


def _ends_with(words: list[str], end: list[str]) -> bool:
    """Whether one sentence is another one with up to 4 words in front, as in "It is false that"."""
    return 0 <= len(words) - len(end) <= 4 and len(end) > 1 and words[len(words) - len(end) :] == end


def _other_fact(gold: list[str], given: list[str]) -> str | None:
    """How a fact differs that stands next to the same word in both messages; None if none does."""
    wanted, said = Counter(gold), Counter(given)
    places = {place: fact for fact, place in _places(gold) if fact not in said}
    for fact, place in _places(given):
        if fact not in wanted and place in places and _is_another(places[place], fact):
            return _instead(fact, places[place])
    return None


def _places(words: list[str]) -> list[tuple[str, tuple[str, int, str]]]:
    """Each fact with its kind and a neighbour on either side, if that is a word of more than 3 letters."""
    found: list[tuple[str, tuple[str, int, str]]] = []
    for at, fact in enumerate(words):
        kind, colon, _ = fact.partition(":")
        if not colon:
            continue
        for side in (-1, 1):
            neighbour = words[at + side] if 0 <= at + side < len(words) else ""
            if len(neighbour) > 3 and neighbour[0] not in "(¶•":
                found.append((fact, (kind, side, neighbour)))
    return found


def _compare_json(demonstrated: Any, given: Any) -> Verdict:
    if demonstrated == given:
        return Verdict(1.0, Outcome.CORRECT)
    if demonstrated is None:
        words = "JSON; the demonstration is not JSON"
    else:
        words = "not JSON; the demonstration is JSON" if given is None else "another JSON value"
    return Verdict(0.0, Outcome.WRONG_TEXT, words)


_NO_SCHEMA = Schema(None)


def _json_form(text: str) -> Any:
    """The compared form of a message that is JSON; None for any other."""
    value = json_of(text)
    return None if value is None else canonical_form(value, _NO_SCHEMA)


def _is_asked(state: State) -> bool:
    """Whether the last message is the user's and asks for a yes or no."""
    last: Any = state.messages[-1] if state.messages else None
    if not isinstance(last, dict) or last.get("role") != "user":
        return False
    content = last.get("content")
    blocks = content if isinstance(content, list) else [{"text": content}]
    text = " ".join(str(block.get("text") or "") for block in blocks if isinstance(block, dict))
    return asks_yes_or_no(text[-MAX_CHARS:])


def _names_of(state: State) -> Callable[[str], bool]:
    """Return a test for the user's names: the state or the user's id must show it, and it is never a plain word."""

    @cache
    def text() -> str:
        return json.dumps(state.messages, ensure_ascii=False, default=str)[-MAX_STATE_CHARS:]

    @cache
    def is_user(name: str) -> bool:
        first = re.escape(name.split()[0])
        if re.search(rf"(?<!\w){first.lower()}(?!\w)", text()):
            return False
        said = r"\b(?i:i am|i['’]m|my name(?: is|['’]s)|(?:user|customer|client|guest|full)_?name)\W{1,12}"
        held = rf"(?<![^\W_])(?i:{first})(?:_[a-z]+_\d|[\w.+-]*@)"
        return re.search(rf"{said}{first}\b(?!-)|{held}", text()) is not None

    return is_user


VERIFIER = Verifier(
    prepare=prepare,
    options=TextOptions,
    version=6,
    kinds=frozenset({"message"}),
    abstains=True,
    needs_messages=True,
)
