"""Prove that two pipelines of common text filters print different text.

Both must filter the same command or the same file, or each a literal text (`echo TEXT`, `<<< TEXT`). Literal texts are
filtered as they are. What a command prints or a file holds is unknown, so generated texts replace it. They hold random
words and the words that the filters look for, joined by blanks and by every separator that either program names. In
half of the texts a line has each separator once; for a command such a text is a single line. There the last field may
be the second one, and `head -n 1` changes nothing. The outputs must differ on every text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from random import Random
from typing import Any, NamedTuple

from pivotmine.verifiers.shell.shell_commands import canonical, clean_path
from pivotmine.verifiers.shell.shell_filters import FILTERS, Filter, filter_of
from pivotmine.verifiers.shell.shell_syntax import Form, UnreadableCommand, read_program
from pivotmine.verifiers.shell.shell_words import OPAQUE, is_plain

NUM_TEXTS = 4
NUM_LINES = 8
MAX_FILTERS = 20
MAX_CHARS = 2_000
"""Maximum length of a text and of each filter's output: matching a pattern may take quadratic time."""
_SUBSTITUTION = re.compile(r"<\((?!\()(.*)\)", re.DOTALL)
_SEPARATORS = ".-_#:,;=/|@\t"


class _Pipeline(NamedTuple):
    source: tuple[str, Any]
    """`text`, `file` or `command`, then the text, the path or the command's form."""
    filters: list[Filter]
    named: str
    """The words of the filters: separators and search patterns."""

    def output(self, text: str) -> str | None:
        """Apply the filters to a text; None if an output is longer than MAX_CHARS."""
        for change in self.filters:
            text = change(text)
            if len(text) > MAX_CHARS:
                return None
        return text.rstrip("\n")


def outputs_differ(one: Form, other: Form) -> bool:
    """Whether two programs of `shell_commands.canonical` provably print different text."""
    first, second = _pipeline(one), _pipeline(other)
    if first is None or second is None or first.source[0] != second.source[0]:
        return False
    if first.source[0] == "text":
        return _differ(first.output(first.source[1]), second.output(second.source[1]))
    if first.source != second.source or not (first.filters or second.filters):
        return False
    texts = _texts(first.source[0] == "command", *sorted((first.named, second.named)))
    return all(_differ(first.output(text), second.output(text)) for text in texts)


def _differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other


def _pipeline(program: Form, depth: int = 0) -> _Pipeline | None:
    """Source and filters of a program that is one pipeline; None if a part of it is not supported."""
    if len(program) != 2 or program[0] != "program" or depth > 3:
        return None
    statement = program[1]
    parts = statement[1:] if statement[0] == "pipeline" else (statement,)
    if any(part != "|" for part in parts[1::2]) or len(parts) > 2 * MAX_FILTERS:
        return None
    found = _first(parts[0], depth)
    for part in parts[2::2]:
        name, flags, words = _command(part)
        change = filter_of(name, flags, words) if all(map(is_plain, words)) else None
        if found is None or change is None:
            return None
        found = found._replace(filters=[*found.filters, change], named=f"{found.named} {_text_of(flags, words)}")
    return found


def _command(form: Form) -> tuple[str, Sequence[tuple[str, str | None]], Sequence[str]]:
    """Name, flags and words of a command without assignments; an empty name for anything else."""
    if form[0] != "command" or form[1]:
        return "", (), ()
    return (form[2], form[3], form[4]) if len(form) == 5 else (form[2], (), form[3])


def _text_of(flags: Sequence[tuple[str, str | None]], words: Sequence[str]) -> str:
    return " ".join([*(value for _, value in flags if value), *words])


def _first(form: Form, depth: int) -> _Pipeline | None:
    """The source of a pipeline; if its first command is a filter, with that filter."""
    text = None
    if form[0] == "redirected" and len(form[2]) == 1 and form[2][0][:2] == ("0", "<<<") and is_plain(form[2][0][2]):
        form, text = form[1], f"{form[2][0][2]}\n"
    name, flags, words = _command(form)
    if text is not None:
        change = filter_of(name, flags, words) if all(map(is_plain, words)) else None
        return None if change is None or len(text) > MAX_CHARS else _Pipeline(("text", text), [change], "")
    if name == "echo" and words and not flags and all(map(is_plain, words)) and not words[0].startswith("-"):
        shown = " ".join(words)
        return None if "\\" in shown or len(shown) >= MAX_CHARS else _Pipeline(("text", f"{shown}\n"), [], "")
    if name in FILTERS and words and (source := _operand(words[-1], depth)) is not None:
        change = filter_of(name, flags, words[:-1]) if all(map(is_plain, words[:-1])) else None
        if change is not None:
            named = f"{source.named} {_text_of(flags, words[:-1])}"
            return source._replace(filters=[*source.filters, change], named=named)
    return _Pipeline(("command", form), [], "") if name and name not in FILTERS else None


def _operand(word: str, depth: int) -> _Pipeline | None:
    """The source that the file operand of a filter names: a path, or the pipeline of a `<(...)`."""
    if is_plain(word):
        return None if word in ("", "-") else _Pipeline(("file", clean_path(word)), [], "")
    inner = _SUBSTITUTION.fullmatch(word.removeprefix(OPAQUE))
    try:
        return _pipeline(canonical(read_program(inner[1])), depth + 1) if inner else None
    except UnreadableCommand:
        return None


@lru_cache(maxsize=1_000)
def _texts(is_command: bool, *named: str) -> list[str]:  # noqa: FBT001
    """Generate texts with every separator and every word that the filters name."""
    random = Random(0)
    letters = "".join(named)
    separators = [" ", *(char for char in _SEPARATORS if char in letters or (char == "\t" and "\\t" in letters))]
    wanted = sorted({word for text in named for word in re.findall(r"[A-Za-z]{2,}|[A-Za-z]\d+", text)})
    texts: list[str] = []
    for number in range(NUM_TEXTS):
        orders = list(separators)
        random.shuffle(orders)
        once = [_line(random, orders, wanted) for _ in range(1 if is_command else NUM_LINES)]
        many = [_line(random, random.sample(separators * 3, 3 * len(separators)), wanted) for _ in range(NUM_LINES)]
        # Repeat lines next to each other and apart: `uniq` drops only the former.
        texts += [_joined(once), _joined([*many[:3], many[2], *many[3:], many[number]])]
    return texts


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _line(random: Random, joints: Sequence[str], wanted: Sequence[str]) -> str:
    words = [_word(random) for _ in range(len(joints) + 1)]
    if wanted and random.random() < 0.5:
        words[random.randrange(len(words))] = random.choice(wanted)
    return "".join([word + joint for word, joint in zip(words, [*joints, ""], strict=True)])


def _word(random: Random) -> str:
    return "".join(random.choice("abcdefghkmprstuwxyzABCDEFH0123456789") for _ in range(random.randint(2, 6)))
