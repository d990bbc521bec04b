"""`pivotmine report`: write what was mined as one self-contained HTML file, which makes no request."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine_stages.policy.record import load_policy, stored_verifier
from pivotmine_stages.profiles.never_states import never_states
from pivotmine_stages.report.aggregates import aggregates, cost, funnel
from pivotmine_stages.report.details import details, message_texts, sample_groups
from pivotmine_stages.report.findings import MAX_SUSPECTS, audit_verdict, findings, level_of, next_steps, suspects
from pivotmine_stages.report.options import ReportConfig
from pivotmine_stages.report.page import render
from pivotmine_stages.report.selections import choices, selections
from pivotmine_stages.report.subject import (
    OPTIONS,
    Subject,
    choose_subject,
    connect,
    connect_samples,
    differing,
    flags_of,
    settings_of,
    subjects,
)
from pivotmine_stages.report.transitions import MAX_OTHERS, compared
from pivotmine_stages.select.preview import rows_by_bound
from pivotmine_stages.select.resume_command import sample_hotter
from pivotmine_stages.select.strategies import rule_words

MAX_BYTES = 15_000_000
"""Size of the page."""
_STATES_BYTES = 11_000_000
"""Maximum size of the states and their messages in the page, as JSON."""
_STATES_AT_ONCE = 200
_LINKED = 300
"""Maximum number of states that the page surely holds because the comparison of selections links to them."""
_ROW = ("state_id", "class", "mean", "variance", "num_samples", "num_scored", "outcomes", "domain", "kind", "tool")
_COLUMNS = (*_ROW, "depth", "prompt_tokens", "selected")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSummary:
    path: str
    """The file."""
    num_bytes: int
    states: int
    """Profiled states of the policy and verifier."""
    embedded_states: int
    """States that the page holds in full."""
    verdict: str
    """red, amber or green."""
    seconds: float


def report(config: ReportConfig, run: Path) -> ReportSummary:
    """Write the page; UserError if nothing is scored."""
    started = time.monotonic()
    subject = choose_subject(run, config.policy, config.verifier)
    connection = connect(run, subject)
    facts = page_facts(connection, run, subject, config)
    data = {**facts["data"], **_embedded(connection, run, subject, config, facts["data"])}
    page = render(facts, data)
    path = Path(config.output) if config.output else run / "report.html"
    if path.is_dir():
        raise UserError(f"--output {path} is a folder: name a file")
    rundir.write_text(path, page)
    return ReportSummary(
        path=str(path),
        num_bytes=len(page.encode()),
        states=facts["data"]["figures"]["totals"]["states"],
        embedded_states=len(data["index"]),
        verdict=facts["level"],
        seconds=round(time.monotonic() - started, 2),
    )


def page_facts(
    connection: duckdb.DuckDBPyConnection, run: Path, subject: Subject, config: ReportConfig
) -> dict[str, Any]:
    """Return everything in the page except its states: `data` for its script, the rest for its template."""
    figures = aggregates(connection)
    settings = settings_of(run, subject)
    dataset = _dataset(run, subject, config.name)
    audit = audit_verdict(run, subject.verifier_id)
    found = findings(figures, dataset, audit)
    no_bounds = ""
    try:
        bounds = rows_by_bound(run, subject.policy_id, subject.verifier_id, dataset and dataset["config"])
    except UserError as error:  # scores of an older verifier can be viewed, but no selection is made from them
        bounds, no_bounds = [], str(error)
    return {
        "title": run.resolve().name,
        "subtitle": f"{subject.policy_id} under {subject.verifier_id}",
        "level": level_of(found),
        "answer": _answer(figures, dataset),
        "findings": found,
        "settings": _settings(settings, figures, dataset),
        "cost": _cost(cost(run, subject), config.price_per_hour),
        "never_states": _never_states(run, subject),
        "next_steps": next_steps(run, figures, dataset, audit, settings, flags_of(run, subject)),
        "data": {
            "figures": figures,
            "funnel": funnel(connection, run, None if dataset is None else str(dataset["name"])),
            "suspects": suspects(connection, subject),
            "max_suspects": MAX_SUSPECTS,
            "selections": selections(connection, run),
            "others": _others(connection, run, subject),
            "bounds": bounds,
            "no_bounds": no_bounds,
            "max_mean": dataset["config"]["max_mean"] if dataset else 0.6,
            "served": False,
        },
    }


def _never_states(run: Path, subject: Subject) -> dict[str, Any] | None:
    """Return {words, commands}: what to expect of the states of class `never`, and how to sample them hotter."""
    folder = run / "scores" / subject.policy_id / subject.verifier_id
    profiles = rundir.scan(run, "profiles", [folder / "profiles.parquet"]).collect()
    found = never_states(profiles)
    if found is None:
        return None
    commands: list[str] = []
    with suppress(UserError):  # if the verifier cannot run here, its scores can still be viewed
        spec, _ = stored_verifier(folder)
        # Scores of an older version keep its id, but a later round would be scored by the newer version.
        if spec.verifier_id == subject.verifier_id:
            commands = sample_hotter(run, load_policy(run, subject.policy_id), spec, profiles)
    return {"words": f"{found.words()}.", "commands": commands}


def _embedded(
    connection: duckdb.DuckDBPyConnection, run: Path, subject: Subject, config: ReportConfig, facts: dict[str, Any]
) -> dict[str, Any]:
    """Return the states that fit: first those that the page links to, then others in a fixed random order."""
    linked = [one["state_id"] for one in facts["suspects"]] + [row["example"] for row in facts["figures"]["outcomes"]]
    linked += [state_id for pair in facts["others"] for row in pair["transitions"] for state_id in row["examples"]]
    linked += [state_id for group in facts["selections"]["groups"] for state_id in group["examples"]][:_LINKED]
    order = connection.execute(_ORDER, [linked, config.max_states]).fetchall()
    wanted = [state_id for (state_id,) in order]
    index: list[dict[str, Any]] = []
    whole: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    size = 0
    for start in range(0, len(wanted), _STATES_AT_ONCE):
        found = chosen_details(connection, wanted[start : start + _STATES_AT_ONCE])
        new = {key for one in found for key in one["messages"]} - messages.keys()
        texts = message_texts(connection, sorted(new))
        size += len(json.dumps([found, texts]))
        if size > _STATES_BYTES and index:
            break
        messages |= texts
        whole |= {one["state"]["state_id"]: one for one in found}
        index += [index_row(one["state"]) for one in found]
    others = [
        {**pair, "samples": sample_groups(connect_samples(run, other), list(whole))}
        for pair, other in zip(facts["others"], other_subjects(run, subject), strict=True)
    ]
    return {"index": index, "details": whole, "messages": messages, "others": others}


def other_subjects(run: Path, subject: Subject) -> list[Subject]:
    """Return the profiles that the page compares with, in the order of their names."""
    return [other for other in subjects(run) if other != subject][:MAX_OTHERS]


def _others(connection: duckdb.DuckDBPyConnection, run: Path, subject: Subject) -> list[dict[str, Any]]:
    """Return `compared` for each other profile, with the settings in which it differs as `words`."""
    others = other_subjects(run, subject)
    words = differing([settings_of(run, one) for one in (subject, *others)])[1:]
    return [{**compared(connection, other), "words": text} for other, text in zip(others, words, strict=True)]


def chosen_details(connection: duckdb.DuckDBPyConnection, state_ids: list[str]) -> list[dict[str, Any]]:
    """Return `details`, with what each selection did with the state as `chosen`."""
    chosen = choices(connection, state_ids)
    return [{**one, "chosen": chosen.get(one["state"]["state_id"], [])} for one in details(connection, state_ids)]


def index_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the list of states: the columns that it shows, and the words that a search looks through."""
    return {**{name: row[name] for name in _COLUMNS}, "words": f"{row['domain']} {row['demonstration'][:400]}"}


def _dataset(run: Path, subject: Subject, name: str) -> dict[str, Any] | None:
    """Return {name, train, validation, config} of the named selection from these profiles; None if there is none."""
    wanted = {"name": name, "policy": subject.policy_id, "verifier": subject.verifier_id}
    manifests = rundir.read_manifests(run, "select")
    fitting = [one for one in manifests if wanted.items() <= one["config"].items()]
    if not fitting:
        return None
    last = fitting[-1]
    return {**{key: last["summary"][key] for key in ("name", "train", "validation")}, "config": last["config"]}


def _answer(figures: dict[str, Any], dataset: dict[str, Any] | None) -> str:
    classes, totals = figures["classes"], figures["totals"]
    of = f"{classes['sometimes']:,} of {totals['states']:,} profiled states have rewards that differ"
    if dataset is None:
        return f"{of}; nothing is selected yet"
    return (
        f"{of}; pivots/{dataset['name']} has {dataset['train']:,} training and {dataset['validation']:,} held-out rows"
    )


def _settings(
    settings: dict[str, Any], figures: dict[str, Any], dataset: dict[str, Any] | None
) -> list[tuple[str, str]]:
    totals = figures["totals"]
    low, high = totals["min_samples"], totals["max_samples"]
    shown = {key: value for key, value in settings.items() if value is not None and key != OPTIONS}
    rows = [(key, str(value)[:12] if key in ("template", "weights") else str(value)) for key, value in shown.items()]
    rows.append(("samples per state", f"{high}" if low == high else f"{low} to {high}"))
    if dataset is not None:
        rows.append(("rule", rule_words(dataset["config"])))
    return rows


def _cost(taken: dict[str, Any], price_per_hour: float | None) -> list[tuple[str, str]]:
    names = ("samples", "generated_tokens", "prompt_tokens")
    rows = [(name.replace("_", " "), f"{taken[name]:,}") for name in names]
    if taken["sampling_s"] is not None:
        hours = taken["sampling_s"] / 3600
        rows.append(("hours of sampling", f"{hours:,.3f}"))
        if price_per_hour is not None:
            rows.append(("price", f"{hours * price_per_hour:,.2f} at {price_per_hour:,.2f} an hour"))
    return rows


# What the page links to comes first; then a fixed random order, so that the sample is a fair one.
_ORDER = """
    select state_id from state_index
    order by list_position(?, state_id) nulls last, hash(state_id), state_id limit ?
"""


def report_text(summary: ReportSummary) -> str:
    """Return the summary as a line of text."""
    held = f"{summary.embedded_states:,} of {summary.states:,} states"
    return (
        f"report    {summary.path}: {summary.num_bytes / 1e6:,.1f} MB, {held}; {summary.verdict}; {summary.seconds} s"
    )
