"""A reader of your own: it recognises records of its format and makes a trajectory of each.

    python examples/own_reader.py RUN

The script writes a sample log in a format of its own and reads it. If a package declares its reader as an entry point,
every command knows the format:

    [project.entry-points."pivotmine.readers"]
    ticket_log = "my_package.own_reader:READER"
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pivotmine import open_run
from pivotmine.readers import READERS
from pivotmine.readers.trajectory import BadTrajectory, Reader, Segment, Trajectory
from pivotmine_stages import ExtractConfig, run_extract

SAMPLE = {
    "ticket": "T-17",
    "solved": True,
    "steps": [
        {"customer": "Where is order 5?"},
        {"agent_calls": "get_order", "with": {"order": "5"}},
        {"result": "on its way"},
        {"agent": "It is on its way."},
    ],
}


def read(record: Any) -> Trajectory:
    """The trajectory of one ticket, a single segment; BadTrajectory if the record cannot be read."""
    if not isinstance(record["steps"], list):
        raise BadTrajectory("no_messages", "`steps` is not a list")
    messages = [_message(step) for step in record["steps"]]
    return Trajectory(
        segments=(Segment(messages=messages),), task_id=str(record["ticket"]), outcome=float(record["solved"] is True)
    )


def _message(step: Any) -> dict[str, Any]:
    match step:
        case {"customer": str(text)}:
            return {"role": "user", "content": text}
        case {"agent": str(text)}:
            return {"role": "assistant", "content": text}
        case {"agent_calls": str(name), "with": dict(arguments)}:
            function = {"name": name, "arguments": json.dumps(arguments)}
            call = {"id": "call", "type": "function", "function": function}
            return {"role": "assistant", "content": None, "tool_calls": [call]}
        case {"result": str(text)}:
            return {"role": "tool", "tool_call_id": "call", "content": text}
        case _:
            raise BadTrajectory("bad_message", f"an unknown step: {str(step)[:80]}")


READER = Reader(lambda record: isinstance(record, dict) and {"ticket", "steps", "solved"} <= record.keys(), read)


def main(folder: Path) -> None:
    log = folder.with_name(f"{folder.name}.jsonl")
    log.write_text(json.dumps(SAMPLE) + "\n", encoding="utf-8")
    READERS["ticket_log"] = READER  # for this script alone; a package declares an entry point
    run_extract(ExtractConfig(sources=(log,), num_processes=1), folder)
    print(open_run(folder).turns.select("turn_id", "kind", "demonstration").collect())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
