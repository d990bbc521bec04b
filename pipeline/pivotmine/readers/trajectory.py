"""What every reader returns: a trajectory in the project's words, or the reason why the record is not one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pivotmine.sources.json_records import Record

_WORDS = {"true": 1.0, "false": 0.0}


class BadTrajectory(Exception):
    """A record that is not a trajectory: becomes a row in `rejects`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of a trajectory in which the context only grows."""

    messages: list[Any]
    """OpenAI-style messages as the source has them; not yet checked."""
    tools: list[Any] | None = None
    """Tool definitions in OpenAI form; None: the source carries none."""
    num_inherited: int = 0
    """Messages at the start that earlier segments hold already, or that were made of theirs: assistant messages among
    them are not turns here."""
    action_format: str | None = None
    """`native`, or the text convention in which the model acted, if the format says so; None: it does not."""
    verbatim: bool = field(default=False, compare=False)
    """Whether the messages are what the model was sent, call by call: a call without a result was sent so."""
    rewards: tuple[Any, ...] = ()
    """The reward of each turn itself, in order, as the source has it (None: none); empty: the source gives none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    segments: tuple[Segment, ...]
    task_id: str | None = None
    """The source's task id, or None."""
    domain: str | None = None
    """The source's domain, or None."""
    outcome: float | None = None
    """The source's outcome label, higher is better; None: unlabelled."""
    outcome_key: str | None = field(default=None, compare=False)
    """Where the record holds the label, such as `reward_info.reward`; None: the format has one place for it."""
    failure_outcome: float = 0.0
    """The label that the format gives to a failure: never good enough by default."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """The other fields of the record."""


class Reader(NamedTuple):
    matches: Callable[[Any], bool]
    """Whether a record (a JSON value) looks like this format."""
    read: Callable[[Any], Trajectory]
    """Record to trajectory; raises BadTrajectory where it cannot."""
    group: Callable[[Iterator[Record]], Iterator[Record]] | None = None
    """Where a trajectory is spread over several records of a file, or one record holds several: all of the file's
    records in order -> records whose values `read` takes, each with the index of its first piece. A record that is no
    piece, one with a problem included, comes out as it went in. Never raises; holds the pieces of unfinished
    trajectories, not the file. None: a record is a trajectory by itself."""


_MAPPED = "; say what words stand for: --outcome-column KEY --outcome-words pass=1,fail=0"


def outcome_label(value: Any) -> float | None:
    """A label as a number: true is 1, false is 0, the same as text; None is not a label.

    Raises BadTrajectory for anything else: a label that cannot be read says nothing good of the trajectory.
    """
    if value is None:
        return None
    text = str(value).strip().lower()
    try:
        label = float(_WORDS.get(text, text)) if isinstance(value, bool | int | float | str) else math.nan
    except (ValueError, OverflowError):
        label = math.nan
    if not math.isfinite(label):
        raise BadTrajectory("bad_outcome", f"the outcome label {text[:80]!r} is not a number{_MAPPED}")
    return label


def text_or_none(value: Any) -> str | None:
    """An id or name as text; absent stays None."""
    return None if value is None else str(value)
