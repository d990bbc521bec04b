"""One set of records in every form of file that sources come in."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from hypothesis import HealthCheck, settings

from pivotmine.sources.json_records import Record
from pivotmine.sources.sources import read_source

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TRAJECTORIES: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": f"count to {i} – «ü» \U0001f600"}], "reward": i} for i in range(12)
]
RECORDS = [Record(i, value) for i, value in enumerate(TRAJECTORIES)]
LINES = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in TRAJECTORIES).encode()
ARRAY = json.dumps(TRAJECTORIES, ensure_ascii=False, indent=1).encode()


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def read(folder: Path, name: str, data: bytes) -> list[Record]:
    (folder / name).write_bytes(data)
    return list(read_source(folder / name))


def parquet(rows: list[dict[str, Any]] | pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), sink, write_page_checksum=True)
    return sink.getvalue()
