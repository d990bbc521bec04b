"""Programs that are provably different, and forms that differ without proof."""

from __future__ import annotations

import pytest

from pivotmine.verifiers.shell.shell_commands import canonical
from pivotmine.verifiers.shell.shell_difference import are_different
from pivotmine.verifiers.shell.shell_syntax import read_program

DIFFERENT = [
    ("rm -r build", "ls -r build", "another program"),
    ("git push", "git stash", "another literal, in a program without a rule"),
    ("make && pytest tests", "make && rm -r tests", "another program in a list"),
    ("echo $(git rev-parse HEAD)", "echo $(date)", "another program in a substitution"),
    ("ps aux | grep x", "df -h | grep x", "another program in a pipeline"),
    ("ls src", "ls src > out.txt", "writing against reading"),
    ("echo a > one.txt", "echo a > two.txt", "another file is written"),
    ("cat a.txt", "cat b.txt", "another file is read"),
    ("grep -rn 'def save' src", "grep -rn 'def load' src", "another literal"),
    ("cp a.txt b.txt", "cp b.txt a.txt", "operands that have roles"),
    ("head -n 5 a", "head -n 50 a", "another number as a flag's value"),
    ("ps | awk '{print $1}'", "ps | awk '{print $2}'", "another number in a script"),
    ("cat /var/log/a | sort", "sort /etc/passwd | uniq", "another target"),
    ("ps aux | grep x", "ps aux | grep x | head -n 1", "one more filter"),
    ("uname -r | cut -d. -f1", "uname -r | awk -F. '{print $2}'", "filters that make another text of it"),
    ("cal | awk 'NF {n++} END {print n}'", "cal | awk 'NF {n++} END {print n-2}'", "another sum in a script"),
]

UNPROVEN = [
    ("cat a.txt", "cat ./a.txt"),
    ("cat a.py", "cat /repo/a.py"),
    ("cat src/a.py", "cd src && cat a.py"),
    ("ls", "ls ."),
    ("ls", "ls -l"),
    ("cat a | grep x", "grep x a"),
    ("sort -u a", "sort a | uniq"),
    ("ps | awk '{print $1}'", "ps | cut -d ' ' -f 1"),
    ("sed 's/a/b/' f", "sed 's|a|b|' f"),
    ("sleep 60", "sleep 1m"),
    ("chmod 755 a", "chmod 0755 a"),
    ("rm a b", "rm b a"),
    ("egrep x a", "grep -E x a"),
    ("python3 a.py", "python a.py"),
    ("ls src; true", "ls src"),
    ("$TOOL a", "rm a"),
    ("sudo rm a", "rm a"),
    ("echo a | xargs rm", "rm a"),
    ("for f in a b; do rm $f; done", "rm a b"),
    ("find . -name x -exec rm {} +", "rm x"),
    ("test -f a && rm a", "rm -f a"),
    ("printf '=%.0s' {1..9}", 'for i in {1..9}; do echo -n "="; done'),
    ("printf 'a\\n'", "echo a"),
    ("uname -r | cut -d- -f2", "uname -r | awk -F- '{print $NF}'"),
]


@pytest.mark.parametrize(("one", "other", "why"), DIFFERENT)
def test_what_proves_two_programs_different(one: str, other: str, why: str) -> None:
    first, second = canonical(read_program(one)), canonical(read_program(other))
    assert are_different(first, second), why
    assert are_different(second, first), why
    assert not are_different(first, first)


@pytest.mark.parametrize(("one", "other"), UNPROVEN)
def test_forms_that_may_do_the_same_prove_nothing(one: str, other: str) -> None:
    first, second = canonical(read_program(one)), canonical(read_program(other))
    assert not are_different(first, second)
    assert not are_different(second, first)
