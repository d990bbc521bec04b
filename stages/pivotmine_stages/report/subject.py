"""The report's subject: one policy under one verifier, their settings in words, and an index of their states."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import polars as pl

from pivotmine.errors import UserError
from pivotmine.run import rundir, sql
from pivotmine.run.parts import require_sound
from pivotmine_stages.policy.differences import apart, flat_settings
from pivotmine_stages.policy.record import PolicyRecord, load_policy
from pivotmine_stages.profiles.budgets import budget_of, exceptions

OPTIONS = "verifier options"
"""The key of a verifier's options among the settings of a profile."""
DEPTHS = (0, 1, 2, 4, 8, 16, 32)
"""Lower bounds of the groups of turns by their place in the trajectory."""
PROMPT_TOKENS = (0, 256, 1024, 4096, 16384, 65536)
"""Lower bounds of the groups of states by the length of their prompt, in tokens."""


class Subject(NamedTuple):
    policy_id: str
    verifier_id: str

    @property
    def name(self) -> str:
        """Both ids, as `--compare` and `pivotmine compare` take them."""
        return f"{self.policy_id}/{self.verifier_id}"


def subjects(run: Path) -> list[Subject]:
    """Return every policy and verifier with profiles, in the order of their names."""
    paths = sorted((run / "scores").glob("*/*/profiles.parquet"))
    return [Subject(path.parent.parent.name, path.parent.name) for path in paths]


def choose_subject(run: Path, policy: str | None, verifier: str | None) -> Subject:
    """Return the profile whose ids contain the given parts; UserError if none or several match, with differences."""
    rundir.require_run(run)
    known = subjects(run)
    found = [one for one in known if (policy or "") in one.policy_id and (verifier or "") in one.verifier_id]
    if not known:
        raise UserError(f"{run} has no profiles: run `pivotmine score` first")
    if not found:
        raise UserError(f"no profile matches: {run} has {', '.join(one.name for one in known)}")
    exact = [one for one in found if policy in (None, one.policy_id) and verifier in (None, one.verifier_id)]
    if len(found) > 1 and len(exact) != 1:
        words = "; ".join(f"{one.name} ({text})" for one, text in zip(found, told_apart(run, found), strict=True))
        raise UserError(f"{len(found)} profiles match, choose one with --policy and --verifier: {words}")
    return exact[0] if len(exact) == 1 else found[0]


def flags_of(run: Path, subject: Subject) -> dict[str, str]:
    """Return the options that make a command choose this profile: `policy` and `verifier`, each only if needed."""
    others = [one for one in subjects(run) if one != subject]
    flags: dict[str, str] = {}
    if any(one.policy_id != subject.policy_id for one in others):
        flags["policy"] = subject.policy_id
    if any(one.policy_id == subject.policy_id for one in others):
        flags["verifier"] = subject.verifier_id
    return flags


def parse_subject(run: Path, text: str) -> Subject:
    """Parse `POLICY` or `POLICY/VERIFIER`, each in full or in part; UserError if none or several match."""
    policy, _, verifier = text.partition("/")
    return choose_subject(run, policy, verifier or None)


def settings_of(run: Path, subject: Subject) -> dict[str, Any]:
    """Return all settings of a policy and its verifier, flat: `temperature`, `max_new_tokens`, `verifier`, ..."""
    record = load_policy(run, subject.policy_id)
    folder = run / "scores" / subject.policy_id / subject.verifier_id
    verifier = rundir.read_json(folder / "verifier.json", "delete it and run the same `pivotmine score` again")
    return {**policy_settings(record), "verifier": verifier["verifier"], OPTIONS: verifier["options"]}


def policy_settings(record: PolicyRecord) -> dict[str, Any]:
    """Return the settings of a policy, without ids and paths that only a program reads."""
    named = {"policy": record.name, "engine": record.engine, "model": Path(record.model).name}
    others = {"adapter": record.adapter and Path(record.adapter).name, "template": record.template_hash}
    return {
        **named,
        **record.sampling,
        "max_new_tokens": record.budget,
        **others,
        "weights": record.weights_hash,
        **record.template_options,
    }


def told_apart(run: Path, among: Sequence[Subject]) -> list[str]:
    """Describe for each subject the settings in which it differs from the others."""
    return differing([settings_of(run, one) for one in among])


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Describe each mapping by the keys whose values differ, as `key value`. A single mapping is `the only one`.

    The verifier's options, under the key OPTIONS, are compared with those of the same verifier.
    """
    names = dict.fromkeys(key for one in settings for key in one if key != OPTIONS)
    keys = [key for key in names if _differs(key, settings)]
    if len(settings) < 2:
        return ["the only one"] * len(settings)
    words = [[*(f"{key} {_word(one.get(key))}" for key in keys), *_options(one, settings)] for one in settings]
    return [", ".join(of_one) or "the same settings" for of_one in words]


def _options(one: Mapping[str, Any], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Describe the options in which mappings with the same verifier differ; other verifiers have other options."""
    alike = [other for other in settings if OPTIONS in other and other["verifier"] == one.get("verifier")]
    among = [flat_settings({"options": other[OPTIONS]}) for other in alike]
    return apart(flat_settings({"options": one[OPTIONS]}), among) if OPTIONS in one else []


def _differs(key: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    return len({json.dumps(one.get(key), sort_keys=True) for one in settings}) > 1


def _word(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 60 else text[:57] + "..."


def connect(run: Path, subject: Subject) -> duckdb.DuckDBPyConnection:
    """Open DuckDB over the run: tables `state_index` and `lost`, views `samples` and `own_profiles` of the subject.

    `lost` has the rejects of extract, of sampling this policy and of these scores. `own_profiles` has the profiles.

    `state_index` has a row per profiled state: state_id, class (`unscored` if nothing is scored), mean, variance,
    num_samples, num_scored, gate, solvable_probability, outcomes (list), domain, tool, kind, depth, prompt_tokens,
    offers_tools (a list of tools, or a text convention, which describes them in the prompt), and columns of the turn
    that represents the state.
    """
    connection = connect_samples(run, subject)
    connection.register("lost_rows", _lost(run, subject).to_arrow())
    connection.execute("create temp table lost as select * from lost_rows")
    connection.execute(_STATE_INDEX, [subject.policy_id])
    return connection


def connect_samples(run: Path, subject: Subject) -> duckdb.DuckDBPyConnection:
    """Open DuckDB over the run with the views `samples` and `own_profiles` of the subject's rows."""
    require_sound(run, "turns")
    for table in ("scores", "profiles"):
        require_sound(run, table, run / "scores" / subject.policy_id / subject.verifier_id)
    connection = sql.connect(run)
    record = load_policy(run, subject.policy_id)
    path = run / "scores" / subject.policy_id / subject.verifier_id / "profiles.parquet"
    profiles = rundir.scan(run, "profiles", [path]).select("budget").collect()
    odd = exceptions(run, record, budget_of(profiles, record))
    connection.register("exceptions", odd.to_arrow())
    literals = {name: sql.quoted(value) for name, value in subject._asdict().items()}
    literals["first_budget"] = str(record.first_budget or 0)
    for statement in _VIEWS:
        connection.execute(statement.format(**literals))
    return connection


def connect_unscored(run: Path) -> duckdb.DuckDBPyConnection:
    """Open DuckDB over an unscored run: `state_index` has its demonstrated states, `samples` is empty."""
    require_sound(run, "turns")
    connection = sql.connect(run)
    for statement in _UNSCORED_VIEWS:
        connection.execute(statement)
    connection.execute(_STATE_INDEX, [""])
    return connection


def _lost(run: Path, subject: Subject) -> pl.DataFrame:
    return rundir.scan(run, "rejects", rundir.rejects_before(run, *subject)).unique().collect()


def _bucket(column: str, bounds: Sequence[int]) -> str:
    """Return SQL for the greatest of `bounds` that is not above the column."""
    cases = " ".join(f"when {column} >= {bound} then {bound}" for bound in reversed(bounds))
    return f"case {cases} end"


# The first demonstration represents a state, or its first turn if it has no demonstration.
_VIEWS = (
    """
    create temp view samples as
    select s.* replace (
        if(is_longer, 0.0, reward) as reward, if(is_longer, 'truncated', outcome) as outcome,
        if(is_longer, null, detail) as detail
    )
    from scores s left join exceptions e on s.state_id = e.state_id and s.sample_index = e.sample_index
        and coalesce(s.budget, {first_budget}) = e.budget
    where policy_id = {policy_id} and verifier_id = {verifier_id} and (e.state_id is null or is_longer)
    """,
    """
    create temp view own_profiles as
    select * from profiles where policy_id = {policy_id} and verifier_id = {verifier_id}
    """,
)
_UNSCORED_VIEWS = (
    "create temp view samples as select * from scores where false",
    """
    create temp view own_profiles as
    select demonstrated.state_id, profiles.* exclude (state_id)
    from (select distinct state_id from turns where reject_reason is null) demonstrated left join profiles on false
    """,
)
_STATE_INDEX = f"""
    create temp table state_index as
    with shown as (
        select * from turns
        qualify row_number() over (partition by state_id order by reject_reason is not null, turn_id) = 1
    ), prompts as (
        select state_id, max(num_prompt_tokens) as prompt_tokens
        from rollouts where policy_id = ? group by state_id
    ), happened as (
        select state_id, list_sort(list(distinct outcome)) as outcomes
        from samples group by state_id
    )
    select
        state_id, coalesce(reward_class, 'unscored') as class, mean, variance, num_samples, num_scored, gate,
        case when solvable_probability >= 0 then solvable_probability end as solvable_probability,
        coalesce(outcomes, []) as outcomes,
        coalesce(s.domain, '') as domain, kind,
        coalesce(json_extract_string(demonstration, '$.tool_calls[0].name'), '') as tool,
        turn_index as depth, {_bucket("turn_index", DEPTHS)} as depth_from,
        prompt_tokens, {_bucket("prompt_tokens", PROMPT_TOKENS)} as prompt_from,
        s.tools_id is not null or coalesce(action_format, 'native') <> 'native' as offers_tools,
        turn_id, s.trajectory_id, segment_id, position, s.tools_id, demonstration
    from own_profiles join shown s using (state_id) left join segments using (segment_id)
        left join prompts using (state_id) left join happened using (state_id)
"""
