"""Three kinds of trouble, never mixed.

- Bad input or configuration is a `UserError`: the command line prints its one line and exits with 1.
- A bad trajectory, rollout or verdict is a row in `rejects` or an outcome: data, never an exception.
- A bug is an `assert`, with its traceback.
"""


class UserError(Exception):
    """What is wrong, where, and what to do about it, in one line."""


class NotTrusted(UserError):
    """A file names code that the user has not trusted. This only matters to a command that needs the code."""


class MissingPackage(UserError):
    """A package is not installed. The user's input may be correct."""
