"""Call ids for formats without ids: results belong to calls by their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any


class CallIds:
    """Numbers the calls of one segment. Results answer the last calls, in the order of these calls."""

    def __init__(self) -> None:
        self._num_calls = 0
        self._waiting: deque[str] = deque()

    def calls(self, functions: Iterable[dict[str, Any]], *, more: bool = False) -> list[dict[str, Any]]:
        """Make the tool calls of a turn; with `more`, of the turn before. Older calls can no longer be answered."""
        if not more:
            self._waiting.clear()
        return [self._call(function) for function in functions]

    def _call(self, function: dict[str, Any]) -> dict[str, Any]:
        call_id = f"call_{self._num_calls}"
        self._num_calls += 1
        self._waiting.append(call_id)
        return {"id": call_id, "type": "function", "function": function}

    def result(self, content: Any) -> dict[str, Any]:
        """A tool message; it has no id if no call waits for a result."""
        message = {"role": "tool", "content": content}
        return {**message, "tool_call_id": self._waiting.popleft()} if self._waiting else message
