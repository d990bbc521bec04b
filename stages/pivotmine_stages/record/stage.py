"""record: actions sampled elsewhere -> rollouts and, if they have rewards, scores and profiles.

The sources are read as `extract` reads them. Every turn is a sample of the recorded policy in its state, if the run has
that state (`state_keys`). With `--state-key actions`, the samples of several states go to one of them. A source is
recorded once, under the digest of its content; a second command does nothing. It is an error if no turn is in a state
of the run; the rejects say why.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from pivotmine import policy, strict_json
from pivotmine.actions.conventions import PARSED, require_action_format
from pivotmine.counts import counted
from pivotmine.errors import UserError
from pivotmine.escape import one_line
from pivotmine.messages import REASONING_KEYS, is_assistants, problem, text_of, tools_id
from pivotmine.options import problem as problem_of
from pivotmine.progress import track
from pivotmine.readers import all_readers, detect, grouped
from pivotmine.readers.conventions import require_calls, settle
from pivotmine.readers.record_fields import read_tools_file
from pivotmine.readers.trajectory import BadTrajectory, Segment, Trajectory
from pivotmine.readers.whole_context import Gap, find_gap, part_of, prepare
from pivotmine.run import rundir, sql
from pivotmine.run.parts import PartsManifest, write_rejects
from pivotmine.sources.json_records import Record
from pivotmine.sources.sources import SkippedFiles, Source, content_hash, find_sources, read_source
from pivotmine.verifiers import make_spec
from pivotmine_stages.command import OMITTED
from pivotmine_stages.policy.prompts import RENDERING
from pivotmine_stages.policy.record import PolicyRecord, remember_policy, require_readable
from pivotmine_stages.record.options import RecordConfig
from pivotmine_stages.record.state_keys import StateKey, known_formats, known_states
from pivotmine_stages.score.stage import ScoreConfig, ScoreSummary, score

SAMPLES_PER_PART = 4096
_WRITTEN = ("role", "content", *REASONING_KEYS, "reasoning_details", "refusal", "tool_calls", "function_call")
"""The keys of a recorded message that the policy wrote."""
_COUNTED = ("records", "turns", "samples", "rewarded", "rejects")


class _Sample(NamedTuple):
    state_id: str
    message: dict[str, Any]
    reward: float | None


class _Work(NamedTuple):
    """What all sources of one command need, and the rejects of the current source."""

    config: RecordConfig
    run: Path
    policy: PolicyRecord
    tools: list[Any] | None
    states: dict[str, str]
    """State ids by key."""
    action_formats: tuple[str | None, ...]
    """The action formats of the run's segments."""
    rejects: list[dict[str, Any]]
    """The rejects of the current source."""
    manifest: PartsManifest
    """The digests of the policy's parts."""

    @property
    def rollouts(self) -> Path:
        return self.run / "rollouts" / self.policy.policy_id


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSummary:
    """Counts over all sources."""

    policy_id: str
    sources: int
    records: int
    turns: int
    samples: int
    """Turns in states of the run."""
    rewarded: int
    """Samples that came with a reward."""
    rejects: int
    score: ScoreSummary | None = field(metadata=OMITTED)
    """Summary of `score` by the recorded rewards; None if no sample has one."""
    seconds: float


def record(config: RecordConfig, run: Path) -> RecordSummary:
    """Run the command; returns the summary that it prints. UserError if no turn is in a state of the run."""
    started = time.monotonic()
    rundir.require_run(run)
    if wrong := problem_of(config):
        raise UserError(wrong)
    if config.action_format is not None:
        require_action_format(config.action_format)
    require_calls(config.calls)
    require_readable(config.policy_name)
    found = find_sources(config.sources)
    tools = read_tools_file(config.tools_file) if config.tools_file else None
    who = describe_recorded(config)
    with rundir.stage_lock(run, f"record-{who.policy_id}"):
        manifest = PartsManifest(run, run / "rollouts" / who.policy_id)
        work = _Work(config, run, who, tools, known_states(run, config.state_key), known_formats(run), [], manifest)
        done = [_record_source(work, path) for path in found]
        num_sources = sum(not isinstance(path, SkippedFiles) for path in found)
        total = {key: sum(counts[key] for counts in done) for key in _COUNTED}
        if not total["samples"]:
            raise UserError(_nothing_fits(total, done))
        remember_policy(run, who)  # its record may have been deleted
        scored = None
        if _has_rewards(work):
            scored = score(ScoreConfig(verifier=make_spec("recorded", {}), policy=who.policy_id), run)
        sql.write_views(run)
    seconds = round(time.monotonic() - started, 2)
    return RecordSummary(policy_id=who.policy_id, sources=num_sources, **total, score=scored, seconds=seconds)


def _nothing_fits(total: dict[str, int], done: list[dict[str, Any]]) -> str:
    if not total["records"]:
        return "the sources hold no record at all"
    first = next(counts["first_reject"] for counts in done if counts["first_reject"])
    looked_at = f"{counted(total['turns'], 'turn')} in {counted(total['records'], 'record')}"
    return f"none of {looked_at} is in a state of this run; the first reject is {first}"


def describe_recorded(config: RecordConfig) -> PolicyRecord:
    """The record of a policy that acted elsewhere, identified by its name and --state-key."""
    identity = {"engine": "recorded", "name": config.policy_name, "state_key": config.state_key}
    return PolicyRecord(
        policy_id=policy.policy_id(config.policy_name, identity),
        name=config.policy_name,
        engine="recorded",
        model=config.policy_name,
        adapter=None,
        tokenizer=None,
        template_options={},
        sampling={"state_key": config.state_key},
        weights_hash=None,
        tokenizer_hash=None,
        template_hash=None,
        parser="hermes",
        seed=0,
        rendering=RENDERING,
    )


def _record_source(work: _Work, path: Source) -> dict[str, Any]:
    """Record one source; returns its counts, the stored ones if it was recorded before.

    A source without samples does not count as recorded, since it may fit with other options; `first_reject` says why.
    """
    skipped = isinstance(path, SkippedFiles)
    name = rundir.config_digest({"skipped": repr(path)}) if skipped else content_hash(path)[:12]
    place = {"policy_id": work.policy.policy_id, "source": name}
    identity = {**place, "format": work.config.format, "tools": tools_id(work.tools) if work.tools else None}
    named = {"action_format": work.config.action_format, "calls": work.config.calls}
    identity |= {key: value for key, value in named.items() if value is not None}
    if (before := _recorded(work, path, identity)) is not None:
        return before
    counts = _write_parts(work, path, name)
    rejects = rundir.table_of_rows("rejects", work.rejects)
    write_rejects(work.run, rundir.rejects_dir(work.run, "record", place), rejects)
    summary = {key: counts[key] for key in _COUNTED}
    if not counts["samples"]:
        return {**summary, "first_reject": _first(work.rejects)}
    rundir.write_manifest(work.run, "record", identity, {"summary": summary})
    return summary


def _recorded(work: _Work, path: Source, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The counts of a source that was recorded before, else None; UserError if other options were used then."""
    for manifest in rundir.read_manifests(work.run, "record"):
        known = {**identity, **manifest["config"]}  # an earlier version stored only these two
        same = all(known[key] == identity[key] for key in ("policy_id", "source"))
        if same and manifest["summary"]["samples"]:
            if difference := rundir.difference(identity, known):
                raise UserError(f"{path} is recorded with other settings ({difference}): give another --policy-name")
            return manifest["summary"]
    return None


def _write_parts(work: _Work, path: Source, name: str) -> Counter[str]:
    """Write the samples of a source and return its counts; `work.rejects` then has its rejects."""
    work.rejects.clear()
    counts = Counter[str]()
    indices = _stored_samples(work, name)
    samples = _samples(work, path, counts)
    number = 0
    while part := list(islice(samples, SAMPLES_PER_PART)):
        remember_policy(work.run, work.policy)
        _write_part(work, f"part-{name}-{number:06d}.parquet", part, indices)
        counts["samples"] += len(part)
        counts["rewarded"] += sum(sample.reward is not None for sample in part)
        number += 1
    counts["rejects"] = len(work.rejects)
    return counts


def _first(rejects: list[dict[str, Any]]) -> str | None:
    """The first reject as text; None if nothing was rejected."""
    if not rejects:
        return None
    place = "" if rejects[0]["source_index"] is None else f", record {rejects[0]['source_index']}"
    return one_line(f"{rejects[0]['source']}{place}: {rejects[0]['reason']}: {rejects[0]['detail']}")


def _stored_samples(work: _Work, name: str) -> Counter[str]:
    """Samples per state from other sources: what a stopped command wrote of this source is written again."""
    parts = [path for path in sorted(work.rollouts.glob("part-*.parquet")) if not path.name.startswith(f"part-{name}-")]
    totals = rundir.scan(work.run, "rollouts", parts).group_by("state_id").agg(pl.len()).collect()
    return Counter(dict(totals.iter_rows()))


def _has_rewards(work: _Work) -> bool:
    """Whether any sample of this policy has a reward; if so, the samples without one get null verdicts."""
    parts = sorted(work.rollouts.glob("part-*.parquet"))
    return rundir.scan(work.run, "rollouts", parts).select(pl.col("reward").is_not_null().any()).collect().item()


def _samples(work: _Work, path: Source, counts: Counter[str]) -> Iterator[_Sample]:
    source = str(path).encode("utf-8", "backslashreplace").decode()
    for found in track(grouped(read_source(path), work.config.format), "record", "records"):
        counts["records"] += 1
        place = {"stage": "record", "source": source, "source_index": found.index}
        try:
            trajectory = _read(work, found)
        except BadTrajectory as bad:
            work.rejects.append({**place, "reason": bad.reason, "detail": bad.detail or None, "num_turns": None})
            continue
        num_turns = sum(is_assistants(m) for s in trajectory.segments for m in s.messages[s.num_inherited :])
        if not num_turns:
            reject = {"reason": "no_turns", "detail": "no assistant message", "num_turns": 0}
            work.rejects.append({**place, **reject})
        # A trajectory's outcome is the reward of a turn only if that is its only turn.
        label = (trajectory.outcome,) if num_turns == 1 else ()
        for segment in trajectory.segments:
            yield from _of_segment(work, segment, segment.rewards or label, place, counts)


def _read(work: _Work, found: Record) -> Trajectory:
    if found.problem:
        raise BadTrajectory(*found.problem)
    if work.config.format:
        return _settled(work, all_readers()[work.config.format].read(found.value))
    # A rollout file may name the expected action too, but only the response is a sample.
    name = "responses" if all_readers()["responses"].matches(found.value) else detect(found.value)
    return _settled(work, all_readers()[name].read(found.value))


def _settled(work: _Work, found: Trajectory) -> Trajectory:
    """The trajectory with the tools and action formats that `extract` would give it."""
    return prepare(settle(found, tools=work.tools, calls=work.config.calls, action_format=work.config.action_format))


def _of_segment(
    work: _Work, segment: Segment, earned: tuple[Any, ...], place: dict[str, Any], counts: Counter[str]
) -> Iterator[_Sample]:
    tools = segment.tools
    # A recorded rollout may not show its action format, and a single turn never does: try the run's formats too.
    formats = dict.fromkeys((segment.action_format, *work.action_formats))
    keys = [StateKey(tools_id(tools) if tools else None, work.config.state_key, name) for name in formats]
    rewards, num_unknown = iter(earned), 0
    end = _whole_until(segment)
    for position, message in enumerate(segment.messages):
        if end is not None and position == end.position:
            lost = sum(is_assistants(m) for m in segment.messages[max(position, segment.num_inherited) :])
            reject = {"reason": end.reason, "detail": f"message {position}: {end.detail}", "num_turns": lost}
            work.rejects.append({**place, **reject})
            break
        if position >= segment.num_inherited and is_assistants(message):
            counts["turns"] += 1
            state_id = next((found for key in keys if (found := work.states.get(key.value()))), "")
            sample = _Sample(state_id, message, next(rewards, None))
            num_unknown += not sample.state_id
            if sample.state_id:
                yield sample
        for key in keys:
            key.add(message)
    if num_unknown:
        reject = {"reason": "unknown_state", "detail": "the run has no such state", "num_turns": num_unknown}
        work.rejects.append({**place, **reject})


def _whole_until(segment: Segment) -> Gap | None:
    """Where a segment begins to lack context that the model saw, by the rules of `extract`; None if nowhere."""
    problems = ((position, problem(message)) for position, message in enumerate(segment.messages))
    first = next(((position, found) for position, found in problems if found), None)
    end = len(segment.messages) if first is None else first[0]
    gap = find_gap([part_of(message) for message in segment.messages[:end]], segment)
    return gap if gap is not None or first is None else Gap(first[0], *first[1])


def _write_part(work: _Work, name: str, samples: Iterable[_Sample], indices: Counter[str]) -> None:
    """Write a part of rollouts, with the rewards that came with them."""
    rollouts: list[dict[str, Any]] = []
    for sample in samples:
        place = {"state_id": sample.state_id, "sample_index": indices[sample.state_id]}
        columns = _rollout_columns(sample.message)
        rollouts.append({"policy_id": work.policy.policy_id, **place, **columns, "reward": sample.reward})
        indices[sample.state_id] += 1
    work.manifest.write(work.rollouts / name, rundir.table_of_rows("rollouts", rollouts))


def _rollout_columns(message: dict[str, Any]) -> dict[str, Any]:
    written = {key: message[key] for key in _WRITTEN if message.get(key) is not None}
    extra = message.get("extra") or {}
    if PARSED in extra:  # the action of a turn whose text was not recorded
        written["extra"] = {PARSED: extra[PARSED]}
    truncated = bool(extra.get("truncated")) or extra.get("finish_reason") == "length"
    return {
        "text": text_of(message.get("content")),
        "message": strict_json.dumps(written),
        "finish_reason": "length" if truncated else "stop",
        "opened_reasoning": False,
        **_tokens(extra),
    }


def _tokens(extra: dict[str, Any]) -> dict[str, Any]:
    """The recorded token ids and log-probabilities, without values of a wrong type or range."""
    tokens, logprobs = extra.get("token_ids"), extra.get("logprobs")
    if not isinstance(tokens, list) or not all(type(token) is int and 0 <= token < 2**31 for token in tokens):
        return {}
    known = {"token_ids": tokens, "num_tokens": len(tokens)}
    if not isinstance(logprobs, list) or len(logprobs) != len(tokens):
        return known
    return {**known, "logprobs": logprobs} if all(type(one) in (int, float) and one <= 0 for one in logprobs) else known
