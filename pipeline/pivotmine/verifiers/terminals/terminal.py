"""`terminal`: keystroke batches of terminal agents that type the same commands.

An action is a call of the Terminus tool (`actions.conventions.terminus`), with keystrokes in the form of the
demonstration. A message is read by that convention first: one JSON object, in a code fence or not. An action passes if
all of this holds:

1. it calls the task complete exactly where the demonstration does;
2. it types the same: special keys (`C-c`, `Escape`) each as a command of its own, as many lines entered, and the words
   of every line equal and in order. How lines are spread over commands, waiting times, runs of blanks outside of
   quotes, and empty lines do not count. Nor does free text, where no special key is typed: comments, what `echo` or
   `printf` only show, a commit's message;
3. the keystrokes, free text included, are similar: rapidfuzz's normalised Indel similarity reaches `min_similarity`.

Symmetric. Two commands that do the same in other words fail here: `shell` proves some of those. What program the
terminal stands in is not known: text typed into an editor that an earlier turn opened is read as commands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pivotmine.actions.action import Action
from pivotmine.actions.conventions import read_text
from pivotmine.actions.conventions.keystrokes import Batch, form_of, read_call
from pivotmine.actions.conventions.terminus import TOOL
from pivotmine.errors import UserError
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier, shown_text
from pivotmine.verifiers.texts.json_texts import json_of

MAX_CHARS = 20_000
"""Longer keystrokes, which would cost too much to compare, pass where they are equal."""

_KEY = re.compile(
    r"(?:[CMS]-){1,3}\S{1,8}|Escape|B?Tab|B?Space|Up|Down|Left|Right|Home|End|PPage|NPage|PageUp|PageDown|F\d\d?"
)
_ENTER = ("Enter", "C-m", "KPEnter")
_SHOWN_ONLY = re.compile(r"\s*(echo|printf)\s[^<>|&;$`\\]*+")
_COMMIT_MESSAGE = re.compile(
    r"""(git\s+commit(?:\s+-[-a-z]{1,12}){0,4}?\s+(?:-[a-z]?m|--message)[ =])("[^"$`\\]*"|'[^']*')"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalOptions:
    min_similarity: float = 0.5
    """Least similarity of all keystrokes, 0 to 1. With `same_words` it only bounds how much free text may be added."""
    same_words: bool = True
    """Words outside of free text have to be equal. Without it similarity alone decides, as elsewhere: then take 0.95,
    and know that another path or number in a long command passes."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_similarity <= 1:
            raise UserError(f"verifier terminal, option min_similarity: must be 0 to 1, is {self.min_similarity}")


def prepare(state: State, demonstration: Action, options: TerminalOptions) -> Callable[[Action], Verdict]:
    """A judge of messages against one demonstrated batch."""
    form = _form_of(demonstration)
    gold = _batch(demonstration, form)
    if isinstance(gold, Verdict):
        words = f"the demonstration is no {form} batch: {gold.detail}"
        fault = Verdict(0.0, Outcome.INVALID_CALL, shown_text(words))
        return lambda action: fault
    typed = _typed(gold)

    def judge(action: Action) -> Verdict:
        given = _batch(action, form)
        if isinstance(given, Verdict):
            return given
        if given.complete != gold.complete:
            return Verdict(0.0, Outcome.WRONG_ARGUMENTS, f"complete: {given.complete}, demonstrated {gold.complete}")
        return _compare(typed, _typed(given), options)

    return judge


def _form_of(demonstration: Action) -> str:
    """The form of a call, or of a message that is read as one."""
    if demonstration.tool_calls:
        return "terminus_1" if "is_task_complete" in demonstration.tool_calls[0].arguments else "terminus_2"
    return form_of(json_of(demonstration.message))


def _batch(action: Action, form: str) -> Batch | Verdict:
    """The batch that an action types in a form; else the verdict on it."""
    read = action if action.tool_calls else read_text(action.message, form)
    if read.unparsed:
        return Verdict(0.0, Outcome.INVALID_CALL, shown_text(read.unparsed[0].reason))
    if not read.tool_calls:
        return Verdict(0.0, Outcome.INVALID_CALL, "not a JSON object")
    call = read.tool_calls[0]
    if call.name != TOOL or len(read.tool_calls) > 1:
        return Verdict(0.0, Outcome.WRONG_KIND, f"a call of {shown_text(call.name)}")
    batch = read_call(call.arguments, form)
    return batch if isinstance(batch, Batch) else Verdict(0.0, Outcome.INVALID_CALL, shown_text(batch))


class _Piece(NamedTuple):
    is_key: bool
    """A special key, not text."""
    text: str


def _compare(gold: list[_Piece], given: list[_Piece], options: TerminalOptions) -> Verdict:
    if gold == given:
        return Verdict(1.0, Outcome.CORRECT)
    text, given_text = "".join(piece.text for piece in gold), "".join(piece.text for piece in given)
    if max(len(text), len(given_text)) > MAX_CHARS:
        return Verdict(0.0, Outcome.UNPROVEN, f"more than {MAX_CHARS:,} characters, and not equal")
    if options.same_words and (difference := _difference(_words(gold), _words(given))):
        return Verdict(0.0, Outcome.WRONG_ARGUMENTS, difference)
    return _by_similarity(text, given_text, options.min_similarity)


def _by_similarity(text: str, given: str, least: float) -> Verdict:
    from rapidfuzz.distance import Indel

    similarity = Indel.normalized_similarity(text, given)
    if similarity >= least:
        return Verdict(1.0, Outcome.CORRECT)
    return Verdict(0.0, Outcome.WRONG_ARGUMENTS, f"similarity {similarity:.2f}, needed {least:g}")


def _typed(batch: Batch) -> list[_Piece]:
    """What is typed: text, joined over commands, and special keys."""
    pieces: list[_Piece] = []
    for keystrokes in batch.keystrokes:
        text = "\n" if keystrokes in _ENTER else keystrokes.replace("\r\n", "\n").replace("\r", "\n")
        if _KEY.fullmatch(keystrokes):
            pieces.append(_Piece(True, keystrokes))
        elif pieces and not pieces[-1].is_key:
            pieces[-1] = _Piece(False, pieces[-1].text + text)
        elif text:
            pieces.append(_Piece(False, text))
    return pieces


def _words(pieces: list[_Piece]) -> list[_Piece]:
    """Keys, words and line ends, free text left out."""
    has_keys = any(piece.is_key for piece in pieces)
    words: list[_Piece] = []
    for piece in pieces:
        if piece.is_key:
            words.append(piece)
        else:
            words.extend(_Piece(False, word) for word in _words_of_text(piece.text, verbatim=has_keys))
    return words


def _words_of_text(text: str, *, verbatim: bool) -> Iterator[str]:
    # White space counts in what goes into a file, into an editor and in quotes: such text is only cut into lines.
    lines = text.split("\n")
    verbatim = verbatim or "<<" in text or any(line.count('"') % 2 or line.count("'") % 2 for line in lines)
    for number, line in enumerate(lines):
        words = [line.rstrip()] if verbatim else _words_of_line(line)
        if verbatim or words:
            yield from words
            if number < len(lines) - 1:
                yield "\n"


def _words_of_line(line: str) -> list[str]:
    if re.match(r"\s*#(?!!)", line):
        return []
    if shown := _SHOWN_ONLY.fullmatch(line):
        return [shown[1]]
    line = _COMMIT_MESSAGE.sub(r"\1''", line)
    return [line.strip()] if "'" in line or '"' in line or "\\" in line else line.split()


def _difference(gold: list[_Piece], given: list[_Piece]) -> str | None:
    for wanted, found in zip(gold, given, strict=False):
        if wanted != found:
            return f"{shown_text(found.text)}, demonstrated {shown_text(wanted.text)}"
    if len(given) > len(gold):
        return f"{shown_text(given[len(gold)].text)}, not demonstrated"
    return f"lacks {shown_text(gold[len(given)].text)}" if len(given) < len(gold) else None


VERIFIER = Verifier(
    prepare=prepare,
    options=TerminalOptions,
    version=2,
    kinds=frozenset({"tool_call", "message"}),
    requires=("rapidfuzz",),
)
