"""A message as tokens: words in lower case, facts in one spelling each, sentence ends and commas.

A fact is `kind:value`. The kinds are `number`, `percent`, `ordinal`, `currency`, `date`, `year`, `time`, `clock` (a
time that may be before or after noon) and `id`. No word contains a colon. `.` and `?` end a sentence.

Every step is linear in the text. What has several readings is an `id`, which equals itself only: 05/06/2024, 1.234,56,
digits of another script, a word of mixed alphabets or with an invisible character.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

_TYPOGRAPHY = str.maketrans(
    {
        **dict.fromkeys("‘’‛′`´", "'"),
        **dict.fromkeys("“”„″«»", '"'),
        **dict.fromkeys("‐‑‒–—−", "-"),
        "\xa0": " ",
        "\u202f": " ",
        "…": "...",
    }
)
# Scripts that put no space between words: a space where they meet Latin letters and digits.
_UNSPACED = re.compile("[\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_EMPHASIS = re.compile(r"(?<![\w*])\*{1,3}(?=[^\s*])|(?<=[^\s*])\*{1,3}(?![\w*])")
_MARKER = re.compile(r"[ \t]*(?:#{1,6}[ \t]+)?(?:[-*•·+>][ \t]+)*(?:\d{1,2}[.)][ \t]+)?")
_ITEM = re.compile(r"[ \t]*(?:[-*•·+]|\d{1,2}[.)])[ \t]")
# A sign, a flag or a point in front belongs to the word: -5, --force, !done, .5.
_OPENS, _CLOSES = "\"'([{¿¡", "\"')]},.;:!?"
_MONTH_NAMES = "january february march april may june july august september october november december"
_MONTHS = {word: n for n, name in enumerate(_MONTH_NAMES.split(), 1) for word in (name, name[:3])} | {"sept": 9}
_UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen"""
_NUMBER_WORDS = {word: number for number, word in enumerate(_UNITS.split())}
_TENS_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * n for n, word in enumerate(_TENS_WORDS.split(), 2)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_CURRENCIES = {
    **dict.fromkeys(("$", "usd", "us$", "dollar", "dollars"), "usd"),
    **dict.fromkeys(("€", "eur", "euro", "euros"), "eur"),
    **dict.fromkeys(("£", "gbp"), "gbp"),
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
_TIME = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?(am|pm|z)?", re.ASCII | re.IGNORECASE)
_ID_CHARS = frozenset("_@/\\&+=$%^:<>~#|*")
# Words that mean something else in lower case: these, and single letters ("Option A").
_CAPITALS = frozenset({"US", "IT", "WHO"})
# Decimal's default context keeps 28 digits; a longer number is an id.
_MAX_NUMBER_CHARS = 24


class _Piece(NamedTuple):
    text: str
    """As written, without punctuation at its edges."""
    after: str
    """What follows: `.`, `?`, `,` or nothing."""


def tokens_of(text: str) -> list[str]:
    """The tokens of a text."""
    pieces = list(_pieces(plain(text)))
    tokens: list[str] = []
    at = 0
    while at < len(pieces):
        taken, read = _read(pieces, at)
        tokens += read
        at += taken
        if after := pieces[at - 1].after:
            tokens.append(after)
    return tokens


def plain(text: str) -> str:
    """The text in one typography: composed characters, straight quotes, plain hyphens, no emphasis."""
    text = unicodedata.normalize("NFC", text).translate(_TYPOGRAPHY)
    return _UNSPACED.sub(r" \g<0> ", _EMPHASIS.sub("", text))


def count_markers(text: str) -> int:
    """Lines of a plain text that begin with the marker of a list's item."""
    return sum(_ITEM.match(line) is not None for line in text.splitlines())


def _pieces(text: str) -> Iterator[_Piece]:
    for line in text.splitlines():
        marker = _MARKER.match(line)
        start = marker.end() if marker else 0
        rest = line[start:].lstrip()
        # A line that goes on in lower case is the same sentence, wrapped.
        if line[:start].strip() or not rest[:1].islower():
            yield _Piece("", ".")
        for chunk in rest.split():
            yield from _of_chunk(chunk)


def _of_chunk(chunk: str) -> Iterator[_Piece]:
    core = chunk.lstrip(_OPENS).rstrip(_CLOSES)
    tail = chunk[chunk.rfind(core) + len(core) :] if core else chunk
    if not core:
        yield _Piece("", _end(tail))
        return
    *parts, last = _split(core)
    yield from (_Piece(part, "") for part in parts)
    yield _Piece(last, _end(tail))


def _end(tail: str) -> str:
    if "?" in tail:
        return "?"
    return "." if any(char in ".!:;" for char in tail) else "," if "," in tail else ""


def _split(core: str) -> list[str]:
    """The words of one written word: of `and/or`, `5-7`, `one-way`; never an empty list."""
    if core.isalpha() or "://" in core or "@" in core or _ISO_DATE.match(core):
        return [core]
    if "/" in core and all(part.isalpha() for part in core.split("/")):
        return core.split("/")
    parts = core.split("-")
    if len(parts) == 2 and all(part and _AMOUNT.fullmatch(part) for part in parts):
        return [parts[0], "to", parts[1]]
    words = len(parts) > 1 and all(part.replace("'", "").isalpha() for part in parts[1:])
    return parts if words and (parts[0].isalpha() or (parts[0].isdigit() and parts[1].islower())) else [core]


def _read(pieces: list[_Piece], at: int) -> tuple[int, list[str]]:
    """How many pieces are read from an index on, and their tokens."""
    text = pieces[at].text
    if not text:
        return 1, []
    if is_odd(text):
        return 1, [f"id:{text}"]
    if text.isascii() and text.isalpha():
        return _spelled(pieces, at) or (1, [_word(pieces, at)])
    return _written(pieces, at)


def _word(pieces: list[_Piece], at: int) -> str:
    text = pieces[at].text
    low = text.casefold()
    if low in _CURRENCIES:
        return f"currency:{_CURRENCIES[low]}"
    # "A room" is an article, "option A" is not.
    article = text == "A" and not pieces[at].after and _low(pieces, at + 1)[:1].isalpha()
    if text in _CAPITALS or (len(text) == 1 and text != "I" and not (article and pieces[at + 1].text.islower())):
        return text
    # Units differ by case: MB and Mb.
    return text if len(text) <= 3 and at and _AMOUNT.fullmatch(pieces[at - 1].text) else low


def _spelled(pieces: list[_Piece], at: int) -> tuple[int, list[str]] | None:
    """A month with its day, or a number in words."""
    low = pieces[at].text.lower()
    if low in _MONTHS and pieces[at].text[0].isupper() and not pieces[at].after and _day(pieces, at + 1):
        return _date(pieces, at, at + 1, at + 2)
    if low in _TENS or low in _NUMBER_WORDS:
        taken, value = 1, _TENS.get(low) or _NUMBER_WORDS.get(low, 0)
        following = "" if pieces[at].after else _low(pieces, at + 1)
        if low in _TENS and 0 < _NUMBER_WORDS.get(following, 0) < 10:
            taken, value = 2, value + _NUMBER_WORDS[following]
        return _number(pieces, at, taken, Decimal(value))
    return None


def _written(pieces: list[_Piece], at: int) -> tuple[int, list[str]]:
    """A date, a time, a number or an id; else a word as it is."""
    text = pieces[at].text
    if _day(pieces, at) and not pieces[at].after:
        month = at + 2 if _low(pieces, at + 1) == "of" else at + 1
        if _low(pieces, month) in _MONTHS and pieces[month].text[0].isupper():
            return _date(pieces, month, at, month + 1)
    if date := _numeric_date(text):
        return 1, date
    if match := _TIME.fullmatch(text):
        return _time(pieces, at, match[1], match[2], match[3], match[4])
    if (match := _AMOUNT.fullmatch(text)) and len(text) <= _MAX_NUMBER_CHARS:
        return _amount(pieces, at, match)
    if text.lower() in _CURRENCIES:
        return 1, [f"currency:{_CURRENCIES[text.lower()]}"]
    if text == "&":
        return 1, ["and"]
    # A dot or a digit inside: a file, a host, a code.
    is_id = any(char.isdigit() or char in _ID_CHARS for char in text) or "." in text
    return 1, [f"id:{text}" if is_id else text.casefold()]


def _amount(pieces: list[_Piece], at: int, match: re.Match[str]) -> tuple[int, list[str]]:
    sign, before, inner_sign, digits, written_unit = match.groups()
    unit = (written_unit or "").lower()
    if unit in ("am", "pm") and digits.isdigit() and not before:
        return _time(pieces, at, digits, "00", None, unit)
    if unit == "" and digits.isdigit() and not before and _meridiem(pieces, at):
        return _time(pieces, at, digits, "00", None, None)
    value = Decimal(digits.replace(",", "")) * (-1 if "-" in (sign, inner_sign) else 1)
    value *= 1000 if unit == "k" else 1
    if unit in ("st", "nd", "rd", "th"):
        return 1, [f"ordinal:{_spelling(value)}"]
    if unit == "%":
        return 1, [f"percent:{_spelling(value)}"]
    taken, tokens = _number(pieces, at, 1, value)
    currencies = [f"currency:{_CURRENCIES[mark.lower()]}" for mark in (before, unit) if mark and mark in _CURRENCIES]
    units = [written_unit] if unit and unit != "k" and unit not in _CURRENCIES else []
    return taken, [*tokens, *currencies, *units]


def _number(pieces: list[_Piece], at: int, taken: int, value: Decimal) -> tuple[int, list[str]]:
    """A number with the words behind it that change it: hundred, million, percent."""
    while not pieces[at + taken - 1].after and (scale := _SCALES.get(_low(pieces, at + taken))) and taken < 4:
        value, taken = value * scale, taken + 1
    if not pieces[at + taken - 1].after and _low(pieces, at + taken) in ("percent", "%"):
        return taken + 1, [f"percent:{_spelling(value)}"]
    return taken, [f"number:{_spelling(value)}"]


def _spelling(value: Decimal) -> str:
    try:
        return format(value.normalize(), "f") if value else "0"
    except InvalidOperation:
        return str(value)


def _time(
    pieces: list[_Piece], at: int, hour: str, minute: str, second: str | None, half: str | None
) -> tuple[int, list[str]]:
    zone = ["z"] if half and half.lower() == "z" else []
    half = None if zone else half
    taken = 1
    if half is None and not zone and (half := _meridiem(pieces, at)):
        taken = 2
    seconds = f":{second}" if second and second != "00" else ""
    if not half and not zone and 1 <= int(hour) <= 12 and hour[0] != "0":
        return taken, [f"clock:{int(hour)}:{minute}{seconds}"]
    hours = int(hour) % 12 + (12 if half.lower() == "pm" else 0) if half else int(hour)
    return taken, [f"time:{hours:02}:{minute}{seconds}", *zone]


def _meridiem(pieces: list[_Piece], at: int) -> str | None:
    """Whether `am` or `pm` follows an index."""
    low = "" if pieces[at].after else _low(pieces, at + 1).replace(".", "")
    return low if low in ("am", "pm") else None


def _date(pieces: list[_Piece], month: int, day: int, after: int) -> tuple[int, list[str]]:
    date = f"date:{_MONTHS[_low(pieces, month)]:02}-{_day(pieces, day):02}"
    goes_on = after < len(pieces) and pieces[after - 1].after in ("", ",")
    if goes_on and _YEAR.fullmatch(pieces[after].text):
        return after + 1 - min(month, day), [date, f"year:{pieces[after].text}"]
    return after - min(month, day), [date]


def _day(pieces: list[_Piece], at: int) -> int:
    """The day of a month at an index; 0: none."""
    match = _DAY.fullmatch(pieces[at].text) if at < len(pieces) else None
    return int(match[1]) if match and 1 <= int(match[1]) <= 31 else 0


def _numeric_date(text: str) -> list[str] | None:
    """A date in digits, where the order of month and day is certain."""
    if match := _ISO_DATE.fullmatch(text):
        year, month, day = match[1], int(match[2]), int(match[3])
    elif match := _SLASH_DATE.fullmatch(text):
        year, month, day = match[3], int(match[1]), int(match[2])
        if month <= 12 and day <= 12 and month != day:
            return None
        month, day = (day, month) if month > 12 else (month, day)
    else:
        return None
    return [f"date:{month:02}-{day:02}", f"year:{year}"] if 1 <= month <= 12 and 1 <= day <= 31 else None


def _low(pieces: list[_Piece], at: int) -> str:
    return pieces[at].text.lower() if at < len(pieces) else ""


def is_odd(text: str) -> bool:
    """Whether a word looks like another one: mixed alphabets, an invisible character, or digits other than 0 to 9."""
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
