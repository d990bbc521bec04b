"""What a text states: its numbers, dates, times, ids, codes and names, in one spelling each, in their order.

Every step is linear in the text. What cannot be read for sure (05/06/2024, 1.234,56, digits of another script,
a word of mixed alphabets or with an invisible character in it) is kept as it is written, so that it equals
itself only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import NamedTuple


class Fact(NamedTuple):
    kind: str
    """`number`, `percent`, `date`, `time`, `id` or `year`, `currency`."""
    value: str
    """The one spelling."""


class Word(NamedTuple):
    text: str
    """As written, edge punctuation off."""
    starts: bool
    """It starts a sentence, a line, a label's value or a quotation, where any word may have a capital."""
    ends: bool
    """A sentence or a clause ends behind it."""
    fact: Fact | None = None
    """What it states."""
    name: bool = False
    """It may be a name: letters only, the first a capital, not where every word has one; or all capitals."""


@dataclass(slots=True)
class Facts:
    words: list[Word] = field(default_factory=list[Word])
    """All of the text, in order."""
    optional: set[Fact] = field(default_factory=set[Fact])
    """Stated, but a paraphrase may leave it out: a date's year, an amount's currency."""
    possible: set[Fact] = field(default_factory=set[Fact])
    """What "one" and "first" say, where they say anything."""

    @property
    def stated(self) -> list[Fact]:
        """What a paraphrase has to state too, in order."""
        return [word.fact for word in self.words if word.fact]


_TYPOGRAPHY = str.maketrans(
    {
        **dict.fromkeys("‘’‛′`´", "'"),
        **dict.fromkeys("“”„″«»", '"'),
        **dict.fromkeys("‐‑‒–—−", "-"),
        "\xa0": " ",
        "\u202f": " ",
        "…": "...",
        "*": " ",
        "#": " ",
        "|": " ",
    }
)
# Scripts that put no space between words: a space where they meet Latin letters and digits.
_UNSPACED = re.compile("[\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_MARKER = re.compile(r"^[ \t]*(?:[-•·+>][ \t]+)*(?:\d{1,2}[.)][ \t]+)?", re.MULTILINE)
_EDGES = "\"'()[]{}<>,.;:!?~=·•-"
_MONTH_NAMES = "january february march april may june july august september october november december"
_MONTHS = {word: n for n, name in enumerate(_MONTH_NAMES.split(), 1) for word in (name, name[:3])} | {"sept": 9}
_UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen"""
_NUMBER_WORDS = {word: number for number, word in enumerate(_UNITS.split())}
_TENS_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * n for n, word in enumerate(_TENS_WORDS.split(), 2)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_ONE = {"one": "1", "first": "1", "single": "1", "a": "1", "an": "1", "once": "1"}
_CURRENCIES = {
    **dict.fromkeys(("$", "usd", "us$", "dollar", "dollars"), "usd"),
    **dict.fromkeys(("€", "eur", "euro", "euros"), "eur"),
    **dict.fromkeys(("£", "gbp", "pound", "pounds"), "gbp"),
    **dict.fromkeys(("¥", "jpy", "yen"), "jpy"),
    **dict.fromkeys(("₹", "inr", "rupee", "rupees"), "inr"),
}
_AMOUNT = re.compile(
    r"([-+]?)(us\$|[$€£¥₹])?([-+]?)(\d{1,3}(?:,\d{3})++(?:\.\d+)?|\d++(?:\.\d+)?|\.\d++)"
    r"(%|[$€£¥₹]|usd|eur|gbp|am|pm|st|nd|rd|th|kg|km|cm|mm|lbs?|[kmg]b|ms|hrs?|mins?|[hsmk])?",
    re.ASCII | re.IGNORECASE,
)
_ISO_DATE = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})", re.ASCII)
_SLASH_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})", re.ASCII)
_DAY = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?", re.ASCII)
_YEAR = re.compile(r"(?:19|20)\d\d", re.ASCII)
_TIME = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?(am|pm)?z?", re.ASCII | re.IGNORECASE)
_LABEL = re.compile(r"[:=](?!\d)|(?<!\d)[:=]", re.ASCII)
_FILE = re.compile(r"\w\.\w\w")
# Decimal's default context keeps 28 digits; a longer number is an id.
_MAX_NUMBER_CHARS = 24


def facts_of(text: str) -> Facts:
    """Read a text."""
    facts = Facts()
    pieces = list(_pieces(text))
    at = 0
    while at < len(pieces):
        at += _read(pieces, at, facts)
    return facts


def plain(text: str) -> str:
    """The text in one typography: composed characters, straight quotes, plain hyphens, no emphasis."""
    text = unicodedata.normalize("NFC", text).translate(_TYPOGRAPHY)
    return _UNSPACED.sub(r" \g<0> ", text)


def _pieces(text: str) -> Iterator[Word]:
    for line in _MARKER.sub("", plain(text)).splitlines():
        starts = True
        for chunk in line.split():
            core = chunk.strip(_EDGES) if chunk[0] not in "-+" or not chunk[-1:].isdigit() else chunk.rstrip(_EDGES)
            tail = chunk[chunk.rfind(core) + len(core) :] if core else chunk
            parts = [part for part in _split(core) if any(map(str.isalnum, part)) or part in _CURRENCIES]
            quoted = chunk[0] in "\"'(["
            for index, part in enumerate(parts):
                last = index == len(parts) - 1
                yield Word(part, starts or quoted, last and any(c in ".!?:;," for c in tail))
                starts = False
            starts = starts or any(c in ".!?:" for c in tail)


def _split(core: str) -> list[str]:
    if core.isalpha() or "://" in core or "@" in core or _TIME.fullmatch(core) or _ISO_DATE.match(core):
        return [core]
    if "/" in core and core[0] != "/" and "." not in core and not core[0].isdigit():
        return [piece for part in core.split("/") for piece in _split(part)]
    if _LABEL.search(core):
        return [piece for part in _LABEL.split(core) for piece in _split(part.strip(_EDGES))]
    parts = core.split("-")
    words = all(part.isalpha() for part in parts[1:])
    if len(parts) > 1 and words and (parts[0].isalpha() or (parts[0].isdigit() and parts[1].islower())):
        return parts
    if len(parts) == 2 and all(part and _AMOUNT.fullmatch(part) for part in parts):
        return parts
    return [core]


def _read(pieces: list[Word], at: int, facts: Facts) -> int:
    """Append the word at an index, and what it states, and return how many pieces that took."""
    word = pieces[at]
    text = word.text
    taken = 1
    if text.isascii() and text.isalpha():
        taken, fact = _spelled(pieces, at, facts)
    elif is_odd(text):
        fact = Fact("id", text)
    else:
        taken, fact = _written(pieces, at, facts)
    ends = pieces[at + taken - 1].ends
    facts.words.append(Word(text, word.starts, ends, fact, fact is None and _may_be_name(word)))
    return taken


def _may_be_name(word: Word) -> bool:
    text = word.text.removesuffix("'s")
    if not text.isalpha() or not text[0].isupper() or len(text) < 2 or text.lower() in _CURRENCIES:
        return False
    return text.isupper() or not word.starts


def _spelled(pieces: list[Word], at: int, facts: Facts) -> tuple[int, Fact | None]:
    """A word of letters: a month with its day, a number, a currency; else nothing."""
    low = pieces[at].text.lower()
    if low in _MONTHS and pieces[at].text[0].isupper() and not pieces[at].ends and _day(pieces, at + 1):
        return _date(pieces, at, at + 1, at + 2, facts)
    if low in _TENS or (low in _NUMBER_WORDS and low != "one"):
        taken, value = 1, _TENS.get(low) or _NUMBER_WORDS.get(low, 0)
        following = _low(pieces, at + 1)
        if low in _TENS and 0 < _NUMBER_WORDS.get(following, 0) < 10:
            taken, value = 2, value + _NUMBER_WORDS[following]
        return _number(pieces, at, taken, Decimal(value), facts)
    if low == "one" and _low(pieces, at + 1) in _SCALES:
        return _number(pieces, at, 1, Decimal(1), facts)
    if low in _ONE:
        facts.possible.add(Fact("number", _ONE[low]))
    elif low in _CURRENCIES:
        facts.optional.add(Fact("currency", _CURRENCIES[low]))
    return 1, None


def _written(pieces: list[Word], at: int, facts: Facts) -> tuple[int, Fact | None]:
    """A word with a character that is no letter: a date, a time, a number, an id; else nothing."""
    text = pieces[at].text
    if (day := _day(pieces, at)) and not pieces[at].ends:
        month = at + 2 if _low(pieces, at + 1) == "of" else at + 1
        if _low(pieces, month) in _MONTHS and pieces[month].text[0].isupper() and day:
            return _date(pieces, month, at, month + 1, facts)
    if date := _numeric_date(text):
        facts.optional.add(Fact("year", date[0]))
        return 1, Fact("date", date[1])
    if match := _TIME.fullmatch(text):
        return _time(pieces, at, match[1], match[2], match[3], match[4])
    if (match := _AMOUNT.fullmatch(text)) and len(text) <= _MAX_NUMBER_CHARS:
        return _amount(pieces, at, match, facts)
    if text.lower() in _CURRENCIES:
        facts.optional.add(Fact("currency", _CURRENCIES[text.lower()]))
        return 1, None
    is_id = any(c.isdigit() or c in "_@/\\&+=$%^" for c in text) or _FILE.search(text)
    return 1, Fact("id", text) if is_id else None


def _amount(pieces: list[Word], at: int, match: re.Match[str], facts: Facts) -> tuple[int, Fact | None]:
    sign, before, inner_sign, digits, unit = match.groups()
    unit = (unit or "").lower()
    if unit in ("am", "pm"):
        return _time(pieces, at, digits, "00", None, unit)
    if unit == "" and _meridiem(pieces, at + 1) and digits.isdigit() and not before:
        return _time(pieces, at, digits, "00", None, None)
    for mark in (before, unit):
        if mark and mark.lower() in _CURRENCIES:
            facts.optional.add(Fact("currency", _CURRENCIES[mark.lower()]))
    value = Decimal(digits.replace(",", ""))
    if "-" in (sign, inner_sign):
        value = -value
    if unit == "k":
        value *= 1000
    if unit == "%":
        return 1, Fact("percent", _spelling(value))
    return _number(pieces, at, 1, value, facts)


def _number(pieces: list[Word], at: int, taken: int, value: Decimal, facts: Facts) -> tuple[int, Fact]:
    """A number with the words behind it that change it: hundred, million, percent."""
    while (scale := _SCALES.get(_low(pieces, at + taken))) and taken < 4:
        value, taken = value * scale, taken + 1
    if _low(pieces, at + taken) in ("percent", "%"):
        return taken + 1, Fact("percent", _spelling(value))
    return taken, Fact("number", _spelling(value))


def _spelling(value: Decimal) -> str:
    try:
        return format(value.normalize(), "f") if value else "0"
    except InvalidOperation:
        return str(value)


def _time(
    pieces: list[Word], at: int, hour: str, minute: str, second: str | None, half: str | None
) -> tuple[int, Fact | None]:
    taken = 1
    if half is None and (half := _meridiem(pieces, at + 1)):
        taken = 2
    hours = int(hour) % 12 if half else int(hour)
    hours += 12 if half and half.lower() == "pm" else 0
    seconds = f":{second}" if second and second != "00" else ""
    return taken, Fact("time", f"{hours:02}:{minute}{seconds}")


def _meridiem(pieces: list[Word], at: int) -> str | None:
    low = _low(pieces, at).replace(".", "")
    return low if low in ("am", "pm") else None


def _date(pieces: list[Word], month: int, day: int, after: int, facts: Facts) -> tuple[int, Fact]:
    start = min(month, day)
    number = _day(pieces, day)
    if after < len(pieces) and _YEAR.fullmatch(pieces[after].text):
        facts.optional.add(Fact("year", pieces[after].text))
        after += 1
    return after - start, Fact("date", f"{_MONTHS[_low(pieces, month)]:02}-{number:02}")


def _day(pieces: list[Word], at: int) -> int | None:
    match = _DAY.fullmatch(pieces[at].text) if at < len(pieces) else None
    return int(match[1]) if match and 1 <= int(match[1]) <= 31 else None


def _numeric_date(text: str) -> tuple[str, str] | None:
    """Year and month-day of a date in digits, where its order is beyond doubt."""
    if match := _ISO_DATE.fullmatch(text):
        year, month, day = match[1], int(match[2]), int(match[3])
    elif match := _SLASH_DATE.fullmatch(text):
        year, month, day = match[3], int(match[1]), int(match[2])
        if month <= 12 and day <= 12 and month != day:
            return None
        month, day = (day, month) if month > 12 else (month, day)
    else:
        return None
    return (year, f"{month:02}-{day:02}") if 1 <= month <= 12 and 1 <= day <= 31 else None


def _low(pieces: list[Word], at: int) -> str:
    return pieces[at].text.lower() if at < len(pieces) else ""


def is_odd(text: str) -> bool:
    """Whether a word could pass for another one to the eye: alphabets mixed, something invisible in it, or digits
    other than 0 to 9."""
    if text.isascii():
        return False
    scripts = set[str]()
    for char in text:
        category = unicodedata.category(char)
        if category in ("Cf", "Cc", "Co", "Cn", "Cs") or (category[0] == "N" and not char.isascii()):
            return True
        if category[0] == "L":
            scripts.add(unicodedata.name(char, "?").split()[0])
    return len(scripts & {"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "FULLWIDTH", "MATHEMATICAL"}) > 1
