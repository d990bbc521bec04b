"""Small sources, and helpers that extract them."""

import json
from pathlib import Path
from typing import Any

import pytest

from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine_stages.extract.stage import ExtractConfig, extract
from pivotmine_stages.extract.summary import ExtractSummary, from_json

Message = dict[str, Any]


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str | None, *calls: Message, **more: Any) -> Message:
    return {"role": "assistant", "content": text, **({"tool_calls": list(calls)} if calls else {}), **more}


def call(call_id: str, name: str, arguments: str) -> Message:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(call_id: str, text: str) -> Message:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def write_lines(path: Path, *records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [record if isinstance(record, str) else json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def mine(run: Path, *sources: Path, **options: Any) -> ExtractSummary:
    return extract(ExtractConfig(sources=sources, **options), run)


def mine_nothing(run: Path, *sources: Path, **options: Any) -> ExtractSummary:
    """Extract sources without a demonstration; return the summary that the run keeps."""
    with pytest.raises(UserError, match=r"^(?:none of the|nothing is left of|the only (?:record|turn) )"):
        mine(run, *sources, **options)
    (manifest,) = rundir.read_manifests(run, "extract")
    return from_json(manifest["summary"])


def rows(run: Path, table: str, *columns: str) -> list[dict[str, Any]]:
    frame = rundir.scan(run, table).collect()
    return (frame.select(columns) if columns else frame).to_dicts()


def rejects(run: Path) -> list[tuple[Any, ...]]:
    columns = ("reason", "source_index", "num_turns", "detail")
    return sorted((tuple(row.values()) for row in rows(run, "rejects", *columns)), key=str)


def contents(run: Path) -> dict[str, int]:
    """Every file of a run -> its last modification time."""
    return {str(p.relative_to(run)): p.stat().st_mtime_ns for p in sorted(run.rglob("*")) if p.is_file()}


TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("look", "book")
]
PARALLEL = assistant(
    "I look twice.", call("c1", "look", '{"day": 1}'), call("c2", "look", '{"day": 2}'), reasoning_content="Hm."
)
ASKS = [system("Be kind."), user("Book me a day.")]


def fixture(folder: Path) -> Path:
    """Four trajectories of one task: three labelled, one of them as a failure, and one that ends in a failed call."""
    good = [
        *ASKS,
        PARALLEL,
        tool("c1", "full"),
        tool("c2", "free"),
        assistant(None, call("c3", "book", '{"day": 2}')),
        tool("c3", "done"),
        assistant("Booked."),
    ]
    failed_call = [
        *ASKS,
        assistant(None, call("x", "book", '{"day": 1}')),
        tool("x", "Error: full"),
        assistant("Sorry."),
    ]
    masked = [*ASKS, assistant("Example.", weight=0), user("Again."), assistant("Done.")]
    return write_lines(
        folder / "days.jsonl",
        {"messages": good, "tools": TOOLS, "reward": 1, "task_id": "t1", "domain": "days"},
        {"messages": failed_call, "tools": TOOLS, "reward": 1, "task_id": "t1"},
        {"messages": masked, "reward": 1},
        {"messages": [*ASKS, assistant("No.")], "reward": 0, "note": "bad"},
    )


GOOD = {"messages": [user("hi"), assistant("hello")]}
