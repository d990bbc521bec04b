"""Fit lines to the terminal: long lines are broken between words and indented."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap

_LABEL = 10
"""Column in which the text of a report begins, after the name of the stage."""
_COMMAND = re.compile(r"\s*(\S*pivotmine(-train)?|duckdb|python3?) ")
"""Commands are not broken, so that they can be copied in one piece."""
_MIN_WIDTH = 40


def fitted(text: str) -> str:
    """Break the text between words if standard output is a terminal that is too narrow for it."""
    width = shutil.get_terminal_size().columns
    if not sys.stdout.isatty() or width < _MIN_WIDTH:
        return text
    return "\n".join(_broken(line, width) for line in text.split("\n"))


def _broken(line: str, width: int) -> str:
    if len(line) <= width or _COMMAND.match(line):
        return line
    indent = max(len(line) - len(line.lstrip()), _LABEL) + 2
    lines = textwrap.wrap(line, width, subsequent_indent=" " * indent, replace_whitespace=False, break_on_hyphens=False)
    return "\n".join(lines)
