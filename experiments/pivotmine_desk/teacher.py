"""The teacher's trajectories: `python -m pivotmine_desk.teacher --out FILE [--count 400] [--split train]`.

Each line is a JSON object: `messages` and `tools` in OpenAI form, `outcome` (1 if the desk ended as the task wanted,
else 0), `task_id`, `domain`. The teacher mostly decides right, and writes calls in ways that the base policy seldom
uses.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pivotmine_desk.agent import TEACHER
from pivotmine_desk.names import SPLITS, Split
from pivotmine_desk.tasks import Episode, numbered_task, play, tool_definitions
from pivotmine_desk.world import dumps


def trajectories(split: Split, count: int) -> Iterator[Episode]:
    """Play the split's first tasks with the teacher; the same episodes on every machine."""
    for number in range(count):
        yield play(numbered_task(split, number), TEACHER, 0)


def record(episode: Episode) -> dict[str, Any]:
    """The JSON object of one line."""
    return {
        "task_id": episode.task.task_id,
        "domain": episode.task.domain,
        "outcome": episode.outcome,
        "tools": list(tool_definitions(episode.task.domain)),
        "messages": episode.messages,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--split", choices=SPLITS, default="train")
    options = parser.parse_args()
    lines = [dumps(record(episode)) + "\n" for episode in trajectories(options.split, options.count)]
    options.out.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
