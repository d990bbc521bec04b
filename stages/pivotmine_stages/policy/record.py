"""The record of a sampled policy, with its hashes, next to its rollouts."""

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
    """Path or hub id; None if a chat server renders."""
    template_options: dict[str, Any]
    sampling: dict[str, Any]
    """Sampling parameters without the token budget."""
    weights_hash: str | None
    """Hash of weights and adapter; None if they are on a server."""
    tokenizer_hash: str | None
    template_hash: str | None
    parser: str
    """The action parser. It is not part of the id, because it is applied when scoring."""
    seed: int
    """Seed of the first sampling. It is not part of the id, but one policy is sampled with one seed."""
    budget: int | None = None
    """Last token budget of `rollout` or `score`; the profiles have it. None if the samples were recorded elsewhere."""
    first_budget: int | None = None
    """Budget of rows that do not have one: an older version made it part of the id. None if there are no such rows, or
    it is unknown."""
    rendering: int = 1
    """Version of how messages are passed to the chat template; 1 is `Renderer.render_as_before`."""


def describe_policy(
    options: EngineOptions,
    engine: str,
    renderer: Renderer | None,
    *,
    parser: str,
    policy_name: str | None,
    run: Path | None = None,
) -> PolicyRecord:
    """The record of a policy, with hashes of all settings that change the samples.

    run: if an older version sampled the policy there under another id, that id stays. UserError if a server's policy
    has no name.
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
    """The policy's id in an older version, in which the token budget was part of it."""
    return policy.policy_id(name, {**identity, "sampling": {**identity["sampling"], "max_new_tokens": budget}})


def _older_budget(run: Path, name: str, identity: Mapping[str, Any], budget: int) -> int | None:
    """The budget with which an older version sampled this policy: the current one, else the largest, else None.

    The current budget is found even without a record, which may have been deleted.
    """
    known = sorted({one.first_budget for one in known_policies(run).values() if one.first_budget}, reverse=True)
    older = (found for found in (budget, *known) if (run / "rollouts" / _older_id(name, identity, found)).is_dir())
    return next(older, None)


def require_readable(name: str | None) -> None:
    """Raise UserError if a policy's name cannot be a folder's name."""
    if name is not None and (problem := name_problem("--policy-name", name)):
        raise UserError(problem)


def require_name(engine: str, policy_name: str | None) -> None:
    """Raise UserError if a server's policy has no name."""
    if engine_spec(engine).is_remote and policy_name is None:
        raise UserError(f"--engine {engine} needs --policy-name NAME: a server's weights cannot be hashed")


def _weights_hash(options: EngineOptions) -> str:
    weights = policy.hash_weights(_local(options.model))
    return policy.hash_text(weights + policy.hash_weights(_local(options.adapter))) if options.adapter else weights


def _local(model: str) -> Path:
    """The folder of a model: as given, or the local copy from the hub, downloaded if needed."""
    if Path(model).is_dir():
        return Path(model)  # its files were checked before loading
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, allow_patterns=["*.safetensors", "*.json"]))
        if not list(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(model, allow_patterns=["*.bin", "*.json"]))
    except Exception as error:  # the hub client raises a dozen kinds: no network, unknown model, no access
        first = str(error).strip().splitlines()[0]
        raise UserError(f"no model folder {model}, and the hub cannot provide it: {first}") from None
    require_whole_files(f"model {model}, in {folder}", folder)
    return folder


def check_seed(run: Path, record: PolicyRecord) -> None:
    """Raise UserError if the policy was sampled with another seed: a policy keeps one seed."""
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
    # Fields that later versions added have defaults, because older records lack them.
    required = {field.name for field in fields(PolicyRecord) if field.default is MISSING}
    if not required <= found.keys() <= {field.name for field in fields(PolicyRecord)}:
        raise UserError(f"{path} is not a policy record: {remedy}")
    if isinstance(found["sampling"], dict) and "max_new_tokens" in found["sampling"]:  # from an older version
        found["first_budget"] = found["sampling"].pop("max_new_tokens")
        found["budget"] = found.get("budget") or found["first_budget"]
    return PolicyRecord(**found)


def choose_policy(run: Path, name: str | None) -> PolicyRecord:
    """The policy with this id (or a part that only it has), or the only policy; else UserError."""
    known = known_policies(run)
    where = f"in {run}: run `pivotmine rollout {shlex.quote(str(run))}` first"
    return known[choose("policy", {key: asdict(record) for key, record in known.items()}, name, where)]


def with_budget(record: PolicyRecord, budget: int | None) -> PolicyRecord:
    """The policy with this token budget for its profiles (as it is if None); UserError if its budgets are unknown."""
    if budget is None:
        return record
    if record.budget is None:
        raise UserError(
            f"--max-new-tokens {budget}: the budgets of {record.policy_id} are unknown: it was recorded elsewhere"
        )
    return replace(record, budget=budget)


def known_policies(run: Path) -> dict[str, PolicyRecord]:
    """The policies of a run by their ids."""
    names = sorted(path.parent.name for path in (run / "rollouts").glob("*/policy.json"))
    return {name: load_policy(run, name) for name in names}


def stored_verifier(folder: Path) -> tuple[VerifierSpec, dict[str, Any]]:
    """The verifier that scored a folder of `scores`, and its settings: verifier, options, parser.

    UserError if they are damaged, or if they name another package's code that the user has not trusted.
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

    Settings are empty if `verifier.json` is missing or broken. Choosing that verifier then gives an error.
    """
    found: dict[str, dict[str, Any]] = {}
    for folder in sorted(path.parent for path in (run / "scores" / policy_id).glob("*/profiles.parquet")):
        try:
            found[folder.name] = rundir.read_json(folder / "verifier.json", "")
        except (OSError, UserError):
            found[folder.name] = {}
    return found


def choose(kind: Literal["policy", "verifier"], known: Mapping[str, Settings], name: str | None, where: str) -> str:
    """The id that equals `name`, or the only one that contains it, or the only one at all; else UserError.

    known: settings by id; the error names those that differ.
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
