"""What a text convention is, and the tool definitions that conventions imply."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pivotmine.actions.pieces import Piece


class Convention(NamedTuple):
    """How a harness finds the action in a model's text."""

    split: Callable[[str], Iterator[Piece]]
    """Splits the answer (without the policy's reasoning block and end tokens) into pieces, in order. Text next to a
    call is the thought, a `reasoning` piece. Text without an action is `unparsed` if it is a format error in this
    harness, or a `message` if the harness shows it to the user."""
    counts: str
    """Which block counts if there are several: `only` (exactly one), `first`, `last` or `all`."""
    plain_text: str
    """What text without an action is: `format_error` or `message`."""
    tools: tuple[dict[str, Any], ...] = ()
    """The tools that the harness executes, in OpenAI form; empty if the prompt defines them."""
    argument: str | None = None
    """The one argument of tools that are not in `tools`; None if they take any arguments."""
    thought: Callable[[str], str] | None = None
    """Extracts the thought if it is inside the action's piece; None if the thought is the `reasoning` pieces."""
    marks: tuple[str, ...] = ()
    """An answer with none of these texts has no action: a quick test."""
    must_be_taught: bool = False
    """Whether ordinary chats look the same. Recognition then needs more evidence than answers that parse."""


def tool(name: str, description: str, required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """A tool definition; each property is a JSON type's name or a schema."""
    schemas = {key: {"type": value} if isinstance(value, str) else value for key, value in properties.items()}
    parameters = {
        "type": "object",
        "properties": schemas,
        "required": list(required),
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


SHELL = tool("bash", "Run a shell command.", ("command",), command="string")
"""The tool of every harness that executes the text of a command block."""
