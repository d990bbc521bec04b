"""What a state shows of a file."""

from __future__ import annotations

from typing import Any

import pytest
from file_histories import CREATED, FILE, PART, PATH, VIEWED, called, numbered

from pivotmine.verifiers.edits.editor_tools import Text
from pivotmine.verifiers.edits.file_state import known_texts


def known(*history: list[dict[str, Any]]) -> Text | None:
    messages = [message for part in history for message in part]
    return known_texts(messages, [PATH], ["think"]).get(PATH)


def bash(command: str, reply: str = "") -> list[dict[str, Any]]:
    return called("bash", reply, command=command)


SEEN = Text(FILE.removesuffix("\n"), complete=True)
EDITED = called("editor", "edited", command="str_replace", path=PATH, old_str="import os", new_str="import re")


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ((), None),
        ((CREATED,), Text(FILE, complete=True)),
        ((VIEWED,), SEEN),
        ((PART,), Text("def load(x):\n    return x", complete=False, first_line=8)),
        ((VIEWED, PART), SEEN),
        ((CREATED, EDITED), Text(FILE.replace("os", "re"), complete=True)),
        ((VIEWED, called("editor", "Error: no", command="insert", path=PATH, insert_line=1, new_str="x")), SEEN),
        ((VIEWED, called("editor", None, command="insert", path=PATH, insert_line=1, new_str="x")), None),
        ((VIEWED, called("editor", "ok", command="undo_edit", path=PATH)), None),
        ((VIEWED, called("editor", "ok", command="str_replace", path="/x/a.py", old_str="x", new_str="y")), None),
        ((VIEWED, called("editor", "ok", command="str_replace", path="/x/b.py", old_str="x", new_str="y")), SEEN),
        ((VIEWED, [{"role": "assistant", "content": "```bash\nrm a.py\n```"}]), None),
        ((VIEWED, [{"role": "user", "content": "go on"}]), SEEN),
        ((VIEWED, called("think", "", thought="hm")), SEEN),
        ((VIEWED, called("deploy", "", target="x")), None),
        ((VIEWED, bash("grep -rn 'def' /repo")), SEEN),
        ((VIEWED, bash("cd /repo && git diff | head -20; sed -n '1,3p' a.py")), SEEN),
        ((VIEWED, bash("sed -i s/a/b/ a.py")), None),
        ((VIEWED, bash("sed -n '1p' -i a.py")), None),
        ((VIEWED, bash("ls > a.py")), None),
        ((VIEWED, bash("cat $(python fix.py)")), None),
        ((VIEWED, bash("git diff --output=a.py")), None),
        ((VIEWED, bash("git checkout .")), None),
        ((VIEWED, bash("lsof")), None),
        ((VIEWED, bash("ls\npython fix.py")), None),
        ((bash(f"cat -n {PATH}", numbered(FILE)),), SEEN._replace(complete=False)),
        ((bash(f"cat {PATH}", "a\nb"),), Text("a\nb", complete=False, first_line=None)),
        ((bash(f"cat {PATH}", "a\n[... 50 lines omitted ...]\nb"),), None),
        ((bash("cat a.py", "a\nb"),), None),
        ((called("editor", numbered(FILE) + "\n<response clipped>", command="view", path=PATH),),
         SEEN._replace(complete=False)),
        ((called("editor", "Truncated to 9 lines:\n" + numbered(FILE), command="view", path=PATH),),
         SEEN._replace(complete=False)),
        ((called("Read", numbered(FILE), file_path=PATH),), SEEN._replace(complete=False)),
        ((called("editor", numbered("x\ny", 7), command="view", path=PATH),),
         Text("x\ny", complete=False, first_line=7)),
        ((called("write_file", "ok", path=PATH, content="x"),), Text("x", complete=True)),
        ((called("append_file", "ok", path=PATH, content="x"),), None),
        ((PART, EDITED), None),
        ((PART, called("editor", "edited:\n" + numbered("a\nb", 3), command="insert", path=PATH, insert_line=8,
                       new_str="x")), Text("a\nb", complete=False, first_line=3)),
    ],
)  # fmt: skip
def test_what_the_messages_tell_of_a_file(history: tuple[list[dict[str, Any]], ...], expected: Text | None) -> None:
    assert known(*history) == expected


def test_an_id_that_comes_again_means_the_later_call() -> None:
    # Both calls are "c"; the result of the first is its own.
    assert known(CREATED, EDITED, called("editor", "Error: no", command="view", path="/nowhere")) == Text(
        FILE.replace("os", "re"), complete=True
    )
