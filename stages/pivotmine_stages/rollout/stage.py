"""rollout: demonstrated states -> sampled actions.

States whose demonstrations fail the configured verifier are not sampled. What is sampled already is never sampled
again: a row is named by (state, sample), and a part file is whole or absent.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.errors import UserError
from pivotmine.escape import one_line
from pivotmine.policy import hash_token_ids
from pivotmine.progress import Progress, progress
from pivotmine.run import rundir, sql
from pivotmine.run.parts import PartsManifest
from pivotmine.run.states import StateMessages, state_messages
from pivotmine_stages.engines.options import failed, require_room
from pivotmine_stages.engines.protocol import Reply, Request, Sample
from pivotmine_stages.policy.differences import announce
from pivotmine_stages.policy.prompts import Prompt, Renderer
from pivotmine_stages.policy.record import PolicyRecord, check_seed, is_sampled, known_policies, remember_policy
from pivotmine_stages.policy.session import PolicySession, open_policy
from pivotmine_stages.profiles.gate import as_reject
from pivotmine_stages.rollout.missing import Eligible, eligible_states, in_prefix_order, missing_samples, wanted_samples
from pivotmine_stages.rollout.options import RolloutConfig
from pivotmine_stages.rollout.part_writer import PartWriter, Rows
from pivotmine_stages.termination import finishing

log = logging.getLogger("pivotmine")
SAMPLES_PER_PART = 4096
SECONDS_PER_PART = 30.0
_OF_SAMPLE = [field.name for field in fields(Sample)]


class _Work:
    """One run of the stage: what is in flight, what was rejected, what to write."""

    def __init__(self, run: Path, config: RolloutConfig, record: PolicyRecord, rejects: list[dict[str, Any]]) -> None:
        self.run, self.folder = run, run / "rollouts" / record.policy_id
        self.config, self.record, self.rejects = config, record, rejects
        self.in_flight: dict[str, tuple[dict[str, Any], Prompt | None]] = {}
        self.parts = PartWriter(self.write, num_rows=SAMPLES_PER_PART, seconds=SECONDS_PER_PART)
        self.manifest = PartsManifest(run, self.folder, "{}of{}".format(*config.shard))
        for path in self.manifest.forget_lost():
            log.warning("%s is missing: its samples are drawn again", path)
        self.counts: Counter[str] = Counter()
        # Not their number: one that could not be written leaves a gap.
        # Nor those alone that are here: the scores of one that was deleted would pass for the next one's.
        names = f"part-{config.shard[0]}of{config.shard[1]}-*.parquet"
        parts = [*self.folder.glob(names), *(run / "scores" / record.policy_id).glob(f"*/{names}")]
        self.part = 1 + max((int(path.name.split("-")[2].split(".")[0]) for path in parts), default=-1)

    def reject(self, reason: str, turn: dict[str, Any], detail: str) -> None:
        self.rejects.append(as_reject("rollout", reason, turn, detail))

    def write(self, rows: Rows) -> None:
        """Write a part, under a name that no part has had."""
        remember_policy(self.run, self.record)
        i, n = self.config.shard
        path, self.part = self.folder / f"part-{i}of{n}-{self.part:06d}.parquet", self.part + 1
        self.manifest.write(path, rundir.table_of_rows("rollouts", rows))


def rollout(
    config: RolloutConfig, run: Path, policy: PolicySession | None = None, eligible: Eligible | None = None
) -> dict[str, Any]:
    """Run the stage; returns the summary that the command prints. A second run samples only what is missing.

    policy: one that was opened for this configuration and stays open, for several rounds; None: one of its own.
    eligible: the states that the rounds share; None: those that this configuration asks for.
    """
    rundir.require_run(run)
    i, n = config.shard
    assert 0 <= i < n, config.shard
    with (
        nullcontext(policy) if policy is not None else open_policy(config.policy) as opened,
        rundir.stage_lock(run, f"rollout-{opened.record.policy_id}-{i}of{n}"),
    ):
        check_seed(run, opened.record)
        return _rollout(config, run, opened, eligible)


def _rollout(config: RolloutConfig, run: Path, policy: PolicySession, eligible: Eligible | None) -> dict[str, Any]:
    started, record = time.monotonic(), policy.record
    states, rejects = eligible or eligible_states(
        run, config.verifier, config.shard, plan=config.plan, limit=config.limit
    )
    wanted = wanted_samples(
        states, num_samples=config.num_samples, plan=config.plan, limit=config.limit, shard=config.shard
    )
    missing = missing_samples(run, record.policy_id, wanted)
    if any((run / "rollouts" / record.policy_id).glob("part-*.parquet")):
        remember_policy(run, record)  # its record may have been deleted
    work = _Work(run, config, record, list(rejects))
    sampling_s = 0.0
    if not missing.is_empty():
        _announce(run, record)
        engine = policy.engine(_stored(run, record)["samples"])
        require_room(config.policy.engine.sampling.max_new_tokens, engine.max_model_len, "the model's context")
        opened = time.monotonic()
        requests = _requests(run, in_prefix_order(run, missing), policy.renderer, engine.max_model_len, work)
        with finishing(), work.parts, progress("rollout", len(missing)) as shown:
            _collect(engine.sample(requests), work, shown)
        sampling_s = time.monotonic() - opened
    return _finish(run, work, wanted, sampling_s, time.monotonic() - started)


def _announce(run: Path, record: PolicyRecord) -> None:
    """Say how a policy that the run does not have yet differs from those that it has; imported ones do not count."""
    if is_sampled(run, record.policy_id):
        return
    others = [other for other in known_policies(run).values() if other.weights_hash or other.engine == record.engine]
    counted = {one.policy_id: (asdict(one), _counted(_stored(run, one)["samples"])) for one in others}
    announce("policy", asdict(record), counted)


def _counted(number: int) -> str:
    return f"{number:,} sample{'' if number == 1 else 's'}"


def require_samples(summary: dict[str, Any]) -> None:
    """UserError, with the reason, where no sample is stored for the stages that come next."""
    if summary["stored"]["samples"]:
        return
    if not summary["rejects"]:
        raise UserError("nothing was sampled: nothing in the sources is a demonstration, extract's rejects say why")
    reasons = ", ".join(f"{reason} {number}" for reason, number in summary["rejects"].items())
    cause = "".join(f"; the first {reason}: {detail}" for reason, detail in list(summary["causes"].items())[:1])
    raise UserError(one_line(f"nothing was sampled: {reasons}{cause}"))


def _stored(run: Path, record: PolicyRecord) -> dict[str, int]:
    """What all starts together have sampled of the policy; each prompt counts once."""
    parts = sorted((run / "rollouts" / record.policy_id).glob("*.parquet"))
    states = (
        rundir.scan(run, "rollouts", parts)
        .group_by("state_id")
        .agg(pl.len(), pl.col("num_tokens").sum(), pl.col("num_prompt_tokens").first())
    )
    sums = states.select(pl.col("len", "num_tokens", "num_prompt_tokens").cast(pl.Int64).sum()).collect().row(0)
    return dict(zip(("samples", "tokens", "prompt_tokens"), sums, strict=True))


def _requests(
    run: Path, missing: pl.DataFrame, renderer: Renderer | None, max_model_len: int | None, work: _Work
) -> Iterator[Request]:
    budget = work.config.policy.engine.sampling.max_new_tokens
    for state in state_messages(run, missing):
        prompt = None
        if renderer is not None:
            prompt = _render(renderer, state, work)
            if prompt is None:
                continue
            if max_model_len is not None and len(prompt.token_ids) + budget > max_model_len:
                detail = f"{len(prompt.token_ids)} prompt tokens and {budget} new ones exceed {max_model_len}"
                work.reject("prompt_too_long", state.turn, detail)
                continue
        work.in_flight[state.turn["state_id"]] = state.turn, prompt
        yield Request(
            state_id=state.turn["state_id"],
            prompt_ids=prompt.token_ids if prompt else [],
            sample_indices=tuple(state.turn["missing"]),
            trajectory_id=state.turn["trajectory_id"],
            messages=state.messages,
            tools=state.tools,
        )


def _render(renderer: Renderer, state: StateMessages, work: _Work) -> Prompt | None:
    try:
        return renderer.render(state.messages, state.tools)
    except Exception as error:  # a foreign template may raise anything; the state is what it refuses
        work.reject("template_error", state.turn, f"{type(error).__name__}: {error}"[:300])
        return None


def sound(reply: Reply) -> Reply:
    """The reply; a failure where the model answers with no numbers, for its samples would look like answers."""
    if all(math.isfinite(logprob) for sample in reply.samples for logprob in sample.logprobs or ()):
        return reply
    return failed(reply.request, "engine_error", "log-probabilities that are no numbers: the weights may be broken")


def _collect(replies: Iterator[Reply], work: _Work, shown: Progress) -> None:
    for reply in map(sound, replies):
        turn, prompt = work.in_flight.pop(reply.request.state_id)
        if reply.failure:
            work.reject(reply.failure, turn, reply.detail)
        work.parts.add(_rows(work, reply, prompt))
        tokens = sum(sample.num_tokens or 0 for sample in reply.samples)
        work.counts.update(
            states=bool(reply.samples),
            samples=len(reply.samples),
            tokens=tokens,
            prompt_tokens=len(prompt.token_ids) if prompt else 0,
            cached_tokens=reply.num_cached_tokens or 0,
        )
        if reply.num_prefill_tokens is not None:
            work.counts["prefill_tokens"] += reply.num_prefill_tokens
        shown.advance(states=1, tokens=tokens)


def _rows(work: _Work, reply: Reply, prompt: Prompt | None) -> Rows:
    of_state = {
        "policy_id": work.record.policy_id,
        "state_id": reply.request.state_id,
        "num_prompt_tokens": len(prompt.token_ids) if prompt else None,
        "num_cached_tokens": reply.num_cached_tokens,
        "opened_reasoning": prompt.opened_reasoning if prompt else False,
        "prompt_hash": hash_token_ids(prompt.token_ids) if prompt else None,
        "budget": work.config.policy.engine.sampling.max_new_tokens,
    }
    # Not `asdict`: it copies every token, while the engine waits.
    return [{**of_state, **{name: getattr(sample, name) for name in _OF_SAMPLE}} for sample in reply.samples]


def _finish(run: Path, work: _Work, wanted: pl.DataFrame, sampling_s: float, seconds: float) -> dict[str, Any]:
    config, (i, n) = work.config, work.config.shard
    identity = {"policy_id": work.record.policy_id, "verifier_id": config.verifier.verifier_id}
    folder = rundir.rejects_dir(run, "rollout", identity)
    rundir.write_rows(folder / f"rejects-{i}of{n}.parquet", "rejects", work.rejects)
    # What was shared out otherwise before is counted anew by these shares.
    for other in set(folder.glob("rejects-*.parquet")) - set(folder.glob(f"rejects-*of{n}.parquet")):
        other.unlink()
    left = missing_samples(run, work.record.policy_id, wanted)
    summary = {
        **identity,
        "wanted_states": len(wanted),
        "wanted_samples": int(wanted["num_samples"].sum()),
        "missing_samples": int(left["missing"].list.len().sum()),
        "sampled": dict(work.counts),
        "stored": _stored(run, work.record),
        "rejects": dict(Counter(row["reason"] for row in work.rejects)),
        "causes": {row["reason"]: row["detail"] for row in reversed(work.rejects) if row["detail"]},
        "sampling_s": round(sampling_s, 2),
        "seconds": round(seconds, 2),
    }
    command = {
        "num_samples": config.num_samples,
        "limit": config.limit,
        "shard": f"{i}/{n}",
        "plan": str(config.plan or ""),
    }
    rundir.write_manifest(run, "rollout", {**identity, **command}, {"summary": summary})
    sql.write_views(run)
    return summary
