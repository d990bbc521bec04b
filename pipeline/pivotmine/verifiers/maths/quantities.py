"""Split an answer into its formula, its unit, its scale, and the words that change its meaning."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

MAX_CHARS = 1_000
"""Maximum length of an answer; longer ones must be equal as text."""
MIN_ROUNDED_DIGITS = 4
"""A decimal with at least this many significant digits may be the rounded value of a fraction."""

DECIMAL = r"[-+]?(?:\d{1,3}(?:,\d{3})++|\d++)(?:\.\d++)?(?:[eE][-+]?\d{1,3})?|[-+]?\.\d++(?:[eE][-+]?\d{1,3})?"
NUMBER = re.compile(
    rf"(?<![\w.])(?:[-+]?\d++\s++(?:and\s++)?\d++/\d++|(?:{DECIMAL})(?:/\d++)?(?:\s?\\?%)?)(?!\w)", re.ASCII
)
WRAPPED = re.compile(r"\\(?:text|mathrm|textrm|operatorname|mbox|textbf|mathbf)\s*\{([^{}]*)\}")
PERCENT = re.compile(r"(.*?)\s*(?:\\?%|per\s?cent)", re.DOTALL | re.IGNORECASE)
_NAMED = re.compile(r"([A-Za-z])\s*=\s*(?=[^=])")
_FRACTION = re.compile(
    r"([-+]?)\\[dt]?frac\s*\{?(\d{1,300})\}?\s*\{?(\d{1,300})\}?|([-+]?)(\d{1,300})\s*/\s*(\d{1,300})"
)
_MIXED = re.compile(r"([-+]?)(\d{1,300})\s+(?:and\s+)?(\d{1,300})/(\d{1,300})", re.ASCII)
_CORE_AND_WORDS = re.compile(r"(.*?[\d)}\]])\s*((?:(?![eE][-+]?\d)[A-Za-zµΩ°][A-Za-zµΩ°./^\d ]*)?)")
_IN_FRONT = re.compile(r"((?:[A-Za-z]{2,20}\s+){1,6})(?=[-+\\$€£¥₹(.\d])")
_SYMBOL = re.compile(r"([-+]?)\s*(\\?\$|[€£¥₹])\s*(?=[-+.\d])")
_PRIMED = re.compile(r"(.*\d)\s*(['\"′″])")
_OTHER_BASE = re.compile(r"\(?([0-9A-Za-z]{1,300})\)?\s*_\s*(?:\{\s*(\w{1,9})\s*\}|(\d))", re.ASCII)
_PREFIXED = re.compile(r"0([xXbBoO])([0-9a-fA-F]{1,300})")
_BASE = re.compile(r"(?:in )?(?:base \d{1,3}|binary|octal|decimal|hex|hexadecimal)\b", re.IGNORECASE)
_TOWER = re.compile(r"\^\s*\{?[^{}^]{0,50}\^\s*\{?[^{}^]{0,50}\^|\^\s*\{?\s*\d{6,}|\d{5,}\s*\}?\)?\s*!")

_M, _G, _S, _L = "length", "mass", "time", "volume"
UNITS: dict[str, tuple[str, Fraction]] = {
    **dict.fromkeys(("mm", "millimeter", "millimetre"), (_M, Fraction(1, 1000))),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), (_M, Fraction(1, 100))),
    **dict.fromkeys(("m", "meter", "metre"), (_M, Fraction(1))),
    **dict.fromkeys(("km", "kilometer", "kilometre"), (_M, Fraction(1000))),
    **dict.fromkeys(("in", "inch", "inche"), (_M, Fraction(254, 10_000))),
    **dict.fromkeys(("ft", "foot", "feet"), (_M, Fraction(3048, 10_000))),
    **dict.fromkeys(("yd", "yard"), (_M, Fraction(9144, 10_000))),
    **dict.fromkeys(("mi", "mile"), (_M, Fraction(1_609_344, 1000))),
    **dict.fromkeys(("mg", "milligram"), (_G, Fraction(1, 1000))),
    **dict.fromkeys(("g", "gram"), (_G, Fraction(1))),
    **dict.fromkeys(("kg", "kilogram"), (_G, Fraction(1000))),
    **dict.fromkeys(("lb", "pound"), (_G, Fraction(45_359_237, 100_000))),
    **dict.fromkeys(("ms", "millisecond"), (_S, Fraction(1, 1000))),
    **dict.fromkeys(("s", "sec", "second"), (_S, Fraction(1))),
    **dict.fromkeys(("min", "minute"), (_S, Fraction(60))),
    **dict.fromkeys(("h", "hr", "hour"), (_S, Fraction(3600))),
    **dict.fromkeys(("d", "day"), (_S, Fraction(86_400))),
    **dict.fromkeys(("week",), (_S, Fraction(604_800))),
    **dict.fromkeys(("ml", "milliliter", "millilitre"), (_L, Fraction(1, 1000))),
    **dict.fromkeys(("l", "liter", "litre"), (_L, Fraction(1))),
    **dict.fromkeys(("cent", "¢"), ("money", Fraction(1, 100))),
    **dict.fromkeys(("dollar", "usd"), ("money", Fraction(1))),
    **dict.fromkeys(("euro", "eur"), ("euros", Fraction(1))),
    **dict.fromkeys(("degree", "deg", "°"), ("angle", Fraction(1))),
    **dict.fromkeys(("radian", "rad"), ("angle in radians", Fraction(1))),
}
"""Unit (singular, lower case) -> what it measures, and its size."""


MULTIPLES = {
    "hundred": Fraction(100),
    **dict.fromkeys(("thousand", "grand"), Fraction(1000)),
    **dict.fromkeys(("million", "mn", "mio"), Fraction(10**6)),
    **dict.fromkeys(("billion", "bn"), Fraction(10**9)),
    **dict.fromkeys(("trillion", "tn"), Fraction(10**12)),
    "lakh": Fraction(10**5),
    "crore": Fraction(10**7),
    "dozen": Fraction(12),
    "gross": Fraction(144),
    **dict.fromkeys(("permille", "‰"), Fraction(1, 1000)),
    "ppm": Fraction(1, 10**6),
    "ppb": Fraction(1, 10**9),
    "bps": Fraction(1, 10**4),
}
"""Words behind a number that multiply it."""
MARKS = frozenset((
    "am", "pm", "bc", "ad", "bce", "ce", "squared", "cubed", "factorial", "half", "quarter", "third", "more", "less",
    "fewer", "times", "or", "and", "to", "not", "but", "through", "modulo", "mod", "plus",
    "minus", "tenths", "percentile", "o'clock",
))  # fmt: skip
"""Words behind a number that make it another answer."""
_SYMBOLS = {"$": "dollar", "\\$": "dollar", "€": "euro", "£": "gbp", "¥": "yen", "₹": "rupee"}
_BASES = {"x": "base 16", "b": "base 2", "o": "base 8", "binary": "base 2", "octal": "base 8", "decimal": "base 10",
          "hex": "base 16", "hexadecimal": "base 16"}  # fmt: skip


class Answer(NamedTuple):
    text: str
    """The formula, without unit, percent sign and name."""
    unit: str
    """Singular, lower case; empty if there is none."""
    scale: Fraction
    """What the formula is multiplied by: 1/100 for a percentage."""
    mark: str
    """Words that make it another answer: "pm", "base 2", "less than"; empty if there are none."""
    name: str
    """The variable in front, as in "x = 5"; empty if there is none."""


def read_answer(answer: str) -> Answer:
    """Split an answer into its parts."""
    answer = answer.strip()
    answer = (answer.strip("$") if answer[:1] == answer[-1:] == "$" else answer).replace("\\,", " ").replace("\\!", "")
    text = " ".join(WRAPPED.sub(r" \1 ", answer).replace("^\\circ", "°").replace("^{\\circ}", "°").split())
    name = ""
    named = _NAMED.match(text)
    if named and not re.search("[,=]", text[named.end() :]):
        name, text = named[1], text[named.end() :].strip()
    marks: list[str] = []
    if front := _IN_FRONT.match(text):
        marks.append(" ".join(front[1].lower().split()))
        text = text[front.end() :]
    scale, unit = Fraction(1), ""
    if symbol := _SYMBOL.match(text):
        unit, text = _SYMBOLS[symbol[2]], symbol[1] + text[symbol.end() :]
    if percent := PERCENT.fullmatch(text):
        text, scale = percent[1].strip(), Fraction(1, 100)
    if (primed := _PRIMED.fullmatch(text)) is not None:
        text, unit = primed[1], primed[2]
    text, words = _core_and_words(text)
    if words:
        factor, mark, named_unit = _read_words(words)
        scale, marks, unit = scale * factor, [*marks, *mark], named_unit or unit
    text, base = _digits_and_base(text)
    said = [word.lower() for found in WRAPPED.findall(answer) for word in re.findall(r"[A-Za-z]{2,}", found)]
    inside = [word for word in said if re.search(rf"\b{word}\b", text, re.IGNORECASE)]
    if inside and re.search(r"\d", text):
        marks.append(" ".join(inside))
    return Answer(text, unit, scale, " ".join(filter(None, [*marks, base])), name)


def _core_and_words(text: str) -> tuple[str, str]:
    """A formula and the words behind it, if they are words."""
    parts = _CORE_AND_WORDS.fullmatch(text)
    if not parts or not parts[2]:
        return text, ""
    # Letters next to a number are a product, unless they are a known unit of several letters.
    first = parts[2].split()[0].lower().replace(".", "")
    known = _unit(first) in UNITS or first.rstrip("s") in MULTIPLES or first in MARKS or _unit(parts[2]) in UNITS
    apart = text[len(parts[1])] == " "
    is_words = (known and (apart or len(first) > 1 or not first.isalpha())) or (apart and len(parts[2]) > 2)
    return (parts[1], parts[2]) if is_words else (text, "")


def _read_words(words: str) -> tuple[Fraction, list[str], str]:
    """Read the words behind a number: the factor, the words that change it, and the unit."""
    scale = Fraction(1)
    marks: list[str] = []
    if base := _BASE.match(words):
        kind = base[0].lower().removeprefix("in ")
        marks.append(_BASES.get(kind, kind))
        words = words[base.end() :]
    tokens = re.sub(r"\b(\w)\.(\w)\b\.?", r"\1\2", " ".join(words.lower().split())).split()
    while tokens and (factor := MULTIPLES.get(tokens[0]) or MULTIPLES.get(tokens[0].rstrip("s"))):
        scale *= factor
        tokens = tokens[1:]
        if tokens[:1] == ["of"]:
            tokens = tokens[1:]
    marks += [token for token in tokens if token.rstrip(".") in MARKS]
    return scale, marks, _unit(" ".join(token for token in tokens if token.rstrip(".") not in MARKS))


def _digits_and_base(text: str) -> tuple[str, str]:
    """The digits and "base N" of a number that is written with its base; else the text and an empty string."""
    if (found := _OTHER_BASE.fullmatch(text)) and (found[1].isdigit() or len(found[1]) > 1):
        base = (found[2] or found[3]).lower()
        return found[1], f"base {base}"
    if found := _PREFIXED.fullmatch(text):
        return found[2], _BASES[found[1].lower()]
    return text, ""


def _unit(words: str) -> str:
    """A unit in lower case and in the singular."""
    unit = " ".join(words.lower().split()).rstrip(".")
    return unit if unit in UNITS or not unit.endswith("s") or len(unit) < 3 else unit[:-1]


def number_of(text: str) -> tuple[Fraction, int | None] | None:
    """The value of a rational number, and its number of decimal places (None for a fraction); None for other texts."""
    plain = text.replace("{,}", ",").strip()
    if len(plain) > MAX_CHARS:
        return None
    # Blanks may stand between groups of three digits and behind a sign.
    plain = re.sub(r"(?<=\d) (?=\d{3}(?!\d))|(?<=^[-+])\s+", "", plain)
    if re.fullmatch(DECIMAL, plain, re.ASCII):
        value = Fraction(plain.replace(",", ""))
        digits, _, exponent = plain.lower().partition("e")
        return value, len(digits.partition(".")[2]) - int(exponent or 0)
    if mixed := _MIXED.fullmatch(plain):
        whole, top, bottom = map(int, mixed.group(2, 3, 4))
        value = Fraction(whole) + Fraction(top, bottom) if bottom else None
        return None if value is None or top >= bottom else (-value if mixed[1] == "-" else value, None)
    found = _FRACTION.fullmatch(plain)
    if found is None:
        return None
    sign, top, bottom = found.group(1, 2, 3) if found[2] else found.group(4, 5, 6)
    return (Fraction(int(f"{sign}{top}"), int(bottom)), None) if int(bottom) else None


def equal_numbers(one: tuple[Fraction, int | None], other: tuple[Fraction, int | None]) -> bool:
    """Whether two numbers are equal, or one is a fraction and the other its rounded decimal."""
    (value, places), (given, given_places) = one, other
    if value == given:
        return True
    if (places is None) == (given_places is None):
        return False
    exact, rounded, digits = (value, given, given_places) if places is None else (given, value, places)
    assert digits is not None
    significant = len(str(abs(rounded * 10**digits).__floor__())) if digits > 0 else 0
    return significant >= MIN_ROUNDED_DIGITS and abs(exact - rounded) * 2 <= Fraction(1, 10**digits)


def kind_of(text: str) -> str:
    """The kind of an answer: `ratio` (or a time), `value`, or a list by its outer brackets: `set`, `round`, `square`,
    `list` (none)."""
    bare = text.replace("\\left", "").replace("\\right", "").strip()
    if re.search(r"\d\s*:\s*\d", bare):
        return "ratio"
    if "," not in NUMBER.sub("", bare):
        return "value"
    for opening, closing, kind in (("\\{", "\\}", "set"), ("{", "}", "set"), ("(", ")", "round"), ("[", "]", "square")):
        if bare.startswith(opening) and bare.endswith(closing):
            return kind
    return "list"


def notation_of(text: str) -> tuple[int, list[str], bool]:
    """What math-verify ignores: primes, the order of letters in a name, and whether "1/2x" may be read in two ways.

    A name is a run of capitals or a word; letters next to each other are a product for algebra.
    """
    bare = re.sub(r"\\[A-Za-z]+", " ", text)
    names = re.findall(r"[A-Z]{2,}|[A-Za-z]{4,}", bare)
    return bare.count("'") + text.count("\\prime"), names, re.search(r"\d\s*/\s*\d+\s*[A-Za-z(\\]", text) is not None


def is_hostile(text: str) -> bool:
    """Whether the value is too large to compute: three levels of powers, a huge exponent, a huge factorial."""
    return _TOWER.search(text) is not None
