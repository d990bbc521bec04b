import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from source_files import ARRAY, LINES, PROPERTY, RECORDS, TRAJECTORIES, parquet, read, zst

from pivotmine.errors import UserError
from pivotmine.sources import decompress, json_records
from pivotmine.sources.json_records import Record
from pivotmine.sources.sources import SkippedFiles, content_hash, find_sources, read_source


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", LINES),
        ("a.ndjson", LINES.replace(b"\n", b"\r\n")),
        ("a.jsonl", b"\xef\xbb\xbf" + LINES.rstrip(b"\n")),
        ("a.json", LINES),
        ("a.json", ARRAY),
        ("a.json", b"\xef\xbb\xbf \n" + ARRAY + b"\n\n"),
        ("a.txt", json.dumps(TRAJECTORIES).encode()),
        ("a.jsonl.gz", gzip.compress(LINES)),
        ("a.json.gz", gzip.compress(ARRAY[:100]) + gzip.compress(ARRAY[100:]) + b"\0" * 9),
        ("a.jsonl.zst", zst(LINES)),
        ("a.json.zst", zst(ARRAY[:50]) + zst(ARRAY[50:200]) + zst(ARRAY[200:])),
        ("gz without its name.json", gzip.compress(ARRAY)),
        ("a.parquet", parquet(TRAJECTORIES)),
        ("a.parquet.gz", gzip.compress(parquet(TRAJECTORIES))),
        ("a.parquet.zst", zst(parquet(TRAJECTORIES))),
    ],
)
def test_every_form_gives_the_same_records(tmp_path: Path, name: str, data: bytes) -> None:
    assert read(tmp_path, name, data) == RECORDS


def test_one_document_is_one_record(tmp_path: Path) -> None:
    data = json.dumps(TRAJECTORIES[3], indent=2).encode()
    assert read(tmp_path, "a.json", data) == [Record(0, TRAJECTORIES[3])]


def test_zst_frames_that_are_to_be_skipped_are(tmp_path: Path) -> None:
    skipped = b"\x53\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"size"
    assert read(tmp_path, "a.jsonl.zst", skipped + zst(LINES[:90]) + skipped + zst(LINES[90:]) + skipped) == RECORDS


@pytest.mark.parametrize("chunk_chars", [1, 7, 64, 5000])
def test_an_array_is_streamed_across_chunk_borders(monkeypatch: pytest.MonkeyPatch, chunk_chars: int) -> None:
    monkeypatch.setattr(json_records, "_CHUNK_CHARS", chunk_chars)
    assert list(json_records.read_array(io.BytesIO(ARRAY))) == RECORDS
    numbers = b'[ 12 ,345, -6.5e1,true , null,"x",[],{} ]'
    assert [r.value for r in json_records.read_array(io.BytesIO(numbers))] == json.loads(numbers)


def test_an_array_is_read_no_further_than_asked() -> None:
    class Endless(io.RawIOBase):
        pieces = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            piece = (b'[{"a": 1}' if self.pieces == 0 else b',{"a": 1}').ljust(4096)
            buffer[: len(piece)] = piece
            self.pieces += 1
            return len(piece)

    endless = Endless()
    records = json_records.read_array(io.BufferedReader(endless, 4096))
    assert [next(records) for _ in range(2000)] == [Record(i, {"a": 1}) for i in range(2000)]
    assert endless.pieces < 5000


def test_a_huge_element_is_tried_a_few_times_not_once_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    find_end = json_records._element_end  # pyright: ignore[reportPrivateUsage]

    def count(text: str, start: int) -> int | None:
        tried.append(len(text))
        return find_end(text, start)

    monkeypatch.setattr(json_records, "_element_end", count)
    monkeypatch.setattr(json_records, "_CHUNK_CHARS", 16)
    huge = {"text": "x" * 100_000}
    assert list(json_records.read_array(io.BytesIO(json.dumps([huge, huge]).encode()))) == [
        Record(0, huge),
        Record(1, huge),
    ]
    assert len(tried) < 40


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"{oops", ("bad_json", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)")),
        (b'{"a": NaN}', ("bad_json", "NaN is not JSON")),
        (b'{"a": 1e999}', ("bad_json", "number out of range: 1e999")),
        (b'{"a": 1, "a": 2}', ("bad_json", "an object repeats a key")),
        (b'{"a": "\\ud800"}', ("bad_json", "a string holds a lone surrogate")),
        (b"[" * 200 + b"]" * 200, ("bad_json", "nested too deeply")),
        (b'{"a": ' * 5000 + b"1" + b"}" * 5000, ("bad_json", "nested too deeply")),
        ('{"a": "gr\u00fcn"}'.encode("latin-1"), ("bad_encoding", "not UTF-8 at character 9")),
        (b'{"a": "\xed\xa0\x80"}', ("bad_encoding", "not UTF-8 at character 7")),
    ],
)
def test_what_is_no_json_is_a_problem_of_its_own_record(tmp_path: Path, data: bytes, problem: tuple[str, str]) -> None:
    assert read(tmp_path, "a.jsonl", b'{"a": 0}\n\n' + data + b'\n{"b": 0}\n') == [
        Record(0, {"a": 0}),
        Record(2, None, problem),
        Record(3, {"b": 0}),
    ]


def test_one_bad_element_of_an_array_does_not_cost_the_others(tmp_path: Path) -> None:
    data = b'[{"a": 0}, {"a": "\xff"}, {"a": NaN}, {"a": "\\udfff"}, {"b": 0}]'
    assert read(tmp_path, "a.json", data) == [
        Record(0, {"a": 0}),
        Record(1, None, ("bad_encoding", "not UTF-8 at character 7")),
        Record(2, None, ("bad_json", "NaN is not JSON")),
        Record(3, None, ("bad_json", "a string holds a lone surrogate")),
        Record(4, {"b": 0}),
    ]


@pytest.mark.parametrize(
    ("tail", "why"),
    [
        (b"", "it does not end"),
        (b', {"b": 1', "it does not end"),
        (b', {"b": 12', "it does not end"),
        (b', {"b" 1}, {"c": "' + b"x" * 50 + b'"}]', "Expecting ':' delimiter"),
        (b"] []", "text after its end"),
        pytest.param(b"]" + b" " * 3_000_000 + b"x", "text after its end", id="text far after its end"),
        (b', {"b": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_an_array_that_breaks_off_keeps_what_was_whole(tmp_path: Path, tail: bytes, why: str) -> None:
    assert read(tmp_path, "a.json", b'[\n{"a": 0}' + tail) == [
        Record(0, {"a": 0}),
        Record(1, None, ("bad_json", f"the array is not whole from here on: {why}")),
    ]


def test_lines_after_a_list_on_the_first_line_are_lines(tmp_path: Path) -> None:
    assert read(tmp_path, "a.json", b'[{"role": "user"}]\n[{"role": "user"}]\n') == [
        Record(0, [{"role": "user"}]),
        Record(1, [{"role": "user"}]),
    ]


def test_lines_under_another_name_are_lines_however_long_the_first_is(tmp_path: Path) -> None:
    values = [{"text": "x" * 1_500_000}, {"text": "y"}]
    data = "".join(json.dumps(value) + "\n" for value in values).encode()
    assert read(tmp_path, "a.json", data) == [Record(0, values[0]), Record(1, values[1])]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.parquet", "a.jsonl.gz"])
@pytest.mark.parametrize("data", [b"", b" \n\n\t"])
def test_an_empty_file_is_said_to_be_empty(tmp_path: Path, name: str, data: bytes) -> None:
    assert read(tmp_path, name, data) == [
        Record(None, None, ("empty_source", "the file holds nothing but white space"))
    ]


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    records = list(read_source(tmp_path))
    assert records[-1] == Record(
        None, None, ("unreadable_source", f"IsADirectoryError: [Errno 21] Is a directory: '{tmp_path}'")
    )


@pytest.mark.parametrize(("name", "pack"), [("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zst)])
def test_a_truncated_packed_file_keeps_what_was_read(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    # Incompressible, so that the cut falls between lines that were unpacked and lines that were not.
    values = [{"n": i, "noise": os.urandom(2000).hex()} for i in range(600)]
    whole = pack("".join(json.dumps(value) + "\n" for value in values).encode())
    records = read(tmp_path, name, whole[: len(whole) * 2 // 3])
    assert records[-1] == Record(None, None, ("unreadable_source", "EOFError: the compressed data is cut off"))
    good = [r for r in records if r.problem is None]
    assert good == [Record(i, values[i]) for i in range(len(good))]
    assert 200 < len(good) < 600
    assert len(records) <= len(good) + 2  # the line that was cut, and the file


@pytest.mark.parametrize(
    ("data", "kind"), [(gzip.compress(LINES) + b"rubbish", "error"), (zst(LINES) + b"rubbish", "ZstdError")]
)
def test_rubbish_behind_packed_data_is_a_problem(tmp_path: Path, data: bytes, kind: str) -> None:
    *records, last = read(tmp_path, "a.jsonl", data)
    assert records == RECORDS
    assert last.problem is not None
    assert last.problem[0] == "unreadable_source"
    assert last.problem[1].startswith(f"{kind}: ")


def test_a_checksum_behind_the_end_of_an_array_is_checked(tmp_path: Path) -> None:
    packed = gzip.compress(ARRAY)
    records = read(tmp_path, "a.json.gz", packed[:-6])
    assert records[:-1] == RECORDS
    assert records[-1].problem == ("unreadable_source", "EOFError: the compressed data is cut off")


FORMS: dict[str, bytes] = {
    "a.jsonl": LINES,
    "b.json": ARRAY,
    "c.jsonl.gz": gzip.compress(LINES),
    "d.json.zst": zst(ARRAY),
}


@PROPERTY
@given(st.sampled_from(sorted(FORMS)), st.data())
def test_a_flipped_byte_never_raises_and_never_loses_silently(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    content = bytearray(FORMS[name])
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    records = read(tmp_path_factory.mktemp("flip"), name, bytes(content))
    problems = [record for record in records if record.problem]
    # A changed character inside a text is a changed text; but a trajectory that is not there is a problem.
    assert problems or len(records) >= len(TRAJECTORIES)
    if name == "a.jsonl":
        kept = [r.value for r in records if r.value in TRAJECTORIES]
        assert len(kept) >= len(TRAJECTORIES) - 2  # a lost line end breaks two


@PROPERTY
@given(st.sampled_from(sorted(FORMS)), st.data())
@example("a.jsonl", None)
def test_a_truncated_file_never_raises_and_keeps_a_prefix(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject | None
) -> None:
    content = FORMS[name]
    size = data.draw(st.integers(0, len(content) - 1)) if data else content.rindex(b"\n", 0, -1) + 1
    records = read(tmp_path_factory.mktemp("cut"), name, content[:size])
    values = [record for record in records if record.problem is None]
    assert values == RECORDS[: len(values)]
    # Plain lines cut between two of them look like fewer lines: nothing in the file could tell.
    whole_lines = b"\n".join(LINES.split(b"\n")[: len(values)])
    between_lines = name == "a.jsonl" and size > 0 and content[:size].rstrip(b"\n") == whole_lines
    assert between_lines or len(values) == len(RECORDS) or records[-1].problem is not None


def test_folders_hold_the_files_that_look_like_sources(tmp_path: Path) -> None:
    names = ["b.jsonl", "a.json", "sub/c.parquet", "sub/d.json.gz", "sub/e.ndjson.zst", "f.csv", "g.jsonl.bak"]
    names += [".git/h.json", ".git/i"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"{}")
    (tmp_path / "leads-nowhere.jsonl").symlink_to(tmp_path / "gone.jsonl")
    found = ["a.json", "b.jsonl", "sub/c.parquet", "sub/d.json.gz", "sub/e.ndjson.zst"]
    skipped = SkippedFiles(str(tmp_path), ".csv 1, .bak 1, no regular file 1, hidden 1")
    assert find_sources([tmp_path]) == [*(tmp_path / name for name in found), skipped]
    read = ".json, .jsonl, .ndjson, .traj, .parquet, .eval"
    detail = f"files that are not read: .csv 1, .bak 1, no regular file 1, hidden 1; read are {read}"
    assert list(read_source(skipped)) == [Record(None, None, ("skipped_files", detail))]


def test_a_file_named_twice_is_read_once_in_whatever_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.jsonl").write_bytes(LINES)
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "sub" / "a.jsonl")
    monkeypatch.chdir(tmp_path)
    spellings = [
        Path("sub/a.jsonl"),
        tmp_path / "sub" / "a.jsonl",
        Path("sub/../sub/a.jsonl"),
        Path("sub"),
        Path("link.jsonl"),
    ]
    assert find_sources(spellings) == [Path("sub/a.jsonl")]


def test_sources_that_are_not_there_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"/nothing is neither a file nor a folder: name a file or folder of trajectories$"
    ):
        find_sources([tmp_path / "nothing"])
    with pytest.raises(UserError, match=r"^the name of a source is empty: name a file or folder of trajectories$"):
        find_sources([""])
    with pytest.raises(UserError, match=r"contains no \.json, \.jsonl, .*\.eval file \(plain, \.gz or \.zst\)$"):
        find_sources([tmp_path])
    with pytest.raises(UserError, match=r"/nothing cannot be read: No such file or directory$"):
        content_hash(tmp_path / "nothing")


def test_globs_name_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jsonl", "b.txt", "sub/c.jsonl", "odd[1].jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(LINES)
    monkeypatch.chdir(tmp_path)
    assert find_sources(["*.txt", "**/*.jsonl"]) == [
        Path(n) for n in ("b.txt", "a.jsonl", "odd[1].jsonl", "sub/c.jsonl")
    ]
    assert find_sources(["odd[1].jsonl"]) == [Path("odd[1].jsonl")]
    with pytest.raises(UserError, match=r"^\*\.xml matches no file: name a file or folder of trajectories$"):
        find_sources(["*.xml"])


@pytest.mark.parametrize("form", ["structs", "text", "arrow.json"])
def test_any_column_may_hold_the_messages(tmp_path: Path, form: str) -> None:
    values = [value["messages"] for value in TRAJECTORIES]
    texts = [json.dumps(value) for value in values]
    column = {
        "structs": lambda: pa.array(values),
        "text": lambda: pa.array(texts),
        "arrow.json": lambda: pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts)),
    }[form]()
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"dialogue": column, "reward": list(range(12))}), path, row_group_size=5)
    assert list(read_source(path, "dialogue")) == RECORDS
    (record,) = read_source(path, "talk")
    assert record == Record(None, None, ("no_messages_column", "no column 'talk': the file has dialogue, reward"))


def test_a_key_of_json_records_may_hold_the_messages(tmp_path: Path) -> None:
    lines = ['{"talk": [], "messages": 1, "reward": 0}', '{"messages": [5], "n": 1}', "{}", "[5]", "{oops"]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    first, *others, broken = read_source(tmp_path / "a.jsonl", "talk")
    assert first == Record(0, {"messages": [], "reward": 0})
    # Read by another key, the record would be another conversation than the one that was asked for.
    whys = ["the record has messages, n", "the record has nothing", "the record is a list"]
    assert others == [
        Record(i, None, ("no_messages_column", f"no key 'talk': {why}")) for i, why in enumerate(whys, start=1)
    ]
    assert broken.problem == ("bad_json", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)")


def test_a_row_without_a_value_in_the_messages_column_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet([{"talk": "[]", "reward": 0}, {"talk": None, "reward": 1}]))
    assert list(read_source(tmp_path / "a.parquet", "talk")) == [
        Record(0, {"messages": [], "reward": 0}),
        Record(1, None, ("no_messages_column", "no key 'talk': the record has reward")),
    ]


@pytest.mark.parametrize(("name", "pack"), [("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zst)])
def test_a_bomb_is_a_problem_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(decompress, "FREE_BYTES", 1 << 20)
    *_, last = read(tmp_path, name, pack(LINES + b" " * (64 << 20)))
    assert last.problem == ("unreadable_source", "TooLarge: it unpacks to more than 200 times its size and 0 GB")
    monkeypatch.setattr(decompress, "FREE_BYTES", 1 << 30)
    assert read(tmp_path, name, pack(LINES + b"\n" * (8 << 20))) == RECORDS


def test_a_bomb_in_an_archive_is_a_problem_of_its_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompress, "FREE_BYTES", 1 << 20)
    path = tmp_path / "a.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("samples/1.json", b'{"a": 1}' + b" " * (64 << 20))
        archive.writestr("samples/2.json", b'{"a": 2}')
    bomb, fine = read_source(path)
    assert bomb.problem is not None
    assert bomb.problem[1].startswith("samples/1.json: TooLarge: ")
    assert fine.value == {"a": 2}
