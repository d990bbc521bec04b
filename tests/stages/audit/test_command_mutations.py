"""Mutations of commands: every kind once, with its label, and none with an uncertain label."""

from pivotmine_stages.audit.command_mutations import command_mutations
from pivotmine_stages.audit.rivals import Rivals


def made(command: str, *others: str) -> dict[str, list[str]]:
    """By mutation, + or - for its label: the commands."""
    found: dict[str, list[str]] = {}
    for name, must_pass, mutated in command_mutations(command, Rivals(commands=(command, *others))):
        found.setdefault(("+" if must_pass else "-") + name, []).append(mutated)
    return found


def test_every_mutation_of_a_command() -> None:
    assert made("ls -l -a src", "ls -a -l src", "ls src -la", "cat a", "cat b", "cat c", "cat d") == {
        "-another_turns_command": ["cat a", "cat b", "cat c"],
        "+flags_reordered": ["ls -a -l src"],
        "-flag_dropped": ["ls -a src", "ls -l src"],
        "-flag_added": ["ls --zzyzx -l -a src"],
        "-or_true": ["ls -l -a src || true"],
        "-other_redirect": ["ls -l -a src > zzyzx"],
    }
    assert made("make > log")["-other_redirect"] == ["make > zzyzx", "make > log > zzyzx"]


def test_flags_that_may_say_nothing_are_not_dropped() -> None:
    for command in ("grep -e x a", "python -u a.py", "rm -v a", "git checkout -- a", "cat -", "ls"):
        assert "-flag_dropped" not in made(command), command


def test_flags_are_reordered_where_their_order_says_nothing() -> None:
    for command in ("ls -l", "ls -l -l", "tar -x -f a", "ls -l; ls -a"):
        assert "+flags_reordered" not in made(command), command


def test_comments_and_several_lines_get_another_turns_command_only() -> None:
    for command in ("ls # -l", "cat <<E > a\nb\nE", "ls\nls -l", ""):
        assert set(made(command, "rm a")) == {"-another_turns_command"}, command


def test_nothing_is_appended_where_it_would_be_another_statement_or_say_nothing() -> None:
    for command in ("make || true", "sleep 5 &", "ls;", "exit 1", "ls \\"):
        assert "-or_true" not in made(command), command
