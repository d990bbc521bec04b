"""`{"prompt": [...], "completion": [...], "tools"}`: TRL's prompt-completion rows, and results of verifiers.

Both are lists of OpenAI messages (or their JSON text): the prompt is context, the completion holds the turns. Rows of
verifiers (`example_id`, `task`, `info`, `answer`, `reward`) have their tools in `tool_defs` or `info.oai_tools`, and
write calls as JSON text. Their `answer` and `info` belong to the environment. A plain text as prompt or completion is
refused.

Checked against TRL's documentation (dataset formats: prompt-completion, unpaired preference) and verifiers 0.1
(`verifiers/utils/save_utils.py`, `types.py`: RolloutOutput).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pivotmine.readers.openai_form import object_at
from pivotmine.readers.openai_messages import of_messages
from pivotmine.readers.record_fields import message_list, object_of
from pivotmine.readers.trajectory import Reader, Trajectory, text_or_none

KEYS = ("prompt", "completion")


def matches(record: Any) -> bool:
    """Whether a record has a prompt and a completion that are lists, or their JSON text."""
    return isinstance(record, dict) and "messages" not in record and all(_is_list(record.get(key)) for key in KEYS)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("["))


def read(record: Any) -> Trajectory:
    """Read a record as one segment; the prompt's messages are inherited."""
    fields = dict(object_of(record))
    prompt, completion = (message_list(fields.pop(key, None), key) for key in KEYS)
    named = next((fields[key] for key in ("tools", "functions", "tool_defs") if fields.get(key)), None)
    tools = named or object_at(fields, "info").get("oai_tools")
    found = of_messages([*prompt, *completion], {**fields, "tools": tools})
    segment = found.segments[0]
    # Not the prompt's length: a system prompt next to the messages stands before them.
    num_inherited = len(segment.messages) - len(completion)
    return replace(
        found,
        segments=(replace(segment, num_inherited=num_inherited),),
        task_id=found.task_id or text_or_none(fields.get("example_id")),
        metadata={k: v for k, v in found.metadata.items() if k not in ("tools", "tool_defs")},
    )


READER = Reader(matches, read)
