import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from extracting import (
    GOOD,
    TOOLS,
    Message,
    assistant,
    call,
    fixture,
    mine,
    rejects,
    rows,
    system,
    tool,
    user,
    write_lines,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.run.states import state_messages
from pivotmine_stages import parallel

PROPERTY = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


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
    monkeypatch.setattr(parallel, "BLOCK_BYTES", 1)
    parts = mine(tmp_path / "parts", *sources, num_processes=num_processes)
    assert replace(parts, seconds=0) == replace(whole, seconds=0)
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
    monkeypatch.setattr(parallel, "BLOCK_BYTES", 10_000)
    for name in ("lines.jsonl", "rows.parquet"):
        mine(tmp_path / f"run-{name}", tmp_path / name, messages_column="talk")
        assert len(rundir.table_files(tmp_path / f"run-{name}", "turns")) == 4


def test_a_killed_worker_is_a_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "BLOCK_BYTES", 1)
    with (
        pytest.raises(
            UserError, match=r"^a worker process has ended, most likely for lack of memory: .*--num-processes; "
        ),
        parallel.process_map(2) as over,
    ):
        list(over(os._exit, [1, 1, 1]))


def test_a_script_is_told_what_its_workers_need(tmp_path: Path) -> None:
    """Each imports the script, and with it what stands outside of the guard."""
    write_lines(tmp_path / "lines.jsonl", *([user(str(n)), assistant("a")] for n in range(3)))
    script = tmp_path / "script.py"
    script.write_text(
        "import pivotmine_stages.parallel as blocks\n"
        "from pivotmine_stages.cli.options import extract\n"
        "blocks.BLOCK_BYTES = 1\n"
        f"extract({{}}, sources=[{str(tmp_path / 'lines.jsonl')!r}], run={str(tmp_path / 'run')!r}, num_processes=2)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert 'call this below `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]


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


def is_assistant(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "assistant"


def num_assistant(records: Iterable[Any]) -> int:
    """Assistant messages, but for greetings."""
    return sum(sum(map(is_assistant, record)) - num_greetings(record) for record in records)


def num_greetings(record: list[Any]) -> int:
    """Assistant messages without calls that open a conversation."""
    greetings = list(takewhile(lambda m: is_assistant(m) and not m.get("tool_calls"), record))
    rest = record[len(greetings) :]
    return len(greetings) if rest and isinstance(rest[0], dict) and not is_assistant(rest[0]) else 0


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
    assert summary.turns + sum(n for n in counted if n is not None) == num_assistant(records) + 1
    reasons = Counter(t["reject_reason"] for t in rows(run, "turns"))
    assert reasons[None] == summary.demonstrations
    assert reasons.total() - reasons[None] == sum(row["turn_id"] is not None for row in rows(run, "rejects"))


def whole_state(run: Path) -> Callable[[dict[str, Any]], list[Any]]:
    """The messages of a segment, put together from the tables by hand."""
    stored = {row["message_id"]: json.loads(row["message"]) for row in rows(run, "messages")}
    return lambda segment: [stored[message_id] for message_id in segment["message_ids"]]


def with_results(message: Message) -> list[Message]:
    """A message with a result for each of its calls."""
    return [message, *(tool(one["id"], "done") for one in message.get("tool_calls", ()))]


whole_conversations = st.lists(
    st.builds(user, texts) | st.builds(assistant, texts) | st.builds(assistant, st.none() | texts, calls, calls),
    max_size=5,
).map(lambda said: [user("begin"), *chain.from_iterable(map(with_results, said))])


@PROPERTY
@given(st.lists(whole_conversations, min_size=1, max_size=4), json_values)
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
    assert summary.trajectories == len(records)
    assert summary.turns == sum(map(len, taken))
    unusable = [failing_calls(records, reward=reward) for reward in (0, 1)]
    assert summary.rejects["low_outcome"].turns == failed - unusable[0]
    assert summary.rejects["failed_call"].turns == sum(unusable)
    assert summary.demonstrations == sum(map(len, taken)) - failed - unusable[1]
    assert summary.rejects.keys() == {"failed_call", "low_outcome", "skipped_files"}
    assert summary.rejects["skipped_files"].rows == 1  # the licence next to the data
    assert summary.messages == len({json.dumps(m, sort_keys=True) for r in records for m in r["traj"]})
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
