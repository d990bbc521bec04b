"""What every reader returns: a trajectory, or the reason why the record is not one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pivotmine.sources.json_records import Record

_WORDS = {"true": 1.0, "false": 0.0}


class BadTrajectory(Exception):
    """A record that is not a trajectory; it becomes a row in `rejects`."""

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
    """Tool definitions in OpenAI form; None if the source has none."""
    num_inherited: int = 0
    """Number of messages at the start that come from earlier segments or were given to the model. Assistant messages
    among them are not turns here."""
    action_format: str | None = None
    """`native`, or the text convention in which the model acted; None if the format does not say."""
    verbatim: bool = field(default=False, compare=False)
    """Whether the messages are recorded as they were sent to the model. Then a call without a result is not a gap."""
    rewards: tuple[Any, ...] = ()
    """The reward of each single turn, in order (None if it has none); empty if the source has no such rewards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    segments: tuple[Segment, ...]
    task_id: str | None = None
    """The source's task id, or None."""
    domain: str | None = None
    """The source's domain, or None."""
    outcome: float | None = None
    """The source's outcome label, higher is better; None if unlabelled."""
    outcome_key: str | None = field(default=None, compare=False)
    """Key of the label in the record, such as `reward_info.reward`; None if the format has one place for it."""
    failure_outcome: float = 0.0
    """The format's label of a failure, which is never good enough by default."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """The other fields of the record."""


class Reader(NamedTuple):
    matches: Callable[[Any], bool]
    """Whether a record (a JSON value) looks like this format."""
    read: Callable[[Any], Trajectory]
    """Turns a record into a trajectory; raises BadTrajectory if it cannot."""
    group: Callable[[Iterator[Record]], Iterator[Record]] | None = None
    """For formats that spread a trajectory over several records of a file, or put several into one. It takes all
    records of the file in order, and yields records whose values `read` takes, each with the index of its first piece.
    Other records, also those with a problem, pass unchanged. It never raises, and holds the pieces of unfinished
    trajectories, not the file. None if each record is a trajectory."""


_MAPPED = "; say what words stand for: --outcome-column KEY --outcome-words pass=1,fail=0"


def outcome_label(value: Any) -> float | None:
    """A label as a number: true is 1 and false is 0, also as text; None stays None.

    Raises BadTrajectory for anything else, since a trajectory with an unreadable label may have failed.
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
