"""score: rollouts -> verdicts -> profiles. A pure function of stored rows: it never samples.

Each part of `rollouts` gives one part of `scores`. A part that exists is not scored again. Profiles are always
computed from all parts.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from pivotmine import strict_json
from pivotmine.actions import (
    Action,
    Unparsed,
    action_from_message,
    action_to_json,
    is_text,
    parse_action,
    read_message,
    require_parser,
)
from pivotmine.counts import counted
from pivotmine.errors import UserError
from pivotmine.progress import track
from pivotmine.run import rundir, sql
from pivotmine.run.parts import PartsManifest, file_digest, require_sound, write_rejects
from pivotmine.run.segment_texts import SegmentTexts
from pivotmine.run.states import scan_demonstrated
from pivotmine.run.tables import PROFILES, SCORES
from pivotmine.stats.profiles import profile
from pivotmine.verifiers import Outcome, Scorer, State, Verdict, prepare
from pivotmine.verifiers.composed.auto import left_out
from pivotmine.verifiers.concurrent import JudgeCall, judge_all
from pivotmine_stages.command import OMITTED, to_json
from pivotmine_stages.parallel import process_map
from pivotmine_stages.policy.differences import announce
from pivotmine_stages.policy.record import (
    PolicyRecord,
    choose_policy,
    remember_policy,
    scored_verifiers,
    with_budget,
)
from pivotmine_stages.profiles.budgets import ROW, counts_of, sample_blocks, scores_under, under, unread_as_pending
from pivotmine_stages.profiles.carry_decay import carried_states
from pivotmine_stages.profiles.covariates import COLUMNS
from pivotmine_stages.profiles.gate import Gate, GateTable, as_reject, gate_table, reject_reason, seen_states
from pivotmine_stages.profiles.posteriors import with_posteriors
from pivotmine_stages.score.options import ScoreConfig

# Starting a process costs more than scoring this many samples.
SAMPLES_WORTH_PROCESSES = 20_000
_KEY = ("sample_index", "budget")
"""Columns that, with the state, name a row of `rollouts` and its row of `scores`."""
_PLACE = ("state_id", "segment_id", "position", "tools_id")
"""Columns of demonstrated turns that lead to their messages."""
_TURN = (*_PLACE, "domain", "action_format", "demonstration")
"""Columns of demonstrated turns that their gates follow from."""
_SAMPLE = ("text", "message", "finish_reason", "opened_reasoning", "reward")
"""Columns of `rollouts` that decide what the action is, and the reward that was recorded with it."""


class _Part(NamedTuple):
    """One part of `rollouts` on its way to a part of `scores`."""

    source: Path
    target: Path
    gates: dict[str, Gate]
    """Those of the part's states that pass."""
    asking: pl.DataFrame
    """A turn of each of these states whose verifier reads messages."""
    texts: SegmentTexts
    """Those messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSummary:
    """The profiles of one policy by one verifier."""

    policy_id: str
    verifier_id: str
    max_new_tokens: int | None
    """Token budget of the profiles; None: that of a recorded policy, which has none."""
    states: int
    """Profiles."""
    samples: int
    """Samples of these states under the budget."""
    pending: int
    """Samples among them that a smaller budget cut; `rollout` continues them."""
    scored: int
    """Samples with a reward."""
    classes: dict[str, int]
    """States by `reward_class`; those without one are left out."""
    outcomes: dict[str, int]
    """Verdicts by outcome, the most frequent first."""
    mean: float | None
    """Of the states' mean rewards, from 0 to 1; None: no state has one."""
    mean_low: float | None = field(metadata=OMITTED)
    """The same if every unproven sample is wrong; None: no sample is unproven."""
    mean_high: float | None = field(metadata=OMITTED)
    """The same if every unproven sample is right."""
    domains: dict[str, dict[str, int]]
    """Classes by domain (empty: no domain), the largest domains first; empty if there is a single one."""
    rejects: dict[str, int]
    """States without verdicts, by reason."""
    seconds: float
    not_installed: dict[str, list[str]] | None = field(default=None, metadata=OMITTED)
    """Modules that are missing, by the verifier that `auto` left out; None: it left out nothing."""


def score(config: ScoreConfig, run: Path) -> ScoreSummary:
    """Run the stage and return the summary that the command prints. A second start scores only new parts."""
    rundir.require_run(run)
    record = with_budget(choose_policy(run, config.policy), config.max_new_tokens)
    parser = config.parser or record.parser
    require_parser(parser)
    identity = {"policy_id": record.policy_id, "verifier_id": config.verifier.verifier_id}
    with rundir.stage_lock(run, f"score-{record.policy_id}-{config.verifier.verifier_id}"):
        folder = run / "scores" / record.policy_id / config.verifier.verifier_id
        _remember(folder, config, parser)
        remember_policy(run, record)
        with SegmentTexts(run) as texts:
            return _score(config, run, record, parser, folder, identity, texts)


def _remember(folder: Path, config: ScoreConfig, parser: str) -> None:
    """Write verifier and parser next to the scores; UserError if the folder has scores of others."""
    path = folder / "verifier.json"
    options = json.loads(config.verifier.options_json)
    ours = {"verifier": config.verifier.name, "options": options, "parser": parser}
    if path.exists():
        theirs = rundir.read_json(path, "delete it and start the same `pivotmine score` again, which writes it again")
        # The folder's name covers the options that decide; a server's address may change.
        if (theirs["verifier"], theirs["parser"]) != (config.verifier.name, parser):
            difference = rundir.difference(ours, {**theirs, "options": options})
            raise UserError(f"{folder} was scored with other settings ({difference}): remove it first")
        return
    known = scored_verifiers(folder.parent.parent.parent, folder.parent.name)
    announce("verifier", ours, {name: (one, "scores of the same samples") for name, one in known.items() if one})
    rundir.write_text(path, json.dumps(ours, indent=2, ensure_ascii=False) + "\n")


def _score(
    config: ScoreConfig,
    run: Path,
    record: PolicyRecord,
    parser: str,
    folder: Path,
    identity: dict[str, str],
    texts: SegmentTexts,
) -> ScoreSummary:
    started = time.monotonic()
    rollouts = require_sound(run, "rollouts", run / "rollouts" / record.policy_id)
    carried = carried_states(run, record.policy_id, config.verifier.verifier_id, record.budget)
    sampled = pl.concat([_sampled(run, record), pl.DataFrame({"state_id": list(carried)}, {"state_id": pl.String})])
    # Turns are read three times, and held only where they are used: a run may have millions.
    turns = scan_demonstrated(run).select(_TURN)
    turns = turns.join(sampled.lazy(), on="state_id", how="semi", maintain_order="left").collect()
    gates = gate_table(run, turns, config.verifier, texts)
    del turns, sampled
    for orphan in {path.name for path in folder.glob("part-*.parquet")} - {path.name for path in rollouts}:
        (folder / orphan).unlink()  # its rollouts were deleted: views and holdouts would count it
    require_sound(run, "scores", folder, may_lack=True)
    manifest = PartsManifest(run, folder)
    manifest.forget_lost()
    new = [path for path in rollouts if not manifest.has(folder / path.name)]
    with closing(manifest), process_map(_num_processes(config, _num_rows(run, new))) as over:
        work = partial(_score_part, run, parser, identity)
        done = over(work, _parts(run, new, folder, gates, texts))
        for path, digest in zip(new, track(done, "score", "parts", len(new)), strict=True):
            manifest.note(folder / path.name, digest)
    judged = gates.rows.select("state_id", "gate", "detail", "judges_truncated")
    del gates
    profiles, outcomes = _profiles(run, record, folder, judged, list(carried))
    profiles = with_posteriors(run, scan_demonstrated(run).select(COLUMNS).collect(), profiles)
    manifest.write(folder / "profiles.parquet", profiles.to_arrow().cast(PROFILES))
    rejects = list(_rejects(run, judged, profiles))
    write_rejects(run, rundir.rejects_dir(run, "score", identity), rundir.table_of_rows("rejects", rejects))
    reasons = dict(sorted(Counter(row["reason"] for row in rejects).items()))
    summary = ScoreSummary(
        **identity,
        max_new_tokens=record.budget,
        **_counts(outcomes, profiles),
        domains=_domains(run, profiles),
        rejects=reasons,
        seconds=round(time.monotonic() - started, 2),
        not_installed=(left_out() or None) if config.verifier.name == "auto" else None,
    )
    rundir.write_manifest(run, "score", identity, {"summary": to_json(summary)})
    sql.write_views(run)
    return summary


def _sampled(run: Path, record: PolicyRecord) -> pl.DataFrame:
    """The sampled states; UserError where a sample is stored twice: rates would count it twice."""
    found: list[pl.DataFrame] = []
    for rows in sample_blocks(run, record):
        found.append(rows.select(pl.col("state_id").unique()))
        if rows.select(pl.struct(*ROW).n_unique()).item() < len(rows):
            raise UserError(_stored_twice(run, rows, run / "rollouts" / record.policy_id))
    return pl.concat(found)


def _stored_twice(run: Path, rows: pl.DataFrame, folder: Path) -> str:
    double = rows.filter(pl.struct(*ROW).is_duplicated())["state_id"].unique()
    is_first = pl.col("state_id") == double.min()
    parts = rundir.table_files(run, "rollouts")
    holding = [
        path.name
        for path in parts
        if path.parent == folder and not rundir.scan(run, "rollouts", [path]).filter(is_first).collect().is_empty()
    ]
    return (
        f"{folder}: samples of {counted(len(double), 'state')} are stored twice, for example in "
        f"{', '.join(holding[:4])}: one part is a copy, move it away"
    )


def _profiles(
    run: Path, record: PolicyRecord, folder: Path, gates: pl.DataFrame, carried: list[str]
) -> tuple[pl.DataFrame, Counter[str]]:
    """The profiles without their posteriors, and how many samples have each outcome; block by block."""
    of = partial(profile, policy_id=record.policy_id, verifier_id=folder.name, budget=record.budget)
    reads_truncated = gates.filter("judges_truncated")["state_id"].to_list()
    own_gates, outcomes = gates.select("state_id", "gate"), Counter[str]()
    found, sampled = list[pl.DataFrame](), list[pl.Series]()
    for rows in sample_blocks(run, record, folder):
        samples = unread_as_pending(under(rows, record.budget), reads_truncated)
        read = rows.filter("is_judged").select(*ROW, "reward", "outcome", detail=pl.lit(None, pl.String))
        scores = scores_under(read.lazy(), samples, record)
        states = counts_of(samples).join(own_gates, on="state_id", how="left")
        found.append(pl.DataFrame(of(scores, states)))
        outcomes.update(dict(scores.group_by("outcome").len().iter_rows()))
        sampled.append(states["state_id"])
    unsampled = pl.DataFrame({"state_id": carried}, {"state_id": pl.String})
    unsampled = unsampled.join(pl.concat(sampled).to_frame(), on="state_id", how="anti")
    if not unsampled.is_empty():
        none = {"num_samples": pl.lit(0, pl.Int32), "num_pending": pl.lit(0, pl.Int32)}
        states = unsampled.with_columns(**none).join(own_gates, on="state_id", how="left")
        empty = {"state_id": pl.String, "reward": pl.Float64, "outcome": pl.String}
        found.append(pl.DataFrame(of(pl.DataFrame(schema=empty), states)))
    return pl.concat(found).sort("state_id"), outcomes


def _num_rows(run: Path, parts: list[Path]) -> int:
    return rundir.scan(run, "rollouts", parts).select(pl.len()).collect().item()


def _num_processes(config: ScoreConfig, num_samples: int) -> int | None:
    """1 if more processes do not pay, or if verdicts wait for a server; None: all cores."""
    return 1 if config.verifier.num_waiting or num_samples < SAMPLES_WORTH_PROCESSES else config.num_processes


def _parts(run: Path, paths: list[Path], folder: Path, gates: GateTable, texts: SegmentTexts) -> Iterator[_Part]:
    """The parts, each with the gates and the messages of its states; one pass over `messages` for all of them."""
    held = [pl.read_parquet(p, columns=["state_id"], glob=False).unique(maintain_order=True) for p in paths]
    held = [states.with_columns(part=pl.lit(number)) for number, states in enumerate(held)]
    rows = pl.concat([pl.DataFrame(schema={"state_id": pl.String, "part": pl.Int32}), *held])
    del held
    places = gates.rows.select("state_id", "needs_messages", has_verifier=pl.col("usable").list.len() > 0)
    places = places.with_row_index("place").filter("has_verifier").drop("has_verifier")
    passing = rows.join(places, on="state_id", how="inner", maintain_order="left").drop("state_id")
    asking = gates.rows[passing.filter("needs_messages")["place"].unique(maintain_order=True), ["state_id"]]
    first = scan_demonstrated(run).select(_PLACE)
    first = first.join(asking.lazy(), on="state_id", how="semi", maintain_order="left").collect()
    first = first.unique("state_id", keep="first", maintain_order=True)
    texts.add(first)
    of_state = {state_id: place for place, state_id in enumerate(first["state_id"])}
    stops = passing["part"].search_sorted(pl.Series(range(len(paths)), dtype=pl.Int32), side="right")
    start = 0
    for path, stop in zip(paths, stops, strict=True):
        own = gates.rows[passing["place"][start:stop]]
        read = first[[of_state[state_id] for state_id in own.filter("needs_messages")["state_id"]]]
        yield _Part(path, folder / path.name, gates.gates(own), read, texts.only(read))
        start = stop


def _judges(run: Path, part: _Part) -> dict[str, Scorer]:
    return {
        state_id: prepare(gate.verifier, state, list(gate.usable.values()))
        for state_id, gate, state in seen_states(run, part.asking, part.gates, part.texts)
        if gate.verifier is not None
    }


def _score_part(run: Path, parser: str, identity: dict[str, str], part: _Part) -> str:
    """Score one part; returns the digest of its scores. States that fail the gate get no verdicts."""
    judges = _judges(run, part)
    # Policies repeat themselves: equal samples of a state are read and judged once.
    samples = rundir.scan(run, "rollouts", [part.source]).select("state_id", *_KEY, *_SAMPLE).collect()
    distinct = samples.filter(pl.col("state_id").is_in(list(judges)))
    distinct = distinct.group_by("state_id", *_SAMPLE, maintain_order=True).agg(*_KEY)
    waiting = {state_id: gate.verifier.num_waiting for state_id, gate in part.gates.items() if gate.verifier}
    questions = [
        _judge_call(sample, parser, part.gates[state_id].state, judges[state_id], waiting[state_id])
        for state_id, *sample in distinct.select("state_id", *_SAMPLE).iter_rows()
    ]
    rows = [_verdict_row(*pair) for pair in zip(judge_all(questions), questions, strict=True)]
    columns = pl.DataFrame(rows, schema=_VERDICT, orient="row")
    scores = distinct.select("state_id", *_KEY).hstack(columns).explode(*_KEY)
    scores = scores.with_columns(pl.lit(value).alias(name) for name, value in identity.items())
    rundir.write_table(part.target, scores.select(SCORES.names).to_arrow().cast(SCORES))
    return file_digest(part.target)


_VERDICT = {"outcome": pl.String, "reward": pl.Float64, "detail": pl.String, "action": pl.String}


def _verdict_row(verdict: Verdict, question: JudgeCall) -> tuple[str, float | None, str | None, str]:
    return verdict.outcome.value, verdict.reward, verdict.detail or None, action_to_json(question.action)


def _judge_call(sample: list[Any], parser: str, state: State, judge: Scorer, num_waiting: int) -> JudgeCall:
    if is_text(state.action_format) and sample[1] is not None and (reason := _lost_text(sample[1])):
        lost = Verdict(None, Outcome.ERROR, reason)
        return JudgeCall(lambda action: lost, Action(), 0)
    return JudgeCall(judge, _action(sample, parser, state), num_waiting)


def _lost_text(message: str) -> str | None:
    """Why a chat server's message does not hold what the policy wrote; None: it does."""
    try:
        fields = strict_json.loads(message)
    except ValueError as error:
        return f"the server's message is not JSON: {error}"
    if not isinstance(fields, dict):
        return "the server's message is not an object"
    calls = fields.get("tool_calls") or fields.get("function_call")
    return "the chat server parsed the text into tool calls: switch its tool-call parser off" if calls else None


def _action(sample: list[Any], parser: str, state: State) -> Action:
    """The action of a stored sample, from its raw text or from the message that a chat server parsed."""
    text, message, finish_reason, opened_reasoning, reward = sample
    truncated = finish_reason == "length"
    if message is not None and is_text(state.action_format):
        action = read_message(strict_json.loads(message), state.action_format)
    elif message is not None:
        action = _server_action(message, parser, state)
    else:
        action = parse_action(
            text,
            parser=parser,
            action_format=state.action_format,
            opened_reasoning=opened_reasoning,
            tools=state.tools,
        )
    if truncated or reward is not None:
        return replace(action, truncated=truncated, recorded_reward=reward)
    return action


def _server_action(text: str, parser: str, state: State) -> Action:
    """The action in a server's message, which is as hostile as the model behind it."""
    try:
        message = strict_json.loads(text)
    except ValueError as error:
        return Action(unparsed=(Unparsed(text=text, reason=f"the server's message is not JSON: {error}"),))
    given = action_from_message(message)
    content = message.get("content")
    if isinstance(content, str) and not any(message.get(key) for key in ("tool_calls", "function_call", "refusal")):
        # A server without a tool-call parser leaves the calls in the text, so parse it as raw text.
        written = parse_action(content, parser=parser, tools=state.tools)
        if written.tool_calls or written.unparsed:
            return replace(written, reasoning=given.reasoning)
    return given


def _rejects(run: Path, gates: pl.DataFrame, profiles: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """The sampled states without verdicts, in the order of their first turns."""
    failed = profiles.filter(pl.col("gate").ne_missing(str(Outcome.CORRECT))).select("state_id")
    if failed.is_empty():
        return
    turns = scan_demonstrated(run).join(failed.lazy(), on="state_id", how="semi", maintain_order="left").collect()
    turns = turns.with_columns(num_turns=pl.len().over("state_id").cast(pl.Int32))
    lost = turns.unique("state_id", keep="first", maintain_order=True)
    reasons = gates.select("state_id", "gate", "detail")
    for turn in lost.join(reasons, on="state_id", how="left", maintain_order="left").iter_rows(named=True):
        yield as_reject("score", reject_reason(turn["gate"]), turn, turn["detail"])
    for state_id in failed.join(turns, on="state_id", how="anti")["state_id"].sort():
        detail = "sampled, though no turn of this run demonstrates it"
        yield {"stage": "score", "reason": "not_demonstrated", "state_id": state_id, "num_turns": 0, "detail": detail}


MAX_DOMAINS = 12
"""Domains whose classes are printed, those of most states first; of a single domain nothing more is to be said."""


def _domains(run: Path, profiles: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Classes by domain: domain (empty: none) -> class -> states."""
    known = rundir.scan(run, "turns").select("state_id", "domain").unique("state_id", keep="first", maintain_order=True)
    joined = profiles.drop_nulls("reward_class").join(known.collect(), on="state_id", how="left")
    counted = joined.group_by(pl.col("domain").fill_null(""), "reward_class").len()
    sizes = counted.group_by("domain").agg(pl.sum("len")).sort("len", "domain", descending=[True, False])
    shown = sizes["domain"].head(MAX_DOMAINS).to_list() if len(sizes) > 1 else []
    return {
        domain: dict(
            counted.filter(pl.col("domain") == domain).sort("reward_class").select("reward_class", "len").rows()
        )
        for domain in shown
    }


def _counts(outcomes: Counter[str], profiles: pl.DataFrame) -> dict[str, Any]:
    is_unproven = outcomes[str(Outcome.UNPROVEN)] > 0
    classes = profiles.drop_nulls("reward_class").group_by("reward_class").len().sort("reward_class")
    return {
        "states": len(profiles),
        "samples": int(profiles["num_samples"].sum()),
        "pending": int(profiles["num_pending"].sum()),
        "scored": int(profiles["num_scored"].sum()),
        "classes": dict(classes.iter_rows()),
        "outcomes": dict(sorted(outcomes.items(), key=lambda one: (-one[1], one[0]))),
        "mean": profiles["mean"].mean(),
        **{name: profiles[name].mean() if is_unproven else None for name in ("mean_low", "mean_high")},
    }
