from pathlib import Path

import pyarrow as pa

from pivotmine.run import tables
from pivotmine.run.rundir import EXTRACT_TABLES
from pivotmine.verifiers import Outcome

ROOT = Path(__file__).parents[2]


def test_the_table_contract_is_this_module_as_prose() -> None:
    assert (ROOT / "data" / "README.md").read_text(encoding="utf-8") == tables.readme(), (
        "write it again: python -m pivotmine.run.tables > data/README.md"
    )


def test_every_column_says_what_it_is_on_one_line() -> None:
    for name, schema in tables.TABLES.items():
        assert len(set(schema.names)) == len(schema.names), name
        for column in schema:
            doc = column.metadata[b"doc"].decode()
            assert doc, (name, column.name)
            assert not set(doc) & set("|\n"), (name, column.name)


def test_varying_json_is_never_a_struct() -> None:
    plain = {
        pa.string(),
        pa.int32(),
        pa.int64(),
        pa.float64(),
        pa.bool_(),
        pa.list_(pa.string()),
        pa.list_(pa.int32()),
        pa.list_(pa.float32()),
        pa.list_(pa.float64()),
    }
    assert {column.type for schema in tables.TABLES.values() for column in schema} <= plain


def test_every_outcome_has_a_count_in_profiles() -> None:
    assert [name for name in tables.PROFILES.names if name.startswith("num_")] == [
        "num_samples",
        "num_pending",
        "num_scored",
        *(f"num_{outcome}" for outcome in Outcome),
    ]


def test_extract_writes_tables_that_exist() -> None:
    assert set(EXTRACT_TABLES) < set(tables.TABLES)
