"""The pivot dataset: table `pivots` of the miner's data/README.md, as a folder or on a hub.

Rows that no verifier judges (`select --strategy all` writes them) are left out of GRPO and counted. Any other fault of
a row is an error that names the row, because a program wrote it, not a policy.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow.parquet as pq
from datasets import Dataset, LargeList, List, Value

from pivotmine.errors import UserError
from pivotmine.verifiers import VerifierSpec
from pivotmine.verifiers.dataset_rows import named_spec, row_spec
from pivotmine_trainer.cli.console import counted
from pivotmine_trainer.data.rows import check_row, source_of, where

TEXT = ("prompt", "prompt_messages", "tools", "demonstrations", "state_id", "domain", "kind", "parser", "sampling")
VERIFIER = ("verifier", "verifier_options", "verifier_id")
PROVENANCE = ("tokenizer", "template_options", "weights_hash", "policy_id")
CONTRACT: dict[str, str] = {
    **dict.fromkeys((*TEXT, *VERIFIER, *PROVENANCE), "string"),
    "prompt_ids": "list",
    "opened_reasoning": "bool",
    **dict.fromkeys(("action_format", "action_tools"), "string"),
}
"""Columns that the trainer reads, with their types."""
OPTIONAL = ("task_id", "trajectory_id", "num_samples", "weight", "reward_class")
"""Columns that it reads if they are present."""
LATER = ("action_format", "action_tools")
"""Columns that older datasets lack. They are read as null, which means native."""
NEVER_NULL = ("prompt", "prompt_ids", "prompt_messages", "demonstrations", "state_id", "kind", "parser", "sampling")


class Rows(NamedTuple):
    """One split, ready to train on."""

    data: Dataset
    """The columns of `load_split`."""
    left_out: Counter[str]
    """Rows without a verifier, by reason."""


def load_split(name: str, split: str) -> Dataset:
    """Load the columns of CONTRACT, those of OPTIONAL that are present, and `row`, each row's number.

    UserError if the dataset, the split or a column is missing, or the split is empty.
    """
    data = _read(name, split)
    if len(data) == 0:
        raise UserError(f"{name}: the split {split} has no rows")
    for column in LATER:
        if column not in data.column_names:
            data = data.add_column(column, [None] * len(data), feature=Value("string"))
    if missing := [column for column in CONTRACT if column not in data.column_names]:
        raise UserError(
            f"{name}: not a pivot dataset: missing columns {', '.join(missing)}; `pivotmine select` writes one "
            "(data/README.md)"
        )
    for column, kind in CONTRACT.items():
        if not _is_kind(data.features[column], kind):
            raise UserError(f"{name}: column {column} must hold a {kind}, it holds {data.features[column]}")
    data = data.select_columns([*CONTRACT, *(column for column in OPTIONAL if column in data.column_names)])
    for column in NEVER_NULL:
        if data.data.column(column).null_count:
            first = data[column].index(None)
            raise UserError(f"row {first} of {source_of(name, split)}: {column} is null")
    return data.add_column("row", list(range(len(data))))


def _read(name: str, split: str) -> Dataset:
    file = Path(name) / f"{split}.parquet"
    if not Path(name).is_dir() and Path(name).exists():
        raise UserError(f"{name}: name the folder that `pivotmine select` wrote, not a file in it")
    if Path(name).is_dir() and not file.is_file():
        instead = "name one that `pivotmine select` wrote"
        if split == "demonstrations" and (Path(name) / "train.parquet").is_file():
            instead = "select again with --num-demonstrations above 0"
        raise UserError(f"{name}: no {split}.parquet in this folder; {instead}")
    datasets.disable_progress_bars()
    try:
        if file.is_file():
            if pq.read_metadata(file).num_rows == 0:  # `datasets` cannot read a file without row groups
                return Dataset.from_dict({})
            return Dataset.from_parquet(str(file))  # pyright: ignore[reportReturnType]
        return datasets.load_dataset(name, split=split)  # pyright: ignore[reportReturnType]
    except Exception as error:  # the reader and the hub's client raise a dozen types
        words = str(error.__cause__ or error)
        raise UserError(f"{name}: the split {split} cannot be read: {words[:300]}") from None


def _is_kind(feature: Any, kind: str) -> bool:
    if kind == "list":
        # Polars writes large lists.
        return isinstance(feature, List | LargeList) and getattr(feature.feature, "dtype", "").startswith("int")
    return isinstance(feature, Value) and feature.dtype.removeprefix("large_") == kind


def judged_rows(data: Dataset, source: str, verifier: str | None) -> Rows:
    """Check every row and keep those that a verifier judges; UserError if none is left.

    source: from `source_of`. verifier: name of one for all rows, with its default options; None: each row's own.
    """
    kept: list[int] = []
    left_out: Counter[str] = Counter()
    for index, row in enumerate(data):
        assert isinstance(row, dict)
        spec = row_spec(row, where(row, source), verifier)
        if spec is None:
            left_out["no_verifier"] += 1
        elif _is_recorded(spec):
            raise UserError(
                f"{where(row, source)}: verifier recorded has the rewards of mined samples and cannot judge new ones; "
                "name a --verifier that can"
            )
        elif not spec.handles(row["kind"]):
            left_out[f"{spec.name} does not verify {row['kind']} turns"] += 1
        else:
            kept.append(index)
        check_row(row, source)
    if not kept:
        raise UserError(
            f"{source}: no verifier judges any row ({counted(len(data), 'row')}): mine pivots, or name a --verifier"
        )
    return Rows(data.select(kept), left_out)


def _is_recorded(spec: VerifierSpec) -> bool:
    """Whether the verifier, or one of its members, is `recorded`."""
    return spec.name == "recorded" or any(map(_is_recorded, spec.members))


def check_option(option: str, verifier: str | None) -> None:
    """Raise UserError that names the option if its value is not a verifier."""
    if verifier is not None:
        try:
            named_spec(verifier, "{}")
        except UserError as error:
            raise UserError(f"--{option} {verifier}: {error}") from None


def row_weights(data: Dataset, source: str) -> list[float] | None:
    """The rows' `weight` column; None if it is absent or all weights are equal. UserError if one is negative."""
    if "weight" not in data.column_names:
        return None
    weights = [1.0 if weight is None else float(weight) for weight in data["weight"]]
    for row, weight in enumerate(weights):
        if not 0 <= weight < math.inf:
            raise UserError(f"{where(data[row], source)}: weight {weight}: a finite number, 0 or more")
    if not sum(weights):
        raise UserError(f"{source}: all weights are 0; select again with other weights")
    return None if len(set(weights)) == 1 else weights


def check_servers(splits: Iterable[Dataset], verifier: str | None) -> None:
    """Raise UserError if a verifier of these rows needs a server that gives no verdict: training would wait for it.

    splits: rows from `judged_rows`.
    """
    named = {pair for data in splits for pair in zip(data["verifier"], data["verifier_options"], strict=True)}
    if verifier is not None:
        named = {(verifier, "{}")}
    for name, options in sorted(named):
        named_spec(name, options).check_server()


def check_rows(data: Dataset, source: str) -> None:
    """Raise UserError for the first row with an unreadable column."""
    for row in data:
        assert isinstance(row, dict)
        check_row(row, source)
