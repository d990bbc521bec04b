"""The final answer that a text states.

A text must state exactly one answer. Two different boxes, a correction behind the box, "6 or 5", "not sure" and "the
answer is not 6" count as none. A number inside a word ("page5") is not an answer. Words and signs that change an answer
belong to it: the sign in front of a box, "at least", "million", "pm", the unit.
"""

from __future__ import annotations

import re

from pivotmine.verifiers.maths.quantities import MAX_CHARS, NUMBER, WRAPPED

MAX_TEXT_CHARS = 1_000_000
"""The answer is looked for in this many last characters."""
MAX_TAIL_CHARS = 20_000
"""Without a box, the answer is looked for in this many last characters."""
MAX_WORDS = 4
"""Maximum number of words of a unit behind a number."""

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_DISPLAY = re.compile(r"\\\[(.{1,1000}?)\\\]|\\\((.{1,1000}?)\\\)|\$\$(.{1,1000}?)\$\$", re.DOTALL)
_DOLLARS = re.compile(r"\$([^$]+)\$")
_SAID = re.compile(r"(?:answer\s+is|answer\s*:|answer\s*=|####|\btherefore\b|\bhence\b)\s*:?(.*)", re.IGNORECASE)
_EQUALS = re.compile(r"\s*(?:is|equals|=|are|:)\s+(.+)", re.IGNORECASE)
# Words around an answer, or behind its box, that doubt it or take it back.
_HEDGE = re.compile(
    r"\b(?:or|either|idea|unsure|sure|unclear|not|no|maybe|perhaps|possibly|probably|might|may|could|guess|page|cannot|"
    r"actually|wait|correction|instead|rather|unless|except|never|neither|nor|wrong|incorrect|false|mistaken|"
    r"impossible|doubt)\b|n['’]t\b",
    re.IGNORECASE,
)
# Words in front of a box that deny or doubt its answer.
_DENIAL = re.compile(
    r"\b(?:not|never|cannot|false|wrong|incorrect|instead of|rather than|other than|except|unless|maybe|perhaps"
    r"|possibly|probably|guess|might|may be|could|unsure)\b|n['’]t\b"
    r"|\\neq?\b|≠|\\not\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.;!?](?=[\s$])|\n\s*\n")
_MISTAKEN = re.compile(
    r"\b(?:mistake|mistakenly|wrong|wrongly|incorrect|incorrectly|misread|naive|naively)\b", re.IGNORECASE
)
_CLAUSE_END = re.compile(
    r"[.;,!?](?=[\s$])|\n\s*\n|\b(?:so|thus|hence|therefore|then|but|gives|giving|gets?|yields?|have|has|obtain|find|"
    r"conclude|means|implies|leaving|leaves)\b",
    re.IGNORECASE,
)
# Words in front of a number that make it another answer.
_ALTERED = re.compile(
    r"\b((?:(?:less|more|fewer|greater|larger|smaller|higher|lower|older|younger|longer|shorter|other)"
    r" than|at least|at most|up to|between|below|above|under|over|beyond|almost|nearly|half(?: of)?|twice|double|triple"
    r"|thrice|(?:square |cube )?root(?: of)?|log(?: of)?|square of|cube of|factorial of|reciprocal of|inverse of"
    r"|opposite of"
    r"|(?:loss|profit|gain|decrease|increase|drop|rise|decline|deficit|surplus|discount|debt|reduction|refund) of"
    r"|(?:decreas|declin|reduc)(?:e|es|ed|ing)(?: by)?|(?:falls?|fell|drops?|dropped|lost|loses?|shr[aiu]nk) by|lost"
    r"|(?<=\d )(?:to|through|until)"
    r"|multiples? of|powers? of|times|plus|exceed(?:s|ing)|within|but|base|modulo|mod|question|problem|exercise|step"
    r"|chapter|section|equation|figure|line|theorem|version|room|gate|january|february|march|april|june|july|august"
    r"|september|october|november|december)(?: the| a| an| about)?)\s*\$?$",
    re.IGNORECASE,
)
_SIGN = re.compile(
    r"(?:\b(?:negative|minus)\s+|(?:\bis|=|\(|^)\s*[-–]\s?|(?<![\w\s])[-–]|(?<=\s)[-–])\$?$", re.IGNORECASE
)
_SIGN_OF_BOX = re.compile(r"(?:=|\$|\\[\[(])\s*-$|\b(?:negative|minus)$", re.IGNORECASE)
# What belongs to the same answer in front of a number: "1 hour" of "1 hour 30 minutes".
_PART = re.compile(
    r"(?<![\w.])(?:\d[\d.,]{0,20}\s*(?:hours?|hrs?|h|minutes?|mins?|min|seconds?|days?|weeks?|months?|years?|feet|foot|ft"
    r"|yards?|miles?|km|meters?|metres?|m|pounds?|lbs?|kg|dollars?|euros?|degrees?|'|′|°),?\s*(?:and\s+)?){1,3}$"
)
_CURRENCY = re.compile(r"([-–]?)(\\?\$|[€£¥₹])\s?$")
_STOP = frozenset((
    "in", "on", "at", "left", "remaining", "total", "altogether", "all", "each", "and", "so", "because", "since",
    "as", "for", "to", "from", "with", "is", "are", "was", "were", "which", "that", "when", "if", "now", "today",
    "here", "there", "still", "again", "too", "also", "after", "before", "by", "among", "where", "who", "then",
    "while", "would", "can", "will", "has", "have", "he", "she", "they", "it", "we", "you", "i", "the", "a", "an",
    "exactly", "only", "this", "ways", "way", "such", "possible", "different", "distinct",
))  # fmt: skip
"""A unit ends before these words."""
_TAIL_END = re.compile(r"[,;:!?()=]|\.(?=\s|$)|\n|\\[\[\]()]|\$")
_CHANGED = re.compile(
    r"\s*(?:in base \d{1,3}\b|in (?:binary|octal|decimal|hex(?:adecimal)?)\b|and (?:a |one )?(?:half|quarter|third)\b)"
)
_LEAVING_MATH = re.compile(r"(?:\s*(?:\\[\])]|\$\$?|\*\*))?")


def final_answer(text: str) -> str:
    """The answer that a text states; empty if it states none, or several."""
    text = text[-MAX_TEXT_CHARS:].replace("−", "-")
    boxes = list(_BOXED.finditer(text))
    if boxes:
        return _boxed_answer(text, boxes)
    text = _DISPLAY.sub(_in_dollars, text[-MAX_TAIL_CHARS:])
    line = next((line for line in reversed(text.splitlines()) if line.strip()), "").replace("**", "")
    said = _SAID.search(line)
    candidate = (said[1] if said else line).strip().rstrip(".").strip()
    formulas = list(_DOLLARS.finditer(candidate))
    if formulas:
        last = formulas[-1]
        behind = _EQUALS.fullmatch(candidate[last.end() :])
        if behind is None:
            return "" if _HEDGE.search(_DOLLARS.sub("", candidate)) else _with_neighbours(candidate, last, last[1])
        candidate = behind[1].strip()
    if _is_formula(candidate):
        return candidate
    if _HEDGE.search(candidate):
        return ""
    numbers = list(NUMBER.finditer(candidate))
    if not numbers or (said and len({number[0] for number in numbers}) > 1 and not _is_one(candidate, numbers)):
        return ""
    return _with_neighbours(candidate, numbers[-1], numbers[-1][0])


def _is_one(candidate: str, numbers: list[re.Match[str]]) -> bool:
    """Whether the second of two numbers is the base of the first."""
    between = candidate[numbers[0].end() :]
    return len(numbers) == 2 and _CHANGED.match(between) is not None


def _with_neighbours(text: str, core: re.Match[str], value: str) -> str:
    """A number or a formula with the words around it that change it, its sign, and its unit."""
    value, before, end = value.strip(), text[: core.start()], core.end()
    earlier = [found for found in NUMBER.finditer(before) if _CHANGED.match(text, found.end())]
    if earlier and value.isdigit():  # the last number is the base of an earlier one, which is the answer
        return _with_neighbours(text, earlier[-1], earlier[-1][0])
    symbol = sign = ""
    if earlier_part := _PART.search(before):
        value, before = f"{earlier_part[0].strip()} {value}", before[: earlier_part.start()]
    if found := _CURRENCY.search(before):
        symbol, sign, before = found[2] if found[2] != "$" else "\\$", found[1], before[: found.start()]
    if found := _SIGN.search(before):
        sign, before = "-", before[: found.start()]
    altered = _ALTERED.search(before)
    if sign:
        value = f"-{value}" if NUMBER.fullmatch(value) and value[0] not in "+-" else f"-({value})"
    words = _words_behind(text, end)
    return " ".join(filter(None, (altered[1] if altered else "", symbol + value, words)))


def _words_behind(text: str, end: int) -> str:
    """The words behind a number that belong to it: what multiplies or changes it, and its unit."""
    rest = WRAPPED.sub(r" \1 ", text[end : end + 200])
    if percent := re.match(r"\s*(?:\\?%|per\s?cent\b)", rest, re.IGNORECASE):
        return percent[0].strip()
    if changed := _CHANGED.match(rest):
        return " ".join(changed[0].split())
    if rest[:1].isalnum() or rest[:1] in "_^":
        return ""
    if rest[:1] in ("'", '"', "′", "″"):
        return rest[0]  # feet, inches, minutes
    found = _TAIL_END.search(rest)
    kept: list[str] = []
    for word in (rest[: found.start()] if found else rest).split():
        if (
            word.lower() in _STOP
            or not re.fullmatch(r"[A-Za-z°¢µΩ][A-Za-z°¢µΩ./^'\d-]{0,30}", word)
            or len(kept) == MAX_WORDS
        ):
            break
        kept.append(word)
    return " ".join(kept)


def _in_dollars(display: re.Match[str]) -> str:
    formula = next(filter(None, display.groups()))
    return f"${' '.join(formula.split())}$"


def _boxed_answer(text: str, boxes: list[re.Match[str]]) -> str:
    answers = {_braced(text, box.end()).strip() for box in boxes[-100:]}
    answer = answers.pop()
    if answers or not answer:  # boxes with different answers, or an empty one
        return ""
    before, behind = text[: boxes[-1].start()][-200:], text[boxes[-1].end() :]
    behind = behind[behind.find(answer) + len(answer) :].partition("}")[2]
    behind = re.sub(r"^\s*\^\s*(?:\\circ|\{\s*\\circ\s*\})", "°", behind)
    said = _SAID.search(behind)
    if _HEDGE.search(behind) or (said and NUMBER.search(said[1])) or _HEDGE.search(WRAPPED.sub("", answer)):
        return ""
    clause = _CLAUSE_END.split(before)[-1][-60:]
    is_mistaken = _MISTAKEN.search(_SENTENCE_END.split(before)[-1]) or re.match(r"[\s$*)\\]{0,4}\?", behind)
    if is_mistaken or _DENIAL.search(clause) or _is_part(before, behind):
        return ""
    return _boxed_with_neighbours(answer, clause, behind)


def _is_part(before: str, behind: str) -> bool:
    """Whether the box is a part of a formula, or compared with something."""
    if before[-1:].isdigit():
        return True
    before = before.replace("**", "").rstrip(" $\n").removesuffix("\\[").removesuffix("\\(").rstrip(" $\n")
    if re.search(
        r"(?:[\w)}\]]\s*[-+]|[*/^_<>{(≤≥±√]|\\(?:cdot|times|div|pm|mp|le|leq|ge|geq|lt|gt|sqrt|in)|\w\\?[*])$", before
    ):
        return True
    return (
        re.match(
            r"\s*(?:[\^_]|\\(?:cdot|times|div|pm)\b|[*/+](?!\*)\s*[\w\\]|[.:,]?\d|-\s*\d|!\s*(?:\$|\\[\])])|[<>])",
            behind,
        )
        is not None
    )


def _boxed_with_neighbours(answer: str, clause: str, behind: str) -> str:
    before = clause.replace("**", "").rstrip("\n ")
    before = before.removesuffix("$").removesuffix("\\[").removesuffix("\\(").rstrip()
    opened = len(before) < len(clause.rstrip("\n "))
    symbol = sign = ""
    if found := re.search(r"(\\\$|[€£¥₹])\s?$", before):
        symbol, before = found[1], before[: found.start()]
    # In prose, a dash with blanks around it is not a sign.
    if _SIGN_OF_BOX.search(before) or (not opened and clause.endswith("-")):
        sign = "-"
    altered = _ALTERED.search(before)
    if sign:
        answer = f"-{answer}" if NUMBER.fullmatch(answer) and answer[0] not in "+-" else f"-({answer})"
    left = _LEAVING_MATH.match(behind)
    words = _words_behind(behind, left.end() if left else 0)
    return " ".join(filter(None, (altered[1] if altered else "", symbol + answer, words)))


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
