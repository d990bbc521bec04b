"""Commands as they are printed for a person to type: with every option of the policy's identity, quoted for a shell."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine.options import declared
from pivotmine.verifiers import VerifierSpec
from pivotmine_stages.engines import engine_spec
from pivotmine_stages.engines.options import EngineOptions
from pivotmine_stages.policy.record import PolicyRecord
from pivotmine_stages.profiles.stopping import StoppingRule, plans_dir


def sample_the_rest(run: Path, record: PolicyRecord, spec: VerifierSpec, rule: StoppingRule) -> str:
    """The commands that draw the remaining samples of the states that an adaptive run stopped early."""
    at = shlex.quote(str(run))
    judged = {"verifier": spec.name} if spec.is_default and spec.name != "auto" else {}
    asked = {"num_samples": rule.num_samples, "limit": _num_states(run, record, spec, rule)}
    rollout = f"pivotmine rollout {at}{_flags({**_of_policy(record), **judged, **asked})}"
    score = f"pivotmine score {at}{_flags({'policy': record.policy_id, **judged})}"
    also = [] if spec.is_default else ["the --config that the run had"]
    also += ["the server's --base-url for the first"] if engine_spec(record.engine).is_remote else []
    return f"sample the rest by `{rollout}` and `{score}`" + (f" (with {' and '.join(also)})" if also else "")


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
    """Every plan names all states of its rounds."""
    plans = plans_dir(run, record.policy_id, spec.verifier_id).glob(f"{rule.rule}-*/round-*.parquet")
    last = max(plans, key=lambda path: path.stat().st_mtime_ns, default=None)
    return None if last is None else pl.scan_parquet(last, glob=False).select(pl.len()).collect().item()


def _flags(options: dict[str, Any]) -> str:
    given = {name: value for name, value in options.items() if value is not None}
    return "".join(f" --{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in given.items())
