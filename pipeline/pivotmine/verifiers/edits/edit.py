"""`edit`: file edits that leave the same text behind, if the state shows what the file holds.

Replacements, insertions, whole files and patches (`editor_tools.py` has the argument names) are applied in memory to
the text that the state's messages show (`file_state.py`), and the results are compared. So an `old_str` with more
context, an insertion instead of a replacement, or another hunk can be the same. White space counts everywhere.

If the text is not known, or an edit may fail on it, edits are the same only if they are written the same. They are
different if they name other files, write another whole file, or replace the same old text by another one. Everything
else is unproven.

If only a part of the file is known, a shorter `old_str` may occur again outside of it. Then a replacement passes only
if its `old_str` contains the demonstrated one, which did occur once. On such states the verdict is not symmetric. No
file is ever opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier
from pivotmine.verifiers.edits.editor_tools import (
    OPEN_FILE,
    Change,
    Insert,
    Patch,
    Replace,
    ReplaceLines,
    Text,
    Write,
    read_edit,
    results,
)
from pivotmine.verifiers.edits.file_state import known_texts
from pivotmine.verifiers.tool_calls.one_argument import Reading, prepare_calls
from pivotmine.verifiers.tool_calls.tool_call import ToolCallOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class EditOptions:
    harmless_tools: tuple[str, ...] = ("think", "search", "grep", "glob", "find_file", "list_files", "ls", "finish")
    """Tools that change no file, so that a text seen before such a call is still valid. Views and read-only shell
    commands are recognised. After a call of any other tool, no file's text is known."""
    rest: ToolCallOptions = field(default_factory=ToolCallOptions)
    """Options of `tool_call` for the other arguments; by default those in the same file, if it has any."""


class _Form(NamedTuple):
    changes: tuple[Change, ...]
    results: dict[str, Text | None] | None
    """Path -> text after the changes (`editor_tools.results`); None if it is not known."""


def prepare(state: State, demonstration: Action, options: EditOptions) -> Callable[[Action], Verdict]:
    """Return a scorer for one demonstration with at least one call. It reads the state's messages."""
    edits = [read_edit(call.arguments) for call in demonstration.tool_calls]
    paths = frozenset(change.path for edit in edits if edit is not None for change in edit.changes)
    known = known_texts(state.messages, paths, options.harmless_tools) if paths else {}

    def read(call: ToolCall) -> Reading | None:
        edit = read_edit(call.arguments)
        return None if edit is None else Reading(_Form(edit.changes, results(edit.changes, known)), edit.names)

    return prepare_calls(state, demonstration, read, _compare, options.rest, same_names=False)


def _compare(demonstrated: _Form, given: _Form) -> Outcome:
    if demonstrated.changes == given.changes:
        return Outcome.CORRECT
    if demonstrated.results is None or given.results is None:
        surely = _differ_in_paths(demonstrated.changes, given.changes) or _differ_in_text(
            demonstrated.changes, given.changes
        )
        return Outcome.WRONG_ARGUMENTS if surely else Outcome.UNPROVEN
    if demonstrated.results != given.results:
        return Outcome.WRONG_ARGUMENTS
    complete = all(text is None or text.complete for text in given.results.values())
    return Outcome.CORRECT if complete or _is_sure(demonstrated.changes, given.changes) else Outcome.UNPROVEN


def _differ_in_paths(demonstrated: tuple[Change, ...], given: tuple[Change, ...]) -> bool:
    """Whether the edits change different files. A relative path may be the end of an absolute one."""
    one, other = ({change.path for change in changes} for changes in (demonstrated, given))
    if OPEN_FILE in one | other:
        return False
    if len({path.startswith("/") for path in one | other}) == 1:
        return one != other and not any(".." in path.split("/") for path in one | other)
    names = ({path.rsplit("/", 1)[-1] for path in paths} for paths in (one, other))
    return next(names) != next(names)


def _differ_in_text(demonstrated: tuple[Change, ...], given: tuple[Change, ...]) -> bool:
    """Whether two edits leave different texts in every file on which both succeed."""
    if all(isinstance(change, Write) for change in (*demonstrated, *given)):
        return True
    if len(demonstrated) != 1 or len(given) != 1:
        return False
    one, other = demonstrated[0], given[0]
    if isinstance(one, Replace) and isinstance(other, Replace):
        return (one.path, one.old, one.every) == (other.path, other.old, other.every) and one.new != other.new
    if isinstance(one, ReplaceLines) and isinstance(other, ReplaceLines):
        # Tools differ in what they do with line ends behind the text.
        texts = one.text.rstrip("\r\n"), other.text.rstrip("\r\n")
        return one[:3] == other[:3] and texts[0] != texts[1]
    if isinstance(one, Insert) and isinstance(other, Insert):
        return (one.path, one.line) == (other.path, other.line) and one.text.strip() != other.text.strip()
    return False


def _is_sure(demonstrated: tuple[Change, ...], given: tuple[Change, ...]) -> bool:
    """Whether the given edit surely succeeds in a file of which only a part is known, as the demonstrated one did."""
    if len(demonstrated) != 1 or len(given) != 1:
        return False
    one, other = demonstrated[0], given[0]
    if isinstance(other, Insert):
        return True
    if isinstance(other, Patch):
        return all(hunk.first_line is not None for hunk in other.hunks)
    return isinstance(one, Replace) and isinstance(other, Replace) and one.old in other.old


VERIFIER = Verifier(
    prepare=prepare,
    options=EditOptions,
    version=3,
    kinds=frozenset({"tool_call"}),
    abstains=True,
    needs_messages=True,
)
