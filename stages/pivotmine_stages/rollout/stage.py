"""rollout: demonstrated states -> sampled actions.

States whose demonstrations all fail the verifier are not sampled. Stored samples are never drawn again: a row is
identified by (state, sample, token budget), and a part file is whole or absent. A larger budget continues the samples
that a smaller one truncated (`continuation`); a smaller budget draws no stored sample again.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from pivotmine.counts import counted
from pivotmine.errors import UserError
from pivotmine.escape import one_line
from pivotmine.policy import hash_token_ids
from pivotmine.progress import Progress, progress
from pivotmine.run import parts, rundir, sql
from pivotmine.run.parts import PartsManifest
from pivotmine.run.states import StateMessages, state_messages
from pivotmine_stages.command import EMPTY, OMITTED, to_json
from pivotmine_stages.engines.options import failed, require_room
from pivotmine_stages.engines.protocol import Reply, Request, Sample
from pivotmine_stages.policy.differences import announce
from pivotmine_stages.policy.prompts import Prompt, Renderer, refusal_words
from pivotmine_stages.policy.record import PolicyRecord, check_seed, is_sampled, known_policies, remember_policy
from pivotmine_stages.policy.session import PolicySession, open_policy
from pivotmine_stages.profiles.budgets import LONGER, ROW, samples_under, stored_rows
from pivotmine_stages.profiles.gate import as_reject
from pivotmine_stages.rollout.continuation import Row, continuing, joined, shortened, stored_samples
from pivotmine_stages.rollout.missing import Eligible, eligible_states, in_prefix_order, missing_samples, wanted_samples
from pivotmine_stages.rollout.options import RolloutConfig
from pivotmine_stages.rollout.part_writer import PartWriter, Rows
from pivotmine_stages.termination import finishing

log = logging.getLogger("pivotmine")
SAMPLES_PER_PART = 4096
SECONDS_PER_PART = 30.0
STATES_PER_READ = 8192
"""Number of states whose stored tokens are read at a time, to continue their samples."""
_OF_SAMPLE = [field.name for field in fields(Sample)]


class _InFlight(NamedTuple):
    """The parts that the request was made from."""

    turn: dict[str, Any]
    prompt: Prompt | None
    cut: Mapping[int, Row]
    """The stored rows that it continues, by sample index; empty if it samples from the prompt."""


class _Work:
    """One run of the stage: requests in flight, rejects, and rows to write."""

    def __init__(self, run: Path, config: RolloutConfig, record: PolicyRecord, rejects: list[dict[str, Any]]) -> None:
        self.run, self.folder = run, run / "rollouts" / record.policy_id
        self.config, self.record, self.rejects = config, record, rejects
        self.in_flight: dict[tuple[str, tuple[int, ...]], _InFlight] = {}
        self.tokenizer: Any = None
        """The tokenizer of the prompts; None if a chat server renders them, whose samples are never continued."""
        self.num_open: Counter[str] = Counter()
        """Number of unanswered requests per state."""
        self.parts = PartWriter(self.write, num_rows=SAMPLES_PER_PART, seconds=SECONDS_PER_PART)
        self.manifest = PartsManifest(run, self.folder, "{}of{}".format(*config.shard))
        for path in self.manifest.forget_lost():
            log.warning("%s is missing: its samples are drawn again", path)
        self.counts: Counter[str] = Counter()
        self.sampled_states: set[str] = set()
        # One above the highest number: the count of parts is too low if a write failed. Deleted parts with scores count
        # too, or their scores would pass for those of a new part.
        names = f"part-{config.shard[0]}of{config.shard[1]}-*.parquet"
        parts = [*self.folder.glob(names), *(run / "scores" / record.policy_id).glob(f"*/{names}")]
        self.part = 1 + max((int(path.name.split("-")[2].split(".")[0]) for path in parts), default=-1)

    def reject(self, reason: str, turn: dict[str, Any], detail: str) -> None:
        self.rejects.append(as_reject("rollout", reason, turn, detail))

    def write(self, rows: Rows) -> None:
        """Write a part under a name that no part has ever had."""
        remember_policy(self.run, self.record)
        i, n = self.config.shard
        path, self.part = self.folder / f"part-{i}of{n}-{self.part:06d}.parquet", self.part + 1
        self.manifest.write(path, rundir.table_of_rows("rollouts", rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """Counts of what the engine generated; false if it was not needed, or did not answer."""

    states: int = 0
    """States with a new sample."""
    samples: int | None = field(default=None, metadata=OMITTED)
    """Samples drawn from prompts; None if there were none to draw."""
    continued: int | None = field(default=None, metadata=OMITTED)
    """Truncated samples that were continued; None if there were none to continue."""
    tokens: int = 0
    """Generated tokens."""
    prompt_tokens: int = 0
    """Prompt tokens of all requests; 0 if a chat server renders the prompts."""
    cached_tokens: int = 0
    """Prompt tokens that came from a prefix cache."""
    prefill_tokens: int | None = field(default=None, metadata=OMITTED)
    """Prompt tokens that were prefilled, over all samples; None if the engine does not count them."""

    def __bool__(self) -> bool:
        return self != Sampled()


@dataclass(frozen=True, slots=True)
class Stored:
    """The policy's samples that all starts have stored. Only the longest row of a sample counts, and each prompt
    once."""

    samples: int
    tokens: int
    """Generated tokens."""
    prompt_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSummary:
    """The result of one start."""

    policy_id: str
    verifier_id: str
    wanted_states: int
    wanted_samples: int
    missing_samples: int
    """Wanted samples that are still missing, or truncated by a smaller budget."""
    sampled: Sampled = field(metadata=EMPTY)
    stored: Stored
    rejects: dict[str, int]
    """States that could not be sampled, by reason."""
    causes: dict[str, str]
    """Detail of the first reject, by reason."""
    sampling_s: float
    """Seconds of sampling; `seconds` is the whole start."""
    seconds: float


def rollout(
    config: RolloutConfig, run: Path, policy: PolicySession | None = None, eligible: Eligible | None = None
) -> RolloutSummary:
    """Run the stage; returns the summary that the command prints. A second run draws only missing samples.

    policy: one that was opened for this configuration and stays open, for several rounds; None to open one for this
    call. eligible: the states that the rounds share; None to find those of this configuration.
    """
    rundir.require_run(run)
    i, n = config.shard
    assert 0 <= i < n, config.shard
    with (
        nullcontext(policy) if policy is not None else open_policy(config.policy, run) as opened,
        rundir.stage_lock(run, f"rollout-{opened.record.policy_id}-{i}of{n}"),
    ):
        check_seed(run, opened.record)
        return _rollout(config, run, opened, eligible)


def _rollout(config: RolloutConfig, run: Path, policy: PolicySession, eligible: Eligible | None) -> RolloutSummary:
    started, record = time.monotonic(), policy.record
    states, rejects = eligible or eligible_states(
        run, config.verifier, config.shard, plan=config.plan, limit=config.limit
    )
    wanted = wanted_samples(
        states, num_samples=config.num_samples, plan=config.plan, limit=config.limit, shard=config.shard
    )
    samples = samples_under(run, record, record.budget)
    missing = missing_samples(samples, wanted)
    if not samples.is_empty():
        remember_policy(run, record)  # its record may have been deleted, or be of another budget
    work = _Work(run, config, record, list(rejects))
    work.tokenizer = policy.renderer and policy.renderer.tokenizer
    if config.verifier.judges_truncated:
        _shorten(work, samples.join(wanted, on="state_id", how="semi"))
    sampling_s = 0.0
    if not missing.is_empty():
        announce_policy(run, record)
        engine = policy.engine(stored_rows(run, record).select(pl.len()).collect().item())
        require_room(config.policy.engine.sampling.max_new_tokens, engine.max_model_len, "the model's context")
        opened = time.monotonic()
        requests = _requests(run, in_prefix_order(run, missing), policy.renderer, engine.max_model_len, work)
        with finishing(), work.parts, progress("rollout", len(missing)) as shown:
            _collect(engine.sample(requests), work, shown)
        sampling_s = time.monotonic() - opened
    return _finish(run, work, wanted, sampling_s, time.monotonic() - started)


def _shorten(work: _Work, samples: pl.DataFrame) -> None:
    """Write samples that are longer than the budget again, truncated to it: the verifier judges truncated samples."""
    budget = work.config.policy.engine.sampling.max_new_tokens
    longer = samples.filter(pl.col("status") == LONGER).select("state_id", "sample_index")
    for some in longer.iter_slices(SAMPLES_PER_PART):
        rows = [row for of_state in stored_samples(work.run, work.record, some).values() for row in of_state]
        # A message that a chat server parsed has no shorter form.
        if cut := [shortened(work.tokenizer, row, budget) for row in rows if row["message"] is None]:
            work.write(cut)


def announce_policy(run: Path, record: PolicyRecord) -> None:
    """Print how a policy that is new to the run differs from its other policies; imported ones do not count."""
    if is_sampled(run, record.policy_id):
        return
    others = [other for other in known_policies(run).values() if other.weights_hash or other.engine == record.engine]
    stored = {one.policy_id: (asdict(one), counted(_stored(run, one).samples, "sample")) for one in others}
    announce("policy", asdict(record), stored)


def require_samples(summary: RolloutSummary) -> None:
    """Raise UserError with the reason if no sample is stored for the next stages."""
    if summary.stored.samples:
        return
    if not summary.rejects:
        raise UserError("nothing was sampled: no turn in the sources is a demonstration, extract's rejects say why")
    reasons = ", ".join(f"{reason} {number}" for reason, number in summary.rejects.items())
    cause = "".join(f"; the first {reason}: {detail}" for reason, detail in list(summary.causes.items())[:1])
    raise UserError(one_line(f"nothing was sampled: {reasons}{cause}"))


def _stored(run: Path, record: PolicyRecord) -> Stored:
    rows = stored_rows(run, record).select(*ROW, "num_tokens", "num_prompt_tokens")
    states = (
        rows.group_by("state_id", "sample_index")
        .agg(pl.col("num_tokens").max(), pl.col("num_prompt_tokens").first())
        .group_by("state_id")
        .agg(pl.len(), pl.sum("num_tokens"), pl.col("num_prompt_tokens").first())
    )
    sums = states.select(pl.col("len", "num_tokens", "num_prompt_tokens").cast(pl.Int64).sum())
    return Stored(*sums.collect().row(0))


def _requests(
    run: Path, missing: pl.DataFrame, renderer: Renderer | None, max_model_len: int | None, work: _Work
) -> Iterator[Request]:
    budget = work.config.policy.engine.sampling.max_new_tokens
    for some in missing.iter_slices(STATES_PER_READ):
        pending = some.select("state_id", sample_index="pending").explode("sample_index").drop_nulls()
        cut = stored_samples(run, work.record, pending)
        for state in state_messages(run, some):
            prompt = None
            if renderer is not None:
                prompt = _render(renderer, state, work)
                if prompt is None:
                    continue
                if max_model_len is not None and len(prompt.token_ids) + budget > max_model_len:
                    detail = f"{len(prompt.token_ids)} prompt tokens and {budget} new ones exceed {max_model_len}"
                    work.reject("prompt_too_long", state.turn, detail)
                    continue
            made = _requests_of_state(state, prompt, cut.get(state.turn["state_id"], []), work)
            work.num_open[state.turn["state_id"]] = len(made)
            for request, rows in made:
                work.in_flight[request.key] = _InFlight(state.turn, prompt, rows)
                yield request


def _requests_of_state(
    state: StateMessages, prompt: Prompt | None, cut: list[dict[str, Any]], work: _Work
) -> list[tuple[Request, dict[int, Row]]]:
    """A state's requests, each with the rows that it continues: first the samples from the prompt, without rows."""
    fresh = Request(
        state_id=state.turn["state_id"],
        prompt_ids=prompt.token_ids if prompt else [],
        sample_indices=tuple(state.turn["missing"]),
        trajectory_id=state.turn["trajectory_id"],
        messages=state.messages,
        tools=state.tools,
    )
    made: list[tuple[Request, dict[int, Row]]] = [(fresh, {})] if fresh.sample_indices else []
    if cut and (prompt is None or {row["prompt_hash"] for row in cut} != {hash_token_ids(prompt.token_ids)}):
        work.reject("prompt_changed", state.turn, "its samples cannot be continued: its prompt has changed")
        return made
    return [*made, *continuing(fresh, cut)]


def _render(renderer: Renderer, state: StateMessages, work: _Work) -> Prompt | None:
    try:
        return renderer.render(state.messages, state.tools)
    except UserError:
        raise
    except Exception as error:  # a foreign template may raise anything; it refuses this state only
        work.reject("template_error", state.turn, refusal_words(error))
        return None


def sound(reply: Reply) -> Reply:
    """The reply; a failed one if a log-probability is not a number, since such samples would look valid."""
    if all(math.isfinite(logprob) for sample in reply.samples for logprob in sample.logprobs or ()):
        return reply
    return failed(reply.request, "engine_error", "log-probabilities that are not numbers: the weights may be broken")


def _collect(replies: Iterator[Reply], work: _Work, shown: Progress) -> None:
    for reply in map(sound, replies):
        sent, state_id = work.in_flight.pop(reply.request.key), reply.request.state_id
        if reply.failure:
            work.reject(reply.failure, sent.turn, reply.detail)
        work.parts.add(_rows(work, reply, sent))
        tokens = sum(sample.num_tokens or 0 for sample in reply.samples)
        work.num_open[state_id] -= 1
        work.sampled_states |= {state_id} if reply.samples else set()
        work.counts.update(
            **{"continued" if sent.cut else "samples": len(reply.samples)},
            tokens=tokens,
            prompt_tokens=len(reply.request.prompt_ids) if sent.prompt else 0,
            cached_tokens=reply.num_cached_tokens or 0,
        )
        if reply.num_prefill_tokens is not None:
            work.counts["prefill_tokens"] += reply.num_prefill_tokens
        shown.advance(states=int(work.num_open[state_id] == 0), tokens=tokens)


def _rows(work: _Work, reply: Reply, sent: _InFlight) -> Rows:
    prompt = sent.prompt
    of_state = {
        "policy_id": work.record.policy_id,
        "state_id": reply.request.state_id,
        "num_prompt_tokens": len(prompt.token_ids) if prompt else None,
        "num_cached_tokens": reply.num_cached_tokens,
        "opened_reasoning": prompt.opened_reasoning if prompt else False,
        "prompt_hash": hash_token_ids(prompt.token_ids) if prompt else None,
        "budget": work.config.policy.engine.sampling.max_new_tokens,
    }
    rows: Rows = []
    for sample in reply.samples:
        row = sent.cut.get(sample.sample_index)
        whole = sample if row is None else joined(work.tokenizer, row, sample)
        # Not `asdict`, which copies every token while the engine waits.
        columns = {name: getattr(whole, name) for name in _OF_SAMPLE}
        rows.append({**of_state, **columns, "continues": row and row["budget"]})
    return rows


def _finish(run: Path, work: _Work, wanted: pl.DataFrame, sampling_s: float, seconds: float) -> RolloutSummary:
    config, (i, n) = work.config, work.config.shard
    identity = {"policy_id": work.record.policy_id, "verifier_id": config.verifier.verifier_id}
    folder = rundir.rejects_dir(run, "rollout", identity)
    parts.write_rejects(run, folder, rundir.table_of_rows("rejects", work.rejects), f"{i}of{n}")
    # An earlier start may have used another number of shards: its files would count the same rejects twice.
    for other in set(folder.glob("rejects-*.parquet")) - set(folder.glob(f"rejects-*of{n}.parquet")):
        other.unlink()
        parts.forget(run, other)
    left = missing_samples(samples_under(run, work.record, work.record.budget), wanted)
    summary = RolloutSummary(
        **identity,
        wanted_states=len(wanted),
        wanted_samples=int(wanted["num_samples"].sum()),
        missing_samples=int(left.select(pl.col("missing", "pending").list.len().sum()).sum_horizontal().item()),
        sampled=Sampled(states=len(work.sampled_states), **work.counts),
        stored=_stored(run, work.record),
        rejects=dict(Counter(row["reason"] for row in work.rejects)),
        causes={row["reason"]: row["detail"] for row in reversed(work.rejects) if row["detail"]},
        sampling_s=round(sampling_s, 2),
        seconds=round(seconds, 2),
    )
    command = {
        "max_new_tokens": config.policy.engine.sampling.max_new_tokens,
        "num_samples": config.num_samples,
        "limit": config.limit,
        "shard": f"{i}/{n}",
        "plan": str(config.plan or ""),
    }
    rundir.write_manifest(run, "rollout", {**identity, **command}, {"summary": to_json(summary)})
    sql.write_views(run)
    return summary
