"""Calls in a conversation that show a file."""

from __future__ import annotations

import json
from typing import Any

FILE = "import os\n\n\ndef save(x):\n    return x\n\n\ndef load(x):\n    return x\n"
PATH = "/repo/a.py"


def called(name: str, reply: str | None, **arguments: Any) -> list[dict[str, Any]]:
    """A call in a state's history, and its result."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": function}]}
    return [call] if reply is None else [call, {"role": "tool", "tool_call_id": "c", "content": reply}]


def numbered(text: str, first: int = 1) -> str:
    lines = text.removesuffix("\n").split("\n")
    return "\n".join(f"{number:6}\t{line}" for number, line in enumerate(lines, first))


CREATED = called("editor", "File created successfully.", command="create", path=PATH, file_text=FILE)
VIEWED = called("editor", f"Here's `cat -n` on {PATH}:\n{numbered(FILE)}\n", command="view", path=PATH)
# Only `load` is seen: nobody knows what stands above.
PART = called("editor", f"Lines:\n{numbered(FILE[40:], 8)}\n", command="view", path=PATH, view_range=[8, 9])
