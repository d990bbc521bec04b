"""`edit`: pairs of edits that leave the same text or different texts, with what the state shows of the file."""

from __future__ import annotations

from typing import Any

import pytest
from file_histories import CREATED, FILE, PART, PATH, VIEWED, called, numbered
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, passes_gate, verify
from pivotmine.verifiers.edits.editor_tools import Replace, Text, results
from pivotmine.verifiers.edits.file_state import known_texts
from pivotmine.verifiers.edits.patches import UnreadablePatch, read_patch

STRING, BOOL = {"type": "string"}, {"type": "boolean"}


def tool(name: str, *required: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = (
    tool("editor", "command", "path", command=STRING, path=STRING, old_str=STRING, new_str=STRING, file_text=STRING,
         insert_line={"type": "integer"}, insert_text=STRING, view_range={"type": "array"}),
    tool("edit_file", "file_path", "old_string", "new_string", file_path=STRING, old_string=STRING, new_string=STRING,
         replace_all=BOOL),
    tool("write_file", "path", "content", path=STRING, content=STRING),
    tool("multi_edit", "file_path", "edits", file_path=STRING, edits={"type": "array"}),
    tool("apply_patch", "input", input=STRING),
    tool("apply_diff", "diff", diff=STRING),
    tool("bash", "command", command=STRING),
)  # fmt: skip


def edit(name: str = "editor", **arguments: Any) -> Action:
    return Action(tool_calls=(ToolCall(name=name, arguments=arguments),))


def replace(old: str, new: str | None = None, **more: Any) -> Action:
    texts = {"old_str": old} if new is None else {"old_str": old, "new_str": new}
    return edit(command="str_replace", path=PATH, **texts, **more)


def insert(line: Any, text: str, name: str = "new_str") -> Action:
    return edit(command="insert", path=PATH, insert_line=line, **{name: text})


def swap(old: str, new: str, **more: Any) -> Action:
    return edit("edit_file", file_path=PATH, old_string=old, new_string=new, **more)


def several(*pairs: tuple[str, str]) -> Action:
    return edit("multi_edit", file_path=PATH, edits=[{"old_string": a, "new_string": b} for a, b in pairs])


def diff(*lines: str, path: str = "repo/a.py") -> Action:
    return edit("apply_diff", diff="\n".join([f"--- a/{path}", f"+++ b/{path}", *lines, ""]))


def patch(*lines: str) -> Action:
    return edit("apply_patch", input="\n".join(["*** Begin Patch", *lines, "*** End Patch"]))


UPDATE = f"*** Update File: {PATH}"
FILE_HISTORY = {
    "created": CREATED,
    "viewed": VIEWED,
    "part": PART,
    "tabs": called("editor", "ok", command="create", path=PATH, file_text="a\n\tx\n        x\n"),
    "nothing": [],
    "changed since": CREATED + called("bash", "ok", command="python fix.py"),
    "read since": CREATED + called("bash", "a.py", command="cd /repo && ls -la | head -5 2>&1"),
    "diffed": called("bash", numbered(FILE), command="cat -n repo/a.py"),
}


def outcome(history: str, demonstrated: Action, given: Action) -> Outcome:
    messages = FILE_HISTORY[history]
    verdict = verify(make_spec("edit", {}), State(tools=TOOLS, messages=tuple(messages)), [demonstrated], given)
    assert verdict.reward == (1.0 if verdict.outcome == Outcome.CORRECT else 0.0)
    return verdict.outcome


SAME = [
    ("nothing", replace("x", "y"), replace("x", "y"), "the same words"),
    ("nothing", insert(3, "x"), insert(3, "x"), "the same words"),
    ("nothing", replace("x", "y"), edit(path="/repo//a.py", command="str_replace", new_str="y", old_str="x"), "a path"),
    ("created", replace("import os", "import re"), replace("import os\n", "import re\n"), "more context"),
    ("created", replace("os\n\n\ndef save", "re\n\n\ndef save"), replace("os", "re"), "less, and still only one place"),
    ("viewed", replace("import os", "import re"), replace("import os\n\n", "import re\n\n"), "a view shows the file"),
    ("viewed", replace("def save(x):\n", "def save(y):\n"), replace("save(x)", "save(y)"), "within one line"),
    ("read since", replace("import os", "import re"), replace("os", "re"), "commands that only read"),
    ("created", replace("import os\n"), replace("import os\n", ""), "no new text is an empty one"),
    ("created", insert(1, "import re"), replace("import os", "import os\nimport re"), "a line more, either way"),
    ("created", insert(0, "# x"), replace("import os", "# x\nimport os"), "a first line"),
    ("viewed", insert(2, ""), insert(3, ""), "an empty line next to an empty line"),
    ("created", insert(9, "y"), replace("def load(x):\n    return x\n", "def load(x):\n    return x\ny\n"), "the end"),
    ("part", replace("def load", "def get"), replace("def load(x)", "def get(x)"), "contains the demonstrated text"),
    ("part", replace("load(x):\n", "load():\n"), replace("def load(x):\n ", "def load():\n "), "contains it as well"),
    ("part", replace("def load", "# x\ndef load"), insert(7, "# x"), "a line number is sure"),
    ("created", swap("import os", "import re"), swap("import os\n", "import re\n"), "another tool's names"),
    ("created", swap("return x", "return y", replace_all=True), swap("return x\n", "return y\n", replace_all=True), ""),
    ("created", swap("os", "re", replace_all=True), swap("import os", "import re"), "all are one"),
    ("created", several(("os", "re"), ("save", "put")), several(("save", "put"), ("os", "re")), "apart"),
    ("created", several(("os", "zz"), ("zz", "io")), several(("os", "io")), "one after the other"),
    ("nothing", edit("write_file", path=PATH, content="x\n"), edit("write_file", content="x\n", path=PATH), "a file"),
    ("created", patch(UPDATE, "@@", "-import os", "+import re"), patch(UPDATE, "-import os", "+import re"), "bare"),
    ("created", patch(UPDATE, "@@", "-import os", "+import re"), patch(UPDATE, "@@", "-import os", "+import re", " "),
     "more context"),
    ("created", patch(UPDATE, "@@", "-import os", "+re", " "), patch(UPDATE, "@@", "+re", "-import os", " "), "order"),
    ("nothing", patch("*** Add File: b", "+x"), patch("*** Add File: ./b", "+x"), "a new file"),
    ("nothing", patch("*** Delete File: b"), patch("*** Delete File: b"), "a file less"),
    ("nothing", diff("@@ -1 +1 @@", "-a", "+b"), diff("@@ -1,1 +1,1 @@ def f():", "-a", "+b"), "counts of one"),
]  # fmt: skip

DIFFERENT = [
    ("created", replace("import os", "import re"), replace("import os", "import io"), "another new text"),
    ("created", replace("import os", "import re"), replace("import os", "import re "), "a blank at the end"),
    ("created", replace("import os", "import re"), replace("import os", "import re\n"), "a line end more"),
    ("created", replace("import os", "import re"), replace(" os", "re"), "a blank less"),
    ("created", replace("save(x):\n    return x", "save(x):\n    return y"), replace("return x", "return y"), "twice"),
    ("created", replace("import os", "import re"), replace("import sys", "import re"), "not there"),
    ("created", replace("import os", "import re"), replace("IMPORT OS", "import re"), "letter case"),
    ("created", replace("import os", "import re"), replace("import  os", "import re"), "white space"),
    ("created", replace("import os", "import re"), replace("", "import re"), "no old text"),
    ("created", replace("import os\n"), replace("import os"), "leaves an empty line"),
    ("created", insert(1, "import re"), insert(2, "import re"), "another line"),
    ("created", insert(1, "import re"), insert(1, "import re\n"), "a line end more"),
    ("created", insert(1, "import re"), insert(1, "import re", "insert_text"), "who knows"),
    ("created", insert(1, "import re"), insert("1", "import re"), "a number as text"),
    ("created", insert(1, "import re"), replace("import os", "import os\nimport re", insert_line=1), "too much"),
    ("created", insert(1, "import re"), insert(True, "import re"), "true for one"),
    ("created", insert(9, "x"), insert(99, "x"), "behind the end"),
    ("created", replace("os", "re"), edit(command="create", path=PATH, file_text=FILE.replace("os", "re")), "is"),
    ("created", replace("os", "re"), edit(command="view", path=PATH), "no edit"),
    ("created", replace("os", "re"), edit(command="undo_edit", path=PATH), "no such edit"),
    ("created", replace("os", "re"), edit(command="str_replace", path="/b.py", old_str="os", new_str="re"), "b"),
    ("created", replace("os", "re"), edit(command="str_replace", path="a.py", old_str="os", new_str="re"), "path"),
    ("created", replace("os", "re"), edit(command="str_replace", path=PATH), "no text"),
    ("created", replace("os", "re"), edit(), "nothing at all"),
    ("created", replace("os", "re"), edit(command="str_replace", old_str="os", new_str="re"), "no path"),
    ("created", replace("os", "re"), replace("os", "re", insert_line=3), "a line number too"),
    ("created", replace("os", "re"), replace("os", "re", force=True), "an unknown argument"),
    ("created", replace("os", "re"), edit(command="str_replace", path=PATH, old_string="os", new_string="re"), "names"),
    ("created", replace("os", "re"), edit("bash", command="sed -i s/os/re/ /repo/a.py"), "another tool"),
    ("nothing", replace("import os", "import re"), replace("os", "re"), "the file is not known"),
    ("changed since", replace("import os", "import re"), replace("os", "re"), "a script may have changed the file"),
    ("part", replace("def load(x)", "def get(x)"), replace("def load", "def get"), "may stand elsewhere, too"),
    ("part", insert(8, "    y"), replace("load(x):", "load(x):\n    y"), "may stand elsewhere, too"),
    ("created", swap("return x", "return y", replace_all=True), swap("return x", "return y"), "all, or an error"),
    ("created", swap("os", "re"), swap("os", "re", replace_all="false"), "not a truth value"),
    ("created", swap("os", "re"), edit("edit_file", file_path=PATH, old_string="os"), "required"),
    ("created", several(("os", "re"), ("re", "io")), several(("re", "io"), ("os", "re")), "one after the other"),
    ("created", several(("os", "re"), ("save", "put")), several(("os", "re")), "an edit less"),
    ("created", several(("os", "re")), several(), "no edit"),
    ("nothing", edit("write_file", path=PATH, content="x"), edit("write_file", path=PATH, content="x\n"), "a line end"),
    ("nothing", edit("write_file", path=PATH, content="x"), edit("write_file", path=PATH, content=" x"), "a blank"),
    ("nothing", edit("write_file", path=PATH, content="x"), edit("write_file", path=PATH, content=""), "no text"),
    ("nothing", edit(command="create", path="b", file_text="x"), edit(command="create", path="b", file_text="x "), "b"),
    ("created", patch(UPDATE, "-import os", "+import re"), patch(UPDATE, "-import os", "+import io"), "another text"),
    ("created", patch(UPDATE, "     return x", "+    y", " "), patch(UPDATE, "-", "+y"), "not one place only"),
    ("created", patch(UPDATE, "-import os", "+re"), patch(UPDATE, "@@ class A", "-import os", "+re"), "heading"),
    ("created", patch(UPDATE, "-import os", "+re", "@@", "-def load(x):", "+l"),
     patch(UPDATE, "-def load(x):", "+l", "@@", "-import os", "+re"), "backwards"),
    ("created", replace("os", "os"), replace("save", "save"), "an error with many editors"),
    ("tabs", replace("\tx", "\ty"), replace("a\n\tx", "a\n\ty"), "twice where the editor expands tabs"),
    ("nothing", patch("*** Add File: b", "+x"), patch("*** Add File: b", "+x", "+"), "a line more"),
    ("nothing", patch("*** Delete File: b"), patch("*** Delete File: c"), "another file"),
    ("nothing", patch("*** Delete File: b"), edit("apply_patch", input="*** Delete File: b"), "not in a patch"),
    ("nothing", diff("@@ -1 +1 @@", "-a", "+b"), diff("@@ -2 +2 @@", "-a", "+b"), "another line"),
    ("nothing", diff("@@ -1 +1 @@", "-a", "+b"), diff("@@ -1 +1 @@", "-a", "+b", path="b.py"), "another file"),
    ("nothing", diff("@@ -1 +1 @@", "-a", "+b"), diff("@@ -1,2 +1,2 @@", "-a", "+b"), "wrong counts"),
    ("created", replace("os", "ο"), replace("os", "o"), "letters that look alike"),
]  # fmt: skip


@pytest.mark.parametrize(("history", "one", "other", "why"), SAME)
def test_the_same(history: str, one: Action, other: Action, why: str) -> None:
    assert outcome(history, one, other) == Outcome.CORRECT, why
    if history != "part":
        assert outcome(history, other, one) == Outcome.CORRECT, why


@pytest.mark.parametrize(("history", "one", "other", "why"), DIFFERENT)
def test_not_the_same(history: str, one: Action, other: Action, why: str) -> None:
    assert outcome(history, one, other) != Outcome.CORRECT, why
    if history != "part":
        assert outcome(history, other, one) != Outcome.CORRECT, why
    spec, state = make_spec("edit", {}), State(tools=TOOLS, messages=tuple(FILE_HISTORY[history]))
    assert passes_gate(spec, state, one) == Verdict(1.0, Outcome.CORRECT)


def test_what_a_verdict_calls_it() -> None:
    gold = replace("import os", "import re")
    assert outcome("created", gold, replace("import os", "import io")) == Outcome.WRONG_ARGUMENTS
    assert outcome("nothing", gold, replace("os", "re")) == Outcome.UNPROVEN
    assert outcome("created", gold, edit()) == Outcome.MISSING_ARGUMENTS
    assert outcome("created", gold, replace("import os", "import re", force=1)) == Outcome.UNKNOWN_ARGUMENTS
    assert outcome("created", gold, Action(tool_calls=gold.tool_calls * 2)) == Outcome.SURPLUS_CALLS
    assert outcome("created", gold, Action(message="done")) == Outcome.WRONG_KIND


def test_without_a_schema_other_arguments_never_pass() -> None:
    state = State(messages=tuple(CREATED))
    gold, other = insert(1, "import re"), replace("import os", "import os\nimport re")
    assert verify(make_spec("edit", {}), state, [gold], other).outcome == Outcome.UNKNOWN_ARGUMENTS
    assert verify(make_spec("edit", {}), state, [gold], gold).outcome == Outcome.CORRECT


def test_a_diff_is_applied_where_its_numbers_say() -> None:
    viewed = called("editor", numbered(FILE), command="view", path="repo/a.py")
    state = State(tools=TOOLS, messages=tuple(viewed))
    gold = diff("@@ -1 +1 @@", "-import os", "+import re")

    def passes(given: Action) -> bool:
        return verify(make_spec("edit", {}), state, [gold], given).reward == 1.0

    assert passes(diff("@@ -1,2 +1,2 @@", "-import os", "+import re", " "))
    assert passes(diff("@@ -1,2 +1,2 @@", "+import re", "-import os", " "))
    assert not passes(diff("@@ -2,2 +2,2 @@", "-import os", "+import re", " "))
    assert not passes(diff("@@ -1,2 +1,2 @@", "-import os", "+import re", " x"))


# Patches.


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "--- a/x\n+++ b/x",
        "--- x\n+++ x\n@@ -1 +1 @@\n-a\n+b",
        "--- a/x\n+++ b/y\n@@ -1 +1 @@\n-a\n+b",
        "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n\\ No newline at end of file",
        "--- a/x\n+++ b/x\n@@ -1,3 +1 @@\n-a\n+b",
        "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n--- a/x\n+++ b/x\n@@ -3 +3 @@\n-a\n+b",
        "rename from x\nrename to y",
        "*** Begin Patch\n*** Update File: x\n-a\n+b",
        "*** Begin Patch\n*** Update File: x\n*** Move to: y\n-a\n+b\n*** End Patch",
        "*** Begin Patch\n*** Update File: x\n@@\n+b\n*** End Patch",
        "*** Begin Patch\n*** Update File: x\n-a\nb\n*** End Patch",
        "*** Begin Patch\n*** End Patch",
    ],
)
def test_a_patch_that_tools_read_differently_is_not_read(text: str) -> None:
    with pytest.raises(UnreadablePatch):
        read_patch(text)


# Hostile input.


def test_long_texts_are_compared_and_not_searched_for_long() -> None:
    text = "ab" * 1_100_000
    state = State(messages=tuple(called("editor", "ok", command="create", path=PATH, file_text=text)))
    for old in ("a" * 1_000_000, text, "ba" * 100_000 + "b"):
        gold, other = replace(old, "x"), replace(f"{old}c", "x")
        assert verify(make_spec("edit", {}), state, [gold], gold) == Verdict(1.0, Outcome.CORRECT)
        assert verify(make_spec("edit", {}), state, [gold], other).reward == 0.0


def test_hostile_histories_make_no_verdict_fail() -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "editor", "arguments": "{"}}]}
    views = called("editor", "1\t" * 500_000 + "\n" * 500_000, command="view", path=PATH)
    commands = called("bash", "", command="ls " + " && " * 400)
    for history in ([call], views, commands, [{"role": "tool"}], [{"role": "assistant", "tool_calls": None}]):
        state = State(messages=tuple(history))
        assert passes_gate(make_spec("edit", {}), state, replace("a", "b")) == Verdict(1.0, Outcome.CORRECT)
        assert verify(make_spec("edit", {}), state, [replace("a", "b")], replace("a", "c")).reward == 0.0


# By search.

LINES = st.text(st.sampled_from("ab \n"), max_size=12)


@settings(max_examples=60)
@given(LINES, LINES, LINES, LINES, LINES, st.data())
def test_edits_pass_for_each_other_just_where_their_results_are_equal(
    text: str, old: str, new: str, other_old: str, other_new: str, data: st.DataObject
) -> None:
    if text and data.draw(st.booleans()):
        start = data.draw(st.integers(0, len(text) - 1))
        old, other_old = text[start : start + 3], text[max(0, start - 1) : start + 4]
    one, other = Replace("f", old, new, every=False), Replace("f", other_old, other_new, every=False)
    known = {"f": Text(text, complete=True)}
    found, also = results([one], known), results([other], known)
    applied = [text.replace(change.old, change.new) for change in (one, other)]
    history = called("editor", "ok", command="create", path=PATH, file_text=text)
    state = State(tools=TOOLS, messages=tuple(history))
    verdict = verify(make_spec("edit", {}), state, [replace(old, new)], replace(other_old, other_new))
    if verdict.reward == 1.0:
        assert one == other or applied[0] == applied[1]
    elif found is not None and also is not None:
        assert applied[0] != applied[1]


def test_different_is_proven_where_the_file_is_not_known() -> None:
    def at(path: str) -> Action:
        return edit(command="str_replace", path=path, old_str="import os", new_str="import re")

    gold = replace("import os", "import re")
    assert outcome("nothing", gold, replace("import os", "import io")) == Outcome.WRONG_ARGUMENTS
    assert outcome("nothing", gold, at("/repo/b.py")) == Outcome.WRONG_ARGUMENTS
    assert outcome("nothing", gold, replace("import os\n", "import re\n")) == Outcome.UNPROVEN
    # Nobody knows where a relative path begins.
    assert outcome("nothing", gold, at("a.py")) == Outcome.UNPROVEN


def test_a_long_hunk_is_found_in_linear_time() -> None:
    lines = ["x = 1"] * 50_000 + ["y = 2"] + ["x = 1"] * 40_000
    text = "\n".join(lines)
    state = State(tools=TOOLS, messages=tuple(called("editor", "ok", command="create", path=PATH, file_text=text)))

    def patch(added: str) -> Action:
        body = "\n".join([*[" x = 1"] * 40_000, " y = 2", f"+{added}"])
        return edit("apply_patch", input=f"*** Begin Patch\n*** Update File: {PATH}\n@@\n{body}\n*** End Patch")

    spec = make_spec("edit", {})
    assert verify(spec, state, [patch("z")], patch("z")) == Verdict(1.0, Outcome.CORRECT)
    assert verify(spec, state, [patch("z")], patch("w")).outcome == Outcome.WRONG_ARGUMENTS


def test_edits_that_would_read_a_file_too_often_are_not_worked_out() -> None:
    known = {PATH: Text("ab" * 500_000, complete=True)}
    changes = [Replace(PATH, "ab" * 500_000, "ab" * 500_000 + "c" * n, every=False) for n in (1, 2)]
    assert results(changes[:1], known) is not None
    assert results(changes[:1] * 300, known) is None


LINE = "        return round(x)"


@pytest.mark.parametrize(
    ("one", "other", "outcome"),
    [
        ({"replacement_text": LINE}, {"replacement_text": LINE.strip()}, Outcome.WRONG_ARGUMENTS),
        ({"replacement_text": LINE}, {"replacement_text": f"{LINE}\n"}, Outcome.UNPROVEN),
        ({"replacement_text": LINE}, {"replacement_text": LINE, "end_line": 8}, Outcome.UNPROVEN),
        (
            {"replacement_text": LINE, "path": "/b.py"},
            {"replacement_text": LINE, "path": "/c.py"},
            Outcome.WRONG_ARGUMENTS,
        ),
    ],
)
def test_a_range_of_lines_is_compared_as_it_is_written(
    one: dict[str, Any], other: dict[str, Any], outcome: Outcome
) -> None:
    """SWE-agent's editor, which changes the open file: the white space in front of a line is its indentation."""
    place = {"start_line": 7, "end_line": 7}
    demonstration, action = edit("edit", **place, **one), edit("edit", **{**place, **other})
    auto = make_spec("auto", {})
    assert verify(auto, State(), [demonstration], action).outcome == outcome
    assert verify(auto, State(), [action], demonstration).outcome == outcome
    assert passes_gate(auto, State(), demonstration) == Verdict(1.0, Outcome.CORRECT)


def test_the_open_file_is_edited_by_search_and_by_line() -> None:
    auto = make_spec("auto", {})
    for name, one, other in (
        ("edit", {"search": "x", "replace": LINE}, {"search": "x", "replace": LINE.strip()}),
        ("insert", {"text": LINE, "line": 3}, {"text": LINE, "line": 4}),
        ("edit", {"search": "x", "replace": "y"}, {"search": "x", "replace": "y", "replace-all": True}),
    ):
        assert verify(auto, State(), [edit(name, **one)], edit(name, **other)).reward == 0.0
        assert passes_gate(auto, State(), edit(name, **one)).reward == 1.0


def test_an_edit_of_the_open_file_may_change_any_file() -> None:
    moved = called("edit", "Done.", start_line=1, end_line=1, replacement_text="import sys")
    assert known_texts([*CREATED], {PATH}, ()) != {}
    assert known_texts([*CREATED, *moved], {PATH}, ()) == {}
