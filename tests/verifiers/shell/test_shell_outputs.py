"""Filters in plain Python against the real programs, and what their outputs prove."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from pivotmine.verifiers.shell.shell_commands import canonical
from pivotmine.verifiers.shell.shell_filters import filter_of
from pivotmine.verifiers.shell.shell_outputs import outputs_differ
from pivotmine.verifiers.shell.shell_syntax import read_program

TEXTS = (
    "",
    "one\n",
    "root:x:0:0\nbin:x:1:1\nbin:x:1:1\nmail box\n\nroot:x:0:0\n10 a-b.c\n9 A-B-C d\n",
    "".join(f"{n % 4} w{n}.{n * 7 % 5}-x;y\n" for n in range(15)),
)
FILTERS = """
cut -d: -f1
cut -d : -f 2-
cut -d ' ' -f 1,3
cut -c -3
cut -c2,4-5
awk '{print $1}'
awk '{print}'
awk '{ print $NF, $1 }'
awk -F: '{print $(NF-1)}'
awk -F '[.-]' '{print $2}'
awk 'NR==2 {print $0}'
head -n 2
head -1
head
tail -n 3
tail -n +2
tail -1
sort
sort -r
sort -u
sort -n
sort -rn
uniq
uniq -c
uniq -d
uniq -u
tr a-c A-C
tr -d '\\n'
tr -d '[:space:]'
tr -s ' '
tr '[:lower:]' '[:upper:]'
tr ': ' ';'
grep x
grep -v x
grep -i BIN
grep -c ':x:'
grep -o '[a-z]*'
grep 'root\\|mail'
grep -E '^(root|1)'
grep -E '^root|l b'
grep -F .
grep '^$'
sed 's/x/y/'
sed 's/[0-9]/N/g'
sed 's|:.*||'
sed 's/...$//'
wc -l
cat
rev
tac
""".strip().splitlines()


@pytest.mark.skipif(not all(map(shutil.which, ("awk", "rev", "tac"))), reason="a text tool is not installed")
@pytest.mark.parametrize("command", FILTERS)
def test_a_filter_makes_what_the_real_one_makes(command: str) -> None:
    form = canonical(read_program(command))[1]
    flags, words = (form[3], form[4]) if len(form) == 5 else ((), form[3])
    change = filter_of(form[2], flags, words)
    if command == "grep -E '^(root|1)'":
        assert change is None
        return
    assert change is not None
    for text in TEXTS:
        plain = {**os.environ, "LC_ALL": "C"}
        done = subprocess.run(
            ["bash", "-c", command], input=text, capture_output=True, text=True, env=plain, check=False
        )
        assert change(text) == done.stdout, text


NOT_READ = (
    """
cut -f1 a|cut -d: -f1 -c2|cut -d ab -f1|awk '{x++} END {print x}'|awk -F'a+' '{print $1}'|head -n -1|head -c 3|tail -f
sort -k2|sort -n -u|uniq -i|tr -dc a|tr '[a-c' x|grep 'a+'|grep -E 'a+'|grep '\\(a\\)'|grep -w a|grep '*a'|grep 'a*b*'
sed 's/a/&b/'|sed -n '1p'|sed 's/a/b/;s/c/d/'|wc|nl
""".strip()
    .replace("\n", "|")
    .split("|")
)


@pytest.mark.parametrize("command", NOT_READ)
def test_what_is_not_read_has_no_function(command: str) -> None:
    form = canonical(read_program(command))[1]
    flags, words = (form[3], form[4]) if len(form) == 5 else ((), form[3])
    assert filter_of(form[2], flags, words) is None


def differ(one: str, other: str) -> bool:
    first, second = canonical(read_program(one)), canonical(read_program(other))
    found = outputs_differ(first, second)
    assert outputs_differ(second, first) == found
    assert not outputs_differ(first, first)
    return found


DIFFERENT = (
    ("id | cut -d: -f1", "id | awk -F: '{print $2}'"),
    ("uname -r | cut -d '-' -f1", "uname -r | awk -F'[.-]' '{print $3}'"),
    ("ls | sort", "ls | sort -r | cut -c 1-2"),
    ("cut -d: -f1 /etc/passwd | sort", "sort /etc/passwd | awk -F: '{print $3}'"),
    ("echo abcdef | rev | cut -c 4- | rev", "sed 's/....$//' <<< abcdef"),
    ("head -n 2 <(cut -c -3 <(echo abcdef))", "echo abcdef | cut -c 4-"),
)
ALIKE = (
    ("id | cut -d: -f1", "id | awk -F: '{print $1}'"),
    ("id | cut -d ' ' -f1", "id | awk '{print $1}'"),
    ("id | cut -d- -f2", "id | awk -F- '{print $NF}'"),
    ("ls | sort | uniq", "ls | sort -u"),
    ("ls | grep x | wc -l", "ls | grep -c x"),
    ("ls | head -n 1", "ls | head -1"),
    ("ls | tail -1", "ls | tac | head -1"),
    ("ls | head -n 100", "ls"),
    ("ls | tr -d '\\n'", "ls | tr '\\n' '\\n'"),
    ("cat a | cut -d: -f1", "cut -d: -f1 a"),
    ("sort ./a | head -3", "cat a | sort | head -n 3"),
    ("grep 'a\\|b' f | sort", "grep -E 'a|b' f | sort"),
    ("echo abcdef | rev | cut -c 4- | rev", "sed 's/...$//' <<< abcdef"),
    ("ls | awk '{print $1}' | sort", "ls | sort | awk '{print $1}' | sort"),
    # Nothing is known of the source, the filter or the rest.
    ("ls a | sort", "ls b | sort -r"),
    ("ls | mytool | sort", "ls | sort -r"),
    ("ls | sort > a", "ls | sort -r > a"),
    ("ls | sort && id", "ls | sort -r && id"),
    ("echo $A | rev", "echo $B | tac"),
    ("echo -n a", "echo a"),
    ("X=1 ls | sort", "X=1 ls | sort -r"),
)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_pipelines_of_other_outputs_differ(one: str, other: str) -> None:
    assert differ(one, other)


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_pipelines_that_may_write_the_same_prove_nothing(one: str, other: str) -> None:
    assert not differ(one, other)


def test_what_grows_or_is_long_proves_nothing_and_takes_no_time() -> None:
    grows = " | ".join(["sed 's/a/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/g'"] * 20)
    assert not differ(f"echo a | {grows}", "echo a")
    assert not differ(f"echo {'a' * 30_000} | grep '.*b'", f"echo {'a' * 30_000}")
    assert differ(f"echo {'ab' * 900} | grep -o '.*a'", f"echo {'ab' * 900}")
