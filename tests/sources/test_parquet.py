"""Parquet files as sources."""

import gzip
import io
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_files import PROPERTY, RECORDS, TRAJECTORIES, parquet, read

from pivotmine import strict_json
from pivotmine.sources import decompress
from pivotmine.sources.json_records import Record
from pivotmine.sources.sources import read_source


def test_parquet_columns_may_hold_json_text(tmp_path: Path) -> None:
    rows = [{"messages": json.dumps([{"role": "user", "content": None}]), "tools": "[]", "prompt": "[INST] hi"}]
    assert read(tmp_path, "a.parquet", parquet(rows)) == [
        Record(0, {"messages": [{"role": "user", "content": None}], "tools": [], "prompt": "[INST] hi"})
    ]


def test_parquet_structs_lose_the_nulls_that_other_rows_keys_left(tmp_path: Path) -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "x"}], "reward": None},
        {"messages": [{"role": "user", "content": "y"}], "reward": 0.5},
    ]
    assert read(tmp_path, "a.parquet", parquet(rows)) == [
        Record(0, {"messages": rows[0]["messages"]}),
        Record(1, rows[1]),
    ]


def test_parquet_values_that_json_has_not_become_ones_that_it_has(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"messages": [], "day": date(2020, 2, 3), "raw": b"\xff", "nan": float("nan"), "few": [1.5, float("inf")]},
        {"messages": '[{"role": "\\ud800"}]'},
    ]
    assert read(tmp_path, "a.parquet", parquet(rows[:1])) == [
        Record(0, {"messages": [], "day": "2020-02-03", "raw": "b'\\xff'", "nan": None, "few": [1.5, None]})
    ]
    assert read(tmp_path, "b.parquet", parquet(rows[1:])) == [Record(0, rows[1])]


def test_a_deep_parquet_value_is_a_problem(tmp_path: Path) -> None:
    text = "[" * strict_json.MAX_DEPTH + "1" + "]" * strict_json.MAX_DEPTH
    assert read(tmp_path, "a.parquet", parquet([{"messages": text}])) == [
        Record(0, None, ("bad_json", "nested too deeply"))
    ]


@PROPERTY
@given(st.data())
def test_a_broken_parquet_file_never_raises_and_never_loses_silently(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(parquet(TRAJECTORIES))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:  # in the pages, which have checksums
        content[data.draw(st.integers(4, content.rindex(b"messages") // 2))] ^= 1 << data.draw(st.integers(0, 7))
    records = read(tmp_path_factory.mktemp("parquet"), "a.parquet", bytes(content))
    assert records == RECORDS or any(record.problem for record in records)


def test_a_parquet_file_whose_pages_say_less_than_its_directory_is_a_problem(tmp_path: Path) -> None:
    content = parquet(TRAJECTORIES)
    for place in range(4, 100):  # the first page's head, which no checksum covers
        flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        records = read(tmp_path, "a.parquet", flipped)
        assert records == RECORDS or any(record.problem for record in records), place


def row_groups(sizes: tuple[int, ...], damaged: tuple[int, ...]) -> tuple[list[Record], bytes]:
    """Records, and a Parquet file of them in which the texts of some row groups are overwritten."""
    values = [{"messages": [{"role": "user", "content": f"{i} " * 99}], "reward": i} for i in range(sum(sizes))]
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, pa.Table.from_pylist(values).schema, write_page_checksum=True) as writer:
        for number, size in enumerate(sizes):
            first = sum(sizes[:number])
            writer.write_table(pa.Table.from_pylist(values[first : first + size]))
    content = bytearray(sink.getvalue())
    for number in damaged:
        column = pq.read_metadata(sink).row_group(number).column(1)
        start = column.dictionary_page_offset or column.data_page_offset
        end = start + column.total_compressed_size
        content[end - 20 : end - 10] = b"0123456789"
    return [Record(i, value) for i, value in enumerate(values)], bytes(content)


def test_a_damaged_row_group_does_not_cost_the_others(tmp_path: Path) -> None:
    records, content = row_groups((300, 500, 200, 100), damaged=(1, 3))
    why = "OSError: could not verify page integrity, CRC checksum verification failed for page_ordinal 0"
    lost = [
        Record(300, None, ("unreadable_source", f"500 rows from here on, the rest of row group 1, are lost: {why}")),
        Record(1000, None, ("unreadable_source", f"100 rows from here on, the rest of row group 3, are lost: {why}")),
    ]
    assert read(tmp_path, "a.parquet", content) == [*records[:300], lost[0], *records[800:1000], lost[1]]


def test_of_a_damaged_row_group_the_pages_before_the_damage_are_kept(tmp_path: Path) -> None:
    records, content = row_groups((20_000,), damaged=(0,))
    *kept, last = read(tmp_path, "a.parquet", content)
    assert 10_000 < len(kept) < 20_000
    assert kept == records[: len(kept)]
    assert last.index == len(kept)
    assert last.problem is not None
    lost = f"{20_000 - len(kept)} rows from here on, the rest of row group 0, are lost: OSError: "
    assert last.problem[1].startswith(lost)


def test_a_value_that_cannot_be_made_costs_its_row_alone(tmp_path: Path) -> None:
    days = pa.array([0, 2**31 - 1, 1], pa.int32()).view(pa.date32())
    table = pa.table({"messages": ["[]"] * 3, "day": days})
    assert read(tmp_path, "a.parquet", parquet(table)) == [
        Record(0, {"messages": [], "day": "1970-01-01"}),
        Record(1, None, ("bad_value", "OverflowError: days=2147483647; must have magnitude <= 999999999")),
        Record(2, {"messages": [], "day": "1970-01-02"}),
    ]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_parquet_file_without_its_end_is_said_to_be_cut_off(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    _, content = row_groups((20, 10), damaged=())
    detail = "the file is cut off: a Parquet file ends with its directory, without which nothing of it can be read"
    for size in (4, 9, len(content) // 2, len(content) - 1):
        assert read(tmp_path, "a.parquet", pack(content[:size])) == [Record(None, None, ("unreadable_source", detail))]


def test_a_parquet_file_whose_directory_is_damaged_is_a_problem(tmp_path: Path) -> None:
    _, content = row_groups((20, 10), damaged=())
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    (record,) = read(tmp_path, "a.parquet", content[:start] + b"0" * 32 + content[start + 32 :])
    assert record.problem is not None
    assert record.problem[0] == "unreadable_source"
    assert record.problem[1].startswith("the file's directory cannot be read: OSError: Couldn't deserialize thrift")


def test_a_directory_that_contradicts_itself_gives_no_row_a_place(tmp_path: Path) -> None:
    _, content = row_groups((33,), damaged=())
    # The number of all rows, as Thrift writes it, is the first of the directory's two.
    start = content.index(b"\x16\x42", len(content) - 8 - int.from_bytes(content[-8:-4], "little"))
    detail = "the file's directory cannot be read: ValueError: it says 34 rows, and 33 in row groups"
    assert read(tmp_path, "a.parquet", content[:start] + b"\x16\x44" + content[start + 2 :]) == [
        Record(None, None, ("unreadable_source", detail))
    ]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["x" * (32 << 20)] * 2),  # its directory says so
        pa.array(["x" * 4096] * 10_000),  # each value once in the file: only what it is read into is large
    ],
)
def test_a_bomb_in_a_table_is_a_problem_of_its_rows(
    column: pa.Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompress, "FREE_BYTES", 1 << 20)
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 1 << 16
    *_, last = read_source(tmp_path / "a.parquet")
    assert last.problem is not None
    assert "are lost: TooLarge: it unpacks to more than 200 times its size" in last.problem[1]
