"""The format version of a run: `RUN/run.json`. Runs of format 1 do not have that file.

A run keeps the format that `extract` gave it, and with it the rules for its ids (state_id, policy_id, verifier_id).
Later versions read its parts by column name. They add parts with the newer columns, so a run can have both kinds of
parts.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pivotmine.errors import UserError
from pivotmine.run.tables import FORMAT

FILE = "run.json"


def read_format(run: Path) -> int:
    """The run's format; UserError if this version cannot read it, or if `run.json` is damaged."""
    path = run / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["format"]
    except FileNotFoundError:
        return 1
    except (ValueError, TypeError, KeyError, RecursionError):
        found = None
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise UserError(f'{path} is damaged: write {{"format": N}} there; this pivotmine writes {FORMAT}')
    if found > FORMAT:
        raise UserError(f"{run} has format {found}, and this pivotmine reads formats up to {FORMAT}: update pivotmine")
    return found


def format_text() -> str:
    """The content of `run.json` in a new run."""
    return json.dumps({"format": FORMAT}) + "\n"


def lacking(path: Path, schema: pa.Schema) -> tuple[str, ...]:
    """The columns of the table that a part does not have, because an older version wrote it."""
    facts = path.stat()
    names = _names(path, facts.st_mtime_ns, facts.st_size)
    return tuple(name for name in schema.names if name not in names)


@lru_cache(maxsize=100_000)
def _names(path: Path, _modified_ns: int, _size: int) -> frozenset[str]:
    try:
        return frozenset(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is damaged: {reason}; `pivotmine verify RUN` says what to do") from None
