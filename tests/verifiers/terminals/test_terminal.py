"""Keystroke batches: the same commands pass with any waiting times and free text; others do not."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine.actions.action import Action, ToolCall
from pivotmine.errors import UserError
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, passes_gate, verify


def batch(*keystrokes: str, complete: bool | None = False, **more: Any) -> str:
    value: dict[str, Any] = {"analysis": "a", "plan": "p", "commands": [{"keystrokes": k} for k in keystrokes]}
    if complete is not None:
        value["task_complete"] = complete
    return json.dumps({**value, **more})


def old_batch(*keystrokes: str, complete: bool = False) -> str:
    commands = [{"keystrokes": k, "is_blocking": True, "timeout_sec": 5} for k in keystrokes]
    value = {"state_analysis": "", "explanation": "", "commands": commands, "is_task_complete": complete}
    return json.dumps(value)


def verdict(demonstrated: str, message: str, screen: str | None = None, **options: Any) -> Verdict:
    state = State() if screen is None else State(messages=({"role": "user", "content": screen},))
    return verify(make_spec("terminal", options), state, [Action(message=demonstrated)], Action(message=message))


SAME = {
    "commands cut elsewhere": (batch("cd src\n", "ls -la\n"), batch("cd src\nls -la\n")),
    "the Enter key": (batch("ls\n"), batch("ls", "Enter")),
    "carriage return": (batch("ls\n"), batch("ls\r")),
    "another wait": (batch("make\n"), batch(commands=[{"keystrokes": "make\n", "duration": 9.5}])),
    "runs of blanks": (batch("ls -la   src\n"), batch("ls  -la src \n")),
    "an empty line": (batch("ls\n"), batch("ls\n\n")),
    "an empty command": (batch("ls\n"), batch("", "ls\n")),
    "a comment": (batch("ls -la src/\n"), batch("# look\nls -la src/\n")),
    "what echo shows": (batch("make test && ls\necho done\n"), batch("make test && ls\necho finished\n")),
    "a commit's message": (batch("git commit -am 'Fix the bug'\n"), batch('git commit -am "Fix a bug"\n')),
    "another analysis": (batch("ls\n"), batch("ls\n", analysis="b", plan="q")),
    "an unstated flag": (batch("ls\n"), batch("ls\n", complete=None)),
    "a code fence": (batch("ls\n"), "```json\n" + batch("ls\n") + "\n```"),
    "no command": (batch(complete=True), batch("", complete=True)),
    "Enter by its control key": (batch("ls\n"), batch("ls", "C-m")),
    "blanks around operators": (batch("cat a.txt|sort>b.txt\n"), batch("cat a.txt | sort > b.txt\n")),
    "the order of flags": (batch("ls -l -a /srv\n"), batch("ls -al /srv\n")),
    "the older form": (old_batch("ls -la\n"), old_batch("ls  -la\n")),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_the_same_commands_pass(name: str) -> None:
    one, other = SAME[name]
    assert verdict(one, other) == verdict(other, one) == Verdict(1.0, Outcome.CORRECT)


LONG = "python train.py --config configs/base.yaml --epochs 10 --out runs/exp-1 --seed 7 --device cpu"
OTHER = {
    "a number before a redirect": (batch("make 2>log\n"), batch("make2 >log\n")),
    "a pipe or a list": (batch("make | tee\n"), batch("make || tee\n")),
    "a path": (batch(f"{LONG}\n"), batch(f"{LONG}\n".replace("exp-1", "exp-2"))),
    "a number": (batch(f"{LONG}\n"), batch(f"{LONG}\n".replace("10", "19"))),
    "a flag": (batch(f"{LONG}\n"), batch(f"{LONG}\n".replace(" --device cpu", ""))),
    "no Enter": (batch(f"{LONG}\n"), batch(LONG)),
    "two words swapped": (batch("mv alice bob\n"), batch("mv bob alice\n")),
    "a key joined to text": (batch("C-c", "ls\n"), batch("C-cls\n")),
    "a key's name typed as text": (batch("C-c"), batch("\0C-c")),
    "another key": (batch("C-c"), batch("C-d")),
    "a key between": (batch("vim a\n", "ix\n"), batch("vim a\n", "Escape", "ix\n")),
    "blanks in quotes": (batch("grep 'a  b' f\n"), batch("grep 'a b' f\n")),
    "quotes that expand": (batch("ls '$HOME'\n"), batch('ls "$HOME"\n')),
    "an indent in a file": (batch("cat > f <<E\nif a:\n  b\n  c\nE\n"), batch("cat > f <<E\nif a:\n  b\nc\nE\n")),
    "a comment line in a file": (batch("cat > f <<E\n# a\nE\n"), batch("cat > f <<E\n# b\nE\n")),
    "echo into a file": (batch("echo 1 > f\n"), batch("echo 2 > f\n")),
    "echo of a command": (batch("echo $(rm a)\n"), batch("echo $(rm b)\n")),
    "a script's first line": (batch("#!/bin/sh\n"), batch("#!/bin/bash\n")),
    "a message that runs": (batch('git commit -m "$(a)"\n'), batch('git commit -m "$(b)"\n')),
    "free text without end": (batch("echo a\n"), batch(f"echo {'z' * 50}\n")),
    "complete too early": (batch("ls\n"), batch("ls\n", complete=True)),
    "not complete": (batch("ls\n", complete=True), batch("ls\n")),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_other_commands_fail(name: str) -> None:
    one, other = OTHER[name]
    for found in (verdict(one, other), verdict(other, one)):
        assert (found.reward, found.outcome) == (0.0, Outcome.WRONG_ARGUMENTS)
        assert found.detail.isprintable()


def test_a_line_more_is_different_if_a_shell_reads_it() -> None:
    assert verdict(batch(f"{LONG}\n"), batch(f"{LONG}\n", "rm -rf runs\n")).outcome == Outcome.UNPROVEN
    assert verdict(batch("make\n"), batch("make\n", "rm -rf runs\n")).outcome == Outcome.WRONG_ARGUMENTS


FOREIGN = {
    "a comment typed into an editor": (batch("nano f\n", "# one two three\n"), batch("nano f\n", "# one two four\n")),
    "a comment in an editor or none": (batch("nano f\n", "# hello\n"), batch("nano f\n")),
    "a comment typed into Python": (batch("python3\n", "# hello\n"), batch("python3\n")),
    "what echo shows in a prompt": (batch("ssh host\n", "echo one\n"), batch("ssh host\n", "echo two\n")),
    "text typed into an editor": (batch("vi f\n", "ia\necho x\n", "Escape"), batch("vi f\n", "ia\necho y\n", "Escape")),
    "an indent in Python": (batch("python3 -q\n", "if a:\n  b\n\n"), batch("python3 -q\n", "if a:\n b\n\n")),
    "blanks in a database": (batch("mysql shop\n", "select 'a' ;\n"), batch("mysql shop\n", "select 'a';\n")),
    "an answer to a program": (batch("./install.sh\n", "echo a\n"), batch("./install.sh\n", "echo b\n")),
    "an empty line for a program": (batch("python setup.py\n", "\n", "y\n"), batch("python setup.py\n", "y\n")),
    "a line for a pager": (batch("git log\n", "# a\n", "q"), batch("git log\n", "# b\n", "q")),
    "an editor for a message": (batch("git commit\n", "echo a\n"), batch("git commit\n", "echo b\n")),
    "a program behind others": (batch("cd a && FOO=1 ./run\n", "# a\n"), batch("cd a && FOO=1 ./run\n", "# b\n")),
    "a filter without a file": (batch("cat > f\n", "echo a\n"), batch("cat > f\n", "echo b\n")),
    "a loop that reads": (batch("while read x; do\n", "# a\n"), batch("while read x; do\n", "# b\n")),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_what_another_program_reads_is_compared_as_it_is_typed(name: str) -> None:
    one, other = FOREIGN[name]
    for found in (verdict(one, other), verdict(other, one)):
        assert found.outcome == Outcome.UNPROVEN
    assert verdict(one, one).reward == verdict(other, other).reward == 1.0


IN_SHELL = (
    "",
    "$",
    "# ",
    "user@host:~/src$ ",
    "(venv) root@3f2a:/app# \n\n\n",
    "Current terminal state:\n[root@box app]# \n",
    "total 0\nbash-5.2$",
    "sh-4.4# ",
    "/app # ",
    "~/src %",
    "a.txt\nroot@b:/#\n\nAre you sure you want to mark the task as complete?\nSay so again.",
)
NOT_IN_SHELL = (
    ">>> ",
    "... ",
    "In [3]: ",
    "mysql> ",
    "shop=# ",
    "sqlite> ",
    "(gdb) ",
    "(Pdb) ",
    "Password: ",
    "Continue? [y/N] ",
    "~\n~\n-- INSERT --",
    "(END)",
    ":",
    "root@b:/app# python3 long.py\nstep 1 of 9",
    "root@b:/app# sleep 100",
    "> ",
    "scala> ",
    "Enter a name",
)


@pytest.mark.parametrize("screen", IN_SHELL)
def test_a_prompt_of_a_shell_on_the_screen(screen: str) -> None:
    found = verdict(batch("ls  -l\n# a\n"), batch("ls -l\n"), screen or None)
    assert found == Verdict(1.0, Outcome.CORRECT)


@pytest.mark.parametrize("screen", NOT_IN_SHELL)
def test_any_other_screen_is_no_shell(screen: str) -> None:
    for one, other in (("x  = 1\n", "x = 1\n"), ("# a\n", "# b\n"), ("echo a\n", "echo b\n"), ("\n", "")):
        found = verdict(batch(one), batch(other), screen)
        assert found.outcome == Outcome.UNPROVEN
        assert verdict(batch(one), batch(one), screen).reward == 1.0


def test_programs_that_read_nothing_stay_in_the_shell() -> None:
    for line in (
        "cd src && make -j4 test", "git add -A", "git commit -m 'a b'", "pip install -q x", "ls | sort | head",
        "grep -rn x", "cat a.txt > b.txt", "FOO=1 make 2>&1 | tail -5", "./server &", "apt-get install -y jq", "bash",
        "for f in a b; do echo $f; done", "python -m pytest -q", "cat > f <<E\nx\nE", "rm -rf 'a b'",
    ):  # fmt: skip
        one, other = batch(f"{line}\n", "# a\n"), batch(f"{line}\n", "# b\n")
        expected = Outcome.WRONG_ARGUMENTS if "<<" in line else Outcome.CORRECT
        assert verdict(one, other).outcome == expected, line
    for line in ("rm -i a", "git add -p", "grep x", "sort", "sudo ls", "apt install jq", "bash run.sh", "tee log"):
        assert verdict(batch(f"{line}\n", "# a\n"), batch(f"{line}\n", "# b\n")).outcome == Outcome.UNPROVEN, line


def test_blanks_between_keys_are_unproven() -> None:
    assert verdict(batch("C-c", "ls  -la\n"), batch("C-c", "ls -la\n")).outcome == Outcome.UNPROVEN
    assert verdict(batch("C-c", "rm a\n"), batch("C-c", "rm b\n")).outcome == Outcome.WRONG_ARGUMENTS


COMPOUND = {
    "a loop into a file": ["for f in a b\n", "do\n", "echo {}\n", "done > out\n"],
    "a group into a file": ["{{\n", "echo {}\n", "}} > out\n"],
    "a subshell into a shell": ["(\n", "echo {}\n", ") | sh\n"],
    "a condition into a file": ["if true; then\n", "echo {}\n", "fi > out\n"],
    "a value of a variable": ["x=$(\n", "echo {}\n", ")\n"],
    "a pipe that goes on": ["cat a |\n", "echo {}\n"],
    "a line that goes on": ["ls \\\n", "echo {}\n"],
    "a list that goes on": ["make &&\n", "echo {}\n"],
    "a function": ["f() {{\n", "echo {}\n", "}}\n"],
    "another meaning of echo": ["alias echo=rm\n", "echo {}\n"],
    "a line without Enter": ["echo {}"],
    "a comment without Enter": ["ls\n", "# {}"],
    "a message without Enter": ["git commit -m '{}'"],
    "a word that a tab completes": ["cd a{}\t\n"],
    "a line of the history": ["echo {}!!\n"],
}


@pytest.mark.parametrize("name", COMPOUND)
def test_free_text_that_may_go_elsewhere_counts(name: str) -> None:
    one, other = (batch(*[line.format(word) for line in COMPOUND[name]]) for word in ("one", "two"))
    assert verdict(one, other).outcome in (Outcome.WRONG_ARGUMENTS, Outcome.UNPROVEN)
    assert verdict(one, one).reward == 1.0
    assert verdict(batch("cd a\t\n"), batch("cd a\n")).reward == 0.0


def test_the_detail_says_what_differs() -> None:
    assert verdict(batch("ls\n"), batch("pwd\n")).detail == "pwd, demonstrated ls"
    assert verdict(batch("ls\n"), batch("ls")).detail == "lacks \\n"
    assert verdict(batch("ls\n"), batch("ls\npwd\n")).detail == "pwd, not demonstrated"
    assert verdict(batch("ls\n"), batch("ls\n", complete=True)).detail == "complete: True, demonstrated False"
    assert verdict(batch("echo a\n"), batch(f"echo {'z' * 50}\n")).detail == "similarity 0.19, needed 0.5"


def test_similarity_alone_decides_where_that_is_asked_for() -> None:
    one, other = OTHER["a path"]
    assert verdict(one, other, same_words=False, min_similarity=0.95).reward == 1.0
    assert verdict(one, batch("pwd\n"), same_words=False, min_similarity=0.95).reward == 0.0
    assert verdict(one, batch(f"{LONG}\n", complete=True), same_words=False).reward == 0.0
    with pytest.raises(UserError, match="option min_similarity: must be 0 to 1, is 75"):
        make_spec("terminal", {"min_similarity": 75})


INVALID = {
    "": Outcome.EMPTY,
    "ls": Outcome.INVALID_CALL,
    "[]": Outcome.INVALID_CALL,
    batch("ls\n")[:-1]: Outcome.INVALID_CALL,
    "Here: " + batch("ls\n"): Outcome.INVALID_CALL,
    batch("ls\n", extra=1): Outcome.INVALID_CALL,
    batch("ls\n", plan=None): Outcome.INVALID_CALL,
    batch("ls\n", task_complete="false"): Outcome.INVALID_CALL,
    batch("ls\n", commands={}): Outcome.INVALID_CALL,
    batch("ls\n", commands=["ls\n"]): Outcome.INVALID_CALL,
    batch("ls\n", commands=[{"keystrokes": "ls\n", "duration": True}]): Outcome.INVALID_CALL,
    batch("ls\n", commands=[{"keystrokes": ["ls\n"]}]): Outcome.INVALID_CALL,
    batch("ls\n", commands=[{"duration": 1}]): Outcome.INVALID_CALL,
    '{"analysis": "", "plan": "", "commands": [], "commands": []}': Outcome.INVALID_CALL,
    old_batch("ls\n"): Outcome.INVALID_CALL,
    "[" * 100_000: Outcome.INVALID_CALL,
}


@pytest.mark.parametrize("message", INVALID)
def test_what_is_no_batch_fails(message: str) -> None:
    found = verdict(batch("ls\n"), message)
    assert (found.reward, found.outcome) == (0.0, INVALID[message])


def test_the_detail_of_what_is_no_batch() -> None:
    assert verdict(batch("ls\n"), batch(extra=1)).detail == "unknown key extra"
    assert verdict(batch("ls\n"), batch(commands=[{}])).detail == "command 0: lacks keystrokes"
    assert verdict("ls", batch("ls\n")).detail == "the demonstration is no terminus_2 batch: not a JSON object"
    assert passes_gate(make_spec("terminal", {}), State(), Action(message="ls")).outcome == Outcome.INVALID_CALL


def test_a_call_is_no_batch() -> None:
    action = Action(message=batch("ls\n"), tool_calls=(ToolCall(name="bash", arguments={}),))
    found = verify(make_spec("terminal", {}), State(), [Action(message=batch("ls\n"))], action)
    assert found == Verdict(0.0, Outcome.WRONG_KIND, "a call of bash")


@pytest.mark.parametrize("text", ["a" * 400_000, "a git commit -m " * 1200, "a" + "'" * 19_000, "ls a\n" * 2_000])
def test_long_keystrokes_are_bounded(text: str) -> None:
    assert verdict(batch(text), batch(text)).reward == 1.0
    assert verdict(batch(text), batch(f"{text}b")).outcome in (Outcome.WRONG_ARGUMENTS, Outcome.UNPROVEN)
    assert verdict(batch(text), batch(text.replace("a", "b", 1) + "\n")).reward == 0.0


PIECES = ["ls", "\n", " ", "C-c", "Escape", "echo a", "# b\n", "'", "x <<E\n", "git commit -m 'a'\n", "\r"]
KEYSTROKES = st.lists(
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=4).map("".join), max_size=4
)


@settings(deadline=None, max_examples=60)
@given(KEYSTROKES, KEYSTROKES, st.sampled_from([{}, {"same_words": False}]))
def test_symmetric_and_gold_passes(one: list[str], other: list[str], options: dict[str, Any]) -> None:
    there = verdict(batch(*one), batch(*other), **options)
    assert there.outcome != Outcome.ERROR
    assert there.reward == verdict(batch(*other), batch(*one), **options).reward
    assert passes_gate(make_spec("terminal", {}), State(), Action(message=batch(*one))).reward == 1.0


def test_a_list_of_commands_as_several_lines_is_unproven() -> None:
    one, other = batch("cd src && ls\n"), batch("cd src\n", "ls\n")
    assert verdict(one, other).outcome == verdict(other, one).outcome == Outcome.UNPROVEN
    assert verdict(one, batch("cd src\n", "ls -a\n")).outcome == Outcome.WRONG_ARGUMENTS


def test_many_commands_are_joined_in_linear_time() -> None:
    many = batch(*["ls\n"] * 100_000)
    assert verdict(many, many) == Verdict(1.0, Outcome.CORRECT)
    assert verdict(many, batch(*["ls\n"] * 99_999)).outcome == Outcome.UNPROVEN
