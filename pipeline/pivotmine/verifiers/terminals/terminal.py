"""`terminal`: keystroke batches of terminal agents that type the same commands.

An action is a call of the Terminus tool (`actions.conventions.terminus`), with keystrokes in the form of the
demonstration. A message is read by that convention first: one JSON object, in a code fence or not. An action passes if
all of this holds:

1. It marks the task complete if and only if the demonstration does.
2. It enters the same lines, with the same words in order, and the same special keys (`C-c`, `Escape`), each as a
   command of its own. These do not count: how lines are split into commands, waiting times, blanks outside of quotes
   and around operators, the order of flags of known commands, and empty lines. Free text does not count either if no
   special key is typed and every line is a complete command, ended by Enter: comments, text that `echo` or `printf`
   only show, a commit's message.
3. The keystrokes, free text included, are similar: rapidfuzz's normalised Indel similarity reaches `min_similarity`.

These rules hold for text that a shell reads. Text for any other program (an editor, Python, a database, a question) is
compared as it is typed, and unproven if it differs. The terminal runs a shell if its last screen ends in a shell's
prompt, and as long as each line runs only programs that are known not to read the terminal (`shell_lines`).

The verdict is symmetric. `cd a && ls` against the same commands in two lines is unproven. Other commands that do the
same fail here; `shell` proves some of those equal.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from pivotmine.actions.action import Action
from pivotmine.actions.conventions import read_text
from pivotmine.actions.conventions.keystrokes import Batch, form_of, read_call
from pivotmine.actions.conventions.terminus import TOOL
from pivotmine.errors import UserError
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier, shown_text, unproven
from pivotmine.verifiers.shell.shell_flags import RULES, arguments
from pivotmine.verifiers.shell.shell_words import is_plain, word_form
from pivotmine.verifiers.terminals.shell_lines import is_shell, stays_in_shell
from pivotmine.verifiers.texts.json_texts import json_of

MAX_CHARS = 20_000
"""Longer keystrokes cost too much to compare: they are unproven unless they are equal."""

_KEY = re.compile(
    r"(?:[CMS]-){1,3}\S{1,8}|Escape|B?Tab|B?Space|Up|Down|Left|Right|Home|End|PPage|NPage|PageUp|PageDown|F\d\d?"
)
_ENTER = ("Enter", "C-m", "KPEnter")
_SHOWN_ONLY = re.compile(r"\s*(echo|printf)\s[^<>|&;$`\\!]*+")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
"""Characters that act as keys: a tab asks the shell to complete a word."""
_OPEN = re.compile(
    r"\s*(?:for|while|until|if|case|select|function|then|do|else)\b(?!.*;\s*(?:done|fi|esac)\s*$)"
    r"|\s*[{(]|[^'\"]*\(\)\s*\{?|.*(?:\||&&|\\|\()\s*$"
)
"""A line that begins a compound command or goes on in the next line: its output may not go to the screen."""
_COMMIT_MESSAGE = re.compile(
    r"""(git\s+commit(?:\s+-[-a-z]{1,12}){0,4}?\s+(?:-[a-z]?m|--message)[ =])("[^"$`\\]*"|'[^']*')"""
)
_SIMPLE = re.compile(r"[^$`(){}\[\]*?~!#]*")
_TOKEN = re.compile(r"\d*[<>]+&?\d*|&&|\|\||[|;&]|[^\s|;&<>]+")
_JOINTS = frozenset(("&&", "||", "|", ";", "&"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalOptions:
    min_similarity: float = 0.5
    """Minimum similarity of all keystrokes, 0 to 1. With `same_words` it only limits how much free text is added."""
    same_words: bool = True
    """Words outside of free text must be equal. Without it similarity alone decides: then set `min_similarity` to 0.95,
    and expect that another path or number in a long command passes."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_similarity <= 1:
            raise UserError(f"verifier terminal, option min_similarity: must be 0 to 1, is {self.min_similarity}")


def prepare(state: State, demonstration: Action, options: TerminalOptions) -> Callable[[Action], Verdict]:
    """Return a scorer for one demonstrated batch."""
    form = _form_of(demonstration)
    gold = _batch(demonstration, form)
    if isinstance(gold, Verdict):
        words = f"the demonstration is no {form} batch: {gold.detail}"
        fault = Verdict(0.0, Outcome.INVALID_CALL, shown_text(words))
        return lambda action: fault
    typed, in_shell = _typed(gold), is_shell(state.messages)

    def judge(action: Action) -> Verdict:
        given = _batch(action, form)
        if isinstance(given, Verdict):
            return given
        if given.complete != gold.complete:
            return Verdict(0.0, Outcome.WRONG_ARGUMENTS, f"complete: {given.complete}, demonstrated {gold.complete}")
        return _compare(typed, _typed(given), options, in_shell=in_shell)

    return judge


def _form_of(demonstration: Action) -> str:
    """The Terminus version whose form a call has, or a message that is read as one."""
    if demonstration.tool_calls:
        return "terminus_1" if "is_task_complete" in demonstration.tool_calls[0].arguments else "terminus_2"
    return form_of(json_of(demonstration.message))


def _batch(action: Action, form: str) -> Batch | Verdict:
    """Read the batch that an action types in a form; the verdict if it is not one."""
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
    is_foreign: bool = False
    """Typed into a program that is not known to be a shell."""


def _compare(gold: list[_Piece], given: list[_Piece], options: TerminalOptions, *, in_shell: bool) -> Verdict:
    if gold == given:
        return Verdict(1.0, Outcome.CORRECT)
    text, given_text = "".join(piece.text for piece in gold), "".join(piece.text for piece in given)
    if max(len(text), len(given_text)) > MAX_CHARS:
        return unproven(f"more than {MAX_CHARS:,} characters, and not equal")
    words, given_words = _words(gold, in_shell=in_shell), _words(given, in_shell=in_shell)
    if options.same_words and (difference := _difference(words, given_words)):
        if _differs_in_form(gold, given, words, given_words):
            return unproven(difference)
        return Verdict(0.0, Outcome.WRONG_ARGUMENTS, difference)
    return _by_similarity(text, given_text, options.min_similarity)


def _differs_in_form(gold: list[_Piece], given: list[_Piece], words: list[_Piece], given_words: list[_Piece]) -> bool:
    """Whether the first difference is in text that no shell reads, or all are in blanks, `&&` and `;`."""
    first = next((pair for pair in zip(words, given_words, strict=False) if pair[0] != pair[1]), None)
    shorter = min(len(words), len(given_words))
    rest = first or (words[shorter:] + given_words[shorter:])[:1]
    if any(piece.is_foreign for piece in rest) and not any(piece.is_key for piece in rest):
        return True
    if _without_joints(words) == _without_joints(given_words):
        return True
    text = "".join(piece.text for piece in gold + given)
    return not re.search(r"<<|['\"\\]", text) and _squeezed(gold) == _squeezed(given)


def _squeezed(pieces: list[_Piece]) -> list[_Piece]:
    """Keys and words, without blanks."""
    return [
        _Piece(piece.is_key, word) for piece in pieces for word in piece.text.replace("\n", " \n ").split(" ") if word
    ]


def _without_joints(pieces: list[_Piece]) -> list[_Piece]:
    """Turn `&&` and `;` into line ends: the commands stay the same, unless one of them fails."""
    return [piece._replace(text="\n") if piece.text in ("&&", ";") and not piece.is_key else piece for piece in pieces]


def _by_similarity(text: str, given: str, least: float) -> Verdict:
    from rapidfuzz.distance import Indel

    similarity = Indel.normalized_similarity(text, given)
    if similarity >= least:
        return Verdict(1.0, Outcome.CORRECT)
    return Verdict(0.0, Outcome.WRONG_ARGUMENTS, f"similarity {similarity:.2f}, needed {least:g}")


def _typed(batch: Batch) -> list[_Piece]:
    """Split the typed input into special keys and text; text is joined across commands."""
    pieces: list[tuple[bool, list[str]]] = []
    for keystrokes in batch.keystrokes:
        text = "\n" if keystrokes in _ENTER else keystrokes.replace("\r\n", "\n").replace("\r", "\n")
        if keystrokes not in _ENTER and _KEY.fullmatch(keystrokes):
            pieces.append((True, [keystrokes]))
        elif pieces and not pieces[-1][0]:
            pieces[-1][1].append(text)
        elif text:
            pieces.append((False, [text]))
    return [_Piece(is_key, "".join(parts)) for is_key, parts in pieces]


def _words(pieces: list[_Piece], *, in_shell: bool) -> list[_Piece]:
    """Keys, words and line ends, without free text."""
    has_keys = any(piece.is_key or _CONTROL.search(piece.text) for piece in pieces)
    words: list[_Piece] = []
    for piece in pieces:
        if piece.is_key:
            words.append(piece)
        else:
            found, in_shell = _words_of_text(piece.text, verbatim=has_keys, in_shell=in_shell)
            words += found
    return words


def _words_of_text(text: str, *, verbatim: bool, in_shell: bool) -> tuple[list[_Piece], bool]:
    """The words of a text, and whether a shell reads what follows it."""
    # White space counts in quotes and in text for a file: such text is only split into lines.
    lines = text.split("\n")
    verbatim = verbatim or "<<" in text or any(map(_goes_on, lines))
    found: list[_Piece] = []
    in_file = False
    for number, line in enumerate(lines):
        is_last = number == len(lines) - 1  # no Enter yet: the next batch may continue this line
        words = [line] if not in_shell or in_file else [line.rstrip()] if verbatim else _words_of_line(line)
        words = [line] if is_last and line else words
        if verbatim or words:
            found += [_Piece(False, word, not in_shell) for word in words]
            if not is_last:
                found.append(_Piece(False, "\n", not in_shell))
        in_file = in_file or "<<" in line
        in_shell = in_shell and (in_file or is_last or stays_in_shell(line))
    return found, in_shell


def _goes_on(line: str) -> bool:
    """Whether a line is not a complete command."""
    quotes = line.count('"') % 2 or line.count("'") % 2
    return bool(quotes) or line.count("(") != line.count(")") or _OPEN.match(line) is not None


def _words_of_line(line: str) -> list[str]:
    if re.match(r"\s*#(?!!)", line):
        return []
    if shown := _SHOWN_ONLY.fullmatch(line):
        return [shown[1]]
    line = _COMMIT_MESSAGE.sub(r"\1''", line)
    if "'" in line or '"' in line or "\\" in line:
        return [line.strip()]
    if not _SIMPLE.fullmatch(line):
        return line.split()
    words: list[str] = []
    command: list[str] = []
    for token in [*_TOKEN.findall(line), ""]:
        if token and token not in _JOINTS:
            command.append(token)
            continue
        words += [*_in_one_order(command), *filter(None, [token])]
        command = []
    return words


def _in_one_order(command: list[str]) -> list[str]:
    """The words of a command; its flags are sorted if they are known."""
    size = 2 if " ".join(command[:2]) in RULES else 1
    name = " ".join(command[:size])
    if name not in RULES or any(word[-1] in "<>&" or not is_plain(word_form(word)) for word in command):
        return command
    found = arguments(name, command[size:])
    if found is None:
        return command
    flags = [f"-{flag} {value}" if value is not None else f"-{flag}" for flag, value in found.flags]
    return [*command[:size], *flags, *found.operands]


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
    version=5,
    kinds=frozenset({"tool_call", "message"}),
    abstains=True,
    reads_commands=True,
    needs_messages=True,
    requires=("rapidfuzz",),
)
