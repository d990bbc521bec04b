"""Make segments of logged calls: what each call saw, and what it answered.

A context that repeats the segment so far and goes on with anything but an assistant message extends the segment. Any
other context (rewritten, compacted, asked again) opens a new segment. Only its new answer is a turn: other assistant
messages in it were given to the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pivotmine.messages import StateHash, is_assistants, problem, tools_id
from pivotmine.readers.trajectory import Segment


@dataclass(slots=True)
class Snapshots:
    """The segments of one trajectory, built call by call; each message of a segment is held once."""

    segments: list[Segment] = field(default_factory=list[Segment])
    _end: str | None = None

    def add(self, context: list[Any], reply: Any, tools: list[Any] | None) -> None:
        """Add one call: the messages that the model saw, its answer, and the tools that it was offered."""
        last = self.segments[-1] if self.segments else None
        if last is not None and self.extended_by(context, tools):
            last.messages.extend([*context[len(last.messages) :], reply])
        else:
            self.segments.append(
                Segment(messages=[*context, reply], tools=tools, num_inherited=len(context), verbatim=True)
            )
        self._end = state_after(self.segments[-1].messages, tools)

    def extended_by(self, context: list[Any], tools: list[Any] | None) -> bool:
        """Whether a call with this context continues the last segment."""
        if not self.segments or self._end is None:
            return False
        length = len(self.segments[-1].messages)
        if length > len(context) or any(map(is_assistants, context[length:])):
            return False
        return state_after(context[:length], tools) == self._end


def state_after(messages: list[Any], tools: list[Any] | None) -> str | None:
    """Id of the state that the messages make; None if one of them is not a message."""
    if any(problem(message) for message in messages):
        return None
    state = StateHash(tools_id(tools) if tools else None)
    for message in messages:
        state.add(message)
    return state.state_id()
