"""`pivotmine status`: what a run holds and lacks, and the next command."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.counts import counted
from pivotmine.run import rundir
from pivotmine.run.tables import TABLES
from pivotmine_stages.policy.record import PolicyRecord, load_policy
from pivotmine_stages.profiles.budgets import Counts, count_samples, problem_of, stored_rows
from pivotmine_stages.report.subject import OPTIONS, Subject, differing, flags_of, policy_settings, subjects
from pivotmine_stages.select.strategies import rule_words


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    run: str
    counts: dict[str, int]
    """Trajectories, turns, demonstrated_states."""
    table_bytes: dict[str, int]
    """Size of each table on disk."""
    policies: list[dict[str, Any]]
    """{policy_id, words, max_new_tokens, samples, pending, states, estimated, refused, verifiers: [{verifier_id, words,
    samples, problem, classes}]}. `words`: settings that differ from those of the others. `pending`: samples that a
    smaller budget cut. Demonstrated states without a sample are counted in `estimated` if `rollout --from` carried them
    over, or in `refused`, by reason, if `rollout` rejected them for good. `problem`: why the profiles do not fit the
    samples; null if they do."""
    datasets: list[dict[str, Any]]
    """{name, train, validation, policy_id, verifier_id, rule}."""
    missing: list[str]
    """What the stages have not finished, one line each."""
    next_command: str


def status(run: Path) -> RunStatus:
    """Look at a run without changing it; UserError if it is not a run."""
    rundir.require_run(run)
    turns = rundir.scan(run, "turns")
    demonstrated = turns.filter(pl.col("reject_reason").is_null()).select(pl.col("state_id").n_unique())
    counts = {
        "trajectories": rundir.scan(run, "trajectories").select(pl.len()).collect().item(),
        "turns": turns.select(pl.len()).collect().item(),
        "demonstrated_states": demonstrated.collect().item(),
    }
    policies = _policies(run)
    datasets = _datasets(run)
    missing = _missing(counts, policies)
    sizes = {table: sum(path.stat().st_size for path in rundir.table_files(run, table)) for table in TABLES}
    return RunStatus(
        run=str(run),
        counts=counts,
        table_bytes={table: size for table, size in sizes.items() if size},
        policies=policies,
        datasets=datasets,
        missing=missing,
        next_command=_next(run, policies, datasets),
    )


def _policies(run: Path) -> list[dict[str, Any]]:
    ids = sorted(path.parent.name for path in (run / "rollouts").glob("*/policy.json"))
    words = differing([policy_settings(load_policy(run, policy_id)) for policy_id in ids])
    return [_policy(run, policy_id, text) for policy_id, text in zip(ids, words, strict=True)]


def _policy(run: Path, policy_id: str, words: str) -> dict[str, Any]:
    record = load_policy(run, policy_id)
    samples = count_samples(run, record, record.budget)
    row = {
        "samples": samples.samples,
        "pending": samples.pending,
        "states": samples.states,
        **_without_sample(run, record),
    }
    folders = sorted(path.parent for path in (run / "scores" / policy_id).glob("*/profiles.parquet"))
    remedy = "delete it and run the same `pivotmine score` again"
    settings = [rundir.read_json(folder / "verifier.json", remedy) for folder in folders]
    words_by_verifier = differing([{"verifier": one["verifier"], OPTIONS: one["options"]} for one in settings])
    verifiers = [
        _verifier(run, folder, text, record, samples) for folder, text in zip(folders, words_by_verifier, strict=True)
    ]
    return {"policy_id": policy_id, "words": words, "max_new_tokens": record.budget, **row, "verifiers": verifiers}


def _without_sample(run: Path, record: PolicyRecord) -> dict[str, Any]:
    """Count the unsampled demonstrated states that are carried over under this budget, and those that are rejected."""
    turns = rundir.scan(run, "turns").filter(pl.col("reject_reason").is_null()).select("state_id").unique()
    left = turns.join(stored_rows(run, record).select("state_id"), on="state_id", how="anti")
    files = [path for path in rundir.table_files(run, "carried") if path.parents[1].name == record.policy_id]
    of_budget = pl.lit(record.budget is None) | (pl.col("budget") == record.budget)
    carried = rundir.scan(run, "carried", files).filter(of_budget).select("state_id").unique()
    verifiers = {one["config"].get("verifier_id") for one in rundir.read_manifests(run, "rollout")}
    ids = ({"policy_id": record.policy_id, "verifier_id": verifier} for verifier in verifiers)
    files = sorted(path for one in ids for path in rundir.rejects_dir(run, "rollout", one).glob("*.parquet"))
    rejects = rundir.scan(run, "rejects", files).filter(pl.col("reason") != "engine_error")
    refused = left.join(carried, on="state_id", how="anti").join(
        rejects.unique("state_id", keep="first"), on="state_id"
    )
    counts = refused.group_by("reason").len().sort("reason").collect()
    estimated = left.join(carried, on="state_id", how="semi").select(pl.len()).collect().item()
    return {"estimated": estimated, "refused": dict(counts.iter_rows())}


def _verifier(run: Path, folder: Path, words: str, record: PolicyRecord, samples: Counts) -> dict[str, Any]:
    profiles = rundir.scan(run, "profiles", [folder / "profiles.parquet"])
    table = profiles.select("num_samples", "num_pending", "budget", "reward_class").collect()
    classes = dict(table.drop_nulls("reward_class").group_by("reward_class").len().sort("reward_class").iter_rows())
    return {
        "verifier_id": folder.name,
        "words": words,
        "samples": int(table["num_samples"].sum()),
        "problem": problem_of(table, samples, record),
        "classes": classes,
    }


def _datasets(run: Path) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for manifest in rundir.read_manifests(run, "select"):
        config, summary = manifest["config"], manifest["summary"]
        counts = {name: summary[name] for name in ("name", "train", "validation", "policy_id", "verifier_id")}
        found[config["name"]] = {**counts, "rule": rule_words(config)}
    return [found[name] for name in sorted(found)]


def _missing(counts: dict[str, int], policies: list[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for policy in policies:
        name = policy["policy_id"]
        if policy["pending"]:
            budget = f"--max-new-tokens {policy['max_new_tokens']}"
            lines.append(
                f"{name}: {counted(policy['pending'], 'truncated sample is', 'truncated samples are')} not continued: "
                f"rollout with {budget}"
            )
        if not policy["verifiers"]:
            lines.append(f"{name}: {counted(policy['samples'], 'sample is', 'samples are')} not scored")
        for verifier in policy["verifiers"]:
            if (behind := policy["samples"] - verifier["samples"]) > 0:
                lines.append(
                    f"{name}: {counted(behind, 'sample is', 'samples are')} not scored by {verifier['verifier_id']}"
                )
            elif verifier["problem"]:
                lines.append(f"{name}: the profiles by {verifier['verifier_id']} are {verifier['problem']}")
        explained = policy["states"] + policy["estimated"] + sum(policy["refused"].values())
        if unsampled := counts["demonstrated_states"] - explained:
            lines.append(
                f"{name}: {counted(unsampled, 'demonstrated state has', 'demonstrated states have')} no sample"
            )
    return lines


def _next(run: Path, policies: list[dict[str, Any]], datasets: list[dict[str, Any]]) -> str:
    at = shlex.quote(str(run))
    if not policies:
        return f"pivotmine rollout {at} --model MODEL"
    for policy in policies:
        if not policy["verifiers"] or any(one["problem"] for one in policy["verifiers"]):
            return f"pivotmine score {at} --policy {policy['policy_id']}"
    classes = {name for policy in policies for one in policy["verifiers"] for name in one["classes"]}
    # If no rewards differ, there is nothing to select; the report says why.
    command = "report" if datasets or "sometimes" not in classes else "select"
    # Name the profile of the last selection, or the first profile, because the run may have several.
    subject = Subject(datasets[-1]["policy_id"], datasets[-1]["verifier_id"]) if datasets else subjects(run)[0]
    flags = "".join(f" --{name} {shlex.quote(value)}" for name, value in flags_of(run, subject).items())
    return f"pivotmine {command} {at}{flags}"


def status_report(found: RunStatus) -> str:
    """Return the status as lines of text."""
    size = sum(found.table_bytes.values())
    words = {"trajectories": "trajectory", "turns": "turn", "demonstrated_states": "demonstrated state"}
    lines = [
        ", ".join(counted(count, words[name]) for name, count in found.counts.items()),
        f"{size / 1e6:,.1f} MB in {counted(len(found.table_bytes), 'table')}",
    ]
    for policy in found.policies:
        lines.append(f"policy {policy['policy_id']}: {policy['words']}")
        budget = f" of at most {counted(policy['max_new_tokens'], 'token')}" if policy["max_new_tokens"] else ""
        lines.append(f"  {counted(policy['samples'], 'sample')}{budget} in {counted(policy['states'], 'state')}")
        if policy["estimated"]:
            lines.append(
                f"  {counted(policy['estimated'], 'more state is', 'more states are')} "
                "estimated from earlier policies, without a sample"
            )
        if policy["refused"]:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in policy["refused"].items())
            refused = counted(sum(policy["refused"].values()), "more state is", "more states are")
            lines.append(f"  {refused} rejected by rollout: {reasons}")
        for verifier in policy["verifiers"]:
            classes = ", ".join(f"{name} {count:,}" for name, count in verifier["classes"].items()) or "nothing scored"
            lines.append(f"  verifier {verifier['verifier_id']}: {verifier['words']}; {classes}")
    for one in found.datasets:
        rows = f"{one['train']:,} training and {one['validation']:,} validation rows"
        lines.append(f"pivots/{one['name']}: {rows} ({one['rule']})")
    lines += [f"missing: {line}" for line in found.missing]
    lines.append(f"next: {found.next_command}")
    return "\n".join(f"{'status' if i == 0 else '':<9} {line}" for i, line in enumerate(lines))
