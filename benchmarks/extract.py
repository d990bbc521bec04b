"""extract against the least that any reader must do: `json.loads` of the same lines, on one core.

Also bytes on disk against one prompt a turn written out (both zstd), since the tables hold each message once.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks.measuring import paired_ratio

from pivotmine_stages.commands import extract

NUM_TRAJECTORIES = 2000
NUM_TURNS = 12


def trajectory(number: int, draw: random.Random) -> dict[str, Any]:
    """Twelve calls with results of some hundred characters, every id its own."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "You are a clerk. " * 100},
        {"role": "user", "content": f"Task {number}: settle the open items."},
    ]
    for turn in range(NUM_TURNS):
        call_id, item = f"call_{number}_{turn}", f"{draw.getrandbits(32):08x}"
        function = {"name": "look_up", "arguments": json.dumps({"item": item, "deep": turn % 2 == 0})}
        messages.append({"role": "assistant", "content": None, "tool_calls": [{"id": call_id, "type": "function", "function": function}]})  # fmt: skip
        words = " ".join(f"{draw.getrandbits(24):06x}" for _ in range(60))
        messages.append(
            {"role": "tool", "tool_call_id": call_id, "content": json.dumps({"item": item, "notes": words})}
        )
    return {"messages": messages, "task_id": number, "reward": number % 2}


def main() -> None:
    """Print the ratios."""
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        source, run = Path(folder) / "source.jsonl", Path(folder) / "run"
        records = [trajectory(i, draw) for i in range(NUM_TRAJECTORIES)]
        source.write_text("".join(json.dumps(record) + "\n" for record in records))

        def ours() -> None:
            shutil.rmtree(run, ignore_errors=True)
            extract({}, sources=[source], run=run)

        def theirs() -> None:
            for line in source.open(encoding="utf-8"):
                json.loads(line)

        seconds, floor, ratio = paired_ratio(ours, theirs, repeats=3)
        megabytes = source.stat().st_size / 1e6
        print(f"extract  {megabytes:.0f} MB: {seconds:.2f} s, json.loads {floor:.2f} s, ratio {ratio:.1f}")
        print(f"extract  {NUM_TRAJECTORIES * NUM_TURNS / seconds:,.0f} turns/s")
        tables = sum(path.stat().st_size for path in run.rglob("*.parquet"))
        prompts = _prompts(records, Path(folder) / "prompts.parquet")
        print(
            f"extract  {tables / 1e6:.1f} MB on disk, a prompt a turn {prompts / 1e6:.1f} MB, ratio {tables / prompts:.2f}"
        )


def _prompts(records: list[dict[str, Any]], path: Path) -> int:
    """Size of the same data with every turn's prompt written out."""
    schema = pa.schema([("prompt", pa.string()), ("action", pa.string())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for record in records:
            messages = record["messages"]
            turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
            rows = [{"prompt": json.dumps(messages[:i]), "action": json.dumps(messages[i])} for i in turns]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return path.stat().st_size
