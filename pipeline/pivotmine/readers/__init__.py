"""Readers: one module per format, chosen by looking at each record.

To add a format, write a module with a `READER` and add it to READERS. The first reader that matches reads the record,
so the more specific ones come first. If a trajectory is spread over several records of a file (a log with one line per
event or request), the reader's `group` joins them before they are read (`grouped`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import chain
from typing import Any

from pivotmine.errors import UserError
from pivotmine.escape import one_line
from pivotmine.readers import (
    agent_data_protocol,
    anthropic_messages,
    atif,
    claude_code,
    inspect_log,
    intercode,
    langchain,
    message_list,
    mini_swe_agent,
    nemo_gym,
    openai_messages,
    openhands,
    openhands_sdk,
    prompt_completion,
    request_log,
    response_list,
    responses,
    sessions,
    sharegpt,
    spans,
    swe_agent,
    swift,
    tau2,
    tau_bench,
    text_calls,
    toolbench,
    trajectory_column,
    typed_content,
    verifiers_trace,
)
from pivotmine.readers.trajectory import BadTrajectory, Reader
from pivotmine.readers.unknown import describe_unknown
from pivotmine.sources.json_records import Record

ENTRY_POINTS = "pivotmine.readers"
_MAX_UNREAD = 256
"""Maximum number of records without a reader that wait for the next record with one."""
READERS: dict[str, Reader] = {
    "tau_bench": tau_bench.READER,
    "tau2": tau2.READER,
    "swe_agent": swe_agent.READER,
    "mini_swe_agent": mini_swe_agent.READER,
    "openhands": openhands.READER,
    "openhands_sdk": openhands_sdk.READER,
    "atif": atif.READER,
    "inspect": inspect_log.READER,
    "claude_code": claude_code.READER,
    "sessions": sessions.READER,
    "spans": spans.READER,
    "agent_data_protocol": agent_data_protocol.READER,
    "verifiers_trace": verifiers_trace.READER,
    "intercode": intercode.READER,
    "nemo_gym": nemo_gym.READER,
    "responses": responses.READER,
    "toolbench": toolbench.READER,
    "prompt_completion": prompt_completion.READER,
    "request_log": request_log.READER,
    "trajectory_column": trajectory_column.READER,
    "swift": swift.READER,
    "langchain": langchain.READER,
    "response_list": response_list.READER,
    "anthropic_messages": anthropic_messages.READER,
    "text_calls": text_calls.READER,
    "sharegpt": sharegpt.READER,
    "typed_content": typed_content.READER,
    "openai": openai_messages.READER,
    "message_list": message_list.READER,
}


def detect(record: Any) -> str:
    """Name of the first reader that matches; BadTrajectory if none does."""
    for name, reader in all_readers().items():
        if reader.matches(record):
            return name
    raise BadTrajectory("unknown_format", describe_unknown(record))


def all_readers() -> dict[str, Reader]:
    """All readers by name. Readers of other packages come first, because they know their format best.

    A package adds a reader by the entry-point group `pivotmine.readers`: `my_format = my_package.module:READER`.
    Raises UserError if it cannot be loaded, is not a Reader, or has the name of a built-in reader.
    """
    third_party = _third_party()
    return {**third_party, **READERS} if third_party else READERS


@cache
def _third_party() -> dict[str, Reader]:
    return {entry.name: _loaded(entry) for entry in entry_points(group=ENTRY_POINTS)}


def _loaded(entry: EntryPoint) -> Reader:
    where = f"the reader {entry.name!r} ({one_line(entry.value)})"
    if entry.name in READERS:
        raise UserError(f"{where} has the name of a built-in reader: rename or uninstall it")
    try:
        found = entry.load()
    except Exception as error:
        why = one_line(f"{type(error).__name__}: {error}")[:300]
        raise UserError(f"{where} cannot be loaded; fix or uninstall its package: {why}") from None
    if not isinstance(found, Reader):
        raise UserError(f"{where} is not a pivotmine.readers.trajectory.Reader but {type(found).__name__}")
    return found


def grouped(records: Iterator[Record], name: str | None = None) -> Iterator[Record]:
    """Join the pieces of each trajectory among the records of one file, lazily and in order.

    A record whose reader (or the reader called `name`) has a `group` goes through it, with all records up to the next
    one of another reader. Records of readers without a `group` pass unparsed, so that workers can parse them. A record
    with the same first key as one of these is taken for another of its kind.
    """
    rest, unread = _Pushed(records), list[Record]()
    alone: set[str | None] = set()
    for record in rest:
        if record.first_key is not None and record.first_key in alone:
            yield from _emptied(unread)
            yield record
            continue
        reader = None if record.problem else _reader(record.value, name)
        if reader is None:
            # It may be a damaged piece of the trajectory that follows, so the next reader's `group` must see it.
            unread.append(record)
            if len(unread) > _MAX_UNREAD:
                yield unread.pop(0)
        elif reader.group is None:
            alone.add(record.first_key)
            yield from _emptied(unread)
            yield record
        else:
            rest.push(record)
            yield from reader.group(_run(chain(_emptied(unread), rest), rest, reader, name))
    yield from unread


def _emptied(records: list[Record]) -> Iterator[Record]:
    while records:
        yield records.pop(0)


class _Pushed:
    """An iterator of records that can take one back."""

    def __init__(self, records: Iterator[Record]) -> None:
        self._records, self._pushed = records, list[Record]()

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        return self._pushed.pop() if self._pushed else next(self._records)

    def push(self, record: Record) -> None:
        """Make a record the next one."""
        self._pushed.append(record)


def _run(records: Iterator[Record], rest: _Pushed, reader: Reader, name: str | None) -> Iterator[Record]:
    """Yield the records up to the first of another reader, and push that one back to the rest."""
    for record in records:
        if not name and not record.problem and not reader.matches(record.value):
            other = _reader(record.value, name)
            if other is not None and other is not reader:
                rest.push(record)
                return
        yield record


def _reader(value: Any, name: str | None) -> Reader | None:
    try:
        return all_readers()[name or detect(value)]
    except BadTrajectory:
        return None
