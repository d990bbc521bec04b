"""What a text convention is, and the tool definitions that conventions imply."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pivotmine.actions.pieces import Piece


class Convention(NamedTuple):
    """How a harness finds the action in a model's text."""

    split: Callable[[str], Iterator[Piece]]
    """The answer (without the policy's reasoning block and end tokens) as pieces, in order. A text next to a call is a
    `reasoning` piece: it is the thought. Text without an action is `unparsed` if it is a format error in this
    harness, and a `message` where the harness shows it to the user."""
    counts: str
    """Which block counts if there are several: `only` (exactly one), `first`, `last` or `all`."""
    plain_text: str
    """What text without an action is: `format_error` or `message`."""
    tools: tuple[dict[str, Any], ...] = ()
    """The tools that the harness executes, in OpenAI form; empty: the prompt names them."""
    argument: str | None = None
    """The argument of a tool that is not in `tools`; None: any arguments."""
    thought: Callable[[str], str] | None = None
    """The thought in an answer whose action is not apart from it; None: the `reasoning` pieces are the thought."""
    marks: tuple[str, ...] = ()
    """Texts without which an answer holds no action: a quick test."""
    must_be_taught: bool = False
    """Whether ordinary chats look alike: recognition then needs more evidence than answers that parse."""


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
