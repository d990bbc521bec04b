"""Remote sources: http against a real server, the common path over fsspec's file system in memory.

What hf, s3 and gs do beyond that is in test_buckets.py.
"""

import functools
import gzip
import io
import json
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pivotmine.errors import MissingPackage, UserError
from pivotmine.sources import remote
from pivotmine.sources.json_records import Record
from pivotmine.sources.remote import RemoteFile
from pivotmine.sources.sources import SkippedFiles, content_hash, find_sources, read_source

VALUES: list[dict[str, Any]] = [{"messages": [{"role": "user", "content": f"count to {i}"}]} for i in range(40)]
RECORDS = [Record(i, value) for i, value in enumerate(VALUES)]
LINES = "".join(json.dumps(value) + "\n" for value in VALUES).encode()
LONG = [{"n": i, "text": "x" * 1000} for i in range(3000)]
LONG_LINES = "".join(json.dumps(value) + "\n" for value in LONG).encode()


def table() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(VALUES), sink, row_group_size=10)
    return sink.getvalue()


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder, without ranges; /broken announces more than it sends."""

    def do_GET(self) -> None:
        if self.path != "/broken.jsonl":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", str(len(LONG_LINES) * 2))
        self.end_headers()
        self.wfile.write(LONG_LINES)
        self.close_connection = True
        return None

    def do_HEAD(self) -> None:
        if self.path != "/broken.jsonl":
            return super().do_HEAD()
        self.send_response(200)
        self.send_header("Content-Length", str(len(LONG_LINES) * 2))
        self.end_headers()
        return None

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(_Handler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.jsonl", LINES), ("a.jsonl.gz", gzip.compress(LINES)), ("a.json", json.dumps(VALUES).encode()),
     ("a.parquet", table())],
)  # fmt: skip
def test_a_file_behind_http_is_read_as_a_local_one(server: str, tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    url = f"{server}/{name}?x=1"
    (source,) = find_sources([url, url])
    assert (source, source.name, str(source)) == (RemoteFile(url), name, f"{server}/{name}")
    assert isinstance(source, RemoteFile)
    assert list(read_source(source)) == RECORDS
    before = content_hash(source)
    assert before == content_hash(source)
    (tmp_path / name).write_bytes(data + b" ")
    assert content_hash(source) != before


def test_a_url_that_cannot_be_read_is_one_clear_line(server: str) -> None:
    with pytest.raises(
        UserError, match=r"^http://.*/none\.jsonl does not exist: name a file or folder of trajectories$"
    ):
        find_sources([f"{server}/none.jsonl"])
    port = server.rpartition(":")[2]
    with pytest.raises(UserError, match=r"^http://.*/a cannot be read: ClientConnectorError: ") as raised:
        find_sources([f"http://127.0.0.1:{int(port) ^ 1}/a"])
    assert "\n" not in str(raised.value)


def test_a_connection_that_breaks_off_keeps_what_was_read(server: str) -> None:
    *records, last = read_source(RemoteFile(f"{server}/broken.jsonl"))
    good = [record for record in records if record.problem is None]
    # What the client holds in its own buffer is lost with the connection.
    assert good == [Record(i, value) for i, value in enumerate(LONG[: len(good)])]
    assert len(good) > len(LONG) // 2
    assert len(records) <= len(good) + 1  # the line that was cut
    assert last.problem is not None
    assert (last.index, last.problem[0]) == (None, "unreadable_source")


def test_a_file_that_is_gone_when_it_is_read_is_a_problem(server: str) -> None:
    (record,) = read_source(RemoteFile(f"{server}/gone.jsonl"))
    assert record.problem is not None
    assert record.problem[0] == "unreadable_source"


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    monkeypatch.setattr(remote, "PROTOCOLS", (*remote.PROTOCOLS, "memory"))
    files = {
        "/d/b.jsonl": LINES,
        "/d/sub/a.parquet": table(),
        "/d/c.csv": b"x",
        "/d/README.md": b"x",
        "/e/f.jsonl": b"{}",
    }
    for name, data in files.items():
        system.pipe(name, data)
    yield system
    system.rm("/d", recursive=True)
    system.rm("/e", recursive=True)


@pytest.mark.usefixtures("memory")
def test_folders_and_globs_of_a_file_system_are_found() -> None:
    inside = [RemoteFile("memory://d/b.jsonl"), RemoteFile("memory://d/sub/a.parquet")]
    assert find_sources(["memory://d"]) == [*inside, SkippedFiles("memory://d", ".md 1, .csv 1")]
    assert find_sources(["memory://d/**/*.parquet", "memory://d/b.jsonl"]) == inside[::-1]
    assert [list(read_source(file)) for file in inside] == [RECORDS, RECORDS]
    assert len({content_hash(file) for file in inside}) == 2
    for nothing, why in (("memory://d/*.xml", "matches no file"), ("memory://none", "does not exist")):
        with pytest.raises(UserError, match=why):
            find_sources([nothing])


def test_a_table_of_a_file_system_is_read_in_pieces(memory: Any) -> None:
    rows = [{"messages": [{"role": "user", "content": "x"}], "noise": "x" * (1000 + i)} for i in range(400)]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=50, compression="none", use_dictionary=False)
    memory.pipe("/d/big.parquet", sink.getvalue())
    records = read_source(RemoteFile("memory://d/big.parquet"))
    assert [r.index for r in records] == list(range(400))


@pytest.mark.parametrize("url", ["s3://bucket/a.jsonl", "gs://bucket/a.jsonl"])
def test_a_library_that_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for module in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, module, None)
    fsspec.registry  # noqa: B018
    protocol = url.partition(":")[0]
    with pytest.raises(MissingPackage, match=rf"^{protocol}:// needs the extra remote: in the project's folder, `pip "):
        find_sources([url])


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(UserError, match=r"^hf:// needs the extra remote"):
        find_sources(["hf://datasets/a/b"])


def test_the_hub_that_is_not_reached_is_one_clear_line() -> None:
    with pytest.raises(UserError, match=r"^hf://datasets/a/b/c\.jsonl (cannot be read: |does not exist)") as raised:
        find_sources(["hf://datasets/a/b/c.jsonl"])
    assert "\n" not in str(raised.value)


def test_importing_sources_imports_no_fsspec() -> None:
    import subprocess

    code = "import sys, pivotmine.sources.sources; assert not {'fsspec', 'pyarrow', 'aiohttp'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
