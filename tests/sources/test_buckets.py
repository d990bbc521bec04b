"""s3://, gs:// and hf:// by the command line: the real client libraries over HTTP, servers on this machine."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bucket_servers import SERVERS, Remote
from runs import answered, called, rows, said, trajectory

from pivotmine.run import rundir
from pivotmine_stages.command import to_json
from pivotmine_stages.extract.stage import ExtractConfig, extract

VALUES = [trajectory(said(f"look for {i}"), called("find", id=str(i)), answered("here"), reward=1) for i in range(50)]
BLOCK_BYTES = 8 << 20
LONG = [trajectory(said(f"{i} " + "x" * 100_000), called("stop"), reward=1) for i in range(180)]
LONG_LINES = [json.dumps(value).encode() + b"\n" for value in LONG]

# Every command has a process of its own, forked from one that has imported what all of them import.
COMMANDS = """
import json, os, sys
import duckdb, orjson, pandas, polars, typer._adapters, {library}
import pivotmine_stages.cli.app, pivotmine_stages.cli.options
for line in sys.stdin:
    asked = json.loads(line)
    if not (child := os.fork()):
        for number in (1, 2):
            os.dup2(os.open(asked["outputs"][number - 1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = ["pivotmine", *asked["arguments"]]
        pivotmine_stages.cli.app.main()
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
LIBRARIES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub.hf_file_system"}


@dataclass
class Bucket:
    name: str
    remote: Remote
    command: Callable[..., tuple[int, str, str]]
    """Runs the command line; exit code, output and error output."""

    @property
    def url(self) -> str:
        return self.remote.url


@contextmanager
def commands(library: str, env: dict[str, str], folder: Path) -> Generator[Callable[..., tuple[int, str, str]]]:
    # Nothing of whoever runs the tests: no profile, no token.
    kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH", "OMP_NUM_THREADS") if key in os.environ}
    outputs = [str(folder / "stdout"), str(folder / "stderr")]
    with subprocess.Popen(
        [sys.executable, "-c", COMMANDS.format(library=library)],
        env={**kept, "HOME": str(folder), **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout

        def command(*arguments: str | Path) -> tuple[int, str, str]:
            assert process.stdin
            assert process.stdout
            asked = {"arguments": [str(argument) for argument in arguments], "outputs": outputs}
            print(json.dumps(asked), file=process.stdin, flush=True)
            code = int(process.stdout.readline())
            return code, Path(outputs[0]).read_text(), Path(outputs[1]).read_text()

        yield command
        process.stdin.close()


@pytest.fixture(params=SERVERS, scope="module")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Bucket]:
    name, home = request.param, tmp_path_factory.mktemp("home")
    with SERVERS[name]() as remote, commands(LIBRARIES[name], remote.env, home) as command:
        yield Bucket(name, remote, command)


@pytest.fixture
def bucket(served: Bucket) -> Bucket:
    remote = served.remote
    remote.refuses, remote.breaks_at = False, None
    remote.asked.clear()
    remote.sent.clear()
    return served


def lines(values: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


def table(values: list[dict[str, Any]], num_rows: int) -> bytes:
    """A table with this many rows a group."""
    sink = io.BytesIO()
    options: dict[str, Any] = {"row_group_size": num_rows, "compression": "none", "use_dictionary": False}
    pq.write_table(pa.Table.from_pylist(values), sink, **options)
    return sink.getvalue()


def tables(run: Path, root: str) -> dict[str, list[dict[str, Any]]]:
    """All that extract wrote, with sources as they are called below the root."""
    found = {name: rows(run, name) for name in (*rundir.EXTRACT_TABLES, "rejects")}
    for row in (row for name in found for row in found[name]):
        if row.get("source"):
            row["source"] = row["source"].removeprefix(root)
    return found


def _without_places(summary: dict[str, Any]) -> dict[str, Any]:
    """A summary without its time, and without the places of its rejects."""
    rejects = {reason: {**count, "first": None} for reason, count in summary["rejects"].items()}
    return {**summary, "seconds": None, "rejects": rejects}


def test_a_file_a_glob_and_a_folder_are_extracted_as_local_ones(bucket: Bucket, tmp_path: Path) -> None:
    files = {
        "one.jsonl": lines(VALUES[:10]) + b"{",
        "globbed/a.jsonl.gz": gzip.compress(lines(VALUES[10:20])),
        "globbed/b.jsonl.gz": gzip.compress(lines(VALUES[20:30])),
        "globbed/c.jsonl": lines(VALUES[:1]),
        "folder/a.json": json.dumps(VALUES[30:40]).encode(),
        "folder/below/table.parquet": table(VALUES[40:], num_rows=3),
        "folder/below/notes.md": b"x",
        "folder/notes.md": b"x",
    }
    for name, data in files.items():
        path = tmp_path / "local" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        bucket.remote.put(name, data)
    names = ("one.jsonl", "globbed/*.gz", "folder")
    expected = extract(ExtractConfig(sources=tuple(tmp_path / "local" / name for name in names)), tmp_path / "run")

    code, output, errors = bucket.command(
        "extract", *(f"{bucket.url}/{name}" for name in names), "--run", tmp_path / "remote", "--json", "--quiet"
    )
    assert (code, errors) == (0, "")
    without_places = [_without_places(summary) for summary in (json.loads(output), to_json(expected))]
    assert without_places[0] == without_places[1]
    found = tables(tmp_path / "remote", bucket.url)
    assert found == tables(tmp_path / "run", str(tmp_path / "local"))
    assert len(found["trajectories"]) == 50
    assert [(row["source"], row["reason"]) for row in found["rejects"]] == [
        ("/one.jsonl", "bad_json"),
        ("/folder", "skipped_files"),
    ]


def test_a_table_is_read_in_pieces_each_once(bucket: Bucket, tmp_path: Path) -> None:
    values = [{**value, "notes": "y" * 50_000, "more": "z" * 50_000} for value in LONG[:120]]
    data = table(values, num_rows=60)
    bucket.remote.put("long.parquet", data)
    command = ("extract", f"{bucket.url}/long.parquet", "--run", tmp_path / "run", "--num-processes", "1")
    assert bucket.command(*command)[0] == 0
    assert len(rows(tmp_path / "run", "trajectories")) == 120
    asked = sorted(
        int(wanted.removeprefix("bytes=").partition("-")[0]) for _, _, wanted in bucket.remote.asked if wanted
    )
    assert asked == list(range(0, len(data), BLOCK_BYTES))
    assert len(asked) > 2


REFUSED = {
    "s3": "PermissionError: Access Denied",
    "gs": "HttpError: Anonymous caller does not have storage.objects.get access, 401",
    "hf": "GatedRepoError: 403 Client Error. Cannot access gated repo for url ",
}

ELSEWHERE = {
    "s3": "cannot be read: NoSuchBucket: ",
    "gs": "does not exist: ",
    "hf": "cannot be read: RepositoryNotFoundError: 401 Client Error. ",
}


def test_what_is_not_there_or_refused_is_one_clear_line(bucket: Bucket, tmp_path: Path) -> None:
    bucket.remote.put("there/a.jsonl", lines(VALUES[:1]))
    bucket.remote.put("there/b.txt", b"x")

    def said_of(source: str) -> str:
        code, output, errors = bucket.command("extract", source, "--run", tmp_path / "run", "--quiet")
        assert (code, output, errors.count("\n")) == (1, "", 1)
        return errors.removesuffix("\n")

    missing = f"{bucket.url}/none/none.jsonl"
    assert said_of(missing) == f"pivotmine: {missing} does not exist: name a file or folder of trajectories"
    nothing = f"{bucket.url}/there/*.parquet"
    assert said_of(nothing) == f"pivotmine: {nothing} matches no file: name a file or folder of trajectories"
    elsewhere = bucket.url.replace("logs", "none") + "/a.jsonl"
    assert said_of(elsewhere).startswith(f"pivotmine: {elsewhere} {ELSEWHERE[bucket.name]}")
    bucket.remote.refuses = True
    for source in ("there/a.jsonl", "there/*.jsonl"):
        url = f"{bucket.url}/{source}"
        assert said_of(url).startswith(f"pivotmine: {url} cannot be read: {REFUSED[bucket.name]}")
    assert not (tmp_path / "run").exists()


def test_a_server_that_breaks_off_loses_the_block_and_no_more(bucket: Bucket, tmp_path: Path) -> None:
    bucket.remote.put("long.jsonl", b"".join(LONG_LINES))
    bucket.remote.breaks_at = BLOCK_BYTES + BLOCK_BYTES // 2
    source = f"{bucket.url}/long.jsonl"
    code, _, errors = bucket.command("extract", source, "--run", tmp_path / "run", "--num-processes", "1")
    assert (code, "Traceback" in errors) == (0, False)
    num_whole = BLOCK_BYTES // len(LONG_LINES[-1])
    assert [row["source_index"] for row in rows(tmp_path / "run", "trajectories")] == list(range(num_whole))
    cut, broken = rows(tmp_path / "run", "rejects")
    assert (cut["source"], cut["source_index"], cut["reason"]) == (source, num_whole, "bad_json")
    assert (broken["source"], broken["source_index"], broken["reason"]) == (source, None, "unreadable_source")
    assert broken["detail"].startswith(f"OSError: {REFUSED[bucket.name]}")

    bucket.remote.refuses, bucket.remote.breaks_at = False, 1000
    code, output, errors = bucket.command("extract", source, "--run", tmp_path / "none")
    assert (code, output) == (1, "")
    start = f"pivotmine: the only record was rejected: unreadable_source 1 (first: {source}: OSError: "
    assert errors.splitlines()[-1].startswith(f"{start}{REFUSED[bucket.name]}")
    assert "Traceback" not in errors


def test_a_changed_object_is_another_source(bucket: Bucket, tmp_path: Path) -> None:
    command = ("extract", f"{bucket.url}/same.jsonl", "--run", tmp_path / "run", "--json")
    bucket.remote.put("same.jsonl", lines(VALUES[:3]))
    first = bucket.command(*command)
    bucket.remote.asked.clear()
    assert bucket.command(*command) == first
    assert not [wanted for _, _, wanted in bucket.remote.asked if wanted]  # nothing of it was read again
    bucket.remote.put("same.jsonl", lines(VALUES[3:6]))  # as long as it was
    code, _, errors = bucket.command(*command)
    assert code == 1
    assert errors.startswith(f"pivotmine: {tmp_path / 'run'} was extracted with other settings (sources: -same.jsonl ")
