from collections.abc import Iterator
from typing import Any

import pytest

from pivotmine import readers
from pivotmine.readers import grouped
from pivotmine.readers.trajectory import Reader, Segment, Trajectory
from pivotmine.sources.json_records import Record

BAD = Record(0, None, ("bad_json", "x"))
STRANGE = Record(1, {"strange": 1})
PLAIN = Record(2, {"messages": []})


def _pairs(records: Iterator[Record]) -> Iterator[Record]:
    """Two records with `half` are one; everything else comes out as it went in."""
    first: Record | None = None
    for record in records:
        if record.problem or "half" not in record.value:
            yield record
        elif first is None:
            first = record
        else:
            yield Record(first.index, [first.value["half"], record.value["half"]])
            first = None


def _half(record: Any) -> bool:
    return isinstance(record, dict) and "half" in record


def _read(record: Any) -> Trajectory:
    return Trajectory(segments=(Segment(messages=record),))


@pytest.fixture(autouse=True)
def halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(readers.READERS, "halves", Reader(_half, _read, _pairs))


def half(index: int) -> Record:
    return Record(index, {"half": index})


def test_a_record_is_read_by_its_own_reader_whatever_stands_before_it() -> None:
    records = [BAD, STRANGE, half(2), BAD, half(3), STRANGE, half(4), half(5)]
    joined = [BAD, STRANGE, BAD, Record(2, [2, 3]), STRANGE, Record(4, [4, 5])]
    assert list(grouped(iter(records))) == joined
    assert list(grouped(iter([PLAIN, *records]))) == [PLAIN, *joined]
    assert list(grouped(iter([half(0), half(1), PLAIN, half(3), half(4)]))) == [
        Record(0, [0, 1]),
        PLAIN,
        Record(3, [3, 4]),
    ]


def test_a_named_reader_decides_whatever_the_records_look_like() -> None:
    assert list(grouped(iter([PLAIN, half(3), half(4)]), "halves")) == [PLAIN, Record(3, [3, 4])]
    assert list(grouped(iter([half(3), half(4)]), "openai")) == [half(3), half(4)]


def test_records_come_as_they_are_read() -> None:
    def endless() -> Iterator[Record]:
        index = 0
        while True:
            yield half(index)
            index += 1

    assert next(grouped(endless())) == Record(0, [0, 1])
