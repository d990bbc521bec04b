"""Which policy was sampled: its hashes, and the record of it next to its rollouts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from pivotmine import policy
from pivotmine.errors import UserError
from pivotmine.options import name_problem, nearest
from pivotmine.run import rundir
from pivotmine.verifiers import VerifierSpec, make_spec
from pivotmine.verifiers.composed.third_party import require_trusted
from pivotmine_stages.engines import engine_spec
from pivotmine_stages.engines.model_files import require_whole_files
from pivotmine_stages.engines.options import EngineOptions
from pivotmine_stages.policy.differences import Settings, telling_apart
from pivotmine_stages.policy.prompts import RENDERING, Renderer


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRecord:
    """`rollouts/<policy_id>/policy.json`."""

    policy_id: str
    name: str
    """Given name, or the model's."""
    engine: str
    model: str
    """Path or hub id, as given."""
    adapter: str | None
    tokenizer: str | None
    """Path or hub id; None: a chat server renders."""
    template_options: dict[str, Any]
    sampling: dict[str, Any]
    """Sampling parameters, less the token budget."""
    weights_hash: str | None
    """Weights and adapter; None: behind a server."""
    tokenizer_hash: str | None
    template_hash: str | None
    parser: str
    """How its text becomes actions; no part of the id, since it is applied when scoring."""
    seed: int
    """Of the first sampling; no part of the id, but one policy is sampled with one seed."""
    budget: int | None = None
    """Token budget that was asked for last, by `rollout` or `score`: profiles are of it. None: recorded elsewhere."""
    first_budget: int | None = None
    """Budget of the rows that name none: that of an older version, which made it a part of the id. None: there is no
    such row, or nobody knows it."""
    rendering: int = 1
    """Version of how messages are handed to the chat template; 1: `Renderer.render_as_before`."""


def describe_policy(
    options: EngineOptions,
    engine: str,
    renderer: Renderer | None,
    *,
    parser: str,
    policy_name: str | None,
    run: Path | None = None,
) -> PolicyRecord:
    """Hash every setting that changes the samples; UserError if a server's policy has no name.

    run: where an older version may have sampled the policy under an id of its own, which then stays.
    """
    require_name(engine, policy_name)
    is_remote = engine_spec(engine).is_remote
    identity: dict[str, Any] = {
        "engine": engine,
        "name": policy_name if is_remote else None,
        "weights_hash": None if is_remote else _weights_hash(options),
        "tokenizer_hash": renderer and policy.hash_tokenizer(renderer.tokenizer),
        "template_hash": renderer and policy.hash_template(renderer.template),
        "template_options": dict(options.template_options),
        "sampling": {**asdict(options.sampling), **({"api": options.api} if is_remote else {})},
    }
    budget = identity["sampling"].pop("max_new_tokens")
    name = policy_name or Path(options.model).name
    older = None if run is None else _older_budget(run, name, identity, budget)
    tokenizer = renderer.tokenizer.name_or_path if renderer else None
    return PolicyRecord(
        **{key: value for key, value in identity.items() if key != "name"},
        name=name,
        policy_id=policy.policy_id(name, identity) if older is None else _older_id(name, identity, older),
        model=options.model,
        adapter=options.adapter,
        tokenizer=str(Path(tokenizer).resolve()) if tokenizer and Path(tokenizer).exists() else tokenizer,
        parser=parser,
        seed=options.seed,
        budget=budget,
        first_budget=older,
        rendering=RENDERING if older is None else 1,
    )


def _older_id(name: str, identity: Mapping[str, Any], budget: int) -> str:
    """The policy's id as it was while the token budget was a part of it."""
    return policy.policy_id(name, {**identity, "sampling": {**identity["sampling"], "max_new_tokens": budget}})


def _older_budget(run: Path, name: str, identity: Mapping[str, Any], budget: int) -> int | None:
    """The budget with which an older version sampled this policy: that of now, else the largest; None: it did not.

    That of now is looked for without a record too, which may have been deleted.
    """
    known = sorted({one.first_budget for one in known_policies(run).values() if one.first_budget}, reverse=True)
    older = (found for found in (budget, *known) if (run / "rollouts" / _older_id(name, identity, found)).is_dir())
    return next(older, None)


def require_readable(name: str | None) -> None:
    """UserError for a policy's name that could not be a folder's as it is."""
    if name is not None and (problem := name_problem("--policy-name", name)):
        raise UserError(problem)


def require_name(engine: str, policy_name: str | None) -> None:
    """UserError where a server's policy has no name."""
    if engine_spec(engine).is_remote and policy_name is None:
        raise UserError(f"--engine {engine} needs --policy-name NAME: a server's weights cannot be hashed")


def _weights_hash(options: EngineOptions) -> str:
    weights = policy.hash_weights(_local(options.model))
    return policy.hash_text(weights + policy.hash_weights(_local(options.adapter))) if options.adapter else weights


def _local(model: str) -> Path:
    """The folder of a model: as given, or the hub's copy of it on this machine (fetched if need be)."""
    if Path(model).is_dir():
        return Path(model)  # looked at before anything was loaded
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, allow_patterns=["*.safetensors", "*.json"]))
        if not list(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(model, allow_patterns=["*.bin", "*.json"]))
    except Exception as error:  # the hub client raises a dozen kinds: no network, no such model, no right to it
        first = str(error).strip().splitlines()[0]
        raise UserError(f"no model folder {model}, and the hub does not give it: {first}") from None
    require_whole_files(f"model {model}, in {folder}", folder)
    return folder


def check_seed(run: Path, record: PolicyRecord) -> None:
    """UserError where the policy was sampled with another seed: its samples would not be those of one run."""
    if _path(run, record.policy_id).exists() and (seed := load_policy(run, record.policy_id).seed) != record.seed:
        raise UserError(
            f"{record.policy_id} was sampled with --seed {seed}, not {record.seed}: a policy keeps one seed"
        )


def remember_policy(run: Path, record: PolicyRecord) -> None:
    """Write the record before the policy's first samples, and again with each new budget.

    A policy without samples has no record.
    """
    path = _path(run, record.policy_id)
    if path.exists():
        stored = load_policy(run, record.policy_id)
        if stored.budget == record.budget:
            return
        record = replace(stored, budget=record.budget)
    rundir.write_text(path, json.dumps(asdict(record), indent=2, ensure_ascii=False) + "\n")


def is_sampled(run: Path, policy_id: str) -> bool:
    """Whether the policy has samples in this run."""
    return _path(run, policy_id).exists()


def load_policy(run: Path, policy_id: str) -> PolicyRecord:
    """The record of a policy that was sampled in this run."""
    path = _path(run, policy_id)
    remedy = "delete it and start the same `pivotmine rollout` (or `record`) again, which writes it again"
    found = rundir.read_json(path, remedy)
    # A field that a later version adds has a default: older records lack it.
    required = {field.name for field in fields(PolicyRecord) if field.default is MISSING}
    if not required <= found.keys() <= {field.name for field in fields(PolicyRecord)}:
        raise UserError(f"{path} is not a policy record: {remedy}")
    if isinstance(found["sampling"], dict) and "max_new_tokens" in found["sampling"]:  # an older version's
        found["first_budget"] = found["sampling"].pop("max_new_tokens")
        found["budget"] = found.get("budget") or found["first_budget"]
    return PolicyRecord(**found)


def choose_policy(run: Path, name: str | None) -> PolicyRecord:
    """The policy named (by id, or a part of it that no other has), or the only one; else UserError."""
    known = known_policies(run)
    where = f"in {run}: run `pivotmine rollout {shlex.quote(str(run))}` first"
    return known[choose("policy", {key: asdict(record) for key, record in known.items()}, name, where)]


def with_budget(record: PolicyRecord, budget: int | None) -> PolicyRecord:
    """The policy with another token budget for its profiles, or as it is; UserError where nobody knows its budgets."""
    if budget is None:
        return record
    if record.budget is None:
        raise UserError(
            f"--max-new-tokens {budget}: nobody knows the budgets of {record.policy_id}, recorded elsewhere"
        )
    return replace(record, budget=budget)


def known_policies(run: Path) -> dict[str, PolicyRecord]:
    """The policies of a run by their ids."""
    names = sorted(path.parent.name for path in (run / "rollouts").glob("*/policy.json"))
    return {name: load_policy(run, name) for name in names}


def stored_verifier(folder: Path) -> tuple[VerifierSpec, dict[str, Any]]:
    """The verifier that scored a folder of `scores`, and its settings: verifier, options, parser.

    UserError where they are damaged, or where they name another package's code that nobody vouched for.
    """
    path = folder / "verifier.json"
    settings = rundir.read_json(path, "delete it and start the same `pivotmine score` again")
    try:
        name, options = str(settings["verifier"]), settings["options"]
        require_trusted(str(path), name, options)
        return make_spec(name, options), settings
    except (KeyError, TypeError, RecursionError):
        raise UserError(f"{path} is damaged: delete it and start the same `pivotmine score` again") from None


def scored_verifiers(run: Path, policy_id: str) -> dict[str, dict[str, Any]]:
    """By verifier id, the settings of the verifiers that have profiles of the policy: verifier, options, parser.

    Empty settings where `verifier.json` is missing or broken: whoever chooses that verifier will be told.
    """
    found: dict[str, dict[str, Any]] = {}
    for folder in sorted(path.parent for path in (run / "scores" / policy_id).glob("*/profiles.parquet")):
        try:
            found[folder.name] = rundir.read_json(folder / "verifier.json", "")
        except (OSError, UserError):
            found[folder.name] = {}
    return found


def choose(kind: Literal["policy", "verifier"], known: Mapping[str, Settings], name: str | None, where: str) -> str:
    """The one of `known` that is named in full or by a part of its own, or the only one; else UserError.

    known: by id, the settings in which they may differ.
    """
    if not known:
        raise UserError(f"no {kind} {where}")
    found = {entry: settings for entry, settings in known.items() if name is None or name in entry}
    if name is not None and name in known:
        return name
    if len(found) == 1:
        return next(iter(found))
    if not found:
        raise UserError(f"no {kind} matches {name!r}: there are {', '.join(known)}{nearest(name or '', known)}")
    plural = {"policy": "policies", "verifier": "verifiers"}[kind]
    raise UserError(f"{len(found)} {plural} match: {telling_apart(found)}; choose one with --{kind}")


def _path(run: Path, policy_id: str) -> Path:
    return run / "rollouts" / policy_id / "policy.json"
