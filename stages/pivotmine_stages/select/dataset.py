"""Write chosen states as the Parquet that a trainer reads.

A row is checked before it is written: its prompt has exactly the tokens that were sampled from, and tokenising its text
gives these tokens. Values that vary in shape are JSON text, because a trainer would fill absent keys with nulls. No
column has the name of one of TRL's reward arguments, because TRL would overwrite it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pivotmine import policy, strict_json
from pivotmine.actions import NATIVE, action_from_json, implied_tools, is_text
from pivotmine.errors import UserError
from pivotmine.escape import public_address
from pivotmine.progress import track
from pivotmine.run import rundir
from pivotmine.run.atomic_files import temporary_place
from pivotmine.run.parts import PartsManifest
from pivotmine.run.segment_texts import SegmentTexts
from pivotmine.run.states import StateMessages, state_messages
from pivotmine.run.tables import PIVOTS
from pivotmine.verifiers import VerifierSpec, resolve
from pivotmine_stages.parallel import process_map
from pivotmine_stages.policy.prompts import RENDERING, Prompt, Renderer, load_renderer, refusal_words
from pivotmine_stages.policy.record import PolicyRecord
from pivotmine_stages.profiles.gate import as_reject
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.rule import is_validation

SPLITS: tuple[str, ...] = ("train", "validation")
DEMONSTRATIONS = "demonstrations"
"""The third file: a fair sample of all demonstrated states, for the trainer's demonstration loss."""
ROWS_PER_GROUP = 512
STATES_PER_BATCH = 128
ROWS_WORTH_PROCESSES = 2000
_COPIED = (
    *("state_id", "trajectory_id", "turn_id", "task_id", "domain", "kind", "source", "source_index"),
    *("turn_index", "outcome", "num_samples", "num_scored", "mean", "variance", "reward_class"),
    *("posterior_mean", "pivot_probability"),
)


class Mined(NamedTuple):
    """What a dataset is made from."""

    policy: PolicyRecord
    verifier: VerifierSpec | None
    """None if nothing was scored (`--strategy all` only)."""
    parser: str
    profiles: pl.DataFrame
    """Rows of `profiles`."""
    prompts: pl.DataFrame
    """state_id, num_prompt_tokens and prompt_hash as sampled. The hashes are a list, of one element unless the prompt
    changed between samples."""
    reported: pl.DataFrame | None = None
    """Profiles of held-out samples, which the rows report; None if they report the profiles that chose them."""

    @property
    def verifier_id(self) -> str | None:
        """The verifier's id; None without a verifier."""
        return self.verifier.verifier_id if self.verifier else None


def load_prompt_renderer(config: SelectConfig, record: PolicyRecord) -> Renderer:
    """Return the renderer that rollout used; UserError if it is no longer available."""
    tokenizer = config.tokenizer or record.tokenizer
    if tokenizer is None:
        raise UserError(
            "the prompts were rendered by a chat server, or where the rollouts were recorded: "
            "name their tokenizer with --tokenizer"
        )
    renderer = load_renderer(tokenizer, record.template_options, (record.tokenizer_hash, record.template_hash))
    if record.rendering < RENDERING:
        renderer.render_as_before()
    for what, ours, theirs in (
        ("tokenizer", policy.hash_tokenizer(renderer.tokenizer), record.tokenizer_hash),
        ("chat template", policy.hash_template(renderer.template), record.template_hash),
    ):
        if theirs is not None and ours != theirs:
            raise UserError(f"the {what} in {tokenizer} has changed since sampling: restore it")
    return renderer


def pivot_rows(
    run: Path,
    config: SelectConfig,
    mined: Mined,
    renderer: Renderer,
    kept: pl.DataFrame,
    demonstrated: pl.DataFrame,
    rejects: list[dict[str, Any]],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (split, row) of each kept state, in order. A state that fails a check becomes a reject.

    kept: the result of `with_samples`; `weight` may be missing. Its `state_domain` is the domain by which the state's
    verifier was chosen. demonstrated: the turns with the demonstrations of the kept states. A state without one there
    has the demonstration of its own row.
    """
    held_out = validation_trajectories(run, config)
    several = demonstrated.filter(pl.len().over("state_id") > 1)
    work = _Work(
        run,
        config,
        mined._replace(profiles=mined.profiles.clear(), prompts=mined.prompts.clear(), reported=None),
        mined.verifier_id,
        _provenance(config, mined.policy, renderer),
    )
    # For fewer rows, loading the tokenizer in more processes takes longer than rendering the prompts.
    num_processes = 1 if len(kept) < ROWS_WORTH_PROCESSES else None
    with SegmentTexts(run) as texts, process_map(num_processes) as over:
        texts.add(pl.concat([kept.select("segment_id"), several.select("segment_id")]))
        _renderers.clear()  # for rows that this process writes; workers load their own renderer
        _renderers[_renderer_key(work)] = renderer
        done = over(partial(_rows, work), _batches(kept, several, texts))
        for row, reject in track(chain.from_iterable(done), "select", "states", len(kept)):
            if reject is not None:
                rejects.append(reject)
            elif row is not None:
                yield SPLITS[row["trajectory_id"] in held_out], row


class _Work(NamedTuple):
    """What every batch of states needs to become rows."""

    run: Path
    config: SelectConfig
    mined: Mined
    """Without its tables, which rows do not need: this object is sent to workers."""
    scored_by: str | None
    provenance: dict[str, Any]


class _Batch(NamedTuple):
    kept: pl.DataFrame
    several: pl.DataFrame
    """All turns of kept states that have several."""
    texts: SegmentTexts


def _batches(kept: pl.DataFrame, several: pl.DataFrame, texts: SegmentTexts) -> Iterator[_Batch]:
    for some in kept.iter_slices(STATES_PER_BATCH):
        own = several.join(some, on="state_id", how="semi", maintain_order="left")
        read = pl.concat([some.select("segment_id", "tools_id"), own.select("segment_id", "tools_id")])
        yield _Batch(some, own, texts.only(read))


_renderers: dict[tuple[Any, ...], Renderer] = {}
"""The renderers of this process, by `_renderer_key`."""


def _renderer_key(work: _Work) -> tuple[Any, ...]:
    record = work.mined.policy
    options = strict_json.canonical(record.template_options)
    return (work.config.tokenizer or record.tokenizer, options, record.tokenizer_hash, record.template_hash)


def _rows(work: _Work, batch: _Batch) -> list[tuple[dict[str, Any] | None, dict[str, Any] | None]]:
    """Return (row, None) or (None, reject) for each state of a batch."""
    key = _renderer_key(work)
    if key not in _renderers:
        _renderers[key] = load_prompt_renderer(work.config, work.mined.policy)
    demonstrations: dict[str, list[dict[str, Any]]] = {}
    for state in state_messages(work.run, batch.several, batch.texts):
        demonstrations.setdefault(state.turn["state_id"], []).append(_demonstration(state))
    return [
        _row(work, _renderers[key], state, demonstrations.get(state.turn["state_id"]) or [_demonstration(state)])
        for state in state_messages(work.run, batch.kept, batch.texts)
    ]


def _row(
    work: _Work, renderer: Renderer, state: StateMessages, shown: list[dict[str, Any]]
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    turn = state.turn
    try:
        prompt = renderer.render(state.messages, state.tools)
    except UserError:
        raise
    except Exception as error:  # a foreign template may raise anything, though it has rendered the profiled states
        return None, as_reject("select", "template_error", turn, refusal_words(error))
    text = renderer.plain_text(prompt)
    if reason := _problem(work.config, text, prompt.token_ids, turn["prompt_hash"]):
        return None, as_reject("select", reason, turn, f"{len(prompt.token_ids)} prompt tokens")
    row = {
        **{name: turn[name] for name in _COPIED},
        "source": public_address(turn["source"]),  # older runs stored it with its query
        "weight": turn.get("weight"),
        "rewards": turn["rewards"] or [],
        "lengths": turn["lengths"] or [],
        "num_distinct_actions": turn["num_distinct_actions"] or 0,
        "entropy": turn["entropy"],
        **_prompt_columns(state, prompt, text),
        "demonstrations": strict_json.dumps(shown),
        **_verifier_columns(work.mined, work.scored_by, turn["state_domain"], shown),
        **_action_columns(turn["action_format"], shown),
        **work.provenance,
    }
    return row, None


def _demonstration(state: StateMessages) -> dict[str, Any]:
    return {
        "action": json.loads(state.turn["demonstration"]),
        "reply": state.reply,
        "turn_id": state.turn["turn_id"],
    }


def validation_trajectories(run: Path, config: SelectConfig) -> set[str]:
    """Return the ids of the held-out trajectories. They are split by task, or by first state if they name no task."""
    first = rundir.scan(run, "turns").filter(pl.col("turn_index") == 0).select("trajectory_id", "state_id")
    tasks = rundir.scan(run, "trajectories").select("trajectory_id", "task_id")
    keys = {
        trajectory_id: f"task/{task_id}" if task_id is not None else f"state/{state_id}"
        for trajectory_id, state_id, task_id in first.join(tasks, on="trajectory_id").collect().iter_rows()
    }
    return {trajectory_id for trajectory_id, key in keys.items() if is_validation(key, config)}


def _problem(
    config: SelectConfig, text: str | None, token_ids: list[int], sampled_hashes: list[str] | None
) -> str | None:
    if sampled_hashes and sampled_hashes != [policy.hash_token_ids(token_ids)]:
        return "prompt_changed"
    if text is None:
        return "prompt_not_plain_text"
    if config.max_prompt_tokens is not None and len(token_ids) > config.max_prompt_tokens:
        return "prompt_too_long"
    return None


def _prompt_columns(state: StateMessages, prompt: Prompt, text: str | None) -> dict[str, Any]:
    # Trainers read message["content"] and fail if it is null or absent. Both mean the same as "".
    messages = [message if message.get("content") else {**message, "content": ""} for message in state.messages]
    return {
        "prompt": text,
        "prompt_ids": prompt.token_ids,
        "prompt_messages": strict_json.dumps(messages),
        "tools": strict_json.dumps(state.tools) if state.tools else None,
        "opened_reasoning": prompt.opened_reasoning,
    }


def _verifier_columns(
    mined: Mined, scored_by: str | None, domain: str | None, demonstrations: list[dict[str, Any]]
) -> dict[str, Any]:
    """Name the one verifier that judges the row, because a reader of the row does not know the run's rules."""
    actions = [action_from_json(strict_json.dumps(shown["action"])) for shown in demonstrations]
    verifier = mined.verifier and resolve(mined.verifier, domain, actions)
    return {
        "verifier": verifier and verifier.name,
        "verifier_options": verifier and verifier.options_json,
        "verifier_id": verifier and verifier.verifier_id,
        "scores_verifier_id": verifier and scored_by,
        "parser": mined.parser,
    }


def _action_columns(action_format: str | None, demonstrations: list[dict[str, Any]]) -> dict[str, Any]:
    """Say how a completion is read. Tools that a text convention implies are for the verifier, not for the prompt."""
    if not is_text(action_format):
        return {"action_format": NATIVE, "action_tools": "[]"}
    actions = [action_from_json(strict_json.dumps(shown["action"])) for shown in demonstrations]
    return {"action_format": action_format, "action_tools": strict_json.dumps(implied_tools(action_format, actions))}


def _provenance(config: SelectConfig, record: PolicyRecord, renderer: Renderer) -> dict[str, Any]:
    given = config.tokenizer or record.tokenizer
    budget = {} if record.budget is None else {"max_new_tokens": record.budget}
    return {
        "policy_id": record.policy_id,
        "sampling": strict_json.dumps({**record.sampling, **budget}),
        "tokenizer": str(Path(given).resolve()) if given and Path(given).exists() else given,
        "template_options": strict_json.dumps(record.template_options),
        "weights_hash": record.weights_hash,
        "tokenizer_hash": policy.hash_tokenizer(renderer.tokenizer),
        "template_hash": policy.hash_template(renderer.template),
    }


def write_splits(
    folder: Path, rows: Iterable[tuple[str, dict[str, Any]]], splits: tuple[str, ...] = SPLITS
) -> dict[str, int]:
    """Write the splits to temporary files, some rows at a time, and rename them together. Return their lengths."""
    pending: dict[str, list[dict[str, Any]]] = {split: [] for split in splits}
    counts = dict.fromkeys(splits, 0)
    with ExitStack() as held:
        places = {split: held.enter_context(temporary_place(folder / f"{split}.parquet")) for split in splits}
        writers = {split: pq.ParquetWriter(place, PIVOTS, compression="zstd") for split, place in places.items()}

        def flush(split: str) -> None:
            writers[split].write_table(pa.Table.from_pylist(pending[split], schema=PIVOTS))
            pending[split].clear()

        for split, row in rows:
            pending[split].append(row)
            counts[split] += 1
            if len(pending[split]) == ROWS_PER_GROUP:
                flush(split)
        for split, writer in writers.items():
            if pending[split]:  # with an empty row group, `datasets` cannot load the other splits either
                flush(split)
            writer.close()
        manifest = PartsManifest(folder.parents[1], folder)
        for split, place in places.items():
            manifest.replace(place, folder / f"{split}.parquet")
    return counts


def copy_demonstrations(run: Path, source: Path, folder: Path) -> None:
    """Copy the demonstrations of one dataset into the folder of another."""
    path = folder / f"{DEMONSTRATIONS}.parquet"
    with temporary_place(path) as place:
        shutil.copyfile(source / path.name, place)
        PartsManifest(run, folder).replace(place, path)
