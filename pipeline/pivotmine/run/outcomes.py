"""The outcomes of a sample. They have a module of their own, because the tables need them without verifiers."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The outcome of a sample. It is stored next to the reward, so that a 0 always has a reason."""

    CORRECT = "correct"
    """Functionally the same as a demonstration."""
    WRONG_KIND = "wrong_kind"
    """A message where a call was demonstrated, or a call where a message was."""
    WRONG_TOOL = "wrong_tool"
    """Another tool than the demonstrated one."""
    WRONG_ARGUMENTS = "wrong_arguments"
    """The right tool and known arguments, with a value that differs or that the demonstration leaves out."""
    MISSING_ARGUMENTS = "missing_arguments"
    """An argument is missing that the schema requires or the demonstration gives."""
    UNKNOWN_ARGUMENTS = "unknown_arguments"
    """An argument that is not in the schema, or, without a schema, not in the demonstration."""
    SURPLUS_CALLS = "surplus_calls"
    """More calls than demonstrated."""
    MISSING_CALLS = "missing_calls"
    """Fewer calls than demonstrated."""
    WRONG_TEXT = "wrong_text"
    """A text that does not match the demonstrated one."""
    UNPROVEN = "unproven"
    """It may be the same, but the verifier cannot prove it. Reward null or 0, by the verifier's option `unproven`."""
    PARTIAL = "partial"
    """Right in part: a reward between 0 and 1."""
    INVALID_CALL = "invalid_call"
    """Output that looks like a tool call, or must have a given form, and cannot be parsed."""
    EMPTY = "empty"
    """Neither text nor call."""
    TRUNCATED = "truncated"
    """The token budget ended the sample: reward 0, and an outcome of its own."""
    ERROR = "error"
    """The machinery failed: the reward is null, because a zero would be wrong."""
