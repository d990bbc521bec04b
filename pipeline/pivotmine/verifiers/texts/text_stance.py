"""What a text does beside stating facts: whether it asks for something, and what it denies. English, mostly.

Both are read from words, sentence by sentence, and only ever make two texts differ. Offers of more help ("let me
know if you need anything else") and conditions ("if you don't have it") neither ask nor deny.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SENTENCE = re.compile(r"[^.!?\n]*+[.!?\n]?")
_OFFER = re.compile(
    r"anything else|any (?:other|further|more) |further assistance|need (?:any )?(?:further|more|other) |feel free"
    r"|(?:happy|here|glad) to (?:help|assist)|how (?:can|may) i |let me know if |don't hesitate|no (?:problem|worries)",
    re.IGNORECASE,
)
_REQUEST = re.compile(
    r"\?|\bplease (?:also )?(?:provide|confirm|share|let me know|send|specify|tell|choose|select|upload|enter|give"
    r"|reply|respond|indicate|state|verify|type)\b"
    r"|\bi(?:'ll| will)? (?:also )?need (?:your|the|to know|you to|some|more|a few)\b"
    r"|\blet me know (?:which|what|how|when|where|who|whether|the|your)\b|\b(?:could|would|can) you\b",
    re.IGNORECASE,
)
_CONDITION = re.compile(r"\b(?:if|unless|in case|whether|once|until)\b[^,;:.!?]*+", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_][\w']*+")
_DENIAL = """not no never cannot without neither nor none nobody nothing non
    ne pas jamais nicht kein keine keinen nie nunca jamás não nao nessun niet geen не нет"""
_DENIALS = frozenset(_DENIAL.split())
_DENIED = {"unable": "able", "unavailable": "available", "ineligible": "eligible", "impossible": "possible"}
_STEM_CHARS = 5
"""modify and modified, eligible and eligibility: words are told apart by so many letters."""
_LIGHT = """a an the this that these those it its i me my we us our you your he she they them their of to for and or in
    on at is are was were be been being am as by with from has have had will would could can may might must should do
    does did so there here please any some all more very just also then than which who what when where how yet"""
_LIGHT_WORDS = frozenset(_LIGHT.split())


def asks(text: str) -> bool:
    """Whether a text, in plain typography, asks a question or requests something."""
    return any(_REQUEST.search(sentence) and not _OFFER.search(sentence) for sentence in _sentences(text))


def contradiction(one: str, other: str) -> str | None:
    """What one of two texts denies and the other does not, in a few words; None where they agree."""
    denied, affirmed = _stance(one)
    other_denied, other_affirmed = _stance(other)
    if bool(denied) != bool(other_denied):
        return "one denies something, the other nothing"
    both_ways = ((denied - other_denied) & other_affirmed) | ((other_denied - denied) & affirmed)
    return f"denied in one, said in the other: {min(both_ways)}" if both_ways else None


def _stance(text: str) -> tuple[set[str], set[str]]:
    """Stems of what is denied ("" where there is a denial at all), and of what is said plainly."""
    denied, affirmed = set[str](), set[str]()
    for sentence in _sentences(text):
        if _OFFER.search(sentence):
            continue
        open_denial = False
        for match in _WORD.finditer(_CONDITION.sub(" ", sentence).lower()):
            word = match[0]
            stem = _DENIED.get(word, word)[:_STEM_CHARS]
            if word in _DENIALS or word.endswith("n't"):
                denied.add("")
                open_denial = True
            elif word in _DENIED:
                denied.update(("", stem))
            elif word not in _LIGHT_WORDS:
                (denied if open_denial else affirmed).add(stem)
                open_denial = False
    return denied, affirmed


def _sentences(text: str) -> Iterator[str]:
    return (sentence for sentence in _SENTENCE.findall(text) if sentence.strip())
