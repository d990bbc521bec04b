"""Outcome labels under the user's `--outcome-column`, with the words of `--outcome-words`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pivotmine.errors import UserError
from pivotmine.readers.record_fields import value_at
from pivotmine.readers.trajectory import Trajectory, outcome_label


def read_words(words: str | None) -> dict[str, float]:
    """Parse `pass=1,fail=0` into labels by lower-case word; UserError for anything else."""
    labels: dict[str, float] = {}
    for word in words.split(",") if words else ():
        name, _, number = word.rpartition("=")
        try:
            label = float(number)
        except ValueError:
            label = math.nan
        if not name.strip() or not math.isfinite(label):
            raise UserError(f"--outcome-words {word}: give words with their labels, such as pass=1,fail=0")
        labels[name.strip().lower()] = label
    return labels


def with_numbers(record: Any, column: str, words: Mapping[str, float]) -> Any:
    """Replace the word in the record by its number, because the reader may look for a label there too."""
    if not words or not isinstance(record, Mapping):
        return record
    first, _, rest = column.partition(".")
    name = column if column in record else first
    value = record.get(name)
    if name != column:
        return {**record, name: with_numbers(value, rest, words)} if isinstance(value, Mapping) else record
    word = value.strip().lower() if isinstance(value, str) else ""
    return {**record, name: words[word]} if word in words else record


def with_label(found: Trajectory, record: Any, column: str, words: Mapping[str, float]) -> Trajectory:
    """Return the trajectory with the label in the record's column; without one it is unlabelled.

    BadTrajectory if the value is not a label. A record that was joined from several has the last one's columns.
    """
    value = value_at(record, column)
    value = value_at(found.metadata, column) if value is None else value
    if isinstance(value, str) and value.strip().lower() in words:
        value = words[value.strip().lower()]
    return replace(found, outcome=outcome_label(value), outcome_key=column)
