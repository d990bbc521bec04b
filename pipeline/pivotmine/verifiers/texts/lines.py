"""The lines of a message, with marks for their layout: items of lists, headings, paragraphs, code.

A line begins with a mark, unless it continues the sentence of the line before:

- `↵`: a new line. `¶`: a new line after a list, or an indented line (`¶1`: by one step).
- `•`: a list item, `•1`: an item of a nested list. Bullets and numbers are the same, with three exceptions. The number
  stays (`•.2`) if the numbers do not count up from 1, or if the message may refer to one ("option 2"). The character
  stays (`•+`) if a `+` may mean a pro, or if a `-` may be the sign of the only item. A second kind of bullet at one
  level is marked (`•'`).
- `¶##`: a heading of the second level. A heading that is the first line and the only heading gets no such mark.
- `¶code`: a code block, which is kept as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_TYPOGRAPHY = str.maketrans(
    {
        **dict.fromkeys("‘’‛′´", "'"),
        **dict.fromkeys("“”„″«»", '"'),
        **dict.fromkeys("‐‑‒–—−", "-"),
        "\xa0": " ",
        "\u202f": " ",
        "…": "...",
    }
)
# Scripts that put no space between words: they get a space next to Latin letters and digits.
_UNSPACED = re.compile("[\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*\n]*[^\s*])\1(?![\w*])")
_ITEM = re.compile(r"([-*•·+]|\d{1,3}[.)])[ \t]+(?=\S)")
_HEADING = re.compile(r"(#{1,6})[ \t]+(?=[^\W\d_])")
TAB = "⇥"
"""A tab inside a line is a word of its own, because it may end a table's cell."""
FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})", re.MULTILINE)
_SIGNED = re.compile(r"[\d.$€£¥₹]")
_SENTENCE_END = re.compile(r"[.?!][\"')\]]*\Z")
_REFERENCES = re.compile(
    r"(?<![\w.,$€£¥₹:])(\d{1,3})(?![\w%:]|[.,]\d)"
    r"|\b(?:numbers?|numbered|numerals?|digits?|nos?\.|options?|steps?|items?|points?|choices?|entry|entries|ranks?"
    r"|ranked|ranking|rows?|lines?|positions?|places?|order|list|above|below|first|second|third|fourth|fifth|last"
    r"|former|latter|previous|preceding|next)\b"
    r"|\b(?:one|two|three|four|five|six|seven|eight|nine|ten)(?=\s*(?:[^\w\s]|\Z)| (?:or|and)\b)",
    re.IGNORECASE,
)


class Line(NamedTuple):
    mark: str
    """What begins here; empty if the line continues the one before, and for a first line of text."""
    text: str
    """In plain typography, without the mark."""


class _Read(NamedTuple):
    kind: str
    """`text`, `item`, `heading` or `code`."""
    depth: int
    marker: str
    text: str
    is_apart: bool
    """Whether an empty line stands before it."""


def lines_of(text: str) -> tuple[list[Line], tuple[str, ...]]:
    """The lines of a message, and its code blocks."""
    read, blocks = _read(text)
    marks, goes_on = _item_marks(read), _going_on(read)
    headings = [at for at, line in enumerate(read) if line.kind == "heading"]
    lines: list[Line] = []
    in_list = False
    for at, line in enumerate(read):
        depth = str(line.depth or "")
        if goes_on[at]:
            mark = ""
        elif line.kind == "item":
            mark, in_list = f"•{depth}{marks[at]}", True
        elif line.kind == "code" or (line.kind == "heading" and headings != [0]):
            mark, in_list = f"¶{depth}{line.marker}", True
        else:
            mark = f"¶{depth}" if in_list or depth else "↵" if at else ""
            in_list = in_list and line.depth > 0
        lines.append(Line(mark, line.text))
    return lines, blocks


def plain(text: str) -> str:
    """The text in one typography: composed characters, straight quotes, plain hyphens, no emphasis."""
    text = unicodedata.normalize("NFC", text).translate(_TYPOGRAPHY)
    # Twice, because emphasis may stand inside emphasis.
    for _ in range(2):
        text = _EMPHASIS.sub(_without_emphasis, text)
    return _UNSPACED.sub(r" \g<0> ", text)


def _without_emphasis(found: re.Match[str]) -> str:
    # "2 *3* 4" and "*p*" may be more than emphasis.
    return found[2] if len(found[1]) > 1 or sum(map(str.isalpha, found[2])) > 1 else found[0]


def _read(text: str) -> tuple[list[_Read], tuple[str, ...]]:
    read: list[_Read] = []
    blocks: list[str] = []
    indents: list[int] = []
    is_apart = False
    lines = iter(text.splitlines())
    for line in lines:
        if not line.strip():
            is_apart = True
            continue
        indent = len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
        while indents and indent < indents[-1]:
            indents.pop()
        if not indents or indent > indents[-1]:
            indents.append(indent)
        depth = len(indents) - 1
        if fence := FENCE.match(line):
            blocks.append("\n".join((line[fence.end() :].strip(), *_block(lines, fence[1]))))
            read.append(_Read("code", depth, "code", "", is_apart))
        else:
            read.append(_prose(plain(line.strip()).strip(), depth, is_apart=is_apart))
        is_apart = False
    return read, tuple(blocks)


def _block(lines: Iterator[str], fence: str) -> Iterator[str]:
    """The lines of a code block up to the fence that closes it, which may be missing."""
    for line in lines:
        bare = line.strip()
        if bare.startswith(fence) and not bare.strip(fence[0]):
            return
        yield line.rstrip()


def _prose(text: str, depth: int, *, is_apart: bool) -> _Read:
    for kind, pattern in (("heading", _HEADING), ("item", _ITEM)):
        if found := pattern.match(text):
            return _Read(kind, depth, found[1].rstrip(".)"), text[found.end() :].replace("\t", f" {TAB} "), is_apart)
    return _Read("text", depth, "", text.replace("\t", f" {TAB} "), is_apart)


def _item_marks(read: Sequence[_Read]) -> list[str]:
    """The part of each item's marker that counts; empty for other lines."""
    items = [line for line in read if line.kind == "item"]
    numbers = [int(line.marker) for line in items if line.marker.isdigit()]
    keeps_numbers = bool(numbers) and (not _counts_up(read) or _may_refer(read, max(numbers)))
    keeps_bullets = any(line.marker == "+" for line in items) or (
        len(items) == 1 and _SIGNED.match(items[0].text) is not None
    )
    seen: dict[int, list[str]] = {}
    marks: list[str] = []
    for line in read:
        if line.kind != "item":
            marks.append("")
        elif line.marker.isdigit():
            marks.append(f".{line.marker}" if keeps_numbers else "")
        else:
            bullets = seen.setdefault(line.depth, [])
            bullets += [] if line.marker in bullets else [line.marker]
            marks.append(line.marker if keeps_bullets else "'" * bullets.index(line.marker))
    return marks


def _counts_up(read: Sequence[_Read]) -> bool:
    """Whether the numbers of every list are 1, 2, 3 and so on."""
    last: dict[int, int] = {}
    for line in read:
        number = int(line.marker) if line.kind == "item" and line.marker.isdigit() else None
        if number is not None and number != last.get(line.depth, 0) + 1:
            return False
        last = {depth: count for depth, count in last.items() if depth < line.depth}
        if number is not None:
            last[line.depth] = number
    return True


def _may_refer(read: Sequence[_Read], highest: int) -> bool:
    """Whether words or a number in the message may refer to an item by its number."""
    found = (match for line in read for match in _REFERENCES.finditer(line.text))
    return any(match[1] is None or int(match[1]) <= highest for match in found)


def _going_on(read: Sequence[_Read]) -> list[bool]:
    """For each line, whether it continues the sentence of the line before, which has a capital and an end mark."""
    follows = [False] * len(read)
    capital = False
    for at, line in enumerate(read):
        before = read[at - 1] if at else None
        follows[at] = (
            before is not None
            and capital
            and line.kind == "text"
            and not line.is_apart
            and line.text[:1].islower()
            # "Red" above "blue." may be a list.
            and before.text.count(" ") > 1
            and (before.text[-1:].isalnum() or before.text[-1:] in (",", ")", '"', "'"))
            and (line.depth > before.depth if before.kind == "item" else before.kind == "text")
        )
        if not follows[at]:
            capital = line.text[:1].isupper()
    ends = False  # without an end mark, here or further down, the lines are not one sentence
    for at in reversed(range(len(read))):
        ends = ends or _SENTENCE_END.search(read[at].text[-4:]) is not None
        ends = follows[at] = follows[at] and ends
    return follows
