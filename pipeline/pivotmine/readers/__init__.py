"""Readers: one module a format, chosen by looking at each record.

To add a format, write a module with a `READER` and name it here; the first that matches reads the record, so put the
more particular ones first. Where one trajectory is spread over several records of a file (a log with a line an event or
a request), the reader's `group` joins them before they are read: `grouped`.
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
    atif,
    claude_code,
    inspect_log,
    intercode,
    message_list,
    mini_swe_agent,
    nemo_gym,
    openai_messages,
    openhands,
    openhands_sdk,
    request_log,
    responses,
    sharegpt,
    swe_agent,
    tau_bench,
    text_calls,
    toolbench,
    typed_content,
)
from pivotmine.readers.trajectory import BadTrajectory, Reader
from pivotmine.sources.json_records import Record

ENTRY_POINTS = "pivotmine.readers"
READERS: dict[str, Reader] = {
    "tau_bench": tau_bench.READER,
    "swe_agent": swe_agent.READER,
    "mini_swe_agent": mini_swe_agent.READER,
    "openhands": openhands.READER,
    "openhands_sdk": openhands_sdk.READER,
    "atif": atif.READER,
    "inspect": inspect_log.READER,
    "claude_code": claude_code.READER,
    "intercode": intercode.READER,
    "nemo_gym": nemo_gym.READER,
    "responses": responses.READER,
    "toolbench": toolbench.READER,
    "request_log": request_log.READER,
    "text_calls": text_calls.READER,
    "sharegpt": sharegpt.READER,
    "typed_content": typed_content.READER,
    "openai": openai_messages.READER,
    "message_list": message_list.READER,
}


def detect(record: Any) -> str:
    """Name of the first reader that matches; BadTrajectory where none does."""
    known = all_readers()
    for name, reader in known.items():
        if reader.matches(record):
            return name
    keys = sorted(record)[:8] if isinstance(record, dict) else type(record).__name__
    raise BadTrajectory("unknown_format", f"no reader knows {keys}; known: {', '.join(known)}")


def all_readers() -> dict[str, Reader]:
    """Every reader by its name: those that other packages bring, which know their format best, come first.

    A package brings a reader through the entry-point group `pivotmine.readers`: `my_format = my_package.module:READER`.
    One that cannot be loaded, is no Reader or takes a name of ours is a UserError.
    """
    third_party = _third_party()
    return {**third_party, **READERS} if third_party else READERS


@cache
def _third_party() -> dict[str, Reader]:
    return {entry.name: _loaded(entry) for entry in entry_points(group=ENTRY_POINTS)}


def _loaded(entry: EntryPoint) -> Reader:
    where = f"the reader {entry.name!r} ({one_line(entry.value)})"
    if entry.name in READERS:
        raise UserError(f"{where} takes the name of a reader of pivotmine's: uninstall or rename it")
    try:
        found = entry.load()
    except Exception as error:
        why = one_line(f"{type(error).__name__}: {error}")[:300]
        raise UserError(f"{where} cannot be loaded, mend or uninstall its package: {why}") from None
    if not isinstance(found, Reader):
        raise UserError(f"{where} is no pivotmine.readers.trajectory.Reader but {type(found).__name__}")
    return found


def grouped(records: Iterator[Record], name: str | None = None) -> Iterator[Record]:
    """The records of one file, pieces of one trajectory joined; lazily, in order.

    The first record that a reader knows decides for the file: where that reader (or the one of this name) has a
    `group`, all that follows goes through it, so such a file cannot be split among workers.
    """
    for record in records:
        reader = None if record.problem else _reader(record.value, name)
        if reader is None:
            yield record
            continue
        rest = chain([record], records)
        yield from reader.group(rest) if reader.group else rest
        return


def _reader(value: Any, name: str | None) -> Reader | None:
    try:
        return all_readers()[name or detect(value)]
    except BadTrajectory:
        return None
