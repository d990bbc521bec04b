"""A message as tokens: words, facts in one spelling each, punctuation, and the marks of its layout (`lines`).

A fact is `kind:value`. The kinds are `number`, `percent`, `ordinal`, `currency`, `date`, `year`, `time`, `clock` (a
time that may be before or after noon) and `id`. No word contains a colon. Every mark is a token: `.`, `?`, `!`, `,`,
quotes (“ opens, ” closes), brackets, `/`, the hyphen of a word. `!` behind a word is `.`: only its tone differs.

A word keeps its case. `↑the` is "The" at the beginning of a sentence, where any word has a capital.

Every step is linear in the text. A word with several readings is an `id`, which equals only itself: 05/06/2024,
1.234,56, 007, 3-5, digits of another script, a word of mixed alphabets or with an invisible character.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from pivotmine.verifiers.texts.lines import TAB, Line

START = "↑"
"""Marks a word that may have its capital only because it begins a sentence."""
# A sign, a flag or a point in front belongs to the word: -5, --force, !done, .5.
_OPENS, _CLOSES = "\"'`([{¿¡", "\"'`)]},.;:!?"
_OPENING, _CLOSING = {'"': "“", "'": "‘"}, {'"': "”", "'": "’", "...": "…"}
_MARKS = re.compile(r"[.]{3,}|.", re.DOTALL)
_STARTS = frozenset(".?!…")
_MONTH_NAMES = "january february march april may june july august september october november december"
_MONTHS = {word: n for n, name in enumerate(_MONTH_NAMES.split(), 1) for word in (name, name[:3])} | {"sept": 9}
_UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen"""
_NUMBER_WORDS = {word: number for number, word in enumerate(_UNITS.split())}
_TENS_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * n for n, word in enumerate(_TENS_WORDS.split(), 2)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_CURRENCIES = {
    # `$` need not be US dollars, and `¥` may be China's or Japan's.
    **dict.fromkeys(("$", "dollar", "dollars"), "dollar"),
    **dict.fromkeys(("usd", "us$"), "usd"),
    **dict.fromkeys(("€", "eur", "euro", "euros"), "eur"),
    **dict.fromkeys(("£", "gbp"), "gbp"),
    **dict.fromkeys(("jpy", "yen"), "jpy"),
    "¥": "¥",
    **dict.fromkeys(("₹", "inr"), "inr"),
    **dict.fromkeys(("rupee", "rupees"), "rupee"),
}
_MEASURE_WORDS = "kg km cm mm lb lbs kb mb gb ms hr hrs min mins h s m % percent"
_MEASURES = frozenset(_MEASURE_WORDS.split())
_SPAN_WORDS = """seconds minutes hours days weeks months years nights business working people passengers times
    metres meters miles kilometres kilometers kilos kg km cm mm"""
_SPANS = frozenset(_SPAN_WORDS.split())
# In "no one", "which one" and "one must", "one" is not a number.
_NOT_ONE = frozenset(("no", "any", "every", "some", "each", "the", "this", "that", "which", "another"))
_ONE_DOES = frozenset(
    ("must", "may", "might", "can", "could", "will", "would", "shall", "should", "is", "was", "has", "another")
)
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
_RANGE = re.compile(r"(\d{1,6})-(\d{1,6})", re.ASCII)
# They include the marks that we add, so that a message cannot write such a mark.
_ID_CHARS = frozenset("_@/\\&+=$%^:<>~#|*.↑↵¶•“”‘’…")
# Decimal's default context keeps 28 digits; a longer number is an id.
_MAX_NUMBER_CHARS = 24


class _Piece(NamedTuple):
    text: str
    """As written, without marks at its edges."""
    is_mark: bool = False


def tokens_of(lines: Sequence[Line]) -> list[str]:
    """The tokens of a message's lines."""
    pieces = list(_pieces(lines))
    tokens: list[str] = []
    at, starts = 0, True
    while at < len(pieces):
        if pieces[at].is_mark:
            tokens.append(pieces[at].text)
            starts = tokens[-1] in _STARTS or tokens[-1][0] in "↵¶•" or (starts and tokens[-1] in "“‘([{¿¡`")
            at += 1
            continue
        taken, read = _read(pieces, at)
        if starts and read == [pieces[at].text]:
            read = [_started(pieces, at)]
        tokens += read
        at, starts = at + taken, False
    return tokens


def unmarked(token: str) -> str:
    """A token without its START mark, in lower case if it is a word of more than one letter."""
    token = token.removeprefix(START)
    return token if ":" in token or (len(token) == 1 and token != "I") else token.lower()


def _started(pieces: Sequence[_Piece], at: int) -> str:
    """Mark a word that begins a sentence. In "A room" it is an article; "A" by itself stays as it is."""
    text = pieces[at].text
    has_capital = text[0].isupper() and (text[1:] == text[1:].lower())
    if not has_capital or (len(text) == 1 and text != "I" and not (text == "A" and _is_lower(pieces, at + 1))):
        return text
    return f"{START}{text.lower()}"


def _is_lower(pieces: Sequence[_Piece], at: int) -> bool:
    return at < len(pieces) and not pieces[at].is_mark and pieces[at].text.isalpha() and pieces[at].text.islower()


def _pieces(lines: Sequence[Line]) -> Iterator[_Piece]:
    for line in lines:
        if line.mark:
            yield _Piece(line.mark, True)
        for chunk in line.text.split():
            yield from _of_chunk(chunk)


def _of_chunk(chunk: str) -> Iterator[_Piece]:
    if chunk == TAB:
        yield _Piece(TAB, True)
        return
    rest = chunk.lstrip(_OPENS)
    core = rest.rstrip(_CLOSES)
    yield from (_Piece(_OPENING.get(char, char), True) for char in chunk[: len(chunk) - len(rest)])
    if core:
        yield from _split(core)
    for mark in _MARKS.findall(rest[len(core) :]):
        mark = "..." if mark.startswith("...") else mark
        # 5! is a factorial, n! may be one.
        is_tone = mark == "!" and core.isalpha() and len(core) > 1
        yield _Piece("." if is_tone else _CLOSING.get(mark, mark), True)


def _split(core: str) -> Iterator[_Piece]:
    """Split a word such as `and/or` or `one-way` into its words and the marks between them."""
    hyphened = core.split("-")
    if not core.isalpha() and "/" in core and all(part.isalpha() for part in core.split("/")):
        parts, mark = core.split("/"), "/"
    elif _are_words(hyphened):
        is_number = len(hyphened) == 2 and hyphened[0].lower() in _TENS and hyphened[1].lower() in _NUMBER_WORDS
        parts, mark = hyphened, "" if is_number else "-"
    else:
        parts, mark = [core], ""
    for at, part in enumerate(parts):
        if at and mark:
            yield _Piece(mark, True)
        yield _Piece(part)


def _are_words(parts: list[str]) -> bool:
    words = len(parts) > 1 and all(part.replace("'", "").isalpha() for part in parts[1:])
    return words and (parts[0].isalpha() or (parts[0].isdigit() and parts[1].islower()))


def _read(pieces: Sequence[_Piece], at: int) -> tuple[int, list[str]]:
    """The number of pieces that are read from an index on, and their tokens."""
    text = pieces[at].text
    if is_odd(text):
        return 1, [f"id:{text}"]
    if text.isascii() and text.isalpha():
        return _spelled(pieces, at) or (1, [_word(pieces, at)])
    return _written(pieces, at)


def _word(pieces: Sequence[_Piece], at: int) -> str:
    low = pieces[at].text.lower()
    # "Dollars" without a number in front is a plain word.
    is_currency = low in _CURRENCIES and (len(low) == 3 or _is_number(pieces, at - 1))
    return f"currency:{_CURRENCIES[low]}" if is_currency else pieces[at].text


def _is_number(pieces: Sequence[_Piece], at: int) -> bool:
    low = _low(pieces, at)
    return low in _SCALES or low in _TENS or low in _NUMBER_WORDS or _AMOUNT.fullmatch(low) is not None


def _spelled(pieces: Sequence[_Piece], at: int) -> tuple[int, list[str]] | None:
    """A month with its day, or a number in words."""
    low = pieces[at].text.lower()
    if low in _MONTHS and pieces[at].text[0].isupper() and _day(pieces, at + 1):
        return _date(pieces, at, at + 1, at + 2)
    if low == "one":
        # "One pays" may be anybody.
        if pieces[at].text != "one":
            return None
        next_is_counted = _is_lower(pieces, at + 1) and _low(pieces, at + 1) not in _ONE_DOES
        is_number = next_is_counted and _low(pieces, at - 1) not in _NOT_ONE
        return _number(pieces, at, 1, Decimal(1)) if is_number else None
    if low in _TENS or low in _NUMBER_WORDS:
        taken, value = 1, _TENS.get(low) or _NUMBER_WORDS.get(low, 0)
        following = _low(pieces, at + 1)
        if low in _TENS and 0 < _NUMBER_WORDS.get(following, 0) < 10:
            taken, value = 2, value + _NUMBER_WORDS[following]
        return _number(pieces, at, taken, Decimal(value))
    return None


def _written(pieces: Sequence[_Piece], at: int) -> tuple[int, list[str]]:
    """A date, a time, a number or an id; else a word as it is."""
    text = pieces[at].text
    if _day(pieces, at):
        month = at + 2 if _low(pieces, at + 1) == "of" else at + 1
        if _low(pieces, month) in _MONTHS and pieces[month].text[0].isupper():
            return _date(pieces, month, at, month + 1)
    if date := _numeric_date(text):
        return 1, date
    if match := _TIME.fullmatch(text):
        return _time(pieces, at, match)
    if (match := _AMOUNT.fullmatch(text)) and len(text) <= _MAX_NUMBER_CHARS:
        return _amount(pieces, at, match)
    if match := _RANGE.fullmatch(text):
        return 1, _range(pieces, at, match)
    if text.lower() in _CURRENCIES:
        return 1, [f"currency:{_CURRENCIES[text.lower()]}"]
    # "Salt & pepper", not "a & b".
    if text == "&" and all(len(low) > 2 and low.isalpha() for low in (_low(pieces, at - 1), _low(pieces, at + 1))):
        return 1, ["and"]
    # A dot or a digit inside: a file, a host, a code.
    is_id = any(char.isdigit() or char in _ID_CHARS for char in text)
    return 1, [f"id:{text}" if is_id else text]


def _range(pieces: Sequence[_Piece], at: int, match: re.Match[str]) -> list[str]:
    """ "3-4 hours" is "3 to 4 hours"; "3-4" may be a score, a section or a difference."""
    low, high = match.groups()
    if _low(pieces, at + 1) in _SPANS and "0" not in (low[0], high[0]) and int(low) < int(high):
        return [f"number:{low}", "to", f"number:{high}"]
    return [f"id:{match[0]}"]


def _amount(pieces: Sequence[_Piece], at: int, match: re.Match[str]) -> tuple[int, list[str]]:
    sign, before, inner_sign, digits, written_unit = match.groups()
    unit = (written_unit or "").lower()
    is_plain = digits.isdigit() and not before and not sign
    if is_plain and (unit in ("am", "pm") or (unit == "" and _meridiem(pieces, at))):
        return _hour(pieces, at, digits, unit)
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        # A code, as in "room 007".
        return 1, [f"id:{match[0]}"]
    value = Decimal(digits.replace(",", "")) * (-1 if "-" in (sign, inner_sign) else 1)
    plus = "+" if "+" in (sign, inner_sign) else ""
    if unit in ("st", "nd", "rd", "th"):
        return 1, [f"ordinal:{plus}{_spelling(value)}"]
    if unit == "%":
        return 1, [f"percent:{plus}{_spelling(value)}"]
    currencies = [f"currency:{_CURRENCIES[mark.lower()]}" for mark in (before, unit) if mark and mark in _CURRENCIES]
    units = [written_unit] if unit and unit not in _CURRENCIES else []
    following = _low(pieces, at + 1)
    is_measured = currencies or units or following in _MEASURES or following in _CURRENCIES or following in _SCALES
    if not is_measured and "." in digits:
        # 3.1 and 3.10 may be versions.
        return 1, [f"number:{plus}{'-' if value < 0 else ''}{digits.replace(',', '')}"]
    taken, tokens = _number(pieces, at, 1, value, plus) if not units else (1, [f"number:{plus}{_spelling(value)}"])
    return taken, [*tokens, *currencies, *units]


def _number(pieces: Sequence[_Piece], at: int, taken: int, value: Decimal, plus: str = "") -> tuple[int, list[str]]:
    """A number with the words behind it that change it: hundred, million, percent."""
    while (scale := _SCALES.get(_low(pieces, at + taken))) and taken < 4:
        value, taken = value * scale, taken + 1
    if _low(pieces, at + taken) in ("percent", "%"):
        return taken + 1, [f"percent:{plus}{_spelling(value)}"]
    return taken, [f"number:{plus}{_spelling(value)}"]


def _spelling(value: Decimal) -> str:
    try:
        return format(value.normalize(), "f") if value else "0"
    except InvalidOperation:
        return str(value)


def _hour(pieces: Sequence[_Piece], at: int, hour: str, half: str) -> tuple[int, list[str]]:
    """An hour with am or pm: `3pm`, `3 PM`."""
    taken, half = (1, half) if half else (2, _meridiem(pieces, at) or "")
    if not 1 <= int(hour) <= 12:
        return 1, [f"id:{pieces[at].text}"]
    return taken, [f"time:{_hours(hour, half):02}:00"]


def _time(pieces: Sequence[_Piece], at: int, match: re.Match[str]) -> tuple[int, list[str]]:
    hour, minute, second, half = match.groups()
    zone = ["z"] if half and half.lower() == "z" else []
    half = None if zone else half
    taken = 1
    if half is None and not zone and (half := _meridiem(pieces, at)):
        taken = 2
    if int(minute) > 59 or int(hour) > 24 or (half and not 1 <= int(hour) <= 12):
        return 1, [f"id:{match[0]}"]
    # 1:30:00 may last an hour and a half, 1:30 a minute and a half.
    seconds = f":{second}" if second and not (half and second == "00") else ""
    if not half and not zone and 1 <= int(hour) <= 12 and hour[0] != "0":
        return taken, [f"clock:{int(hour)}:{minute}{seconds}"]
    hours = _hours(hour, half) if half else int(hour)
    return taken, [f"time:{hours:02}:{minute}{seconds}", *zone]


def _hours(hour: str, half: str) -> int:
    return int(hour) % 12 + (12 if half.lower() == "pm" else 0)


def _meridiem(pieces: Sequence[_Piece], at: int) -> str | None:
    """`am` or `pm` if it follows an index, else None."""
    low = _low(pieces, at + 1).replace(".", "")
    return low if low in ("am", "pm") else None


def _date(pieces: Sequence[_Piece], month: int, day: int, after: int) -> tuple[int, list[str]]:
    date = f"date:{_MONTHS[_low(pieces, month)]:02}-{_day(pieces, day):02}"
    year = after + 1 if after < len(pieces) and pieces[after] == _Piece(",", True) else after
    if year < len(pieces) and _YEAR.fullmatch(_low(pieces, year)):
        return year + 1 - min(month, day), [date, f"year:{pieces[year].text}"]
    return after - min(month, day), [date]


def _day(pieces: Sequence[_Piece], at: int) -> int:
    """The day of a month at an index; 0 if there is none."""
    match = _DAY.fullmatch(_low(pieces, at))
    return int(match[1]) if match and 1 <= int(match[1]) <= 31 else 0


def _numeric_date(text: str) -> list[str] | None:
    """A date in digits, if the order of month and day is certain; else None."""
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


def _low(pieces: Sequence[_Piece], at: int) -> str:
    """The word at an index in lower case; empty for a mark and outside."""
    return pieces[at].text.lower() if 0 <= at < len(pieces) and not pieces[at].is_mark else ""


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
