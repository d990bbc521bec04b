import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivotmine.run import arrow_columns

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): st.none() | TEXTS,
    pa.int32(): st.none() | st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.none() | st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.none() | st.floats(allow_nan=False),
    pa.list_(pa.string()): st.lists(st.none() | TEXTS, max_size=3),
}
KINDS = pytest.mark.parametrize("kind", VALUES, ids=str)


@KINDS
@given(st.data())
def test_a_column_is_what_arrow_makes_of_the_values(kind: pa.DataType, data: st.DataObject) -> None:
    values = data.draw(st.lists(VALUES[kind], max_size=20))
    made = arrow_columns.column(values, kind)
    made.validate(full=True)
    assert made.equals(pa.array(values, kind))
    assert made.null_count == values.count(None)


@KINDS
@given(st.data())
def test_repeated_values_stand_one_after_the_other(kind: pa.DataType, data: st.DataObject) -> None:
    counted = data.draw(st.lists(st.tuples(VALUES[kind], st.integers(0, 3)), max_size=5))
    made = arrow_columns.repeated([value for value, _ in counted], kind, [times for _, times in counted])
    made.validate(full=True)
    assert made.to_pylist() == [value for value, times in counted for _ in range(times)]


@given(st.lists(TEXTS, max_size=5))
def test_utf8_is_text(texts: list[str]) -> None:
    made = arrow_columns.utf8([text.encode() for text in texts])
    made.validate(full=True)
    assert made.to_pylist() == texts


def test_a_table_has_the_columns_of_its_schema_from_rows_or_columns() -> None:
    schema = pa.schema([("name", pa.string()), ("number", pa.int32())])
    expected = pa.table({"name": ["a", None], "number": [1, 2]}, schema)
    assert arrow_columns.table_of_rows([{"number": 1, "name": "a"}, {"number": 2}], schema).equals(expected)
    assert arrow_columns.table({"number": [1, 2], "name": pa.array(["a", None])}, schema).equals(expected)
    assert arrow_columns.table_of_rows([], schema).equals(schema.empty_table())


def test_a_scalar_is_one_value() -> None:
    assert arrow_columns.scalar("a", pa.string()) == pa.scalar("a")
    assert arrow_columns.scalar(1.5, pa.float64()) == pa.scalar(1.5)


def test_extract_does_without_pandas(tmp_path: Path) -> None:
    """In the process that is asked and, with two blocks, in its workers, where `pandas` may not be imported."""
    (tmp_path / "pandas.py").write_text("raise RuntimeError('pandas is imported')")
    line = '{"messages": [{"role": "user", "content": "a%d"}, {"role": "assistant", "content": "b"}], "reward": %d}\n'
    (tmp_path / "source.jsonl").write_text("".join(line % (number, number % 2) for number in range(40)))
    script = (
        "from pathlib import Path; from pivotmine_stages import parallel; from pivotmine_stages.extract import stage\n"
        "if __name__ == '__main__':\n"
        "    parallel.BLOCK_BYTES = 1 << 10\n"
        f"    config = stage.ExtractConfig(sources=(Path({str(tmp_path / 'source.jsonl')!r}),), num_processes=2)\n"
        f"    print(stage.extract(config, Path({str(tmp_path / 'run')!r})).rejects['low_outcome'].rows)\n"
    )
    (tmp_path / "script.py").write_text(script)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "20\n")
