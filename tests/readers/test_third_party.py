"""Readers of other packages: real distributions, installed in a folder on the import path."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pivotmine import readers
from pivotmine.errors import UserError
from pivotmine.readers import READERS, all_readers, detect
from pivotmine.readers.openai_messages import READER

Install = Callable[[str, str], None]
MODULE = """
from pivotmine.readers.trajectory import Reader, Segment, Trajectory

READER = Reader(lambda record: "logbook" in record, lambda record: Trajectory(segments=(Segment(messages=[]),)))
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Install]:
    """Put a distribution with one module and one entry point on the import path."""

    def put(entry: str, source: str) -> None:
        name = f"logbook_{abs(hash(request.node.name)) % 10**8}"
        (tmp_path / f"{name}.py").write_text(source)
        about = tmp_path / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[pivotmine.readers]\n{entry.replace('MODULE', name)}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        readers._third_party.cache_clear()  # pyright: ignore[reportPrivateUsage]
        monkeypatch.delitem(sys.modules, name, raising=False)

    yield put
    readers._third_party.cache_clear()  # pyright: ignore[reportPrivateUsage]


def test_a_package_brings_a_reader_that_comes_first(install: Install) -> None:
    assert all_readers() == READERS
    install("logbook = MODULE:READER", MODULE)
    assert list(all_readers()) == ["logbook", *READERS]
    assert detect({"logbook": 1, "messages": []}) == "logbook"
    assert detect({"messages": []}) == "openai"
    assert all_readers()["openai"] is READER


@pytest.mark.parametrize(
    ("entry", "source", "why"),
    [
        ("x = MODULE:READER", "import nothing_of_that_name", "cannot be loaded.*: ModuleNotFoundError: No module"),
        ("x = MODULE:READER", "1 / 0", "cannot be loaded.*: ZeroDivisionError: division by zero"),
        ("x = MODULE:OTHER", MODULE, "cannot be loaded.*: AttributeError: "),
        ("x = MODULE:READER", "READER = 5", r"is not a pivotmine\.readers\.trajectory\.Reader but int"),
        ("openai = MODULE:READER", MODULE, "has the name of a built-in reader: rename or uninstall it"),
    ],
)
def test_a_broken_reader_is_one_clear_line(install: Install, entry: str, source: str, why: str) -> None:
    install(entry, source)
    with pytest.raises(UserError, match=rf"^the reader '\w+' \(logbook_\d+:\w+\) {why}") as raised:
        all_readers()
    assert "\n" not in str(raised.value)
