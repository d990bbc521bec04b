"""Commands that are printed for a person to run, with every option that identifies the policy, quoted for a shell."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine import policy
from pivotmine.options import declared
from pivotmine.run.sql import quoted
from pivotmine.verifiers import VerifierSpec
from pivotmine_stages.engines import ENGINES, engine_spec
from pivotmine_stages.engines.options import EngineOptions
from pivotmine_stages.policy.record import PolicyRecord
from pivotmine_stages.profiles.posteriors import most_samples
from pivotmine_stages.profiles.stopping import StoppingRule, plans_dir

HOTTER = 0.3
"""What `sample_hotter` adds to the temperature."""
NEVER_PLAN = "never.jsonl"
MAX_NAME = 30
"""Maximum number of characters of the old policy's name in the hotter policy's name; an id keeps 40."""


def sample_the_rest(run: Path, record: PolicyRecord, spec: VerifierSpec, rule: StoppingRule) -> str:
    """Return the commands that draw the remaining samples of states that an adaptive run stopped early."""
    at = shlex.quote(str(run))
    judged = {"verifier": spec.name} if spec.is_default and spec.name != "auto" else {}
    asked = {"num_samples": rule.num_samples, "limit": _num_states(run, record, spec, rule)}
    rollout = f"pivotmine rollout {at}{_flags({**_of_policy(record), **judged, **asked})}"
    score = f"pivotmine score {at}{_flags({'policy': record.policy_id, **judged})}"
    also = [] if spec.is_default else ["the --config of the run"]
    also += ["the server's --base-url for the first"] if engine_spec(record.engine).is_remote else []
    return f"sample the rest by `{rollout}` and `{score}`" + (f" (with {' and '.join(also)})" if also else "")


def sample_hotter(run: Path, record: PolicyRecord, spec: VerifierSpec, profiles: pl.DataFrame) -> list[str]:
    """Return commands that sample the states of class `never` hotter, as another policy, and score it.

    Empty for an imported policy, which cannot be sampled. The reader replaces CONFIG and URL.
    """
    if record.engine not in ENGINES:
        return []
    at = shlex.quote(str(run))
    temperature = round(record.sampling["temperature"] + HOTTER, 2)
    # The name as an id spells it, because a folder's name may hold any character.
    plain = policy.policy_id(record.name, {}).rpartition("-")[0]
    name = f"{plain[:MAX_NAME]}-t{temperature}"
    query = (
        f"select state_id, {most_samples(profiles)} as num_samples from profiles "
        f"where policy_id = {quoted(record.policy_id)} and verifier_id = {quoted(spec.verifier_id)} "
        "and reward_class = 'never' order by solvable_probability desc, state_id"
    )
    judged = {"verifier": spec.name} if spec.is_default and spec.name != "auto" else {}
    judged |= {} if spec.is_default else {"config": "CONFIG"}
    hotter = {"temperature": temperature, "policy_name": name, "plan": NEVER_PLAN}
    server = {"base_url": "URL"} if engine_spec(record.engine).is_remote else {}
    # `score` finds the new policy by the beginning of its id, which spells the name the same way.
    known_by = policy.policy_id(name, {}).rpartition("-")[0]
    return [
        f"pivotmine sql {at} {_quoted(query)} --json > {NEVER_PLAN}",
        f"pivotmine rollout {at}{_flags({**_of_policy(record), **hotter, **judged, **server})}",
        f"pivotmine score {at}{_flags({'policy': known_by, **judged})}",
    ]


def _of_policy(record: PolicyRecord) -> dict[str, Any]:
    defaults = {one.name: one.default for one in declared(EngineOptions)}
    sampled = {**record.sampling, "max_new_tokens": record.budget}
    sampling = {key: value for key, value in sampled.items() if value != defaults[key]}
    is_remote = engine_spec(record.engine).is_remote
    own = record.tokenizer in (None, record.model, str(Path(record.model).resolve()))
    return {
        "model": record.model,
        "engine": record.engine,
        "adapter": record.adapter,
        "tokenizer": None if own else record.tokenizer,
        "template_options": json.dumps(record.template_options) if record.template_options else None,
        **sampling,
        "seed": record.seed or None,
        "parser": record.parser,
        "policy_name": None if not is_remote and record.name == Path(record.model).name else record.name,
    }


def _num_states(run: Path, record: PolicyRecord, spec: VerifierSpec, rule: StoppingRule) -> int | None:
    """Count the states in the last plan; None without a plan. A plan names all states of its rounds."""
    plans = plans_dir(run, record.policy_id, spec.verifier_id).glob(f"{rule.rule}-*/round-*.parquet")
    last = max(plans, key=lambda path: path.stat().st_mtime_ns, default=None)
    return None if last is None else pl.scan_parquet(last, glob=False).select(pl.len()).collect().item()


def _flags(options: dict[str, Any]) -> str:
    given = {name: value for name, value in options.items() if value is not None}
    return "".join(f" --{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in given.items())


def _quoted(statement: str) -> str:
    """Quote a statement for a shell; in double quotes if they do not change it, because SQL uses single quotes."""
    return shlex.quote(statement) if any(sign in statement for sign in '"$`\\!') else f'"{statement}"'
