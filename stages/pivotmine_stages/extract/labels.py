"""Outcome labels where the user says they stand (`--outcome-column`), in words that the user declares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pivotmine.errors import UserError
from pivotmine.readers.record_fields import value_at
from pivotmine.readers.trajectory import Trajectory, outcome_label


def read_words(words: str | None) -> dict[str, float]:
    """The labels that words stand for (`pass=1,fail=0`), by the word in lower case; UserError for anything else."""
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
    """The record with the number that a word stands for in its place: its reader may look for a label there as well."""
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
    """The trajectory with the label of the record's column, unlabelled without one; BadTrajectory if it is not a label.

    A record that was joined out of several has the columns of the last one.
    """
    value = value_at(record, column)
    value = value_at(found.metadata, column) if value is None else value
    if isinstance(value, str) and value.strip().lower() in words:
        value = words[value.strip().lower()]
    return replace(found, outcome=outcome_label(value), outcome_key=column)
