"""`edit`: file edits that leave the same text behind, where the state tells what the file holds.

Old and new text, insertions, whole files and patches (`edits.py` has the argument names) are applied in memory to
the text that the state's messages show (`file_texts.py`), and the results are compared: `old_str` with more
context, an insertion for a replacement, another hunk. White space counts everywhere. Where the text is not known,
or an edit would not be sure to succeed on it, edits are the same only if they are written the same.

Of a file seen in part only, nobody knows whether a shorter `old_str` occurs again further on. There a replacement
passes only where its `old_str` contains the demonstrated one, which did occur once: on such states the verdict is
not symmetric. A file is never opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier
from pivotmine.verifiers.edits.editor_tools import Change, Insert, Patch, Replace, Text, Write, read_edit, results
from pivotmine.verifiers.edits.file_state import known_texts
from pivotmine.verifiers.tool_calls.one_argument import Reading, prepare_calls


@dataclass(frozen=True, slots=True, kw_only=True)
class EditOptions:
    harmless_tools: tuple[str, ...] = ("think", "search", "grep", "glob", "find_file", "list_files", "ls", "finish")
    """Tools that leave every file alone: a text seen before such a call is still the file's. Views and read-only
    shell commands are known; after a call of any other tool nothing is known of any file."""


class _Form(NamedTuple):
    changes: tuple[Change, ...]
    results: dict[str, Text | None] | None
    """None: not known."""


def prepare(state: State, demonstration: Action, options: EditOptions) -> Callable[[Action], Verdict]:
    """A judge of actions against one demonstration with at least one call; reads the state's messages."""
    edits = [read_edit(call.arguments) for call in demonstration.tool_calls]
    paths = frozenset(change.path for edit in edits if edit is not None for change in edit.changes)
    known = known_texts(state.messages, paths, options.harmless_tools) if paths else {}

    def read(call: ToolCall) -> Reading | None:
        edit = read_edit(call.arguments)
        return None if edit is None else Reading(_Form(edit.changes, results(edit.changes, known)), edit.names)

    return prepare_calls(state, demonstration, read, _compare, same_names=False)


def _compare(demonstrated: _Form, given: _Form) -> Outcome:
    if demonstrated.changes == given.changes:
        return Outcome.CORRECT
    if demonstrated.results is None or given.results is None:
        both_write = all(isinstance(change, Write) for form in (demonstrated, given) for change in form.changes)
        different = both_write or _other_files(demonstrated.changes, given.changes)
        return Outcome.WRONG_ARGUMENTS if different else Outcome.UNPROVEN
    if demonstrated.results != given.results:
        return Outcome.WRONG_ARGUMENTS
    complete = all(text is None or text.complete for text in given.results.values())
    return Outcome.CORRECT if complete or _is_sure(demonstrated.changes, given.changes) else Outcome.UNPROVEN


def _other_files(demonstrated: tuple[Change, ...], given: tuple[Change, ...]) -> bool:
    """Whether they change files of other names; a folder may be written in several ways."""
    names, others = ({change.path.rsplit("/", 1)[-1] for change in changes} for changes in (demonstrated, given))
    return names != others


def _is_sure(demonstrated: tuple[Change, ...], given: tuple[Change, ...]) -> bool:
    """Whether the given edit succeeds in a file seen in part, as the demonstrated one did."""
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
    version=2,
    kinds=frozenset({"tool_call"}),
    abstains=True,
    needs_messages=True,
)
