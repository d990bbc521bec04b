"""Parse bash, by tree-sitter-bash, into nested tuples that are equal only if two texts are the same program.

The tuples leave out white space and line continuations between words, comments, the semicolon or line end after a
statement, and how a word was quoted. They keep everything else. A text is refused if the parser does not cover all of
it, finds an unknown form, or had to repair it. Nothing is expanded or run.

    ("program", STATEMENT, ...)                          ("list", STATEMENT, "&&", STATEMENT, ...)
    ("pipeline", STATEMENT, "|", STATEMENT, ...)         ("redirected", STATEMENT, (REDIRECT, ...))
    ("command", (ASSIGNMENT, ...), NAME, (WORD, ...))    ("raw", TYPE, TEXT) for text kept as written
    other statements: their type, then tokens and statements in order

Words have the form that `shell_words` describes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Any

from pivotmine.verifiers.shell.shell_words import quoted, word_form

MAX_BYTES = 32 * 1024
"""Longer commands are not read."""

MAX_DEPTH = 50
"""Commands with a deeper syntax tree are not read."""

_CHUNK_BYTES = 1024
_READS_PER_CHUNK = 16  # the parser reads a chunk of sane text once or twice; to repair a broken one, thousands of times

_COMPOUND = frozenset(("if_statement", "elif_clause", "else_clause", "while_statement", "for_statement", "do_group"))
_GROUPS = frozenset(("program", "list", "pipeline", "subshell", "compound_statement", "negated_command"))
_STRUCTURED = _COMPOUND | _GROUPS | {"declaration_command"}
_FLATTENED = frozenset(("list", "pipeline"))
_REDIRECTS = frozenset(("file_redirect", "herestring_redirect", "heredoc_redirect"))
_ASSIGNMENTS = frozenset(("variable_assignment", "variable_assignments"))
_RAW = frozenset(("test_command", "case_statement", "c_style_for_statement", "function_definition", "unset_command"))
_STATEMENTS = _STRUCTURED | _RAW | _ASSIGNMENTS | {"command", "redirected_statement"}
_SEPARATORS = frozenset((";", "\n"))
# A continuation joins the words around it, unless there is a blank next to it.
_GAP = re.compile(rb"(?:[ \t\n]|[ \t]\\\n|\\\n(?=[ \t]))*+")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_BLANK = re.compile(rb"(?:[ \t]|[ \t]\\\n|\\\n(?=[ \t]))++")

Form = tuple[Any, ...]


class UnreadableCommand(ValueError):
    """The text is not bash, or not bash that this module supports."""


def read_program(text: str) -> Form:
    """Parse a text into a program; raises UnreadableCommand with the reason."""
    source = text.encode("utf-8", "surrogatepass")
    if len(source) > MAX_BYTES:
        raise UnreadableCommand("too long")
    if b"\0" in source:
        raise UnreadableCommand("a NUL character")
    root = _parse(source)
    if root is None or root.has_error or not root.children:
        raise UnreadableCommand("not readable as bash")
    if _GAP.fullmatch(source[: root.start_byte] + source[root.end_byte :]) is None:
        raise UnreadableCommand("text outside of the program")
    form = _statement(root, source, 0)
    if len(form) == 1:
        raise UnreadableCommand("no command")
    return form


def _parse(source: bytes) -> Any:
    """The root node; None if the parser takes far too long for the length of the text."""
    from tree_sitter import Parser

    reads_left = 64 + _READS_PER_CHUNK * (len(source) // _CHUNK_BYTES + 1)

    def read(offset: int, point: Any) -> bytes:
        nonlocal reads_left
        reads_left -= 1
        return plain[offset : offset + _CHUNK_BYTES] if reads_left > 0 else b""

    # The grammar's scanner looks characters up in a table of 256 entries: with larger ones it reads memory beyond the
    # table and may crash the process. Bash treats non-ASCII characters like a percent sign: as part of a word, never
    # as a blank or part of a name.
    plain = _NOT_ASCII.sub(b"%", source)
    tree = Parser(_language()).parse(read)
    return tree.root_node if reads_left > 0 else None


@lru_cache
def _language() -> Any:
    import tree_sitter_bash
    from tree_sitter import Language

    return Language(tree_sitter_bash.language())


def _text(node: Any, source: bytes) -> str:
    return source[node.start_byte : node.end_byte].decode("utf-8", "surrogatepass")


def _statement(node: Any, source: bytes, depth: int) -> Form:
    if depth > MAX_DEPTH:
        raise UnreadableCommand("nested too deeply")
    if node.type == "command":
        return _command(node, source)
    if node.type == "redirected_statement":
        return _redirected(node, source, depth)
    if node.type in _ASSIGNMENTS:
        return "command", tuple(_assignments([node], source)), "", ()
    if node.type in _RAW or (node.type == "compound_statement" and node.children[0].type != "{"):
        return "raw", node.type, _text(node, source)
    if node.type in _STRUCTURED:
        return _structured(node, source, depth)
    raise UnreadableCommand(f"{node.type} is not read")


def _structured(node: Any, source: bytes, depth: int) -> Form:
    _check_statements(node, source)
    parts: list[Any] = []
    for child in node.children:
        if child.type in _SEPARATORS or child.type == "comment":
            continue
        if child.type in _STATEMENTS and not (node.type == "declaration_command" and child.type in _ASSIGNMENTS):
            parts.append(_statement(child, source, depth + 1))
        else:
            parts.append(word_form(_text(child, source)) if child.is_named else child.type)
    if node.type in _FLATTENED and parts and parts[0][0] == node.type:
        parts[:1] = parts[0][1:]
    return node.type, *parts


def _command(node: Any, source: bytes) -> Form:
    children = [child for child in node.children if child.type not in _REDIRECTS]
    redirects = [child for child in node.children if child.type in _REDIRECTS]
    _check_words(node.children, source)
    found = _assignments([child for child in children if child.type in _ASSIGNMENTS], source)
    words = [_text(child, source) for child in children if child.type not in _ASSIGNMENTS]
    if not words:
        raise UnreadableCommand("a command without a name")
    # A quoted name is no alias and no keyword.
    name = f"'{word_form(words[0])}'" if quoted(words[0]) else word_form(words[0])
    command = "command", tuple(found), name, tuple([word_form(word) for word in words[1:]])
    return _with_redirects(command, redirects, source)


def _assignments(nodes: list[Any], source: bytes) -> list[str]:
    found: list[str] = []
    for node in nodes:
        inner = node.children if node.type == "variable_assignments" else [node]
        _check_words(inner, source)
        found += [word_form(_text(child, source)) for child in inner]
    return found


def _redirected(node: Any, source: bytes, depth: int) -> Form:
    body, *redirects = node.children
    if body.type in _REDIRECTS or any(child.type not in _REDIRECTS for child in redirects):
        raise UnreadableCommand("a redirection without a command")
    # The parser leaves out the dash of `python - <<EOF`.
    dash = source[body.end_byte : redirects[0].start_byte].split() == [b"-"]
    _check_words(redirects if dash else node.children, source)
    return _redirect_last(_statement(body, source, depth + 1), ["-"] if dash else [], redirects, source)


def _redirect_last(statement: Form, words: list[str], nodes: list[Any], source: bytes) -> Form:
    """Give the last command its redirections: the parser puts them around the whole list or pipeline."""
    if statement[0] in _FLATTENED:
        return *statement[:-1], _redirect_last(statement[-1], words, nodes, source)
    return _with_redirects(_with_words(statement, words), nodes, source)


def _with_redirects(statement: Form, nodes: list[Any], source: bytes) -> Form:
    """A statement with its redirections, in order. Words after a redirection's target belong to the command."""
    if not nodes:
        return statement
    before: tuple[Form, ...] = ()
    if statement[0] == "redirected":
        _, statement, before = statement
    found = list(before)
    for node in nodes:
        redirects, words = _redirect(node, source)
        found += redirects
        statement = _with_words(statement, words)
    return "redirected", statement, _input_last(found)


def _with_words(statement: Form, words: list[str]) -> Form:
    if not words:
        return statement
    if statement[0] != "command":
        raise UnreadableCommand("words behind a statement that is no command")
    return *statement[:3], (*statement[3], *words)


def _input_last(redirects: list[Form]) -> tuple[Form, ...]:
    """Move a here-document, which cannot fail, behind the other redirections if none of them concerns the input."""
    inputs = [redirect for redirect in redirects if redirect[0] == "0"]
    if [redirect[1][:2] for redirect in inputs] != ["<<"] or any(redirect[2:] == ("0",) for redirect in redirects):
        return tuple(redirects)
    return *[redirect for redirect in redirects if redirect[0] != "0"], inputs[0]


def _redirect(node: Any, source: bytes) -> tuple[list[Form], list[str]]:
    if node.type == "heredoc_redirect":
        return _heredoc(node, source)
    _check_tokens(node, source)
    children = list(node.children)
    descriptor = _text(children.pop(0), source) if children[0].type == "file_descriptor" else ""
    operator = children.pop(0).type
    _check_words(children, source)
    targets = [word_form(_text(child, source)) for child in children]
    descriptor = descriptor or ("0" if operator.startswith("<") else "1")
    return [(descriptor, operator, *targets[:1])], targets[1:]


def _heredoc(node: Any, source: bytes) -> tuple[list[Form], list[str]]:
    """Redirections and further words of a here-document. The name of its delimiter does not matter."""
    _check_tokens(node, source)
    kinds = [child.type for child in node.children]
    start, end = kinds.index("heredoc_start"), node.children[-1]
    others = [child for child in node.children[start + 1 : -1] if child.type != "heredoc_body"]
    if end.type != "heredoc_end" or any(child.type not in _REDIRECTS for child in others):
        raise UnreadableCommand("a here-document that is not plain")
    opening = _text(node.children[start], source)
    body = _heredoc_body(source, max(child.end_byte for child in [node.children[start], *others]), end, kinds[0])
    literal = quoted(opening) or not any(char in body for char in "$`\\")
    found: list[Form] = [("0", kinds[0], "literal" if literal else "expanded", body)]
    words: list[str] = []
    for child in others:
        redirects, more = _redirect(child, source)
        found += redirects
        words += more
    return found, words


def _heredoc_body(source: bytes, after: int, end: Any, operator: str) -> str:
    line_end, line_start = source.find(b"\n", after), source.rfind(b"\n", 0, end.start_byte) + 1
    # The modulus turns -1, no line end, into the end of the text.
    last = source[line_start : source.find(b"\n", end.start_byte) % (len(source) + 1)]
    last = last.lstrip(b"\t") if operator == "<<-" else last
    if source[after:line_end].strip(b" \t") or not 0 < line_end + 1 <= line_start:
        raise UnreadableCommand("words behind a here-document")
    if last != source[end.start_byte : end.end_byte]:  # bash reads on, as part of the document
        raise UnreadableCommand("a here-document without its end")
    return source[line_end + 1 : line_start].decode("utf-8", "surrogatepass")


def _check_words(nodes: list[Any], source: bytes) -> None:
    """Refuse words with anything but blanks between them. Without a blank they would be one word."""
    for left, right in pairwise(nodes):
        gap = source[left.end_byte : right.start_byte]
        if _BLANK.fullmatch(gap) is None and (gap or not {left.type, right.type} & _REDIRECTS):
            raise UnreadableCommand("text that the parser left out")


def _check_statements(node: Any, source: bytes) -> None:
    """Refuse statements with text between them that no node covers."""
    _check_tokens(node, source)
    children = node.children
    edges = source[node.start_byte : children[0].start_byte] + source[children[-1].end_byte : node.end_byte]
    if _GAP.fullmatch(edges) is None:
        raise UnreadableCommand("text that the parser left out")
    for left, right in pairwise(children):
        gap = source[left.end_byte : right.start_byte]
        if _GAP.fullmatch(gap) is None or (not gap and left.is_named and right.is_named):
            raise UnreadableCommand("text that the parser left out")


def _check_tokens(node: Any, source: bytes) -> None:
    """Refuse a token that covers more text than its own."""
    for child in node.children:
        if not child.is_named and source[child.start_byte : child.end_byte] != child.type.encode():
            raise UnreadableCommand("a token with text that is not its own")
