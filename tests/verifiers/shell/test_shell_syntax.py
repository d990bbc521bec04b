"""Parsing a command: its words, and what is refused because a shell would parse it differently."""

from __future__ import annotations

import pytest

from pivotmine.verifiers.shell.shell_syntax import UnreadableCommand, read_program
from pivotmine.verifiers.shell.shell_words import word_form


@pytest.mark.parametrize(
    "text",
    [
        "cat <<EOF\nx\nEOF && ls",  # bash reads on to the end
        "python -<<E\nx\nE",  # the parser takes the dash for a part of the operator
        "ls -l\\\na",  # one word
        'echo $"x"',  # the dollar sign is left out
        "\\ -l",
        "ls\r\n",
        "cat > f <<E && ls\nx\nE",
        "2>&1",
        "# nothing",
    ],
)
def test_what_the_parser_misreads_or_leaves_out_is_refused(text: str) -> None:
    with pytest.raises(UnreadableCommand):
        read_program(text)


def test_a_tree_that_takes_too_long_to_repair_is_given_up() -> None:
    # The parser's work on this grows with the square of its length: the limit is on work, not on time.
    with pytest.raises(UnreadableCommand):
        read_program("a=(" * 20_000)


@pytest.mark.parametrize(
    ("word", "form"),
    [
        ("a", "a"),
        ("'a b'", "a b"),
        ('"a\\"b"', 'a"b'),
        ("a\\\nb", "ab"),
        ("*.c", "\0*.c"),
        ("'*'.c", "*.c"),
        ("~/x", "\0~/x"),
        ("a~", "a~"),
        ("x=~/y", "x=\0~/y"),
        ("!x", "\0!x"),
        ("!", "!"),
        ("!=", "!="),
        ('"Hi!"', "Hi!"),
        ("{}", "{}"),
        ("{a,b}", "\0{a,b\0}"),
        ("$x", "\0$$x"),
        ('"$x"', '\0$"$x"'),
        ("'$x'", "$x"),
        ("a$", "a$"),
        ("`a`", "\0$`a`"),
        ("$'a'", "\0$$'a'"),
        ("<(a)", "\0$<(a)"),
        ("a\\", "\0$a\\"),
        ("'a", "\0$'a"),
        ('"a', '\0$"a'),
    ],
)
def test_the_form_of_a_word(word: str, form: str) -> None:
    assert word_form(word) == form


@pytest.mark.parametrize("text", ["/\\:!(0@X{\U000c955c", "a\t,(%@a\U0001f600)\U0007a94c$\U00071964\u2028Aa"])
def test_a_character_that_the_grammar_does_not_know_ends_no_process(text: str) -> None:
    with pytest.raises(UnreadableCommand):
        read_program(text)
