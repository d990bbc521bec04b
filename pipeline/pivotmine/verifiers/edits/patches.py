"""Patches as text: unified diffs with right line counts, and the `*** Begin Patch` form of coding agents.

Only patches that every tool applies alike are read: hunks with right counts, lines that begin with a blank, a plus or
a minus. A patch that leaves something to guess (wrong counts, missing marks, renames, binary files) is unreadable.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@(?: .*)?")
_BEGIN, _END = "*** Begin Patch", "*** End Patch"
_ADD, _DELETE, _UPDATE = "*** Add File: ", "*** Delete File: ", "*** Update File: "
_PREAMBLE = ("diff --git ", "index ", "new file mode ", "deleted file mode ")


class UnreadablePatch(ValueError):
    """The text is not a patch that every tool applies alike."""


class Hunk(NamedTuple):
    first_line: int | None
    """Number of the first old line; None if the patch gives none."""
    heading: str
    """A line that must stand somewhere before the hunk; empty if the patch names none."""
    old: tuple[str, ...]
    """Context and removed lines."""
    new: tuple[str, ...]
    """Context and added lines."""


class PatchedFile(NamedTuple):
    path: str
    hunks: tuple[Hunk, ...] = ()
    added: str | None = None
    """The text of a new file."""
    deleted: bool = False


def read_patch(text: str) -> list[PatchedFile]:
    """The files of a patch, each once; raises UnreadablePatch."""
    lines = text.strip("\n").split("\n")
    files = _read_agent_patch(lines) if lines[0].rstrip() == _BEGIN else _read_unified(lines)
    if not files or len({file.path for file in files}) != len(files):
        raise UnreadablePatch("no file, or one twice")
    return files


def _read_unified(lines: list[str]) -> list[PatchedFile]:
    files: list[PatchedFile] = []
    at = 0
    while at < len(lines):
        if lines[at].startswith(_PREAMBLE):
            at += 1
            continue
        if at + 1 >= len(lines) or not (lines[at].startswith("--- ") and lines[at + 1].startswith("+++ ")):
            raise UnreadablePatch("no file header")
        old, new = _path(lines[at], "a/"), _path(lines[at + 1], "b/")
        hunks, at = _read_hunks(lines, at + 2)
        files.append(_unified_file(old, new, hunks))
    return files


def _unified_file(old: str | None, new: str | None, hunks: list[Hunk]) -> PatchedFile:
    if old is None and new is not None and len(hunks) == 1 and not hunks[0].old:
        return PatchedFile(new, added="".join(f"{line}\n" for line in hunks[0].new))
    if old is not None and new == old and hunks:
        return PatchedFile(old, tuple(hunks))
    raise UnreadablePatch("a rename, or a deletion by hunks")


def _path(line: str, prefix: str) -> str | None:
    path = line[4:].split("\t")[0].rstrip()
    if path == "/dev/null":
        return None
    if not path.startswith(prefix):  # how many parts a tool then strips is not known
        raise UnreadablePatch("a path without a/ or b/")
    return path[len(prefix) :]


def _read_hunks(lines: list[str], at: int) -> tuple[list[Hunk], int]:
    hunks: list[Hunk] = []
    while at < len(lines) and (match := _HUNK.fullmatch(lines[at])):
        num_old, num_new = (1 if count is None else int(count) for count in match.group(2, 4))
        old: list[str] = []
        new: list[str] = []
        at += 1
        while (len(old) < num_old or len(new) < num_new) and at < len(lines):
            _add_line(lines[at], old, new)
            at += 1
        if (len(old), len(new)) != (num_old, num_new):
            raise UnreadablePatch("wrong line counts")
        # Without old lines the number is that of the line before.
        hunks.append(Hunk(int(match[1]) + (not num_old), "", tuple(old), tuple(new)))
    return hunks, at


def _add_line(line: str, old: list[str], new: list[str]) -> None:
    mark, rest = line[:1], line[1:]
    if mark not in (" ", "+", "-"):
        raise UnreadablePatch("a line without its mark")
    if mark != "+":
        old.append(rest)
    if mark != "-":
        new.append(rest)


def _read_agent_patch(lines: list[str]) -> list[PatchedFile]:
    if lines[-1].rstrip() != _END:
        raise UnreadablePatch("no end")
    files: list[PatchedFile] = []
    at, end = 1, len(lines) - 1
    while at < end:
        header = lines[at]
        stop = next((i for i in range(at + 1, end) if lines[i].startswith("*** ")), end)
        body = lines[at + 1 : stop]
        at = stop
        if header.startswith(_UPDATE) and body:
            files.append(PatchedFile(header[len(_UPDATE) :], tuple(_agent_hunks(body))))
        elif header.startswith(_ADD) and all(line.startswith("+") for line in body):
            files.append(PatchedFile(header[len(_ADD) :], added="".join(f"{line[1:]}\n" for line in body)))
        elif header.startswith(_DELETE) and not body:
            files.append(PatchedFile(header[len(_DELETE) :], deleted=True))
        else:
            raise UnreadablePatch("an unknown header")
    return files


def _agent_hunks(body: list[str]) -> list[Hunk]:
    hunks: list[Hunk] = []
    starts = [i for i, line in enumerate(body) if line.startswith("@@")]
    if not starts or starts[0] != 0:
        starts.insert(0, -1)
    for start, stop in zip(starts, [*starts[1:], len(body)], strict=True):
        old: list[str] = []
        new: list[str] = []
        for line in body[start + 1 : stop]:
            _add_line(line, old, new)
        if not old:
            raise UnreadablePatch("a hunk that names no place")
        hunks.append(Hunk(None, body[start][2:].strip() if start >= 0 else "", tuple(old), tuple(new)))
    return hunks
