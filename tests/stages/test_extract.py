import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pivotmine import messages, rundir
from pivotmine.errors import UserError
from pivotmine.readers import READERS
from pivotmine.states import state_messages
from pivotmine.tables import TABLES
from pivotmine_stages import blocks
from pivotmine_stages.extract import ExtractConfig, extract

PROPERTY = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
Message = dict[str, Any]


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str | None, *calls: Message, **more: Any) -> Message:
    return {"role": "assistant", "content": text, **({"tool_calls": list(calls)} if calls else {}), **more}


def call(call_id: str, name: str, arguments: str) -> Message:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(call_id: str, text: str) -> Message:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def write_lines(path: Path, *records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [record if isinstance(record, str) else json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def mine(run: Path, *sources: Path, **options: Any) -> dict[str, Any]:
    return extract(ExtractConfig(sources=sources, **options), run)


def rows(run: Path, table: str, *columns: str) -> list[dict[str, Any]]:
    frame = rundir.scan(run, table).collect()
    return (frame.select(columns) if columns else frame).to_dicts()


def rejects(run: Path) -> list[tuple[Any, ...]]:
    columns = ("reason", "source_index", "num_turns", "detail")
    return sorted((tuple(row.values()) for row in rows(run, "rejects", *columns)), key=str)


def contents(run: Path) -> dict[str, int]:
    """Every file of a run with the time when it was written last."""
    return {str(p.relative_to(run)): p.stat().st_mtime_ns for p in sorted(run.rglob("*")) if p.is_file()}


TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("look", "book")
]
PARALLEL = assistant(
    "I look twice.", call("c1", "look", '{"day": 1}'), call("c2", "look", '{"day": 2}'), reasoning_content="Hm."
)
ASKS = [system("Be kind."), user("Book me a day.")]


def fixture(folder: Path) -> Path:
    """Four trajectories of one task: three labelled, one of them a failure; one that ends in a failed call."""
    good = [
        *ASKS,
        PARALLEL,
        tool("c1", "full"),
        tool("c2", "free"),
        assistant(None, call("c3", "book", '{"day": 2}')),
        tool("c3", "done"),
        assistant("Booked."),
    ]
    failed_call = [
        *ASKS,
        assistant(None, call("x", "book", '{"day": 1}')),
        tool("x", "Error: full"),
        assistant("Sorry."),
    ]
    masked = [*ASKS, assistant("Example.", weight=0), user("Again."), assistant("Done.")]
    return write_lines(
        folder / "days.jsonl",
        {"messages": good, "tools": TOOLS, "reward": 1, "task_id": "t1", "domain": "days"},
        {"messages": failed_call, "tools": TOOLS, "reward": 1, "task_id": "t1"},
        {"messages": masked, "reward": 1},
        {"messages": [*ASKS, assistant("No.")], "reward": 0, "note": "bad"},
    )


def test_the_tables_of_a_small_source(tmp_path: Path) -> None:
    source, run = fixture(tmp_path), tmp_path / "run"
    summary = mine(run, source)
    trajectories = rows(run, "trajectories")
    ids = [row.pop("trajectory_id") for row in trajectories]
    shared = {"source": str(source), "format": "openai", "num_segments": 1}
    assert trajectories == [
        {
            **shared,
            "source_index": 0,
            "task_id": "t1",
            "domain": "days",
            "outcome": 1.0,
            "num_turns": 3,
            "metadata": '{"reward":1,"task_id":"t1"}',
        },
        {
            **shared,
            "source_index": 1,
            "task_id": "t1",
            "domain": None,
            "outcome": 1.0,
            "num_turns": 2,
            "metadata": '{"reward":1,"task_id":"t1"}',
        },
        {
            **shared,
            "source_index": 2,
            "task_id": None,
            "domain": None,
            "outcome": 1.0,
            "num_turns": 2,
            "metadata": '{"reward":1}',
        },
        {
            **shared,
            "source_index": 3,
            "task_id": None,
            "domain": None,
            "outcome": 0.0,
            "num_turns": 1,
            "metadata": '{"reward":0,"note":"bad"}',
        },
    ]
    assert len(set(ids)) == 4
    tools_id = messages.tools_id(TOOLS)
    assert rows(run, "tools") == [
        {"tools_id": tools_id, "tools": json.dumps(TOOLS, separators=(",", ":")), "num_tools": 2}
    ]
    assert rows(run, "segments", "segment_id", "trajectory_id", "segment_index", "tools_id") == [
        {"segment_id": f"{i}/0", "trajectory_id": i, "segment_index": 0, "tools_id": t}
        for i, t in zip(ids, [tools_id, tools_id, None, None], strict=True)
    ]
    turns = rows(run, "turns")
    looks = '[{"name":"look","arguments":{"day":1}},{"name":"look","arguments":{"day":2}}]'
    look = f'{{"reasoning":"Hm.","message":"I look twice.","tool_calls":{looks}}}'
    assert [
        (t["turn_id"], t["position"], t["kind"], t["demonstration"], t["outcome"], t["reject_reason"]) for t in turns
    ] == [
        (f"{ids[0]}:0", 2, "tool_call", look, 1.0, None),
        (f"{ids[0]}:1", 5, "tool_call", '{"tool_calls":[{"name":"book","arguments":{"day":2}}]}', 1.0, None),
        (f"{ids[0]}:2", 7, "message", '{"message":"Booked."}', 1.0, None),
        (f"{ids[1]}:0", 2, "tool_call", '{"tool_calls":[{"name":"book","arguments":{"day":1}}]}', 1.0, "failed_call"),
        (f"{ids[1]}:1", 4, "message", '{"message":"Sorry."}', 1.0, None),
        (f"{ids[2]}:0", 2, "message", '{"message":"Example."}', 1.0, "masked"),
        (f"{ids[2]}:1", 4, "message", '{"message":"Done."}', 1.0, None),
        (f"{ids[3]}:0", 2, "message", '{"message":"No."}', 0.0, "low_outcome"),
    ]
    assert [t["domain"] for t in turns] == ["days"] * 3 + [None] * 5
    # The first state with tools is met twice, the one without them twice; all others once.
    states = [t["state_id"] for t in turns]
    assert states[0] == states[3] != states[5] == states[7]
    assert len(set(states)) == 6
    assert rejects(run) == [
        ("failed_call", 1, 1, "Error: full"),
        ("low_outcome", 3, 1, "outcome 0.0"),
        ("masked", 2, 1, "the source excludes it from training"),
    ]
    assert all(row["turn_id"] and row["state_id"] and row["trajectory_id"] for row in rows(run, "rejects"))
    del summary["seconds"]
    assert summary == {
        **{"trajectories": 4, "segments": 4, "messages": 15, "tools": 1, "turns": 8, "states": 6},
        **{"demonstrations": 5, "demonstrated_states": 5, "outcomes": {"0.0": 1, "1.0": 3}},
        **{"min_outcome": 1.0, "all_failed": False},
        "rejects": {reason: {"rows": 1, "turns": 1} for reason in ("failed_call", "low_outcome", "masked")},
    }


def test_a_column_is_null_only_where_the_contract_says_so(tmp_path: Path) -> None:
    run = tmp_path / "run"
    mine(run, fixture(tmp_path), write_lines(tmp_path / "more.jsonl", "{oops", {"messages": [user("x")]}))
    for name in (*rundir.EXTRACT_TABLES, "rejects"):
        frame = rundir.scan(run, name).collect()
        for column in TABLES[name]:
            if b"null" not in column.metadata[b"doc"]:
                assert frame[column.name].null_count() == 0, (name, column.name)


GOOD = {"messages": [user("hi"), assistant("hello")]}


def test_bad_input_is_rejects_with_their_place_and_the_rest_goes_on(tmp_path: Path) -> None:
    picture = {
        "role": "user",
        "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:"}}],
    }
    source = write_lines(
        tmp_path / "a.jsonl",
        "{oops",
        GOOD,
        {"messages": [user("hi"), user("ho")]},
        {"messages": [user("1"), assistant("2"), picture, assistant("3"), assistant("4")]},
        {"messages": [{"role": "wizard", "content": "x"}, assistant("5")]},
        {"messages": [user("6"), assistant(None, call("a", "f", "{not json")), tool("a", "?"), assistant("7")]},
        GOOD,
        {"prompt": "x"},
        {"messages": [user("8"), assistant(" \n")], "tools": "nonsense"},
        {"messages": [user("9"), assistant(" \n")]},
        {"messages": [user("10"), {"role": "assistant", "content": [{"type": ["text"]}]}]},
        {"messages": "none"},
    )
    run = tmp_path / "run"
    summary = mine(run, source)
    assert {row["source"] for row in rows(run, "rejects")} == {str(source)}
    first = rows(run, "trajectories", "trajectory_id")[0]["trajectory_id"]
    assert rejects(run) == [
        (
            "bad_arguments",
            5,
            1,
            "the arguments are not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ("bad_json", 0, None, "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("bad_message", 10, 1, "message 1: unknown content block \"['text']\""),
        ("bad_tools", 8, 1, "the tools are no JSON: Expecting value: line 1 column 1 (char 0)"),
        ("duplicate_trajectory", 6, 1, f"the same as trajectory {first}"),
        ("empty_turn", 9, 1, "neither text nor call"),
        ("image", 3, 2, "message 2: a content block"),
        ("no_messages", 11, None, "`messages` is text and no JSON: Expecting value: line 1 column 1 (char 0)"),
        ("no_turns", 2, 0, "no assistant message"),
        ("unknown_format", 7, None, f"no reader knows ['prompt']; known: {', '.join(READERS)}"),
        ("unknown_role", 4, 1, "message 0: 'wizard'"),
    ]
    assert (summary["trajectories"], summary["turns"], summary["demonstrations"]) == (4, 5, 3)
    assert summary["rejects"]["image"] == {"rows": 1, "turns": 2}
    assert summary["rejects"]["bad_json"] == {"rows": 1, "turns": None}


def test_a_legacy_function_call_is_a_call_and_its_result_is_judged(tmp_path: Path) -> None:
    legacy = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}}
    fine = [user("x"), legacy, {"role": "function", "name": "f", "content": "5"}, assistant("five")]
    broken = [user("y"), legacy, {"role": "function", "name": "f", "content": "Error: no"}]
    run = tmp_path / "run"
    mine(run, write_lines(tmp_path / "a.jsonl", {"messages": fine}, {"messages": broken}))
    demonstration = '{"tool_calls":[{"name":"f","arguments":{"a":1}}]}'
    assert [tuple(row.values()) for row in rows(run, "turns", "kind", "demonstration", "reject_reason")] == [
        ("tool_call", demonstration, None),
        ("message", '{"message":"five"}', None),
        ("tool_call", demonstration, "failed_call"),
    ]


@pytest.mark.parametrize(
    ("mark", "reason"),
    [({"weight": 0}, "masked"), ({"is_demo": True}, "masked"), ({"weight": 1}, None), ({"is_demo": False}, None)],
)
def test_a_turn_that_the_source_excludes_is_masked(tmp_path: Path, mark: dict[str, Any], reason: str | None) -> None:
    mine(tmp_path / "run", write_lines(tmp_path / "a.jsonl", [user("x"), assistant("y", **mark)]))
    assert rows(tmp_path / "run", "turns", "reject_reason") == [{"reject_reason": reason}]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{oops"], "all 1 records were rejected; the first, {}, record 0: bad_json: Expecting property name"),
        (
            [{"messages": [user("x")]}, "5"],
            "all 2 records were rejected; the first, {}, record 0: no_turns: no assistant",
        ),
        (
            [{"messages": [{"role": "\x1b[2J"}, assistant("x")]}],
            "all 1 records were rejected; the first, {}, record 0: unknown_role: message 0: '\\x1b[2J'",
        ),
        ([{"\x07\n": 1}], "all 1 records were rejected; the first, {}, record 0: unknown_format"),
        (["[]"], "all 1 records were rejected; the first, {}, record 0: no_turns"),
        ([""], "all 1 records were rejected; the first, {}: empty_source: the file holds nothing but white space"),
    ],
)
def test_everything_rejected_is_a_user_error(tmp_path: Path, lines: list[Any], message: str) -> None:
    source, run = write_lines(tmp_path / "a.jsonl", *lines), tmp_path / "run"
    with pytest.raises(UserError) as raised:
        mine(run, source)
    assert str(raised.value).startswith(message.format(source))
    assert str(raised.value).isprintable()
    assert contents(run) == {".locks/extract": (run / ".locks" / "extract").stat().st_mtime_ns}
    mine(run, write_lines(source, GOOD))  # mended, the same command goes through


def test_a_hostile_file_name_is_inert_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"/a\\x1b\[2J\.jsonl, record 0: bad_json: "):
        mine(tmp_path / "run", write_lines(tmp_path / "a\x1b[2J.jsonl", "{oops"))


def test_an_array_of_nothing_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^the sources hold no record at all$"):
        mine(tmp_path / "run", write_lines(tmp_path / "a.json", "[ ]"))


def test_the_same_command_again_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, run = fixture(tmp_path), tmp_path / "run"
    first = mine(run, source)
    before = contents(run)
    assert mine(run, source) == first
    monkeypatch.chdir(tmp_path)
    assert mine(run, Path("days.jsonl"), tmp_path / "days.jsonl") == first  # another spelling, named twice
    moved = (tmp_path / "elsewhere").mkdir() or source.rename(tmp_path / "elsewhere" / "days.jsonl")
    assert mine(run, moved.parent) == first
    assert contents(run) == before


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"min_outcome": 0.5}, "(min_outcome: None -> 0.5)"),
        ({"limit": 2, "domain": "d"}, "(domain: None -> 'd', limit: None -> 2)"),
        ({"format": "openai"}, "(format: None -> 'openai')"),
        ({"domain_column": "note"}, "(domain_column: None -> 'note')"),
    ],
)
def test_a_changed_setting_is_named_and_nothing_is_overwritten(
    tmp_path: Path, change: dict[str, Any], difference: str
) -> None:
    source, run = fixture(tmp_path), tmp_path / "run"
    mine(run, source)
    before = contents(run)
    with pytest.raises(UserError) as raised:
        mine(run, source, **change)
    assert str(raised.value) == f"{run} was extracted with other settings {difference}: choose another --run"
    assert contents(run) == before


def test_a_changed_or_another_source_is_named(tmp_path: Path) -> None:
    source, run = fixture(tmp_path), tmp_path / "run"
    other = write_lines(tmp_path / "sub" / "days.jsonl", GOOD)
    mine(run, source)
    with pytest.raises(UserError, match=r" \(sources: \+days\.jsonl [0-9a-f]{32}\): choose"):
        mine(run, source, other)
    with source.open("a") as file:
        file.write(json.dumps(GOOD))
    with pytest.raises(UserError, match=r" \(sources: -days\.jsonl [0-9a-f]{32} \+days\.jsonl [0-9a-f]{32}\): choose"):
        mine(run, source)


def test_two_sources_of_one_name_are_two_sources_in_the_order_given(tmp_path: Path) -> None:
    first, second = (write_lines(tmp_path / d / "a.jsonl", {"messages": [user(d), assistant("x")]}) for d in "pq")
    run = tmp_path / "run"
    assert mine(run, first, second)["trajectories"] == 2
    assert [row["source"] for row in rows(run, "trajectories")] == [str(first), str(second)]
    with pytest.raises(UserError, match=r"\(sources: the same in another order\)"):
        mine(run, second, first)


def test_a_folder_of_several_formats_around_the_run_itself(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", GOOD)
    write_lines(tmp_path / "b.json", [{"traj": [user("t"), assistant("u")], "reward": 1, "task_id": 0}])
    pl.DataFrame({"messages": [json.dumps([user("p"), assistant("q")])]}).write_parquet(tmp_path / "c.parquet")
    write_lines(tmp_path / "notes.txt", "nothing")
    run = tmp_path / "run"
    first = mine(run, tmp_path)
    assert [(Path(row["source"]).name, row["format"]) for row in rows(run, "trajectories", "source", "format")] == [
        ("a.jsonl", "openai"),
        ("b.json", "tau_bench"),
        ("c.parquet", "openai"),
    ]
    assert mine(run, tmp_path) == first  # the run's own Parquet and JSON are no sources


def test_a_strange_folder_is_refused(tmp_path: Path) -> None:
    source, run = fixture(tmp_path), tmp_path / "documents"
    write_lines(run / "messages" / "letter.txt", "dear")
    with pytest.raises(UserError, match=r"^--run .*documents holds 'messages' and is no run: name a new or an empty"):
        mine(run, source)
    assert (run / "messages" / "letter.txt").read_text() == "dear\n"


@pytest.mark.parametrize("moved_in", [False, True])
def test_an_interrupted_extract_is_redone(tmp_path: Path, *, moved_in: bool) -> None:
    source, run, undisturbed = fixture(tmp_path), tmp_path / "run", tmp_path / "undisturbed"
    mine(undisturbed, source)
    mine(run, source)
    (manifest,) = (run / "manifests").iterdir()
    manifest.unlink()  # it is written last
    write_lines(run / ".extract.tmp" / "turns" / "part-00007.parquet", "half a file")
    if not moved_in:
        (run / "turns").rename(run / ".extract.tmp" / "messages")
    mine(run, source)
    for table in (*rundir.EXTRACT_TABLES, "rejects"):
        assert rows(run, table) == rows(undisturbed, table)
    assert contents(run).keys() == contents(undisturbed).keys()


def test_killed_while_it_writes_nothing_is_a_run_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, run = fixture(tmp_path), tmp_path / "run"
    whole = rundir.write_manifest

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rundir, "write_manifest", die)
    with pytest.raises(KeyboardInterrupt):
        mine(run, source)
    assert not rundir.is_run(run)
    monkeypatch.setattr(rundir, "write_manifest", whole)
    assert mine(run, source)["turns"] == 8


LABELLED = {label: {"messages": [user(f"{label}"), assistant("x")], "reward": label} for label in (0, 0.4, 0.9, 1)}


@pytest.mark.parametrize(
    ("labels", "min_outcome", "demonstrated", "needed"),
    [
        ([0, 0.4, 1], None, [1.0], 1.0),
        ([0, 0.4, 0.9], None, [0.9], 0.9),
        ([0], None, [], None),
        ([0, 0.4, 1], 0.4, [0.4, 1.0], 0.4),
        ([0, 1], 0, [0.0, 1.0], 0.0),
        ([0, 1], 1.5, [], 1.5),
    ],
)
def test_which_outcomes_make_demonstrations(
    tmp_path: Path, labels: list[float], min_outcome: float | None, demonstrated: list[float], needed: float | None
) -> None:
    run = tmp_path / "run"
    source = write_lines(tmp_path / "a.jsonl", *(LABELLED[label] for label in labels))
    summary = mine(run, source, min_outcome=min_outcome)
    turns = rows(run, "turns", "outcome", "reject_reason")
    assert [t["outcome"] for t in turns if t["reject_reason"] is None] == demonstrated
    assert {t["reject_reason"] for t in turns if t["outcome"] not in demonstrated} <= {"low_outcome"}
    assert [summary[key] for key in ("demonstrations", "min_outcome", "all_failed")] == [
        len(demonstrated),
        needed,
        labels == [0],
    ]


def test_an_unlabelled_source_counts_as_good_beside_a_labelled_one(tmp_path: Path) -> None:
    unlabelled = write_lines(tmp_path / "a.jsonl", {"messages": [user("u"), assistant("x")]})
    failures = write_lines(tmp_path / "b.jsonl", LABELLED[0])
    summary = mine(tmp_path / "run", unlabelled, failures)
    assert rows(tmp_path / "run", "turns", "outcome", "reject_reason") == [
        {"outcome": None, "reject_reason": None},
        {"outcome": 0.0, "reject_reason": "low_outcome"},
    ]
    assert (summary["outcomes"], summary["all_failed"]) == ({"0.0": 1, "None": 1}, True)


def test_a_least_outcome_that_is_no_number_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--min-outcome nan: a number"):
        mine(tmp_path / "run", fixture(tmp_path), min_outcome=math.nan)


def test_tools_of_a_file_are_for_trajectories_that_carry_none(tmp_path: Path) -> None:
    tools_file = tmp_path / "tools.json"
    tools_file.write_text("\ufeff" + json.dumps([{"name": "mine"}]))
    own = {"messages": [user("x"), assistant("y")], "tools": TOOLS}
    run = tmp_path / "run"
    mine(run, write_lines(tmp_path / "a.jsonl", GOOD, own), tools_file=tools_file)
    assert [json.loads(row["tools"]) for row in rows(run, "tools")] == [
        [{"type": "function", "function": {"name": "mine"}}],
        TOOLS,
    ]
    assert [row["tools_id"] for row in rows(run, "turns")] == [row["tools_id"] for row in rows(run, "tools")]
    tools_file.write_text(json.dumps([{"name": "other"}]))
    with pytest.raises(UserError, match=r"\(tools: '[0-9a-f]{32}' -> '[0-9a-f]{32}'\)"):
        mine(run, tmp_path / "a.jsonl", tools_file=tools_file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: "),
        (b"\xff\xfe", "cannot be read: "),
        (b"{", "holds no JSON list of tool definitions: "),
        (b'{"a": 1}', "holds no JSON list of tool definitions: tools are a list, not dict"),
        (b'[{"a": 1}]', "holds no JSON list of tool definitions: a tool without a name"),
        (b"[]", "holds no tool: a JSON list of tool definitions is needed"),
        (b"", "holds no tool: a JSON list of tool definitions is needed"),
    ],
)
def test_a_tools_file_that_is_none_is_a_user_error(tmp_path: Path, text: bytes | None, message: str) -> None:
    tools_file = tmp_path / "tools.json"
    if text is not None:
        tools_file.write_bytes(text)
    with pytest.raises(UserError) as raised:
        mine(tmp_path / "run", write_lines(tmp_path / "a.jsonl", GOOD), tools_file=tools_file)
    assert str(raised.value).startswith(f"--tools {tools_file} {message}")


def test_domain_limit_and_format_do_what_they_say(tmp_path: Path) -> None:
    records = [{**GOOD, "domain": "own", "area": area, "n": n} for n, area in enumerate(["x", None, 5])]
    source = write_lines(tmp_path / "a.jsonl", *records)
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["own", "own", "own"]),
        ({"domain": "given"}, ["given"] * 3),
        ({"domain_column": "area"}, ["x", "own", "5"]),
        ({"limit": 2}, ["own", "own"]),
    ]
    for number, (options, domains) in enumerate(cases):
        mine(tmp_path / str(number), source, **options)
        assert [row["domain"] for row in rows(tmp_path / str(number), "turns")] == domains
    with pytest.raises(UserError, match=r"^--domain-column aera: no record has that key, name one that there is$"):
        mine(tmp_path / "misspelt", source, domain_column="aera")
    assert not rundir.is_run(tmp_path / "misspelt")
    with pytest.raises(
        UserError, match=r"all 3 records were rejected; .* no_messages: no list of messages under `traj`"
    ):
        mine(tmp_path / "tau", source, format="tau_bench")


def test_a_source_whose_name_is_no_text_is_read_all_the_same(tmp_path: Path) -> None:
    source = Path(os.fsdecode(os.fsencode(tmp_path) + b"/gr\xfcn.jsonl"))
    source.write_text(json.dumps(GOOD))
    mine(tmp_path / "run", source)
    assert rows(tmp_path / "run", "trajectories", "source") == [{"source": f"{tmp_path}/gr\\udcfcn.jsonl"}]


def repeating(folder: Path) -> list[Path]:
    """Three sources that share messages, tools and a whole trajectory, which in the last one failed a call."""
    failed = [user("again"), assistant(None, call("x", "book", "{}")), tool("x", "Error: full"), assistant("Sorry.")]
    return [
        fixture(folder / "a"),
        write_lines(folder / "b" / "more.jsonl", {"messages": failed, "tools": TOOLS, "reward": 1}, "{oops", GOOD),
        write_lines(folder / "c" / "more.jsonl", {"messages": failed, "tools": TOOLS, "reward": 1}, GOOD, [user("x")]),
    ]


@pytest.mark.parametrize("num_processes", [1, 2])
def test_the_tables_do_not_depend_on_blocks_or_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_processes: int
) -> None:
    sources = repeating(tmp_path)
    whole = mine(tmp_path / "whole", *sources, num_processes=1)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    parts = mine(tmp_path / "parts", *sources, num_processes=num_processes)
    assert {**parts, "seconds": 0} == {**whole, "seconds": 0}
    for table in (*rundir.EXTRACT_TABLES, "rejects"):
        assert sorted(map(str, rows(tmp_path / "parts", table))) == sorted(map(str, rows(tmp_path / "whole", table)))
        if table != "rejects":
            assert rows(tmp_path / "parts", table) == rows(tmp_path / "whole", table)
    first = rows(tmp_path / "whole", "trajectories", "trajectory_id")[4]["trajectory_id"]
    assert ("duplicate_trajectory", 0, 2, f"the same as trajectory {first}") in rejects(tmp_path / "parts")
    assert len(rundir.table_files(tmp_path / "parts", "turns")) == 6
    assert len(rundir.table_files(tmp_path / "parts", "tools")) == 1
    assert mine(tmp_path / "parts", *sources) == parts  # the number of processes is no setting of the result


def test_a_block_holds_so_many_bytes_of_rows_or_of_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of Parquet, and records that are read early for their column, count as much as they hold."""
    talk = [user("x" * 5000), assistant("b")]
    write_lines(tmp_path / "lines.jsonl", *({"talk": [*talk, user(str(n))]} for n in range(8)))
    table = pl.DataFrame({"talk": [json.dumps([*talk, user(str(n))]) for n in range(8)]})
    table.write_parquet(tmp_path / "rows.parquet")
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 10_000)
    for name in ("lines.jsonl", "rows.parquet"):
        mine(tmp_path / f"run-{name}", tmp_path / name, messages_column="talk")
        assert len(rundir.table_files(tmp_path / f"run-{name}", "turns")) == 4


def test_a_killed_worker_is_a_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    with (
        pytest.raises(UserError, match=r"^a worker process was killed, .*--num-processes$"),
        blocks.workers(2) as over,
    ):
        list(over(os._exit, [1, 1, 1]))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda v: st.lists(v, max_size=2) | st.dictionaries(texts, v, max_size=2),
    max_leaves=4,
)
calls = st.builds(call, texts, texts, texts | st.just("{}"))
good_messages = (
    st.builds(user, texts)
    | st.builds(system, texts)
    | st.builds(assistant, st.none() | texts)
    | st.builds(assistant, st.none() | texts, calls, calls)
    | st.builds(assistant, texts, weight=st.sampled_from([0, 1]), extra=json_values)
    | st.builds(tool, texts, texts)
)
bad_messages = json_values | st.fixed_dictionaries({"role": texts | st.just("assistant"), "content": json_values})


def num_assistant(records: Iterable[Any]) -> int:
    return sum(isinstance(m, dict) and m.get("role") == "assistant" for record in records for m in record)


@PROPERTY
@given(st.lists(st.lists(good_messages | bad_messages, max_size=7), min_size=1, max_size=5))
def test_every_assistant_message_is_a_turn_or_a_counted_reject(
    tmp_path_factory: pytest.TempPathFactory, records: list[list[Any]]
) -> None:
    folder = tmp_path_factory.mktemp("count")
    run = folder / "run"
    source = write_lines(folder / "a.jsonl", {"messages": [user("sure"), assistant("there")], "n": 1}, *records)
    summary = mine(run, source)
    counted = [row["num_turns"] for row in rows(run, "rejects") if row["turn_id"] is None]
    assert summary["turns"] + sum(n for n in counted if n is not None) == num_assistant(records) + 1
    reasons = Counter(t["reject_reason"] for t in rows(run, "turns"))
    assert reasons[None] == summary["demonstrations"]
    assert reasons.total() - reasons[None] == sum(row["turn_id"] is not None for row in rows(run, "rejects"))


def whole_state(run: Path) -> Callable[[dict[str, Any]], list[Any]]:
    """The messages of a segment, put together from the tables by hand."""
    stored = {row["message_id"]: json.loads(row["message"]) for row in rows(run, "messages")}
    return lambda segment: [stored[message_id] for message_id in segment["message_ids"]]


@PROPERTY
@given(st.lists(st.lists(good_messages, max_size=7), min_size=1, max_size=4), json_values)
def test_messages_to_tables_and_back_is_the_identity(
    tmp_path_factory: pytest.TempPathFactory, records: list[list[Any]], noise: Any
) -> None:
    folder = tmp_path_factory.mktemp("identity")
    run = folder / "run"
    given = [[*record, assistant(f"end {number}", noise=noise)] for number, record in enumerate(records)]
    mine(run, write_lines(folder / "a.jsonl", *given))
    build = whole_state(run)
    assert [build(segment) for segment in rows(run, "segments")] == given
    # Each distinct message is stored once.
    distinct = {json.dumps(message, sort_keys=True) for record in given for message in record}
    assert sorted(json.dumps(json.loads(m["message"]), sort_keys=True) for m in rows(run, "messages")) == sorted(
        distinct
    )
    # And each turn's state and reply are what stood around it.
    positions = [(r, i) for r, record in enumerate(given) for i, m in enumerate(record) if m["role"] == "assistant"]
    turns = rundir.scan(run, "turns").collect()
    found = [(state.messages, state.reply) for state in state_messages(run, turns)]
    assert found == [(given[r][:i], reply(given[r][i + 1 :])) for r, i in positions]


def reply(after: list[Message]) -> list[Message]:
    kept: list[Message] = []
    for message in after:
        if message["role"] == "assistant":
            break
        kept.append(message)
    return kept


REAL_DATA = os.environ.get("PIVOTMINE_REAL_DATA")


@pytest.mark.skipif(REAL_DATA is None, reason="PIVOTMINE_REAL_DATA is not set")
def test_tau_bench_as_independent_code_reads_it(tmp_path: Path) -> None:
    source, run = Path(REAL_DATA or "") / "tau-bench", tmp_path / "run"
    (file,) = source.glob("*.json")
    records = json.loads(file.read_text(encoding="utf-8"))
    summary = mine(run, source)
    taken = [[m for m in r["traj"] if m["role"] == "assistant"] for r in records]
    failed = sum(len(turns) for turns, r in zip(taken, records, strict=True) if r["reward"] == 0)
    assert (len(records), sum(map(len, taken)), failed) == (120, 1698, 1265)
    assert summary["trajectories"] == len(records)
    assert summary["turns"] == sum(map(len, taken))
    assert summary["rejects"]["low_outcome"]["turns"] + failing_calls(records, reward=0) == failed
    assert summary["rejects"]["failed_call"]["turns"] == failing_calls(records, reward=0) + failing_calls(
        records, reward=1
    )
    assert summary["demonstrations"] == sum(map(len, taken)) - failed - failing_calls(records, reward=1)
    assert summary["rejects"].keys() == {"failed_call", "low_outcome", "skipped_files"}
    assert summary["rejects"]["skipped_files"] == {"rows": 1, "turns": None}  # the licence beside the data
    assert summary["messages"] == len({json.dumps(m, sort_keys=True) for r in records for m in r["traj"]})
    build = whole_state(run)
    assert [build(segment) for segment in rows(run, "segments")] == [r["traj"] for r in records]
    assert [row["num_turns"] for row in rows(run, "trajectories")] == [len(turns) for turns in taken]


def failing_calls(records: list[Any], *, reward: float) -> int:
    """Turns whose call was answered by an error; in this file every such answer begins with the word."""
    number = 0
    for record in records:
        if record["reward"] == reward:
            for before, after in zip(record["traj"], record["traj"][1:], strict=False):
                number += bool(before.get("tool_calls")) and after["content"].startswith("Error")
    return number
