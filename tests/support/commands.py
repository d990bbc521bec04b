"""The command line, called in this process."""

from collections.abc import Callable

Command = Callable[..., tuple[int, str, str]]
"""Arguments -> (exit code, standard output, standard error)."""
