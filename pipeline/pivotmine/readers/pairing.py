"""Call ids for formats that name none: which result belongs to which call is told by their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any


class CallIds:
    """Numbers the calls of one segment; results answer the calls made last, in the order of those calls."""

    def __init__(self) -> None:
        self._num_calls = 0
        self._waiting: deque[str] = deque()

    def calls(self, functions: Iterable[dict[str, Any]], *, more: bool = False) -> list[dict[str, Any]]:
        """OpenAI tool calls of one turn (`more`: further ones of the same); earlier calls without result stay so."""
        if not more:
            self._waiting.clear()
        return [self._call(function) for function in functions]

    def _call(self, function: dict[str, Any]) -> dict[str, Any]:
        call_id = f"call_{self._num_calls}"
        self._num_calls += 1
        self._waiting.append(call_id)
        return {"id": call_id, "type": "function", "function": function}

    def result(self, content: Any) -> dict[str, Any]:
        """A tool message; without a call that waits for it, it has no id."""
        message = {"role": "tool", "content": content}
        return {**message, "tool_call_id": self._waiting.popleft()} if self._waiting else message
