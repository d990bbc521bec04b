"""Bring programs of `shell_syntax` into one form where the difference provably does not matter.

- Flags of the commands in `shell_flags.RULES`: order, grouping, long and short names, `-n 5` and `-n5`, before or after
  the operands.
- Tests of `find` have no side effects, so they are sorted within one conjunction; the implied `-print` is added.
- `cd a && cd b && c` becomes `cd a/b && c`; the path of a `cd` loses `./`, `//` and a trailing slash.
- A leading `cd` into the directory where every command starts is dropped, if the caller knows that directory.
- Flags that the caller declares irrelevant are dropped from commands whose output no other command reads.

Assumed: GNU tools, and neither POSIXLY_CORRECT nor CDPATH set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from pivotmine.verifiers.shell.shell_flags import RULES, arguments
from pivotmine.verifiers.shell.shell_syntax import Form
from pivotmine.verifiers.shell.shell_words import is_plain

# Tests without effect or output, and the number of words that follow each.
_FIND_TESTS = {
    "-name": 1, "-iname": 1, "-path": 1, "-ipath": 1, "-wholename": 1, "-type": 1, "-size": 1, "-mtime": 1,
    "-mmin": 1, "-atime": 1, "-amin": 1, "-ctime": 1, "-cmin": 1, "-perm": 1, "-user": 1, "-group": 1,
    "-links": 1, "-inum": 1,
}  # fmt: skip
_FIND_SETTINGS = {"-maxdepth": 1, "-mindepth": 1, "-xdev": 0, "-mount": 0, "-depth": 0}
_FIND_ACTIONS = {"-print": 0, "-print0": 0, "-ls": 0, "-delete": 0}


def canonical(program: Form, working_directory: str = "", ignored: Mapping[str, frozenset[str]] | None = None) -> Form:
    """Return the program in one form; two forms are equal only if the programs do the same."""
    return _Canon(clean_path(working_directory), ignored or {}).statement(program, seen=True)


class _Canon:
    def __init__(self, working_directory: str, ignored: Mapping[str, frozenset[str]]) -> None:
        self._start = working_directory
        self._ignored = ignored

    def statement(self, form: Form, *, seen: bool) -> Form:
        """`seen`: the policy reads the output, and no other command does."""
        kind = form[0]
        if kind == "command":
            return self._command(form, seen=seen)
        if kind == "raw":
            return form
        if kind == "redirected":
            return kind, self.statement(form[1], seen=False), form[2]
        if kind == "pipeline":
            return kind, *[self._part(part, seen=seen and part is form[-1]) for part in form[1:]]
        if kind == "list":
            return self._list([self._part(part, seen=seen) for part in form[1:]])
        if kind == "program":
            parts = [self._part(part, seen=True) for part in form[1:]]
            return kind, *self._without_start(parts)
        return kind, *[self._part(part, seen=seen) for part in form[1:]]

    def _part(self, part: Any, *, seen: bool) -> Any:
        return self.statement(part, seen=seen) if isinstance(part, tuple) else part

    def _command(self, form: Form, *, seen: bool) -> Form:
        _, assignments, name, words = form
        if name == "find":
            return "command", assignments, name, _find(words)
        if name == "cd" and len(words) == 1 and is_plain(words[0]):
            return "command", assignments, name, (clean_path(words[0]),)
        if words and f"{name} {words[0]}" in RULES:
            name, words = f"{name} {words[0]}", words[1:]
        found = arguments(name, words) if name in RULES else None
        if found is None:
            return form
        ignored = self._ignored.get(name, frozenset()) if seen else frozenset[str]()
        flags = tuple([flag for flag in found.flags if flag[0] not in ignored])
        return "command", assignments, name, flags, found.operands

    def _list(self, parts: list[Any]) -> Form:
        """Join leading `cd a && cd b` into one `cd`."""
        while len(parts) > 3 and parts[1] == parts[3] == "&&" and (joined := _joined(parts[0], parts[2])):
            parts[:3] = [joined]
        return "list", *parts

    def _without_start(self, parts: list[Any]) -> list[Any]:
        first = parts[0]
        if not self._start or first[:1] != ("list",) or first[2] != "&&" or _directory(first[1]) != self._start:
            return parts
        rest = first[3:]
        return [rest[0] if len(rest) == 1 else ("list", *rest), *parts[1:]]


def _directory(form: Any) -> str:
    """The directory that a plain `cd` enters; empty for any other form."""
    plain = isinstance(form, tuple) and form[:3] == ("command", (), "cd") and len(form[3]) == 1
    return form[3][0] if plain and is_plain(form[3][0]) and not form[3][0].startswith("-") else ""


def _joined(first: Any, second: Any) -> Form | None:
    path, further = _directory(first), _directory(second)
    # `a/..` is another directory than the current one if `a` is a link.
    if not path or not further or further.startswith("/") or ".." in further.split("/"):
        return None
    return "command", (), "cd", (f"{path.rstrip('/')}/{further}",)


def clean_path(path: str) -> str:
    """Drop `./`, empty parts and a trailing slash from a path; `..` stays, because the part before it may be a link."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("//") and not path.startswith("///"):  # POSIX: two slashes may have their own meaning
        return path
    if path.startswith("/"):
        return "/" + "/".join(parts)
    return "/".join(parts) or path


def _find(words: Sequence[str]) -> tuple[Any, ...]:
    """Sort the tests within each conjunction of `find`; leave all words as they are if one is unknown."""
    roots = list(takewhile(lambda word: not word.startswith(("-", "(", "!", ")", "\x00")), words))
    units = _find_units(words[len(roots) :])
    if units is None:
        return tuple(words)
    if not any(unit[0] in _FIND_ACTIONS or unit[0] in ("-exec", "-o", "-or", "(") for unit in units):
        units.append(("-print",))
    ordered: list[tuple[str, ...]] = []
    run: list[tuple[str, ...]] = []
    for unit in [*units, ("",)]:
        if unit[0] in _FIND_TESTS or (unit[0] == "!" and len(unit) > 1):
            run.append(unit)
            continue
        ordered += [*sorted(run), unit]
        run = []
    return (*roots, *ordered[:-1])


def _find_units(words: Sequence[str]) -> list[tuple[str, ...]] | None:
    """Tests, negated tests, actions, operators and parentheses, each with its words; None if one is unknown."""
    units: list[tuple[str, ...]] = []
    known = _FIND_TESTS | _FIND_SETTINGS | _FIND_ACTIONS
    at = 0
    while at < len(words):
        word = words[at]
        negated = word in ("!", "-not") and at + 1 < len(words) and words[at + 1] in _FIND_TESTS
        if negated:
            at, word = at + 1, words[at + 1]
        if word == "-exec":
            end = next((i for i in range(at, len(words)) if words[i] in (";", "+")), len(words) - 1) + 1
        elif word in known:
            end = at + 1 + known[word]
        elif word in ("(", ")", "-o", "-or"):
            end = at + 1
        else:
            return None
        unit = tuple(words[at:end])
        # A word that the shell expands may become several words.
        if end > len(words) or (word != "-exec" and not all(map(is_plain, unit))):
            return None
        units.append(("!", *unit) if negated else unit)
        at = end
    return units
