"""The final answer that a text states, and the parts of an answer that algebra must not decide.

A text states an answer only if it states one. Two different boxes, a correction behind the box, "6 or 5" and "not
sure" state none. A number inside a word ("page5") is not an answer.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

MAX_CHARS = 1_000
"""Of an answer."""
MAX_TEXT_CHARS = 1_000_000
"""The answer is searched in this many last characters."""
MAX_TAIL_CHARS = 20_000
"""Without a box, the answer is searched in this many last characters."""
MIN_ROUNDED_DIGITS = 4
"""A decimal with at least this many significant digits may be the rounded value of a fraction."""

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_DISPLAY = re.compile(r"\\\[(.{1,1000}?)\\\]|\\\((.{1,1000}?)\\\)|\$\$(.{1,1000}?)\$\$", re.DOTALL)
_DOLLARS = re.compile(r"\$([^$]+)\$")
_SAID = re.compile(r"(?:answer\s+is|answer\s*:|answer\s*=|####|\btherefore\b|\bhence\b)\s*:?(.*)", re.IGNORECASE)
_EQUALS = re.compile(r"\s*(?:is|equals|=|are|:)\s+(.+)", re.IGNORECASE)
_DECIMAL = r"[-+]?(?:\d{1,3}(?:,\d{3})++|\d++)(?:\.\d++)?(?:[eE][-+]?\d{1,3})?|[-+]?\.\d++(?:[eE][-+]?\d{1,3})?"
_NUMBER = re.compile(rf"(?<![\w.])(?:{_DECIMAL})(?:/\d++)?(?:\s?\\?%)?(?!\w)", re.ASCII)
_HEDGE = re.compile(
    r"\b(?:or|either|idea|unsure|sure|unclear|not|no|maybe|perhaps|possibly|probably|might|may|guess|page|cannot|"
    r"actually|wait|correction|instead|rather|unless|except)\b|n't\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"\s*([A-Za-z°¢]+)")
_PERCENT = re.compile(r"(.*?)\s*(?:\\?%|per\s?cent)", re.DOTALL | re.IGNORECASE)
_WRAPPED = re.compile(r"\\(?:text|mathrm|textrm|operatorname|mbox|textbf|mathbf)\s*\{([^{}]*)\}")
_NAMED = re.compile(r"[A-Za-z]\s*=\s*(?=[^=])")
_FRACTION = re.compile(
    r"([-+]?)\\[dt]?frac\s*\{?(\d{1,300})\}?\s*\{?(\d{1,300})\}?|([-+]?)(\d{1,300})\s*/\s*(\d{1,300})"
)
_CORE_AND_WORDS = re.compile(r"(.*?[\d)}\]])\s*((?:(?![eE][-+]?\d)[A-Za-zµΩ°][A-Za-zµΩ°./^\d ]*)?)")
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


class Answer(NamedTuple):
    text: str
    """The formula, without unit, percent sign and name."""
    unit: str
    """Singular, lower case; empty if there is none."""
    scale: Fraction
    """What the formula is multiplied by: 1/100 for a percentage."""


def final_answer(text: str) -> str:
    """The answer that a text states; empty if it states none, or several."""
    text = text[-MAX_TEXT_CHARS:]
    boxes = list(_BOXED.finditer(text))
    if boxes:
        return _boxed_answer(text, boxes)
    text = _DISPLAY.sub(_in_dollars, text[-MAX_TAIL_CHARS:])
    line = next((line for line in reversed(text.splitlines()) if line.strip()), "").replace("**", "")
    said = _SAID.search(line)
    candidate = (said[1] if said else line).strip().rstrip(".").strip()
    formulas = list(_DOLLARS.finditer(candidate))
    if formulas:
        behind = _EQUALS.fullmatch(candidate[formulas[-1].end() :])
        if behind is None:
            return "" if _HEDGE.search(_DOLLARS.sub("", candidate)) else formulas[-1][1].strip()
        candidate = behind[1].strip()
    if _is_formula(candidate):
        return candidate
    if _HEDGE.search(candidate):
        return ""
    numbers = list(_NUMBER.finditer(candidate))
    if not numbers or (said and len({number[0] for number in numbers}) > 1):
        return ""
    unit = _WORD.match(candidate, numbers[-1].end())
    has_unit = unit and _unit(unit[1]) in UNITS and (len(unit[1]) > 2 or unit.end() == len(candidate))
    percent = _PERCENT.fullmatch(candidate, numbers[-1].start())
    return f"{numbers[-1][0]} {unit[1]}" if unit and has_unit else percent[0] if percent else numbers[-1][0]


def _in_dollars(display: re.Match[str]) -> str:
    formula = next(filter(None, display.groups()))
    return f"${' '.join(formula.split())}$"


def _boxed_answer(text: str, boxes: list[re.Match[str]]) -> str:
    answers = {_braced(text, box.end()).strip() for box in boxes[-100:]}
    answer = answers.pop()
    if answers or not answer:
        return ""
    behind = text[boxes[-1].end() + len(answer) :]
    said = _SAID.search(behind)
    if _HEDGE.search(behind) or (said and _NUMBER.search(said[1])) or _HEDGE.search(_WRAPPED.sub("", answer)):
        return ""
    return answer


def _is_formula(text: str) -> bool:
    """Whether a line is an answer by itself, without an English word in it."""
    return 0 < len(text) <= MAX_CHARS and not re.search(r"(?<![\\a-zA-Z])[a-zA-Z]{2}", text)


def _braced(text: str, start: int) -> str:
    """The text up to the brace that closes the one before `start`; empty if none does."""
    depth = 1
    for at in range(start, min(len(text), start + MAX_CHARS * 2)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[start:at]
    return ""


def read_answer(answer: str) -> Answer:
    """An answer in its parts."""
    text = " ".join(answer.strip().strip("$").replace("\\$", "").replace("\\,", " ").replace("\\!", "").split())
    text = _WRAPPED.sub(r" \1 ", text).replace("^\\circ", "°").replace("^{\\circ}", "°").strip()
    if named := _NAMED.match(text):
        text = text[named.end() :].strip()
    scale = Fraction(1)
    if percent := _PERCENT.fullmatch(text):
        text, scale = percent[1].strip(), Fraction(1, 100)
    unit = ""
    parts = _CORE_AND_WORDS.fullmatch(text)
    # Letters next to a number are a product, unless they are a known unit of several letters.
    if parts and parts[2]:
        known, apart = _unit(parts[2]) in UNITS, text[len(parts[1])] == " "
        if (known and (apart or len(parts[2]) > 1)) or (apart and len(parts[2]) > 2):
            text, unit = parts[1], _unit(parts[2])
    return Answer(text, unit, scale)


def _unit(words: str) -> str:
    unit = " ".join(words.lower().split()).rstrip(".")
    return unit if unit in UNITS or not unit.endswith("s") or len(unit) < 3 else unit[:-1]


def number_of(text: str) -> tuple[Fraction, int | None] | None:
    """A rational number as it is written, and a decimal's number of places; None for anything else."""
    plain = text.replace("{,}", ",").replace(" ", "")
    if len(plain) > MAX_CHARS:
        return None
    if re.fullmatch(_DECIMAL, plain, re.ASCII):
        value = Fraction(plain.replace(",", ""))
        digits, _, exponent = plain.lower().partition("e")
        return value, len(digits.partition(".")[2]) - int(exponent or 0)
    found = _FRACTION.fullmatch(text.strip())
    if found is None:
        return None
    sign, top, bottom = found.group(1, 2, 3) if found[2] else found.group(4, 5, 6)
    return (Fraction(int(f"{sign}{top}"), int(bottom)), None) if int(bottom) else None


def equal_numbers(one: tuple[Fraction, int | None], other: tuple[Fraction, int | None]) -> bool:
    """Whether two numbers are equal, or one is a decimal that rounds the other, a fraction."""
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
    """What an answer is by its outer brackets: a set, a list in order, a time or ratio, or one value."""
    bare = text.replace("\\left", "").replace("\\right", "").strip()
    if re.search(r"\d\s*:\s*\d", bare):
        return "ratio"
    if "," not in _NUMBER.sub("", bare):
        return "value"
    for opening, closing, kind in (("\\{", "\\}", "set"), ("{", "}", "set"), ("(", ")", "round"), ("[", "]", "square")):
        if bare.startswith(opening) and bare.endswith(closing):
            return kind
    return "list"


def is_hostile(text: str) -> bool:
    """Whether the value is too large to compute: three levels of powers, a huge exponent, a huge factorial."""
    return _TOWER.search(text) is not None
