"""`python`: pairs of equal and of different programs, and hostile ones."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, passes_gate, verify
from pivotmine.verifiers.python import syntax_tree

SPEC = make_spec("python", {})


def run(code: Any, **more: Any) -> Action:
    return Action(tool_calls=(ToolCall(name="python", arguments={"code": code, **more}),))


def outcome(one: Any, other: Any) -> Outcome:
    """The outcome of two programs, either of them the demonstrated one."""
    there, back = (verify(SPEC, State(), [run(a)], run(b)) for a, b in ((one, other), (other, one)))
    assert (there.reward, there.outcome) == (back.reward, back.outcome)
    assert there.reward == (1.0 if there.outcome == Outcome.CORRECT else 0.0)
    return there.outcome


SAME = [
    ("x=1", "x = 1\n", "white space"),
    ("x = 1  # one", "x = 1", "a comment"),
    ("# first\n\nx = 1", "x = 1", "a comment before"),
    ("f(a,b)", "f(\n    a,\n    b,\n)", "lines and a last comma"),
    ("x = 'a'", 'x = "a"', "either quotes"),
    ("x = 'a' 'b'", "x = 'ab'", "adjacent strings"),
    ("x = '''a'''", "x = 'a'", "three quotes"),
    ("x = r'\\d'", "x = '\\\\d'", "a raw string"),
    ("x = '\\x41'", "x = 'A'", "an escape"),
    ("x = u'a'", "x = 'a'", "a prefix without effect"),
    ("x = 1_000", "x = 1000", "an underscore in a number"),
    ("x = 0x10", "x = 16", "another base"),
    ("x = 1e3", "x = 1000.0", "an exponent"),
    ("x = (1)", "x = 1", "parentheses"),
    ("x = (a + b) * c", "x = ( a+b )*c", "blanks in parentheses"),
    ("x = 1, 2", "x = (1, 2)", "a tuple"),
    ("a; b", "a\nb", "a semicolon between"),
    ("if a: b", "if a:\n        b", "a block on one line"),
    ("if a:\n  b\nelse:\n  if c:\n    d", "if a:\n    b\nelif c:\n    d", "elif"),
    ("def f():\n    'Add.'\n    return 1", "def f():\n    return 1", "a docstring"),
    ("def f():\n    'Add.'\n    return 1", 'def f():\n    """Subtract."""\n    return 1', "another docstring"),
    ("class A:\n    'An A.'", "class A:\n    pass", "a docstring alone"),
    ("async def f():\n    'x'\n    await g()", "async def f():\n    await g()", "a docstring of a coroutine"),
    ("'About.'\nimport os", "import os", "a module's docstring"),
    ("x = \\\n  1", "x = 1", "a continued line"),
    ("f'{x}'", 'f"{x}"', "quotes of an f-string"),
    ("f'{x!r:>{w}}'", 'f"{ x !r:>{w}}"', "blanks in an f-string"),
    ("with a as b, c as d: e", "with (a as b, c as d):\n    e", "parentheses around managers"),
    ("@d\ndef f(): pass", "@d\ndef f():\n    pass", "a decorator"),
    ("print(x)\n\n\n", "print(x)", "lines at the end"),
    ("\tx = 1".lstrip(), "x = 1", "a tab before"),
    ("lambda x:x", "lambda x: x", "a lambda"),
    ("x: int=1", "x: int = 1", "an annotation"),
    ("from a import (b, c)", "from a import b, c", "parentheses of an import"),
    ("!ls", "!ls", "the same text, though no Python"),
]  # fmt: skip

DIFFERENT = [
    ("x = 1", "x = 2", "another number"),
    ("x = 1", "y = 1", "another name"),
    ("x = 1", "x = 1.0", "an int, a float"),
    ("x = 1", "x = True", "a number, a truth value"),
    ("x = '1'", "x = 1", "text, number"),
    ("x = 'a'", "x = b'a'", "text, bytes"),
    ("x = 'a'", "x = 'A'", "letter case"),
    ("x = 'a b'", "x = 'a  b'", "white space in a string"),
    ("x = '# a'", "x = '# b'", "no comment"),
    ("x = 'a'", "x = f'a'", "an f-string is no literal"),
    ("x = '{y}'", "x = f'{y}'", "the one fills in"),
    ("x = f'{y}'", "x = f'{y!r}'", "a conversion"),
    ("x = '\\d'", "x = '\\\\\\\\d'", "a backslash more"),
    ("a + b", "b + a", "order of operands"),
    ("a - b - c", "a - (b - c)", "grouping"),
    ("a and b", "a or b", "and, or"),
    ("not a == b", "(not a) == b", "grouping"),
    ("a < b", "a <= b", "the bound itself"),
    ("a == b", "a is b", "equal, the same"),
    ("a = b", "a == b", "assigned, compared"),
    ("x += 1", "x = x + 1", "in place"),
    ("f(a, b)", "f(b, a)", "order of arguments"),
    ("f(a)", "f(*a)", "spread"),
    ("f(a=1)", "f(b=1)", "another keyword"),
    ("f(a=1, b=2)", "f(b=2, a=1)", "evaluated in another order"),
    ("f(a)", "f", "not called"),
    ("f(1)", "f((1,))", "a tuple"),
    ("a\nb", "b\na", "order of statements"),
    ("a", "a\na", "once more"),
    ("import os", "import os as o", "another name"),
    ("import os, sys", "import sys, os", "imported in another order"),
    ("from a import b", "from a import c", "another import"),
    ("from a import b", "import a.b", "another name"),
    ("if a:\n    b\nc", "if a:\n    b\n    c", "indented"),
    ("for x in y:\n    a\nelse:\n    b", "for x in y:\n    a\nb", "else of a loop"),
    ("while a: b", "if a: b", "once"),
    ("return_ = 1", "return_ = 1; return_", "a value more"),
    ("def f(): return 1", "def f(): 1", "returned"),
    ("def f(x): return x", "def f(y): return y", "a name may be passed as a keyword"),
    ("def f(x=1): pass", "def f(x=2): pass", "a default"),
    ("def f(): pass", "async def f(): pass", "a coroutine"),
    ("def f():\n    'Add.'\n    return 1", "'Add.'\ndef f():\n    return 2", "another body"),
    ("def f():\n    x = 'Add.'", "def f():\n    pass", "no docstring"),
    ("'a'", "'b'", "a notebook shows it"),
    ("x", "x;", "a notebook does not show the one"),
    ("x;  # quiet", "x", "a notebook does not show the one"),
    ("[x for x in y]", "(x for x in y)", "a list, a generator"),
    ("{1: 2}", "{1, 2}", "a dict, a set"),
    ("x[1:2]", "x[1]", "a slice"),
    ("x[::-1]", "x[::1]", "backwards"),
    ("try:\n    a\nexcept E:\n    b", "try:\n    a\nexcept F:\n    b", "another exception"),
    ("try:\n    a\nexcept:\n    b", "try:\n    a\nfinally:\n    b", "always"),
    ("raise E", "raise E from None", "without its cause"),
    ("assert a", "a", "checked"),
    ("global x", "nonlocal x", "another scope"),
    ("del x", "x", "gone"),
    ("@d\ndef f(): pass", "def f(): pass", "decorated"),
    ("yield_ = (yield)", "yield_ = (yield from x)", "from another one"),
    ("pаss_ = 1", "pass_ = 1", "letters that look alike"),
    ("!ls", "!ls -a", "no Python"),
    ("%time f()", "f()", "no Python"),
    ("x = ", "x = 1", "no Python"),
    ("  x = 1", "x = 1", "indented where nothing may be"),
    ("# nothing", "", "nothing is no program"),
    ("# /// script\n# dependencies = ['a']\n# ///\nx", "# /// script\n# dependencies = ['b']\n# ///\nx", "metadata"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "why"), SAME)
def test_the_same(one: str, other: str, why: str) -> None:
    assert outcome(one, other) == Outcome.CORRECT, why


@pytest.mark.parametrize(("one", "other", "why"), DIFFERENT)
def test_not_the_same(one: str, other: str, why: str) -> None:
    assert outcome(one, other) in (Outcome.WRONG_ARGUMENTS, Outcome.UNPROVEN), why
    assert outcome(one, one) == outcome(other, other) == Outcome.CORRECT


def test_what_cannot_be_parsed_is_unproven() -> None:
    assert outcome("!ls", "!ls -a") == Outcome.UNPROVEN
    assert outcome("x = 1", "!ls") == Outcome.UNPROVEN
    assert outcome("x = 1", "x = 2") == Outcome.WRONG_ARGUMENTS


def test_the_rest_of_a_call_is_compared_as_tool_call_does() -> None:
    gold = run("x = 1", timeout=5)
    for action, expected in (
        (run("x=1", timeout=5), Outcome.CORRECT),
        (run("x=1", timeout=6), Outcome.WRONG_ARGUMENTS),
        (run("x=1"), Outcome.MISSING_ARGUMENTS),
        (run("x=1", timeout=5, cwd="/"), Outcome.UNKNOWN_ARGUMENTS),
        (run(["x=1"], timeout=5), Outcome.WRONG_ARGUMENTS),
        (Action(tool_calls=(ToolCall(name="python", arguments={"timeout": 5}),)), Outcome.MISSING_ARGUMENTS),
        (Action(tool_calls=(ToolCall(name="ipython", arguments={"code": "x=1", "timeout": 5}),)), Outcome.WRONG_TOOL),
    ):
        assert verify(SPEC, State(), [gold], action).outcome == expected


def test_a_fenced_block_is_the_program() -> None:
    gold = Action(message="Let me add.\n\n```python\nx = 1\nprint(x)\n```")
    assert verify(SPEC, State(), [gold], Action(message="```python\nx=1\nprint( x )  # now\n```")).reward == 1.0
    assert verify(SPEC, State(), [gold], Action(message="```python\nx=2\nprint(x)\n```")).reward == 0.0
    assert verify(SPEC, State(), [gold], Action(message="x = 1\nprint(x)")).outcome == Outcome.INVALID_CALL


HOSTILE = {
    "ten megabytes": "x = 1\n" * 1_700_000,
    "brackets": "(" * 50_000,
    "closed brackets": "(" * 200 + ")" * 200,
    "lists": "[" * 90 + "]" * 90,
    "minus": "x = " + "-" * 40_000 + "1",
    "not": "x = " + "not " * 10_000 + "1",
    "plus": "x = " + "1+" * 20_000 + "1",
    "attributes": "x" + ".a" * 20_000,
    "calls": "x" + "()" * 20_000,
    "lambdas": "lambda:" * 10_000 + "0",
    "conditions": "x = " + "1 if a else " * 4_000 + "1",
    "elif": "if a:\n  b\n" + "elif c:\n  d\n" * 3_000,
    "blocks": "".join(f"{' ' * i}if a:\n" for i in range(300)) + " " * 300 + "b",
    "digits": "x = " + "9" * 40_000,
    "hex digits": "x = 0x" + "f" * 40_000,
    "NUL": "x = 1\0",
    "surrogate": "x = '\ud800'",
    "form feed": "\f\fx = 1",
    "unclosed": "x = '''" * 10_000,
    "continued": "\\\n" * 20_000,
    "f-strings": "f'{" * 10_000,
    "escapes": "x = '\\d\\q'",
    "walrus": "(x := " * 90 + "1" + ")" * 90,
    "powers": "x = 9**9**9**9",
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_programs_are_neither_parsed_for_long_nor_passed(name: str) -> None:
    text = HOSTILE[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert outcome(text, text) == Outcome.CORRECT
        assert outcome(text, "x = 3") in (Outcome.UNPROVEN, Outcome.WRONG_ARGUMENTS)
        assert outcome(text, f"{text}0") in (Outcome.UNPROVEN, Outcome.WRONG_ARGUMENTS)


def test_a_thread_has_stack_enough() -> None:
    found: list[Outcome] = []
    deep = [HOSTILE[name] for name in ("brackets", "lists", "minus", "attributes", "lambdas", "elif", "walrus")]
    for text in deep:
        thread = threading.Thread(target=lambda text=text: found.append(outcome(text, text)))
        thread.start()
        thread.join()
    assert found == [Outcome.CORRECT] * len(deep)


def test_nothing_is_run() -> None:
    code = "import sys; sys.pivotmine_was_here = True"
    assert outcome(code, f"{code} ") == Outcome.CORRECT
    import sys

    assert not hasattr(sys, "pivotmine_was_here")


LINES = st.sampled_from(
    [
        "x = 1",
        "x=1",
        "x = 2",
        "y = 1",
        "# c",
        "",
        "'s'",
        "def f():",
        "    'd'",
        "    return x",
        "    pass",
        "if x:",
        "x;",
    ]
)


@settings(max_examples=60)
@given(st.lists(LINES, max_size=5), st.lists(LINES, max_size=5))
def test_programs_that_pass_compile_to_the_same(one: list[str], other: list[str]) -> None:
    texts = "\n".join(one), "\n".join(other)
    assert passes_gate(SPEC, State(), run(texts[0])) == Verdict(1.0, Outcome.CORRECT)
    if outcome(*texts) == Outcome.CORRECT and texts[0] != texts[1]:
        trees = [syntax_tree(text) for text in texts]
        assert trees[0] == trees[1] is not None
        codes = [compile(text, "", "exec", optimize=2) for text in texts]
        assert codes[0].co_names == codes[1].co_names


DOCOPT = "from docopt import docopt\n\n\ndef main():\n    '{}'\n    return docopt(main.__doc__)"
READ_DOCSTRINGS = [
    DOCOPT,
    "'{}'\nfrom docopt import docopt\nprint(docopt(__doc__))",
    "@server.tool()\ndef f(a):\n    '{}'\n    return a",
    "def f():\n    '{}'\n    return 1\nregister(f)",
    "def f():\n    '{}'\n    return 1\ntools = [f]",
    "class Answer(Model):\n    '{}'\n    x: int",
    "@dataclass\nclass A:\n    '{}'\n    x: int",
    "import inspect\ndef f():\n    '{}'\n    return 1\nf()",
    "def f():\n    '{}'\n    return 1\nhelp(f)",
    "def f():\n    '>>> f() {}'\n    return 1",
    "async def f():\n    '{}'\n    return 1\nx.g = f",
    "import ply.yacc as yacc\ndef p_sum(p):\n    '{}'\n    p[0] = p[1] + p[3]\nyacc.yacc()",
    "from ply import lex\ndef t_NUMBER(t):\n    '{}'\n    return t\nlex.lex()",
    "from parsers import build\ndef p_sum(p):\n    '{}'\n    p[0] = p[1]\nbuild()",
    "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        '{}'\nunittest.main()",
    "def task_build():\n    '{}'\nimport doit\ndoit.run({{}})",
    "def f():\n    '{}'\n    return 1\nprint(globals()['f'].__doc__)",
    "import sys\ndef f():\n    '{}'\n    return 1\nfor g in vars(sys.modules[__name__]).values():\n    print(g)",
    "def f():\n    '{}'\n    return 1\nexec('print(f._' + '_doc__)')",
    "class A:\n    def f(self):\n        '{}'\nprint(getattr(getattr(A(), 'f'), '__doc__'))",
    "class A:\n    def f(self):\n        '{}'\nimport fire\nfire.Fire(A())",
    "class A:\n    '{}'\nprint(A.__dict__)",
    "def f():\n    '{}'\n    return 1\nprint(f.__code__.co_consts)",
    "from .cli import run\ndef main():\n    '{}'\nrun()",
    "'{}'\nimport argparse\nargparse.ArgumentParser(description=__doc__)",
]
PLAIN_DOCSTRINGS = [
    "def f():\n    '{}'\n    return 1\nf()",
    "class A:\n    '{}'\n    def f(self):\n        '{}'\n        return self.g()",
    "'{}'\nimport os\nos.getcwd()",
    "import numpy as np, re\ndef f(x):\n    '{}'\n    return re.compile(x)\nprint(np.sum(f('a')))",
    "import argparse\ndef main():\n    '{}'\n    p = argparse.ArgumentParser()\n    p.add_argument('-n', help='n')\n"
    "if __name__ == '__main__':\n    main()",
    "import sys\ndef f(n):\n    '{}'\n    return open(n)\nif len(sys.argv) > 1:\n    f(sys.argv[1])",
]

SOURCE_READING = [
    "print(open(__file__).read())",
    "import pathlib\nprint(pathlib.Path(__file__).stat().st_size)",
    "import inspect\ndef f():\n    return 1\nprint(inspect.getsource(f))",
    "import linecache\nprint(linecache.getline('a.py', 1))",
    "import sys\nprint(open(sys.argv[0]).read())",
    "import sys\nfor name in sys.argv:\n    print(open(name).read())",
    "import logging\nlogging.basicConfig(format='%(lineno)d %(message)s')",
    "import sys\nprint(sys._getframe().f_lineno)",
    "print(__loader__.get_source(__name__))",
    "print(getattr(m, '__file__'))",
]


@pytest.mark.parametrize("program", SOURCE_READING)
def test_a_program_that_may_read_its_source_is_the_same_only_as_a_text(program: str) -> None:
    for changed in (f"# more\n{program}", f"{program}  # more", program.replace("\n", "\n\n", 1) + "\n"):
        assert outcome(program, changed) == Outcome.UNPROVEN
    assert outcome(program, program) == Outcome.CORRECT


def test_a_program_that_names_no_source_has_no_layout() -> None:
    for program in (
        "import sys\nprint(open(sys.argv[1]).read())",
        "import sys\nprint(sys.argv[0])",
        "f = 'file'\nopen(f)",
    ):
        assert outcome(program, f"# more\n{program}  # more") == Outcome.CORRECT


@pytest.mark.parametrize("program", READ_DOCSTRINGS)
def test_a_docstring_that_the_program_may_read_counts(program: str) -> None:
    assert outcome(program.format("One."), program.format("Two.")) == Outcome.UNPROVEN


@pytest.mark.parametrize("program", PLAIN_DOCSTRINGS)
def test_a_docstring_that_nothing_reads_does_not_count(program: str) -> None:
    assert outcome(program.replace("{}", "One."), program.replace("{}", "Two.")) == Outcome.CORRECT


def test_only_another_literal_proves_that_programs_differ() -> None:
    assert outcome("print(f(3))", "print(f(4))") == Outcome.WRONG_ARGUMENTS
    assert outcome("x = a + b", "x = b + a") == Outcome.UNPROVEN
    assert outcome("x = 1", "x = 1.0") == Outcome.UNPROVEN
