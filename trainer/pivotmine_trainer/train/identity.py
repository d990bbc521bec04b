"""The identity of a training: everything its steps depend on, in OUTPUT_DIR/training.json. A resumption must match it.

It has every option that is not in FREE, also options that a new version of TRL adds, and hashes of every column of the
splits that training reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

from datasets import Dataset

from pivotmine import policy
from pivotmine.errors import UserError
from pivotmine.verifiers.dataset_rows import named_spec
from pivotmine_trainer.checks import policies
from pivotmine_trainer.cli.arguments import GRPOSettings, ModelSettings, PivotArguments, SFTSettings
from pivotmine_trainer.cli.console import is_first_process, warn

FILE = "training.json"
FORMAT = 2
"""Version of the file. Version 1 has no `format`, and only some of the options."""
LENGTH = ("max_steps", "num_train_epochs")
WHEN_TO_EVALUATE = ("eval_delay", "eval_on_start", "eval_steps")
WHERE_FROM = ("model_name_or_path", "model_revision")
"""Free if the hash of the weights is known."""
FREE = (
    *("dataset", "resume_from_checkpoint", "output_dir"),  # the dataset's content counts
    *LENGTH,  # but see `_free`
    *WHEN_TO_EVALUATE,
    *("mine_again_share", "retrieval_prompts", "watch_verifier"),
    # logging
    *("debug", "disable_tqdm", "include_num_input_tokens_seen", "log_completions", "log_completions_hub_repo"),
    *("log_level", "log_level_replica", "log_multimodal", "log_on_each_node", "log_unique_prompts"),
    *("logging_first_step", "logging_nan_inf_filter", "logging_steps", "logging_strategy", "num_completions_to_print"),
    *("project", "report_to", "run_name", "skip_memory_metrics"),
    *("trackio_bucket_id", "trackio_space_id", "trackio_static_space_id"),
    # saving
    *("enable_jit_checkpoint", "restore_callback_states_from_checkpoint", "save_on_each_node", "save_only_model"),
    *("save_steps", "save_strategy", "save_total_limit"),
    *("hub_always_push", "hub_model_id", "hub_private_repo", "hub_revision", "hub_strategy", "hub_token"),
    "push_to_hub",
    # the machine; the number of processes is checked on its own
    *("dataloader_num_workers", "dataloader_persistent_workers", "dataloader_pin_memory", "dataloader_prefetch_factor"),
    *("dataloader_multiprocessing_context", "dataset_num_proc", "ddp_timeout", "do_eval", "do_predict", "do_train"),
    *("local_rank", "torch_empty_cache_steps", "vllm_enable_sleep_mode", "vllm_gpu_memory_utilization"),
    *("vllm_group_port", "vllm_server_base_url", "vllm_server_host", "vllm_server_port", "vllm_server_timeout"),
)
"""Options that no step depends on."""
_ANY_LENGTH = ("constant", "constant_with_warmup", "inverse_sqrt", "reduce_lr_on_plateau", "greedy")
"""Schedules whose rate at a step does not depend on how many steps there are."""
_BY_EVALUATION = ("reduce_lr_on_plateau", "greedy")
_FREE_COLUMNS = ("row", "tokenizer", "weights_hash", "policy_id", "num_samples")
"""Columns that only messages depend on."""
_NAMES = ("_name_or_path", "transformers_version")
"""Fields of a generation config that do not count: its location, and the version that wrote it."""
_ROWS_AT_ONCE = 256

Identity = dict[str, dict[str, Any]]


def identity(
    arguments: PivotArguments,
    settings: GRPOSettings | SFTSettings,
    model: ModelSettings,
    tokenizer: Any,
    splits: Mapping[str, Dataset | None],
) -> Identity:
    """Collect the options by name, and hashes of the policy's files and of each split's columns.

    splits: None if a split is not read. Only the first process hashes the weights. Their hash is None in the other
    processes, or if they are not on this machine yet.
    """
    name = str(model.model_name_or_path)
    generation = policies.load_generation_config(policies.base_of(name) or name)
    inputs: dict[str, Any] = {
        "verifier_id": arguments.verifier and named_spec(arguments.verifier, "{}").verifier_id,
        "weights": policies.hash_weights(name) if is_first_process() else None,
        "generation config": _hash(generation and generation.to_diff_dict()),
        "tokenizer": policy.hash_tokenizer(tokenizer),
        "chat template": _hash(tokenizer.chat_template),
    }
    for name, data in splits.items():
        inputs |= _split(name, data)
    return {"options": options_of(arguments, settings, model), "inputs": inputs}


def options_of(arguments: PivotArguments, settings: GRPOSettings | SFTSettings, model: ModelSettings) -> dict[str, Any]:
    """The options that a step depends on, by name."""
    free = _free(settings)
    return {
        field.name: _plain(getattr(part, field.name))
        for part in (arguments, settings, model)
        for field in fields(part)
        if field.name not in free
    }


def _free(settings: GRPOSettings | SFTSettings) -> set[str]:
    """FREE without the options that the learning rate's schedule depends on."""
    schedule = _plain(settings.lr_scheduler_type)
    length = "max_steps" if settings.max_steps > 0 else "num_train_epochs"
    reads_length = schedule not in _ANY_LENGTH or 0 < settings.warmup_steps < 1
    reads_evaluations = schedule in _BY_EVALUATION
    return set(FREE) - {*((length,) if reads_length else ()), *(WHEN_TO_EVALUATE if reads_evaluations else ())}


def _plain(value: Any) -> Any:
    """The value after a round trip through JSON: an enumeration is its value, another object its text."""
    return json.loads(json.dumps(value, default=lambda other: other.value if isinstance(other, Enum) else str(other)))


def _hash(value: Any) -> str | None:
    """Hash of a value as JSON, without the fields in _NAMES; None for None."""
    if isinstance(value, dict):
        value = {name: value[name] for name in value if name not in _NAMES}
    return None if value is None else policy.hash_text(json.dumps(value, sort_keys=True, default=str))[:16]


def _split(name: str, data: Dataset | None) -> dict[str, Any]:
    """`<split> rows` -> number of rows (None if not read), and `<split> <column>` -> hash of the column."""
    if data is None:
        return {f"{name} rows": None}
    columns = {column: hashlib.sha256() for column in data.column_names if column not in _FREE_COLUMNS}
    for start in range(0, len(data), _ROWS_AT_ONCE):
        rows: dict[str, list[Any]] = data[start : start + _ROWS_AT_ONCE]  # pyright: ignore[reportAssignmentType]
        for column, digest in columns.items():
            digest.update("".join(f"{json.dumps(value)}\n" for value in rows[column]).encode())
    found = {f"{name} {column}": digest.hexdigest()[:16] for column, digest in columns.items()}
    return {f"{name} rows": len(data), **found}


def remember(settings: GRPOSettings | SFTSettings, ours: Identity, resumed: str | None) -> None:
    """Write the identity next to the checkpoints; UserError if the resumed training has another one."""
    if resumed is not None:
        stored = Path(resumed).resolve().parent / FILE
        if stored.is_file():
            theirs = _remembered(stored)
            if changed := changes(theirs, ours):
                raise UserError(f"{resumed} belongs to another training ({changed}): give its settings, or start over")
            ours["inputs"]["weights"] = ours["inputs"]["weights"] or theirs["inputs"].get("weights")
        else:
            warn(
                f"cannot check that {resumed} belongs to a training with these settings: {stored.parent} has no {FILE}"
            )
    if not is_first_process():
        return
    path = Path(str(settings.output_dir)) / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".json.tmp")
        half.write_text(json.dumps({"format": FORMAT, **ours}, indent=2) + "\n", encoding="utf-8")
        half.replace(path)
    except OSError as error:
        raise UserError(f"--output_dir {path.parent}: {error.strerror}; choose another folder") from None


def changes(theirs: Identity, ours: Identity) -> str:
    """The differences, each with its old and new value; empty if there are none.

    Options that only one of two versions of a library has are not compared.
    """
    before, after = ({**one["options"], **one["inputs"]} for one in (theirs, ours))
    names = [name for name in ours["options"] if name in theirs["options"]]
    if (before.get("weights") and after.get("weights")) or not is_first_process():
        names = [name for name in names if name not in WHERE_FROM]
    if before.get("weights") and after.get("weights"):
        names.append("weights")
    names += [name for name in {**theirs["inputs"], **ours["inputs"]} if name != "weights"]
    changed = [name for name in names if before.get(name) != after.get(name)]
    other_rows = {name.removesuffix("rows") for name in changed if name.endswith(" rows")}  # then all columns differ
    said = [name for name in changed if name.endswith(" rows") or not name.startswith(tuple(other_rows))]
    return ", ".join(f"{name} {before.get(name)} -> {after.get(name)}" for name in said)


def _remembered(path: Path) -> Identity:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if isinstance(found, dict) and found and "format" not in found:
        raise UserError(
            f"{path} is of an earlier version, which did not keep all settings: delete it to continue without this "
            "check, or start over in another --output_dir"
        )
    options, inputs = (found.get(name) if isinstance(found, dict) else None for name in ("options", "inputs"))
    if not isinstance(options, dict) or not isinstance(inputs, dict):
        raise UserError(
            f"{path} is broken, so its checkpoints cannot be matched: delete it to continue without this check, or "
            "start over in another --output_dir"
        )
    return {"options": options, "inputs": inputs}
