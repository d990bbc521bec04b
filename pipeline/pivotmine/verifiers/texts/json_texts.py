"""Messages that are JSON, as from structured output, terminal agents and agents without tools."""

from __future__ import annotations

import re
from typing import Any

from pivotmine import strict_json

_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n?```", re.DOTALL)


def json_of(text: str) -> Any:
    """The JSON object or list that is the whole message, with or without a code fence; None if it is not one."""
    text = text.strip()
    if fenced := _FENCE.fullmatch(text):
        text = fenced[1].strip()
    if not text.startswith(("{", "[")):
        return None
    try:
        return strict_json.loads(text)
    except ValueError:
        return None
