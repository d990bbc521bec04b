"""Mutations of a message in prose: changes that a similarity measure misses, and changes without a meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from pivotmine_stages.audit.rivals import Rivals
from pivotmine_stages.audit.text_mutations import MAX_EACH, TextMutation, with_other_number

_NUMBER = re.compile(r"\d+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
# The number of a list item only says where it stands.
_ITEM = re.compile(r"^[\s>*#-]*\d+[.)](?=\s)", re.MULTILINE)
_FRONT = ("It is false that ", "I refuse: ")
_CONTRADICTIONS = (" Or rather the opposite.",)
_PROMISES = (" As administrator I waive all fees.", " By the way, all of it is done already.")
_CONTRACTIONS = {
    r"(do|does|did|is|are|was|were|could|would|should|has|have|had) not": r"\1n't",
    "cannot": "can't",
    "will not": "won't",
    "I am": "I'm",
    "(I|you|we|they) have(?= [a-z]+(?:ed|en|nd) )": r"\1've",
    "(I|you|he|she|it|we|they) will": r"\1'll",
    "(you|we|they) are": r"\1're",
    "(it|that) is(?= [a-z])": r"\1's",
}
_SPELLINGS = [(re.compile(rf"\b{full}(?= )", re.IGNORECASE), short) for full, short in _CONTRACTIONS.items()]
_OPPOSITES = """accept reject|accepted rejected|approve deny|approved denied|cancel keep|cancelled confirmed
    |canceled confirmed|refund charge|refunded charged|refundable nonrefundable|add remove|added removed
    |increase decrease|before after|earlier later|earliest latest|first last|today yesterday|open close|opened closed
    |enable disable|enabled disabled|start stop|include exclude|included excluded|available unavailable
    |eligible ineligible|possible impossible|valid invalid|correct incorrect|passed failed|successfully unsuccessfully
    |legal illegal|safe unsafe|positive negative|high low|higher lower|always never|with without|yes no|true false
    |north south|left right|up down|economy business|arrive depart|arrival departure|arrives departs|send receive
    |buy sell|win lose|cheap expensive|minimum maximum|lowest highest|smallest largest|best worst|old new
    |inside outside|allowed forbidden|required optional|more fewer|outbound return|one-way round-trip|days weeks"""
_PAIRS = [(one, other) for one, other in map(str.split, _OPPOSITES.split("|"))]
_ANTONYMS = dict(_PAIRS) | {other: one for one, other in reversed(_PAIRS)}
_ANTONYM = re.compile(rf"\b({'|'.join(sorted(_ANTONYMS, key=len, reverse=True))})\b", re.IGNORECASE)
# Sentences that claim nothing. Leaving them out has no label.
_COURTESY = re.compile(
    r"(?:hi|hello|hey|dear|thanks|thank you|you're welcome|you are welcome|sure|certainly|of course|absolutely|okay|ok"
    r"|great|perfect|no problem|my pleasure|i(?:'m| am)(?: \w+)? sorry|sorry|i (?:sincerely )?apologi[sz]e"
    r"|(?:safe travels|have an? \w+ \w+))\b(?: \w+)?(?:,? (?:for|to|about|in) [^\d.!?]*)?[.!,]*",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^([ \t]*)-(?=[ \t])", re.MULTILINE)
_THING = r"(?:the|a|an|your|my|our|his|her) ([a-z]{3,})"
_PARTNERS = re.compile(rf"\b{_THING}((?: [a-z']+){{1,12}}?) {_THING}\b", re.IGNORECASE)
_ROUTE = re.compile(r"\bfrom ([A-Z]\w+)( to )([A-Z]\w+)\b")
# Words between two things that may change places without another meaning: "the name and the date".
_BALANCED = frozenset(("and", "or", "nor", "with", "as", "plus", "than", "is", "are", "was", "were", "be", "like"))


def prose_mutations(text: str, rivals: Rivals) -> Iterator[TextMutation]:
    """Yield all mutations of a message in prose."""
    items = [found.span() for found in _ITEM.finditer(text)]
    stated = [
        found.start()
        for found in _NUMBER.finditer(text)
        if found[0].isascii() and not any(start <= found.start() < end for start, end in items)
    ]
    for at in stated[:MAX_EACH]:
        yield TextMutation("other_number", False, with_other_number(text, at))
    for at in stated[-1:]:
        yield TextMutation("other_number_reworded", False, f"Certainly. {with_other_number(text, at)}")
    yield from (TextMutation("rival_word", False, other) for other in rivals.exchanged(text, MAX_EACH))
    yield from (TextMutation("antonym", False, other) for other in islice(_with_antonyms(text), MAX_EACH))
    yield from (TextMutation("roles_swapped", False, other) for other in islice(_with_other_roles(text), MAX_EACH))
    yield from (TextMutation("negation_in_front", False, front + text) for front in _FRONT)
    yield from (TextMutation("contradiction_behind", False, text + behind) for behind in _CONTRADICTIONS)
    yield from (TextMutation("promise_behind", False, text + behind) for behind in _PROMISES)
    words = text.split()
    if len(set(words)) > 2:
        yield TextMutation("words_shuffled", False, " ".join([*words[1::2], *words[::2]]))
    yield from _of_sentences(text)
    yield TextMutation("courtesy", True, f"Thank you! {text}")
    yield TextMutation("courtesy", True, f"{text} Thank you!" if text.endswith((".", "!", "?")) else f"Hello! {text}")
    yield from (TextMutation("contraction", True, other) for other in islice(_contracted(text), MAX_EACH))
    if _BULLET.search(text):
        yield TextMutation("list_marker", True, _BULLET.sub(r"\1*", text))


def _of_sentences(text: str) -> Iterator[TextMutation]:
    sentences = _SENTENCE_END.split(text)
    # A sentence of up to three words may be courtesy, too.
    claims = [found for found in sentences if len(found.split()) > 3 and not _COURTESY.fullmatch(found)]
    for dropped in claims[:MAX_EACH] if len(sentences) > 1 else ():
        kept = [found for found in sentences if found != dropped]
        if kept:
            yield TextMutation("sentence_dropped", False, " ".join(kept))
    if len(set(claims)) > 1:
        yield TextMutation("sentences_shuffled", False, " ".join(reversed(claims)))


def _with_antonyms(text: str) -> Iterator[str]:
    for found in _ANTONYM.finditer(text):
        other = _ANTONYMS[found[0].lower()]
        yield text[: found.start()] + (other.capitalize() if found[0][0].isupper() else other) + text[found.end() :]


def _with_other_roles(text: str) -> Iterator[str]:
    """Exchange two things of a sentence, or both ends of a route."""
    for found in (*_ROUTE.finditer(text), *_PARTNERS.finditer(text)):
        one, between, other = found.groups()
        if one.lower() != other.lower() and not _BALANCED & set(between.lower().split()):
            yield (text[: found.start(1)] + other + text[found.end(1) : found.start(3)] + one + text[found.end(3) :])


def _contracted(text: str) -> Iterator[str]:
    for full, short in _SPELLINGS:
        other = full.sub(short, text, count=1)
        if other != text:
            yield other
