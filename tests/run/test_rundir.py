import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pivotmine.errors import UserError
from pivotmine.run import run_format, rundir
from pivotmine.run.tables import TABLES

REJECT = {"stage": "score", "reason": "x"}


def test_a_table_that_was_never_written_is_empty(tmp_path: Path) -> None:
    for name, schema in TABLES.items():
        assert rundir.table_files(tmp_path, name) == []
        frame = rundir.scan(tmp_path, name).collect()
        assert (frame.height, frame.columns) == (0, schema.names)


def test_a_table_is_all_of_its_parts_in_order(tmp_path: Path) -> None:
    run = tmp_path / "odd [run] *?"
    for number in (1, 0):
        rows = [{**REJECT, "source_index": number}]
        rundir.write_rows(run / "rejects" / "score-a" / f"part-{number}.parquet", "rejects", rows)
    (run / "rejects" / "score-a" / "part-2.parquet.77.tmp").write_bytes(b"half of a fi")
    assert rundir.scan(run, "rejects").collect()["source_index"].to_list() == [0, 1]
    only = rundir.table_files(run, "rejects")[1:]
    assert rundir.scan(run, "rejects", only).collect()["source_index"].to_list() == [1]
    assert rundir.scan(run, "rejects", []).collect().is_empty()


def test_scores_and_profiles_lie_in_one_folder_and_are_two_tables(tmp_path: Path) -> None:
    folder = tmp_path / "scores" / "p" / "v"
    rundir.write_rows(folder / "part-0.parquet", "scores", [{"state_id": "a"}])
    rundir.write_rows(folder / "profiles.parquet", "profiles", [{"state_id": "b"}])
    assert rundir.scan(tmp_path, "scores").collect()["state_id"].to_list() == ["a"]
    assert rundir.scan(tmp_path, "profiles").collect()["state_id"].to_list() == ["b"]


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a" / "b.parquet"
    rundir.write_table(path, pa.table({"x": [1]}))

    def die(file: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", die)
    with pytest.raises(KeyboardInterrupt):
        rundir.write_table(path, pa.table({"x": [2]}))
    assert pq.read_table(path).to_pylist() == [{"x": 1}]


def test_a_row_with_a_key_that_the_schema_lacks_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        rundir.write_rows(tmp_path / "a.parquet", "rejects", [{**REJECT, "why": "x"}])
    assert not (tmp_path / "a.parquet").exists()


def test_a_manifest_says_what_was_done_with_what(tmp_path: Path) -> None:
    config = {"limit": 3, "name": "ü"}
    rundir.write_manifest(tmp_path, "score", config, {"summary": {"states": 5}})
    (found,) = rundir.read_manifests(tmp_path, "score")
    assert found["stage"] == "score"
    assert found["config"] == config
    assert found["summary"] == {"states": 5}
    assert {"python", "pyarrow", "polars", "duckdb"} <= found["versions"].keys()
    assert [p.name for p in (tmp_path / "manifests").iterdir()] == [f"score-{rundir.config_digest(config)}.json"]
    assert rundir.read_manifests(tmp_path, "select") == []


def test_a_configs_digest_is_of_its_values_not_of_their_order() -> None:
    digest = rundir.config_digest({"a": 1, "b": [1, 2]})
    assert digest == rundir.config_digest({"b": [1, 2], "a": 1})
    assert len({digest, rundir.config_digest({"a": 2, "b": [1, 2]}), rundir.config_digest({"a": 1, "b": [2, 1]})}) == 3
    assert len(digest) == 12
    int(digest, 16)


@pytest.mark.parametrize(
    ("theirs", "ours", "text"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, ""),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, "b: 2 -> 3"),
        ({"a": None}, {"a": "x", "c": 1}, "a: not given -> 'x', c: not given -> 1"),
        ({"s": ["x 1", "y 2"]}, {"s": ["x 1", "z 3"]}, "s: -y 2 +z 3"),
        ({"s": ["x", "y"]}, {"s": ["y", "x"]}, "s: the same in another order"),
        ({"s": []}, {"s": list("abcdefg")}, "s: +a +b +c +d and 3 more"),
        ({"s": None}, {"s": ["x"]}, "s: not given -> ['x']"),
    ],
)
def test_a_difference_is_named(theirs: dict[str, object], ours: dict[str, object], text: str) -> None:
    assert rundir.difference(ours, theirs) == text


def test_only_a_finished_extract_makes_a_run(tmp_path: Path) -> None:
    rundir.write_manifest(tmp_path, "score", {}, {})
    assert not rundir.is_run(tmp_path)
    with pytest.raises(UserError, match=r"is not a run: no finished extract there; make one with"):
        rundir.require_run(tmp_path)
    rundir.write_manifest(tmp_path, "extract", {}, {})
    assert rundir.is_run(tmp_path)
    rundir.require_run(tmp_path)


@pytest.mark.parametrize("names", [[], [".locks"], [".locks", ".extract.tmp", "messages"], ["manifests"]])
def test_extract_may_write_into_nothing_and_into_what_it_left(tmp_path: Path, names: list[str]) -> None:
    run = tmp_path / "run"
    for name in names:
        (run / name).mkdir(parents=True)
    if "manifests" in names:
        rundir.write_manifest(run, "extract", {}, {})
        rundir.write_text(run / run_format.FILE, run_format.format_text())
        (run / "notes.txt").touch()
    rundir.check_new_run(run)


@pytest.mark.parametrize(
    ("names", "strange"), [(["thesis.doc"], "thesis.doc"), (["messages"], "messages"), ([".locks", "a", "b"], "a")]
)
def test_extract_leaves_a_strange_folder_alone(tmp_path: Path, names: list[str], strange: str) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=rf" holds '{strange}' and is not a run: name a new or an empty folder$"):
        rundir.check_new_run(tmp_path)


def test_a_run_is_a_folder_whose_path_duckdb_can_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file is a file: name a folder$"):
        rundir.check_new_run(tmp_path / "file")
    with pytest.raises(UserError, match=r"DuckDB reads a backslash as a slash"):
        rundir.check_new_run(tmp_path / "back\\slash")


def test_a_stage_is_locked_until_its_process_ends(tmp_path: Path) -> None:
    held = "import sys; from pathlib import Path; from pivotmine.run.rundir import stage_lock\nwith stage_lock(Path(sys.argv[1]), 'score'): print('held', flush=True); sys.stdin.read()"  # noqa: E501
    with subprocess.Popen(
        [sys.executable, "-c", held, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        busy = r"^another process is at work on score in .*: wait for it, or stop it$"
        with pytest.raises(UserError, match=busy), rundir.stage_lock(tmp_path, "score"):
            pass
        with rundir.stage_lock(tmp_path, "select"):
            pass
        other.kill()
    with rundir.stage_lock(tmp_path, "score"):
        pass


def test_versions_are_json() -> None:
    assert json.loads(json.dumps(rundir.versions())) == rundir.versions()


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    """A limit on file sizes stands for a full disk."""
    program = """
import resource, sys; from pathlib import Path; import pyarrow as pa; from pivotmine.run import rundir
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); folder = Path(sys.argv[1])
for write in (lambda: rundir.write_text(folder / "a.json", "x" * 9999), lambda: rundir.write_table(folder / "a", pa.table({"x": range(9999)}))):
    try: write()
    except OSError: print("told")
"""  # noqa: E501
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (done.stdout.split(), list(tmp_path.iterdir())) == (["told", "told"], [])


def test_a_table_without_files_is_scanned_without_pandas(tmp_path: Path) -> None:
    """pyarrow's own empty tables import pandas if it is installed: half a second of each command."""
    (tmp_path / "pandas.py").write_text("raise RuntimeError('pandas is imported')")
    script = (
        "from pathlib import Path; from pivotmine.run import rundir; from pivotmine.run.tables import TABLES\n"
        "for table in TABLES:\n"
        "    found = rundir.scan(Path('none'), table).collect()\n"
        "    assert (len(found), found.columns) == (0, TABLES[table].names)"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
