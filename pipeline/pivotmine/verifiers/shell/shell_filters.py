"""Common text filters as Python functions: `cut -d: -f2`, `awk '{print $1}'`, `sort -u`, ...

Nothing is run. A filter with an unsupported flag, pattern or script has no function, and nothing is proved about its
pipeline. Assumed: GNU tools, and characters in the order of their code points.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

Filter = Callable[[str], str]
Flags = Mapping[str, str | None]
_PATTERN_CHARS = 60
_FIELDS = re.compile(r"(\d{1,4})?(-)?(\d{1,4})?")
_PRINT = re.compile(r"(?:NR ?== ?(\d{1,4}) )?\{ ?print(?: ([^{}]+?))? ?;? ?\}")
_VALUE = re.compile(r"\$(?:(\d{1,3})|NF|\(NF ?- ?(\d{1,3})\))")
_SED = re.compile(r"s([/|#,])([^/|#,]*)\1([^/|#,&\\]*)\1(g?)")
_CLASSES = {
    "[:space:]": " \t\n\r\v\f", "[:upper:]": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "[:digit:]": "0123456789",
    "[:lower:]": "abcdefghijklmnopqrstuvwxyz", "[:blank:]": " \t",
}  # fmt: skip
_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}


def filter_of(name: str, flags: Sequence[tuple[str, str | None]], words: Sequence[str]) -> Filter | None:
    """Return the function of a filter that reads standard input; None if it is not supported."""
    given = dict(flags)
    if len(given) != len(flags) or name not in _FILTERS:
        return None
    return _FILTERS[name](given, list(words))


def pattern_of(text: str, *, extended: bool, ignore_case: bool = False) -> re.Pattern[str] | None:
    """Compile a simple regular expression: characters, `.`, lists, one `*`, anchors, alternatives. None for others."""
    if not extended:
        if re.search(r"[|+?(){}]", text.replace("\\|", "")):
            return None  # literal in basic syntax, operators in Python's
        text = text.replace("\\|", "|")
    plain = re.sub(r"\[\^?\]?[^\]\[\\]*\]", "x", text)
    if len(text) > _PATTERN_CHARS or re.search(r"[\\(){}+?\[\]]", plain.replace("\\.", "")) or plain.count("*") > 1:
        return None
    # A star that repeats nothing, or an anchor inside: Python and grep may read them differently.
    if re.search(r"(?:^|[|*^])\*|.\^|\$.", plain.replace("|^", "|").replace("$|", "|")):
        return None
    try:
        return re.compile(text, re.IGNORECASE if ignore_case else 0)
    except re.error:
        return None


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _by_line(change: Callable[[str], str]) -> Filter:
    return lambda text: _joined([change(line) for line in _lines(text)])


def _cut(flags: Flags, words: list[str]) -> Filter | None:
    ranges = _ranges(flags.get("f") or flags.get("c") or "")
    if words or not ranges or not flags.keys() <= {"d", "f", "c"} or ("f" in flags) == ("c" in flags):
        return None
    delimiter = flags.get("d") or "\t"
    if len(delimiter) != 1 or ("c" in flags and "d" in flags):
        return None

    def cut(line: str) -> str:
        parts = line.split(delimiter) if "f" in flags else list(line)
        if "f" in flags and len(parts) == 1:  # cut passes lines without the delimiter
            return line
        kept = [part for at, part in enumerate(parts, 1) if any(low <= at <= high for low, high in ranges)]
        return (delimiter if "f" in flags else "").join(kept)

    return _by_line(cut)


def _ranges(text: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for part in text.split(","):
        match = _FIELDS.fullmatch(part)
        if match is None or not part.strip("-"):
            return []
        low = int(match[1] or 1)
        found.append((low, (int(match[3]) if match[3] else 10_000) if match[2] else low))
    return found


def _awk(flags: Flags, words: list[str]) -> Filter | None:
    separator = flags.get("F") or " "
    script = _PRINT.fullmatch(words[0].strip()) if len(words) == 1 and flags.keys() <= {"F"} else None
    one_of = re.fullmatch(r"\[[^\]\[\\^]+\]", separator)
    if script is None or not (one_of or (len(separator) == 1 and separator != "\\")):
        return None
    values = [_VALUE.fullmatch(value.strip()) for value in (script[2] or "$0").split(",")]
    if None in values:
        return None
    splitter = re.compile(separator if one_of else re.escape(separator))

    def value_of(line: str, fields: list[str], value: re.Match[str]) -> str:
        at = int(value[1]) if value[1] else len(fields) - int(value[2] or 0)
        return line if at == 0 else fields[at - 1] if 0 < at <= len(fields) else ""

    def awk(text: str) -> str:
        found: list[str] = []
        for number, line in enumerate(_lines(text), 1):
            if script[1] and int(script[1]) != number:
                continue
            fields = line.split() if separator == " " else splitter.split(line) if line else []
            if any(value and value[2] and int(value[2]) > len(fields) for value in values):
                return _joined(found)  # awk stops with an error at a negative field
            found.append(" ".join(value_of(line, fields, value) for value in values if value))
        return _joined(found)

    return awk


def _head(flags: Flags, words: list[str]) -> Filter | None:
    count = flags.get("n", "10")
    if words or not flags.keys() <= {"n"} or not count or not count.isdecimal():
        return None
    return lambda text: _joined(_lines(text)[: int(count)])


def _tail(flags: Flags, words: list[str]) -> Filter | None:
    count = flags.get("n", "10")
    if words or not flags.keys() <= {"n"} or not count or not re.fullmatch(r"\+?\d{1,6}", count):
        return None
    number = int(count)
    if count[0] == "+":
        return lambda text: _joined(_lines(text)[max(number - 1, 0) :])
    return lambda text: _joined(_lines(text)[-number:] if number else [])


def _sort(flags: Flags, words: list[str]) -> Filter | None:
    # `sort -nu` keeps one line of each number, and which one depends on the input's order.
    if words or not flags.keys() <= {"r", "n", "u"} or {"n", "u"} <= flags.keys():
        return None

    def key(line: str) -> tuple[float, str]:
        found = re.match(r"\s*(-?\d{1,15}(?:\.\d{1,15})?)", line)
        return (float(found[1]) if found else 0.0) if "n" in flags else 0.0, line

    def sort(text: str) -> str:
        lines = sorted(set(_lines(text)) if "u" in flags else _lines(text), key=key, reverse="r" in flags)
        return _joined(lines)

    return sort


def _uniq(flags: Flags, words: list[str]) -> Filter | None:
    if words or not flags.keys() <= {"c", "d", "u"} or len(flags) > 1:
        return None

    def uniq(text: str) -> str:
        groups: list[list[str]] = []
        for line in _lines(text):
            if groups and groups[-1][0] == line:
                groups[-1].append(line)
            else:
                groups.append([line])
        kept = [group for group in groups if not flags or "c" in flags or (len(group) > 1) == ("d" in flags)]
        return _joined([f"{len(group):7} {group[0]}" if "c" in flags else group[0] for group in kept])

    return uniq


def _tr(flags: Flags, words: list[str]) -> Filter | None:
    sets = [_characters(word) for word in words]
    if None in sets or not flags.keys() <= {"d", "s"} or len(flags) > 1 or len(sets) != (1 if flags else 2):
        return None
    first = sets[0] or ""
    if "d" in flags:
        return lambda text: "".join(char for char in text if char not in first)
    if "s" in flags:
        return lambda text: re.sub(rf"([{re.escape(first)}])\1+", r"\1", text)
    second = sets[1] or ""
    table = str.maketrans({char: second[min(at, len(second) - 1)] for at, char in reversed([*enumerate(first)])})
    return lambda text: text.translate(table)


def _characters(word: str) -> str | None:
    """The characters of a set of `tr`; None if it is not supported."""
    if word in _CLASSES:
        return _CLASSES[word]
    word = _ESCAPES.get(word, word)
    if re.search(r"[\[\]\\]", word) or not word or len(word) > _PATTERN_CHARS:
        return None
    return re.sub(r"(\w)-(\w)", lambda ends: "".join(map(chr, range(ord(ends[1]), ord(ends[2]) + 1))), word) or None


def _grep(flags: Flags, words: list[str]) -> Filter | None:
    if len(words) != 1 or not flags.keys() <= {"v", "i", "c", "E", "F", "o"} or {"v", "o"} <= flags.keys():
        return None
    text = re.escape(words[0]) if "F" in flags else words[0]
    pattern = pattern_of(text, extended="E" in flags or "F" in flags, ignore_case="i" in flags)
    if pattern is None or not words[0]:
        return None

    def grep(text: str) -> str:
        lines = _lines(text)
        if "o" in flags and "c" not in flags:
            return _joined([found[0] for line in lines for found in pattern.finditer(line) if found[0]])
        kept = [line for line in lines if (pattern.search(line) is None) == ("v" in flags)]
        return f"{len(kept)}\n" if "c" in flags else _joined(kept)

    return grep


def _sed(flags: Flags, words: list[str]) -> Filter | None:
    script = _SED.fullmatch(words[0]) if len(words) == 1 and flags.keys() <= {"E"} else None
    pattern = pattern_of(script[2], extended="E" in flags) if script and script[2] else None
    if script is None or pattern is None:
        return None
    new = script[3]
    return _by_line(lambda line: pattern.sub(lambda _: new, line, count=0 if script[4] else 1))


def _wc(flags: Flags, words: list[str]) -> Filter | None:
    if words or set(flags) != {"l"}:
        return None
    return lambda text: f"{text.count(chr(10))}\n"


def _of_all(change: Callable[[list[str]], list[str]]) -> Callable[[Flags, list[str]], Filter | None]:
    """A filter that takes no flags and changes the list of lines."""

    def read(flags: Flags, words: list[str]) -> Filter | None:
        return None if flags or words else (lambda text: _joined(change(_lines(text))))

    return read


_FILTERS: dict[str, Callable[[Flags, list[str]], Filter | None]] = {
    "cut": _cut,
    "awk": _awk,
    "head": _head,
    "tail": _tail,
    "sort": _sort,
    "uniq": _uniq,
    "tr": _tr,
    "grep": _grep,
    "sed": _sed,
    "wc": _wc,
    "cat": _of_all(lambda lines: lines),
    "rev": _of_all(lambda lines: [line[::-1] for line in lines]),
    "tac": _of_all(lambda lines: lines[::-1]),
}
FILTERS = frozenset(_FILTERS)
