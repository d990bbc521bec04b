"""Words of bash before any expansion: quotes removed, active characters marked.

The form of a word is a string. Literal characters stand for themselves, quoted or not. A character that makes the
shell do something (a glob, a brace, a leading tilde, history expansion) has ACTIVE before it. A word with an expansion
or a substitution is kept as it is written, after OPAQUE.

Bash manual, 3.1.2 Quoting and 3.5 Shell Expansions.
"""

from __future__ import annotations

import re

ACTIVE = "\x00"
"""Stands before each active character. Commands that hold this character themselves are refused."""

OPAQUE = "\x00$"
"""Stands before the text of a word with an expansion."""

_PLAIN = re.compile(r"[\w./:,=@%+-]+", re.ASCII)  # a tilde or an active character is not among these
_SYNTAX = frozenset(" \t\n|&;()<>`")
_GLOBS = frozenset("*?[{}")
_EXPANDS = re.compile(r"[\w{(\[@*#?$!-]")  # after a dollar sign; \w allows more than a name may hold, which is safe
_HISTORY = re.compile(r"[^\s=(]")  # after an exclamation mark, in an interactive shell


def word_form(text: str) -> str:
    """Return the form of a word as it is written."""
    if _PLAIN.fullmatch(text):
        return text
    if text == "{}":  # for find and xargs; bash does not expand it
        return text
    form = _scan(text)
    return OPAQUE + text if form is None else form


def is_plain(form: str) -> bool:
    """Whether the shell passes the word on unchanged."""
    return ACTIVE not in form


def may_be_flag(form: str) -> bool:
    """Whether the word, once expanded, may begin with a dash or become several words or none."""
    return form.startswith(("-", ACTIVE))


def quoted(text: str) -> bool:
    """Whether any character of the word is quoted. Then it is neither an alias nor a keyword."""
    return any(quote in text for quote in "'\"\\")


def _scan(text: str) -> str | None:
    pieces: list[str] = []
    at = 0
    while at < len(text):
        piece, end = _piece(text, at)
        if piece is None:
            return None
        pieces.append(piece)
        at = end
    return "".join(pieces)


def _piece(text: str, at: int) -> tuple[str | None, int]:
    char = text[at]
    if char == "'":
        end = text.find("'", at + 1)
        return (None, at) if end < 0 else (text[at + 1 : end], end + 1)
    if char == '"':
        return _double_quoted(text, at + 1)
    if char == "\\":
        escaped = text[at + 1 : at + 2]
        return ("" if escaped == "\n" else escaped or None), at + 2
    if char in _SYNTAX or (char == "$" and _expands(text, at, "\"'")):
        return None, at
    if char in _GLOBS or _is_tilde(text, at) or _is_history(text, at):
        return ACTIVE + char, at + 1
    return char, at + 1


def _double_quoted(text: str, at: int) -> tuple[str | None, int]:
    pieces: list[str] = []
    while at < len(text):
        char = text[at]
        if char == '"':
            return "".join(pieces), at + 1
        if char == "`" or (char == "$" and _expands(text, at, "")):
            return None, at
        if char == "\\" and text[at + 1 : at + 2] in ("$", "`", '"', "\\", "\n"):
            pieces.append(text[at + 1].replace("\n", ""))
            at += 2
            continue
        pieces.append(ACTIVE + char if _is_history(text, at) else char)
        at += 1
    return None, at


def _expands(text: str, at: int, also: str) -> bool:
    behind = text[at + 1 : at + 2]
    return bool(behind) and (behind in also or _EXPANDS.match(behind) is not None)


def _is_tilde(text: str, at: int) -> bool:
    return text[at] == "~" and (at == 0 or text[at - 1] in ":=")


def _is_history(text: str, at: int) -> bool:
    # The closing double quote ends it: "Hi!" is not a history expansion.
    return text[at] == "!" and text[at + 1 : at + 2] != '"' and _HISTORY.match(text, at + 1) is not None
