"""`shell`: pairs of equal and of different commands, and hostile text."""

from __future__ import annotations

import json
import os
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine.actions.action import Action, ToolCall
from pivotmine.errors import UserError
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, passes_gate, prepare, verify
from pivotmine.verifiers.shell.shell_flags import RULES
from pivotmine.verifiers.shell.shell_syntax import read_program


def bash(command: Any, **more: Any) -> Action:
    return Action(tool_calls=(ToolCall(name="bash", arguments={"command": command, **more}),))


def outcome(one: Any, other: Any, **options: Any) -> Outcome:
    """The outcome of two commands, either of them the demonstrated one."""
    spec = make_spec("shell", options)
    there, back = (verify(spec, State(), [bash(a)], bash(b)) for a, b in ((one, other), (other, one)))
    assert (there.reward, there.outcome) == (back.reward, back.outcome)
    assert there.reward == (1.0 if there.outcome == Outcome.CORRECT else 0.0)
    assert there.detail.isprintable() or not there.detail
    return there.outcome


SAME = [
    ("ls -A --time-style=iso --full-time", "ls --time-style=iso -A --full-time", "a flag of its own moves"),
    ("ls  -la   /tmp", "ls -la /tmp", "blanks"),
    (" ls\n", "ls", "outer white space"),
    ("ls -l -a", "ls -la", "grouped flags"),
    ("ls -al", "ls -la", "flag order in a group"),
    ("ls --all -l", "ls -l -a", "a flag's long name"),
    ("ls /tmp -l", "ls -l /tmp", "GNU: flags behind operands"),
    ("rm -rf build", "rm -f -R build", "-R is -r"),
    ("head -5 f", "head -n 5 f", "the old number form"),
    ("head -n5 f", "head --lines=5 f", "an attached value"),
    ("git log -5 --oneline", "git log --oneline -n 5", "git's number form"),
    ("git commit -am 'x'", 'git commit -a -m "x"', "the last flag of a group takes the value"),
    ("grep -rn 'foo' src", 'grep -n -r "foo" src', "quotes and flag order"),
    ("grep -r foo --include='*.py' .", "grep --include=\\*.py -r foo .", "an escaped glob is a quoted one"),
    ("grep -A 3 -B2 x f", "grep -B 2 -A3 x f", "flags with values in any order"),
    ("cut -d ':' -f1 f", "cut -f 1 -d: f", "values attached or not"),
    ("sort -k2 -t= f", "sort -t = -k 2 f", "values attached or not"),
    ("sed -i -e 's/a/b/' f", "sed -e 's/a/b/' -i f", "-i and -e are independent"),
    ("curl -s -L http://a", "curl -L --silent http://a", "independent flags"),
    ("mkdir -p a/b", "mkdir --parents a/b", "a flag's long name"),
    ("cp -r -v a b", "cp a b -vR", "flags behind operands"),
    ("pytest tests -x -q", "pytest -q -x tests", "flags behind operands"),
    ("echo 'a b'", 'echo "a b"', "either quotes"),
    ("echo a\\ b", "echo 'a b'", "an escaped blank"),
    ("echo 'it'\"'\"'s'", 'echo "it\'s"', "a quote in quotes"),
    ('echo "cost: 5$"', "echo 'cost: 5$'", "a dollar sign that expands nothing"),
    ("sed 's/x$//' f", 'sed "s/x$//" f', "a dollar sign that expands nothing"),
    ("cd /repo && ls", "cd /repo/ && ls", "a slash at the end"),
    ("cd ./src && ls", "cd src && ls", "a dot at the start"),
    ("cd /repo && cd src && make", "cd /repo/src && make", "one cd after the other"),
    ("cd '/repo' && git status", 'cd "/repo" && git  status', "quotes of a path"),
    ("a && b", "a &&\n  b", "a line end behind an operator"),
    ("a; b", "a\nb", "a semicolon or a line end"),
    ("make;", "make", "a last semicolon"),
    ("make  # build it", "make", "a comment"),
    ("# build it\nmake", "make", "a comment before"),
    ("pytest \\\n  -x tests", "pytest -x tests", "a continued line"),
    ("ls>f", "ls > f", "blanks around a redirection"),
    ("ls > f 2>&1", "ls 1> f 2>&1", "the descriptor that is meant anyway"),
    ("> f ls", "ls > f", "a redirection before the command"),
    ("cat <<EOF > f\nx\nEOF", "cat > f <<'END'\nx\nEND", "a here-document's name and place"),
    ("python - <<'A'\nprint(1)\nA", "python - << 'B'\nprint(1)\nB", "a here-document's name"),
    ("find . -type f -name '*.py'", 'find . -name "*.py" -type f', "tests without effect in any order"),
    ("find src -name x -print", "find src -name x", "find prints by default"),
    ("find . -name x -exec rm {} \\;", "find . -name x -exec rm '{}' ';'", "quotes of what find reads"),
    ("cat f|grep x", "cat f | grep x", "blanks around a pipe"),
    ("for f in a b; do ls -l -a $f; done", "for f in a b\ndo\n  ls -la $f\ndone", "a loop on one line"),
    ("if grep -q x f; then make; fi", "if grep -q x f\nthen make\nfi", "a condition on one line"),
    ("(cd a && ls -l -a)", "( cd a && ls -la )", "blanks in parentheses"),
    ("A=1 B='x' make", "A=1 B=x make", "quotes of a value"),
    (["bash", "-lc", "ls -l -a"], ["bash", "-lc", "ls  -la"], "a script in a list of words"),
    (["ls", "-l", "-a"], ["ls", "-la"], "a list of words"),
    ("rm -- f", "rm f", "dashes that guard nothing"),
    ("cal 12 2120 -3", "cal -3 12 2120", "flags behind operands"),
    ("mytool --x 1 a", 'mytool --x "1" a', "an unknown tool's quotes"),
    ("if [ a < b", "if [ a < b", "the same text, though no bash"),
]  # fmt: skip

DIFFERENT = [
    ("ls -A --time-style=iso --full-time", "ls -A --full-time --time-style=iso", "the later one counts"),
    ("ls -l --full-time", "ls --full-time -l", "the later one counts"),
    ("ls", "pwd", "another command"),
    ("ls -l", "ls", "a flag less"),
    ("ls", "ls -a", "equal only where a rule set says so"),
    ("ls a b", "ls b a", "operands keep their order"),
    ("ls -t -S", "ls -S -t", "the later sort key counts"),
    ("rm -i -f x", "rm -f -i x", "the later flag counts"),
    ("rm -rf build", "rm -rf build2", "another target"),
    ("rm -rf build", "rm -rf ./ build", "one more target"),
    ("rm -r -- -f", "rm -r -f", "behind dashes it is a file"),
    ("head -n 5 f", "head -n 6 f", "another number"),
    ("head -c 5 f", "head -n 5 f", "bytes are no lines"),
    ("grep foo f", "grep Foo f", "another pattern"),
    ("grep foo f", "grep -v foo f", "the opposite"),
    ("grep -e a -f b c", "grep -f a -e b c", "values changed places"),
    ("grep -rn x --include=*.py .", "grep -rn x --include='*.py' .", "an active glob"),
    ("find . -name *.py", "find . -name '*.py'", "the shell expands the one"),
    ("find . -name a -o -name b -type f", "find . -name b -o -name a -type f", "another conjunction"),
    ("find . -name x -delete", "find . -delete -name x", "the one deletes all"),
    ("find . -name x -exec rm {} \\;", "find . -name x", "an action less"),
    ("find a b -name x", "find b a -name x", "starting points in order"),
    ("find . ! -name x -type f", "find . -name x ! -type f", "another test is negated"),
    ("sed -n 's/a/b/p' f", "sed -i 's/a/b/p' f", "the one changes the file"),
    ("sed -i.bak s/a/b/ f", "sed -i s/a/b/ f", "the one keeps a copy"),
    ("sed -ie s/a/b/ f", "sed -i -e s/a/b/ f", "the one keeps a copy named fe"),
    ("sed -i 's/a/b/' f", "sed -i 's/b/a/' f", "the other way round"),
    ("echo $HOME", "echo '$HOME'", "single quotes expand nothing"),
    ("echo $x", 'echo "$x"', "without quotes the value is split"),
    ("echo ~/x", "echo '~/x'", "a tilde in quotes"),
    ("echo *", "echo '*'", "a glob in quotes"),
    ("echo {a,b}", "echo '{a,b}'", "a brace in quotes"),
    ("echo 'a  b'", "echo 'a b'", "white space in quotes counts"),
    ("echo a b", "echo 'a b'", "two words, one word"),
    ("echo \\$x", "echo $x", "escaped"),
    ("echo '\\n'", "echo $'\\n'", "ANSI quotes mean the character"),
    ("echo \"a\\nb\"", "echo \"anb\"", "a backslash that stays in double quotes"),
    ("cd a && ls", "cd b && ls", "another directory"),
    ("cd a && ls", "ls", "not in the directory"),
    ("cd a && ls", "cd a; ls", "the one stops where there is no a"),
    ("cd a && ls", "(cd a && ls)", "the one stays in the directory"),
    ("cd a && ls", "ls && cd a", "another order"),
    ("cd a && cat b", "cat a/b", "the directory afterwards is another"),
    ("cd /a && cd .. && ls", "cd /a/.. && ls", "not known without the file system"),
    ("a && b", "a || b", "and, or"),
    ("a && b", "a; b", "the one stops at a failure"),
    ("a & b", "a; b", "in the background"),
    ("a &", "a", "in the background"),
    ("a | b", "a |& b", "errors go through the one pipe"),
    ("a | b", "b | a", "another order"),
    ("cat f | grep x", "cat f", "a part less"),
    ("ls > f", "ls >> f", "appended"),
    ("ls > f", "ls > g", "another file"),
    ("ls > f", "ls", "not to a file"),
    ("ls 2> f", "ls > f", "another descriptor"),
    ("ls > f 2>&1", "ls 2>&1 > f", "order of redirections"),
    ("{ a && b; } > f", "a && b > f", "what is redirected"),
    ("! a | b", "a | b", "negated"),
    ("cat > f <<'EOF'\nx\nEOF", "cat > f <<'EOF'\n x\nEOF", "indented text"),
    ("cat > f <<EOF\n$x\nEOF", "cat > f <<'EOF'\n$x\nEOF", "the one expands its text"),
    ("cat <<EOF\nx\nEOF", "cat <<EOF\ny\nEOF", "another text"),
    ("A=1 make", "make A=1", "environment or argument"),
    ("A=1 make", "A=2 make", "another value"),
    ("export A=1", "A=1", "exported"),
    ("sudo rm x", "rm x", "as another user"),
    ("\\rm x", "rm x", "not by the alias"),
    ("/bin/ls", "ls", "what ls is, only the path says"),
    ("python a.py -v", "python -v a.py", "a flag of the script"),
    ("tr -d a", "tr a -d", "tr takes no flag behind an operand"),
    ("xargs -n 1 rm -r", "xargs rm -r -n 1", "a flag of the other command"),
    ("mytool -a -b", "mytool -b -a", "an unknown tool's order"),
    ("mytool -ab", "mytool -a -b", "an unknown tool's grouping"),
    ("ls --unknown -l", "ls -l --unknown", "an unknown flag"),
    ("rm $x -rf", "rm -rf $x", "x may hold dashes"),
    ("cut -d $x -f 1 f", "cut -f 1 -d $x f", "x may be nothing, or two words"),
    ("find . -type f -name *.c", "find . -name *.c -type f", "the shell may make two words of it"),
    ("git log -- f", "git log f", "a file, or a revision"),
    ("git commit -m a -m b", "git commit -m b -m a", "paragraphs in order"),
    ("git checkout a", "git checkout -b a", "a new branch"),
    ("for f in a b; do ls $f; done", "for f in a b; do cat $f; done", "another body"),
    ("while a; do b; done", "until a; do b; done", "the opposite"),
    ("for ((;i<3;)); do a; done", "for ((i<3;;)); do a; done", "other parts of a loop"),
    ("kill -9 1", "kill -15 1", "another signal"),
    ("chmod +x f", "chmod -x f", "the opposite"),
    ("раth", "path", "letters that look alike"),
    ("ls\u00a0-l", "ls -l", "a blank that is none"),
    ("rm a#b", "rm a", "no comment"),
    ("echo 'a", "echo a", "a quote without end"),
    (["rm", "a b"], ["rm", "a", "b"], "one word, two words"),
    (["bash", "-lc", "ls"], ["bash", "-c", "ls"], "a login shell"),
    (["echo", "*"], "echo *", "no shell, no glob"),
    ("# nothing", "", "nothing is no command"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "why"), SAME, ids=lambda value: str(value)[:40])
def test_the_same(one: Any, other: Any, why: str) -> None:
    assert outcome(one, other) == Outcome.CORRECT, why


@pytest.mark.parametrize(("one", "other", "why"), DIFFERENT, ids=lambda value: str(value)[:40])
def test_not_the_same(one: Any, other: Any, why: str) -> None:
    assert outcome(one, other) in (Outcome.WRONG_ARGUMENTS, Outcome.UNPROVEN), why
    assert outcome(one, one) == outcome(other, other) == Outcome.CORRECT


def test_what_does_not_matter_is_declared() -> None:
    declared = {"ignored_flags": ["ls -a -l", "git status -s"]}
    assert outcome("ls", "ls -la", **declared) == Outcome.CORRECT
    assert outcome("cd a && ls", "cd a && ls -a", **declared) == Outcome.CORRECT
    assert outcome("git status --short", "git status", **declared) == Outcome.CORRECT
    for one, other in (("ls", "ls -r"), ("ls a", "ls -a"), ("ls | wc -l", "ls -a | wc -l"), ("ls > f", "ls -a > f")):
        assert outcome(one, other, **declared) == Outcome.UNPROVEN


@pytest.mark.parametrize("rule", ["rm -f", "ls", "ls -a b", "ls --nonsense", "head -n 5", "", "-a", "frobnicate -a"])
def test_only_flags_of_read_only_commands_can_be_declared(rule: str) -> None:
    with pytest.raises(UserError, match="verifier shell, option ignored_flags"):
        make_spec("shell", {"ignored_flags": [rule]})


def test_where_every_command_starts_may_be_known() -> None:
    known = {"working_directory": "/testbed/"}
    assert outcome("cd /testbed && ls -l", "ls -l", **known) == Outcome.CORRECT
    assert outcome("cd /testbed && cd src && ls", "cd /testbed/src && ls", **known) == Outcome.CORRECT
    for other in ("cd /testbed/src && ls", "cd /testbed; ls", "cd testbed && ls", "cd /testbed || ls"):
        assert outcome("ls", other, **known) == Outcome.UNPROVEN


# Calls: everything but the command.

TOOL = {"type": "function", "function": {"name": "bash", "parameters": {
    "type": "object", "required": ["command"],
    "properties": {"command": {"type": "string"}, "timeout": {"type": "integer", "default": 60}},
}}}  # fmt: skip


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (bash("ls -l -a"), Outcome.CORRECT),
        (bash("ls -l -a", timeout=60), Outcome.CORRECT),
        (bash("ls -la", timeout=61), Outcome.WRONG_ARGUMENTS),
        (bash("ls -la", cwd="/"), Outcome.UNKNOWN_ARGUMENTS),
        (bash(None), Outcome.WRONG_ARGUMENTS),
        (bash(1), Outcome.WRONG_ARGUMENTS),
        (bash(["ls", "-la"]), Outcome.WRONG_ARGUMENTS),
        (Action(tool_calls=(ToolCall(name="bash", arguments={}),)), Outcome.MISSING_ARGUMENTS),
        (Action(tool_calls=(ToolCall(name="bash", arguments={"cmd": "ls -la"}),)), Outcome.MISSING_ARGUMENTS),
        (Action(tool_calls=(ToolCall(name="sh", arguments={"command": "ls -la"}),)), Outcome.WRONG_TOOL),
        (Action(tool_calls=bash("ls -la").tool_calls * 2), Outcome.SURPLUS_CALLS),
        (Action(message="ls -la"), Outcome.WRONG_KIND),
    ],
)
def test_the_rest_of_a_call_is_compared_as_tool_call_does(action: Action, expected: Outcome) -> None:
    state = State(tools=(TOOL,))
    assert verify(make_spec("shell", {}), state, [bash("ls -la")], action).outcome == expected


def test_a_command_in_another_argument_is_not_the_demonstrated_one() -> None:
    # Though the schema knows both: what the tool does with either is its own business.
    parameters = {"type": "object", "properties": {"command": {"type": "string"}, "cmd": {"type": "string"}}}
    state = State(tools=({"type": "function", "function": {"name": "bash", "parameters": parameters}},))
    given = Action(tool_calls=(ToolCall(name="bash", arguments={"cmd": "ls"}),))
    assert verify(make_spec("shell", {}), state, [bash("ls")], given).reward == 0.0
    assert verify(make_spec("shell", {}), state, [given], bash("ls")).reward == 0.0


def test_a_demonstration_that_its_schema_forbids_fails_its_gate() -> None:
    spec, state = make_spec("shell", {}), State(tools=(TOOL,))
    assert passes_gate(spec, state, bash("ls", cwd="/")).outcome == Outcome.UNKNOWN_ARGUMENTS
    assert passes_gate(spec, State(tools=()), bash("ls", cwd="/")) == Verdict(1.0, Outcome.CORRECT)


def test_a_call_without_a_command_is_compared_as_tool_call_does() -> None:
    spec = make_spec("shell", {})
    restart = Action(tool_calls=(ToolCall(name="bash", arguments={"restart": True}),))
    assert verify(spec, State(), [restart], restart) == Verdict(1.0, Outcome.CORRECT)
    assert verify(spec, State(), [restart], bash("ls")).outcome == Outcome.MISSING_ARGUMENTS
    assert verify(spec, State(), [bash("ls")], restart).outcome == Outcome.MISSING_ARGUMENTS


def test_parallel_commands_are_matched_one_to_one() -> None:
    spec = make_spec("shell", {})

    def both(*commands: str) -> Action:
        return Action(tool_calls=tuple(call for command in commands for call in bash(command).tool_calls))

    gold = both("ls -la", "pwd", "ls -l -a")
    assert verify(spec, State(), [gold], both("pwd", "ls -al", "ls -a -l")) == Verdict(1.0, Outcome.CORRECT)
    assert verify(spec, State(), [gold], both("pwd", "pwd", "ls -al")).outcome == Outcome.WRONG_ARGUMENTS
    assert verify(spec, State(), [gold], both("pwd", "ls -al")).outcome == Outcome.MISSING_CALLS


def test_a_detail_says_which_argument_and_what() -> None:
    verdict = verify(make_spec("shell", {}), State(), [bash("ls")], bash("rm \x1b[2J"))
    assert verdict == Verdict(0.0, Outcome.WRONG_ARGUMENTS, 'bash.command: "rm \\u001b[2J", demonstrated "ls"')


# Messages: commands of harnesses without tools.

FENCED = "THOUGHT: look around\n\n```bash\nls -la /tmp\n```"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (FENCED, Outcome.CORRECT),
        ("I look.\n```bash\nls -l -a /tmp\n```\n", Outcome.CORRECT),
        ("```bash\nls -la /etc\n```", Outcome.WRONG_ARGUMENTS),
        ("```bash\n\n```", Outcome.UNPROVEN),
        ("```\nls -la /tmp\n```", Outcome.INVALID_CALL),
        ("```sh\nls -la /tmp\n```", Outcome.INVALID_CALL),
        ("ls -la /tmp", Outcome.INVALID_CALL),
        ("```bash\nls -la /tmp", Outcome.INVALID_CALL),
        ("```bash\nls -la /tmp\n```\n```bash\nrm -rf /\n```", Outcome.INVALID_CALL),
        ("```bash ls -la /tmp ```", Outcome.INVALID_CALL),
        ("THOUGHT: look around", Outcome.INVALID_CALL),
    ],
)
def test_a_fenced_block_is_the_command(message: str, expected: Outcome) -> None:
    assert (
        verify(make_spec("shell", {}), State(), [Action(message=FENCED)], Action(message=message)).outcome == expected
    )


def test_a_message_without_a_fence_is_a_command_as_a_whole() -> None:
    spec, gold = make_spec("shell", {}), Action(message="grep -rn 'x' .")
    assert verify(spec, State(), [gold], Action(message='grep -n -r "x" .')) == Verdict(1.0, Outcome.CORRECT)
    assert verify(spec, State(), [gold], Action(message="Let me look: grep -rn 'x' .")).reward == 0.0
    assert verify(spec, State(), [gold], bash("grep -rn 'x' .")).outcome == Outcome.WRONG_KIND
    two_blocks = Action(message="```bash\nls\n```\n```bash\nls\n```")
    assert passes_gate(spec, State(), two_blocks).reward == 1.0
    assert verify(spec, State(), [two_blocks], Action(message="```bash\nls\n```")).outcome == Outcome.UNPROVEN


# Hostile text.

HOSTILE = {
    "ten megabytes": "a" * 10_000_000,
    "ten megabytes of words": "a " * 5_000_000,
    "parentheses": "(" * 60_000,
    "substitutions": "$(" * 30_000,
    "closed substitutions": "$(a " * 5_000 + ")" * 5_000,
    "subshells": "(a " * 2_000 + ")" * 2_000,
    "braces": "{ " * 30_000,
    "assignments of lists": "a=(" * 20_000,
    "pipes": "|" * 60_000,
    "loops": "for ((" * 10_000,
    "here-documents": "cat <<A\n" * 8_000,
    "quotes": "'\"" * 30_000,
    "expansions": "${" * 5_000,
    "NUL": "ls\0-l",
    "surrogate": "ls \ud800",
    "escape": "echo \x1b[2J",
    "right to left": "rm \u202e/tmp",
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_text_is_neither_read_for_long_nor_passed(name: str) -> None:
    text = HOSTILE[name]
    assert outcome(text, text) == Outcome.CORRECT
    assert outcome("ls", text) in (Outcome.UNPROVEN, Outcome.WRONG_ARGUMENTS)
    assert outcome(text, text + ")") in (Outcome.UNPROVEN, Outcome.WRONG_ARGUMENTS)


# By search.

WORDS = st.text(st.sampled_from("ab -*$~!'\"\\{}#;&|<>()=\n"), min_size=1, max_size=8)


def single_quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def piecewise(word: str) -> str:
    return "".join(f"'{c}'" if c in '$`"\\!' else f'"{c}"' for c in word)


@settings(max_examples=40)
@given(st.lists(WORDS, min_size=1, max_size=3), st.lists(WORDS, min_size=1, max_size=3))
def test_quoted_words_are_the_same_where_they_are_the_same_words(one: list[str], other: list[str]) -> None:
    def command(words: list[str], quote: Any) -> str:
        return " ".join(["mytool", *[quote(word) for word in words]])

    assert outcome(command(one, single_quoted), command(one, piecewise)) == Outcome.CORRECT
    if one != other:
        assert outcome(command(one, single_quoted), command(other, piecewise)) != Outcome.CORRECT


PIECES = st.sampled_from(
    ["ls", "-l", "a", "'b'", '"$x"', "$(a)", ";", "&&", "||", "|", "&", ">", "f", "2>&1", "<<E", "(", ")", "{", "}",
     "#", "cd", "if", "then", "fi", "for", "in", "do", "done", "!", "-", "`", "'", '"', "\\", "=", "[[", "\n", "\nE\n"]
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(PIECES, max_size=9), st.sampled_from([" ", ""]))
def test_any_text_is_itself_and_no_text_raises(pieces: list[str], between: str) -> None:
    text = between.join(pieces)
    assert outcome(text, text) == Outcome.CORRECT
    assert outcome(text, f"{text} x") != Outcome.CORRECT or "#" in text or "\\" in text


# What a real environment rewarded.


@pytest.mark.skipif("PIVOTMINE_REAL_DATA" not in os.environ, reason="PIVOTMINE_REAL_DATA is not set")
def test_commands_that_pass_for_each_other_were_rewarded_alike() -> None:
    rewards: dict[str, dict[str, set[float]]] = {}
    for path in (Path(os.environ["PIVOTMINE_REAL_DATA"]) / "intercode" / "bash").glob("*.json"):
        for record in json.loads(path.read_text()).values():
            history = record["turn_history"]
            for command, reward in zip(history["actions"], history["rewards"], strict=True):
                if command.strip():
                    rewards.setdefault(record["query"], {}).setdefault(command, set()).add(reward)
    passed = 0
    for group in rewards.values():
        judges = {command: prepare(make_spec("shell", {}), State(), [bash(command)]) for command in group}
        for one, other in combinations(group, 2):
            if judges[one](bash(other)).reward:
                assert group[one] & group[other], (one, other)
                passed += 1
    assert passed == 10


def test_no_flag_is_in_two_groups() -> None:
    for name, rule in RULES.items():
        grouped = [flag for group in rule.groups for flag in group.split()]
        assert len(grouped) == len(set(grouped)), name


def test_letters_of_any_script_are_letters_of_a_word() -> None:
    assert outcome("grep 'naïve' ä.txt | sort", 'grep "naïve" ä.txt|sort') == Outcome.CORRECT
    assert outcome("cat ä.txt", "cat ö.txt") == Outcome.WRONG_ARGUMENTS
    assert outcome("echo a\u00a0b", "echo a b") != Outcome.CORRECT
    assert read_program("é=5 ls") == ("program", ("command", (), "é=5", ("ls",)))
