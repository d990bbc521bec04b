"""File edits by editor tools: what their arguments mean, and the text of a file after them.

The tables name arguments, not tools: `str_replace_editor` and its kin (`command` with `str_replace`, `insert`,
`create`), tools with old and new text, whole files, and patches in one argument. A call that gives one of these
twice, or not as text, is not an edit. Texts are compared and changed in memory; no file is touched. A replacement of a
range of lines is compared as it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pivotmine.verifiers.edits.patches import Hunk, PatchedFile, UnreadablePatch, read_patch
from pivotmine.verifiers.shell.shell_commands import clean_path

PATH = ("path", "file_path", "filepath", "filename", "file", "target_file")
OLD = ("old_str", "old_string", "old_text")
NEW = ("new_str", "new_string", "new_text")
TEXT = ("file_text", "content", "contents", "file_content")
EVERY = ("replace_all",)
LINE = ("insert_line",)
INSERTED = ("new_str", "insert_text")
PATCH = ("patch", "diff", "input")
EDITS = "edits"
COMMAND = "command"
FIRST, LAST = ("start_line",), ("end_line",)
RANGE_TEXT = ("replacement_text", "new_content", "new_text", "new_str", "content")
OPEN_OLD, OPEN_NEW, OPEN_EVERY = ("search",), ("replace",), ("replace-all", "replace_all")
"""SWE-agent's editor: it changes the open file, which no argument names."""
OPEN_FILE = ""
"""Stands for the path of the open file, which the calls do not name."""

MAX_CHARS = 2_000_000
"""Longer texts are compared as they are and never changed."""
MAX_WORK_CHARS = 200_000_000
"""Each change reads the file once. Edits that would read more than this are not applied."""


class Replace(NamedTuple):
    path: str
    old: str
    new: str
    every: bool


class Insert(NamedTuple):
    path: str
    line: int
    """The text goes behind this line; 0 means before the first."""
    text: str
    as_lines: bool
    """Whether the tool is known to add the text as whole lines."""


class ReplaceLines(NamedTuple):
    path: str
    first: int
    last: int
    text: str


class Write(NamedTuple):
    path: str
    text: str
    overwrites: bool
    """Whether the tool replaces a file that exists, or else refuses to."""


class Delete(NamedTuple):
    path: str


class Patch(NamedTuple):
    path: str
    hunks: tuple[Hunk, ...]


Change = Replace | ReplaceLines | Insert | Write | Delete | Patch


class Edit(NamedTuple):
    changes: tuple[Change, ...]
    names: frozenset[str]
    """The arguments that it was read from."""


class Text(NamedTuple):
    """The known text of a file."""

    text: str
    complete: bool
    """Whether it is the whole file (a line end at its end may be missing), or else a stretch without a gap."""
    first_line: int | None = 1
    """Number of the stretch's first line; None if it is not known."""


def read_edit(arguments: dict[str, Any]) -> Edit | None:
    """The edit that a call's arguments describe; None if they describe none."""
    fields = {name: value for name, value in arguments.items() if value is not None}
    command = fields.get(COMMAND)
    if command == "str_replace":
        return _replace(fields, (COMMAND,))
    if command == "insert":
        return _insert(fields)
    if command == "create":
        return _write(fields, (COMMAND,), overwrites=False)
    if command is not None:
        return None
    if FIRST[0] in fields and (edit := _replace_lines(fields)):
        return edit
    if (OPEN_OLD[0] in fields or "text" in fields) and (edit := _open_file(fields)):
        return edit
    return _replace(fields, ()) or _edits(fields) or _write(fields, (), overwrites=True) or _patch(fields)


def _one(fields: dict[str, Any], names: Sequence[str], kind: type) -> str | None:
    """The only one of these names among the fields; None if there is not exactly one, or its value has another type."""
    found = [name for name in names if name in fields]
    return found[0] if len(found) == 1 and type(fields[found[0]]) is kind else None


def _replace_lines(fields: dict[str, Any]) -> Edit | None:
    first, last = _one(fields, FIRST, int), _one(fields, LAST, int)
    path, text = _one(fields, PATH, str), _one(fields, RANGE_TEXT, str)
    if first is None or last is None or text is None or (path is None and any(name in fields for name in PATH)):
        return None
    place = OPEN_FILE if path is None else clean_path(fields[path].strip())
    change = ReplaceLines(place, fields[first], fields[last], fields[text])
    return Edit((change,), frozenset(filter(None, (path, first, last, text))))


def _open_file(fields: dict[str, Any]) -> Edit | None:
    old, new, every = _one(fields, OPEN_OLD, str), _one(fields, OPEN_NEW, str), _one(fields, OPEN_EVERY, bool)
    if old is not None and new is not None and not any(name in fields for name in PATH):
        change = Replace(OPEN_FILE, fields[old], fields[new], every=bool(every and fields[every]))
        return Edit((change,), frozenset(filter(None, (old, new, every))))
    if fields.keys() == {"text", "line"} and _one(fields, ("text",), str) and _one(fields, ("line",), int):
        return Edit((Insert(OPEN_FILE, fields["line"], fields["text"], as_lines=False),), frozenset(("text", "line")))
    return None


def _replace(fields: dict[str, Any], more: tuple[str, ...]) -> Edit | None:
    path, old, new, every = (_one(fields, PATH, str), _one(fields, OLD, str), _one(fields, NEW, str), None)
    if any(name in fields for name in EVERY):
        every = _one(fields, EVERY, bool)
        if every is None:
            return None
    # Without a new text, the old one is deleted.
    if path is None or old is None or (new is None and any(name in fields for name in NEW)):
        return None
    change = Replace(
        clean_path(fields[path].strip()), fields[old], fields[new] if new else "", bool(every and fields[every])
    )
    return Edit((change,), frozenset((*more, path, old, *filter(None, (new, every)))))


def _edits(fields: dict[str, Any]) -> Edit | None:
    path = _one(fields, PATH, str)
    if path is None or _one(fields, (EDITS,), list) is None:
        return None
    changes: list[Change] = []
    for item in fields[EDITS]:
        part = {"path": fields[path], **item} if isinstance(item, dict) else {}
        edit = _replace(part, ())
        if edit is None or edit.names != frozenset(part) or any(name in item for name in PATH):
            return None
        changes += edit.changes
    return Edit(tuple(changes), frozenset((path, EDITS))) if changes else None


def _insert(fields: dict[str, Any]) -> Edit | None:
    path, line, text = _one(fields, PATH, str), _one(fields, LINE, int), _one(fields, INSERTED, str)
    if path is None or line is None or text is None:
        return None
    # The published editor splits `new_str` into lines; what tools do with `insert_text` differs.
    change = Insert(clean_path(fields[path].strip()), fields[line], fields[text], text == "new_str")
    return Edit((change,), frozenset((COMMAND, path, line, text)))


def _write(fields: dict[str, Any], more: tuple[str, ...], *, overwrites: bool) -> Edit | None:
    path, text = _one(fields, PATH, str), _one(fields, TEXT, str)
    if path is None or text is None or _one(fields, PATCH, str) is not None:
        return None
    return Edit((Write(clean_path(fields[path].strip()), fields[text], overwrites),), frozenset((*more, path, text)))


def _patch(fields: dict[str, Any]) -> Edit | None:
    name = _one(fields, PATCH, str)
    if name is None or len(fields[name]) > MAX_CHARS:
        return None
    try:
        files = read_patch(fields[name])
    except UnreadablePatch:
        return None
    return Edit(tuple([_patched(file) for file in files]), frozenset((name,)))


def _patched(file: PatchedFile) -> Change:
    path = clean_path(file.path)
    if file.added is not None:
        return Write(path, file.added, overwrites=False)
    return Delete(path) if file.deleted else Patch(path, file.hunks)


def results(changes: Sequence[Change], known: dict[str, Text]) -> dict[str, Text | None] | None:
    """Path -> text after the changes, or None for a deleted file. None as a whole if a change cannot be applied."""
    texts: dict[str, Text | None] = {}
    work = 0
    for change in changes:
        before = texts[change.path] if change.path in texts else known.get(change.path)
        if isinstance(change, Delete):
            texts[change.path] = None
            continue
        passes = len(change.hunks) if isinstance(change, Patch) else 1
        work += passes * (0 if before is None else len(before.text))
        after = changed(change, before) if work <= MAX_WORK_CHARS else None
        if after is None:
            return None
        texts[change.path] = after
    return texts


def changed(change: Change, before: Text | None) -> Text | None:
    """The text after a change that surely succeeds on the known text; None otherwise."""
    if isinstance(change, Write):
        return Text(change.text, complete=True) if change.overwrites else None
    if before is None or isinstance(change, Delete | ReplaceLines) or len(before.text) > MAX_CHARS:
        return None
    if isinstance(change, Replace):
        text = _replaced(change, before)
    elif isinstance(change, Insert):
        text = _inserted(change, before)
    else:
        text = _with_hunks(change, before)
    return None if text is None else before._replace(text=text)


def _replaced(change: Replace, before: Text) -> str | None:
    text = before.text
    if change.old == change.new:  # many editors refuse it
        return None
    if change.every:
        return text.replace(change.old, change.new) if before.complete and change.old and change.old in text else None
    # Some editors expand tabs in both texts before they search.
    expanded = "\t" not in text or _is_unique(change.old.expandtabs(), text.expandtabs())
    return text.replace(change.old, change.new) if expanded and _is_unique(change.old, text) else None


def _is_unique(part: str, text: str) -> bool:
    first = text.find(part)
    return bool(part) and first >= 0 and text.find(part, first + 1) < 0


def _inserted(change: Insert, before: Text) -> str | None:
    lines = before.text.split("\n")
    if before.first_line is None or not change.as_lines:
        return None
    place = change.line - before.first_line + 1
    return "\n".join([*lines[:place], change.text, *lines[place:]]) if 0 <= place <= len(lines) else None


def _with_hunks(change: Patch, before: Text) -> str | None:
    lines = before.text.split("\n")
    moved = 0
    behind = 0
    for hunk in change.hunks:
        place = _place(hunk, lines, before, moved)
        if place is None or place < behind:
            return None
        lines[place : place + len(hunk.old)] = hunk.new
        behind = place + len(hunk.new)
        moved += len(hunk.new) - len(hunk.old)
    return "\n".join(lines)


def _place(hunk: Hunk, lines: list[str], before: Text, moved: int) -> int | None:
    """The index of the old lines: by the hunk's line number, or the only place that fits. None if it is not certain."""
    size = len(hunk.old)
    if hunk.first_line is not None:
        if before.first_line is None:
            return None
        place = hunk.first_line - before.first_line + moved
        return place if place >= 0 and lines[place : place + size] == list(hunk.old) else None
    if not before.complete or not size:
        return None
    place = _only_place(hunk.old, lines)
    if place is None or (hunk.heading and hunk.heading not in lines[:place]):
        return None
    return place


def _only_place(part: Sequence[str], lines: Sequence[str]) -> int | None:
    """The index at which the lines hold the part, if there is exactly one. Linear: `str.find` needs no backtracking."""
    text, wanted = "".join([f"\n{line}" for line in [*lines, ""]]), "".join([f"\n{line}" for line in [*part, ""]])
    first = text.find(wanted)
    return text.count("\n", 0, first) if first >= 0 and text.find(wanted, first + 1) < 0 else None
