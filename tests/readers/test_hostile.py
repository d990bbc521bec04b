"""Readers on broken input: a trajectory or a reason, never a traceback."""

import random
from pathlib import Path
from typing import Any

import pytest
from format_samples import EVERY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import needs_real_data, real_file

from pivotmine import messages, strict_json
from pivotmine.actions import action_from_message, action_to_json
from pivotmine.readers import READERS, detect, grouped
from pivotmine.readers.trajectory import BadTrajectory, Trajectory
from pivotmine.sources.json_records import Record
from pivotmine.sources.sources import read_source

PROPERTY = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
scalars = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=3), st.just("{oops"), st.just("[1]"))
junk = st.recursive(scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner))


def paths_of(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [before, *(path for key, child in inner for path in paths_of(child, (*before, key)))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The value with one place replaced; `...` removes it."""
    if not path:
        return None if new is ... else new
    key, *rest = path
    items = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    items[key] = changed(items[key], tuple(rest), new)
    if not rest and new is ...:
        del items[key]
    return items if isinstance(value, dict) else list(items.values())


def use(found: Trajectory) -> None:
    """What extract does with each message, up to the first that no state can hold."""
    for segment in found.segments:
        state = messages.StateHash(messages.tools_id(segment.tools) if segment.tools else None)
        assert 0 <= segment.num_inherited <= len(segment.messages)
        for message in segment.messages:
            if messages.problem(message):
                break
            messages.message_id(message)
            if message["role"] == "assistant":
                action_to_json(action_from_message(message))
            state.add(message)
            state.state_id()
    strict_json.canonical([found.task_id, found.domain, found.outcome, found.metadata])


def read_all(records: list[Any], name: str | None = None) -> None:
    """Read and use the records of one file."""
    for record in grouped(iter([Record(i, value) for i, value in enumerate(records)]), name):
        try:
            trajectory = READERS[name or detect(record.value)].read(record.value)
        except BadTrajectory:
            continue
        use(trajectory)


@PROPERTY
@given(st.sampled_from(EVERY), st.data())
def test_any_place_of_a_record_may_hold_anything(sample: tuple[str, Any], data: st.DataObject) -> None:
    _, record = sample
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(paths_of(record)))
        record = changed(record, path, data.draw(st.one_of(junk, st.just(...))))
    read_all([record])


@PROPERTY
@given(st.sampled_from(sorted(READERS)), junk)
def test_a_reader_that_is_named_may_meet_anything(name: str, record: Any) -> None:
    read_all([record, [record], {"messages": record}], name)


@PROPERTY
@given(st.sampled_from(sorted(READERS)), st.sampled_from(EVERY))
def test_a_reader_that_is_named_may_meet_every_other_format(name: str, sample: tuple[str, Any]) -> None:
    read_all([sample[1]], name)


FILES = (
    "intercode/bash/ic_bash_multiturn_gpt-4_10_turns_fs_4.json",
    "llama-factory/glaive_toolcall_en_demo.json",
    "llama-factory/v1_sft_demo.jsonl",
    "nemo-gym/single_step_tool_use_with_argument_comparison/example_rollouts.jsonl",
    "nemo-gym/swe_pivot/example_rollouts.jsonl",
    "swe-agent/xml.traj",
    "harbor-atif/openhands-hello-world.trajectory.json",
    "openhands/output-first.jsonl",
)


@needs_real_data
@pytest.mark.parametrize("name", FILES)
def test_real_files_with_flipped_bytes_and_cut_short(name: str, tmp_path: Path) -> None:
    whole = real_file(name).read_bytes()[:200_000]
    chance = random.Random(name)
    for number in range(6):
        data = bytearray(whole[: chance.randrange(len(whole))] if number % 2 else whole)
        for _ in range(20):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path = tmp_path / f"{number}{Path(name).suffix}"
        path.write_bytes(data)
        for record in grouped(read_source(path)):
            if record.problem is None:
                read_all([record.value])


@pytest.mark.parametrize("junk", [[], {}, [1], {"a": 1}])
def test_a_sessions_type_or_parent_that_is_no_text_names_nothing(junk: Any) -> None:
    lines = [
        {"type": "session", "id": "s", "version": 3, "cwd": "/x"},
        {"type": "message", "id": "a", "parentId": None, "message": {"role": "user", "content": "hi"}},
        {"type": junk, "id": "b", "parentId": junk, "message": {"role": "assistant", "content": "so"}},
        {"type": "message", "id": "c", "parentId": junk, "message": {"role": "assistant", "content": "so"}},
    ]
    read_all([{"session_lines": lines}], "sessions")
