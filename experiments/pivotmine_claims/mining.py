"""Mining by the project's own stages, as functions: one run directory for each policy that is mined."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from pivotmine.errors import UserError
from pivotmine.sampling.settings import Sampling
from pivotmine.verifiers import VerifierSpec, make_spec
from pivotmine_claims.ledger import Cost, Entry, locked, stage
from pivotmine_claims.scale import Scale
from pivotmine_desk.evaluate import FREE_TEXT
from pivotmine_desk.sampling import MAX_NEW_TOKENS
from pivotmine_stages.engines.options import EngineOptions
from pivotmine_stages.extract.options import ExtractConfig
from pivotmine_stages.extract.stage import extract
from pivotmine_stages.policy.options import PolicyConfig
from pivotmine_stages.rollout.options import RolloutConfig
from pivotmine_stages.rollout.stage import rollout
from pivotmine_stages.score.options import ScoreConfig
from pivotmine_stages.score.stage import score
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.stage import select

TOOL_CALL_VERSION = 4
"""The verifier that all figures were made with. A newer one would give other rewards under the same name."""

ALL = 1_000_000
"""Demonstrations of a dataset: all of them."""

Rule = Literal["pivots", "mixed", "random", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The data and the base policy."""

    name: str
    policy: Path
    trajectories: Path
    never: tuple[float, float]
    """Bounds of the share of test states that the base policy never solves in 16 samples."""

    def digest(self) -> str:
        """Of weights and trajectories."""
        files = (self.policy / "model.safetensors", self.policy / "tokenizer.json", self.trajectories)
        return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """Where and with what a cell is made."""

    world: World
    scale: Scale
    work: Path
    """Run directories, checkpoints and the parts of unfinished cells."""
    seed: int

    def shared(self, name: str, work: Callable[[Path], dict[str, Any]], **settings: Any) -> tuple[Path, dict[str, Any]]:
        """(folder, what `work` returned) of a stage that cells with the same settings and seed share."""
        key = digest({"data": self.world.digest(), "verifier": functional().verifier_id, "seed": self.seed, **settings})
        folder = self.work / self.world.name / "shared" / f"{name}-{self.seed}-{key[:8]}"
        return folder, stage(folder, work)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mined:
    """A policy's run directory, and the ledger's line of its mining."""

    run: Path
    entry: Entry


def digest(value: Any) -> str:
    """Of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def functional() -> VerifierSpec:
    """`tool_call` with the desk's options; UserError where its version is not the one of the committed figures."""
    spec = make_spec("tool_call", {"free_text": list(FREE_TEXT)})
    if spec.verifier.version != TOOL_CALL_VERSION:
        raise UserError(
            f"tool_call has version {spec.verifier.version}, and the figures were made with {TOOL_CALL_VERSION}: set "
            "TOOL_CALL_VERSION in pivotmine_claims/mining.py, and all cells are made with the new one"
        )
    return spec


def mine(lab: Lab, policy: Path, name: str, **settings: Any) -> Mined:
    """Sample, score and profile all call states of the demonstrations. `settings`: what made the policy."""
    scale = lab.scale
    wanted = {"trajectories": scale.trajectories, "samples": scale.mining_samples, **settings}
    folder, found = lab.shared(name, lambda folder: _mine(lab, policy, folder), **wanted)
    cost = Cost(**found["cost"], cpu_s=found["cpu_s"])
    entry = Entry(stage=name, kind="mining", cost=cost, found=found["profile"])
    return Mined(run=folder / "run", entry=entry)


def _mine(lab: Lab, policy: Path, folder: Path) -> dict[str, Any]:
    run, spec = folder / "run", functional()
    engine = EngineOptions(model=str(policy), sampling=Sampling(max_new_tokens=MAX_NEW_TOKENS), seed=lab.seed)
    opened = PolicyConfig(engine=engine, engine_name="transformers", policy_name="policy")
    with (folder / "log.txt").open("a") as log, redirect_stdout(log), redirect_stderr(log):
        sources = (lab.world.trajectories,)
        extract(ExtractConfig(sources=sources, limit=lab.scale.trajectories, num_processes=1), run)
        rollout(RolloutConfig(policy=opened, verifier=spec, num_samples=lab.scale.mining_samples), run)
        score(ScoreConfig(verifier=spec, num_processes=1), run)
    profiles = pl.read_parquet(next(run.glob("scores/*/*/profiles.parquet")))
    classes = profiles.filter(pl.col("gate") == "correct").group_by("reward_class").len()
    cost = cost_of_rollouts(run)
    costs = {"turns": cost.turns, "generated": cost.generated, "prefilled": cost.prefilled}
    return {"cost": costs, "profile": dict(classes.sort("reward_class").iter_rows())}


def cost_of_rollouts(run: Path) -> Cost:
    """Turns and tokens of the table `rollouts`. A state's prompt is prefilled once for all its samples."""
    rows = pl.read_parquet(run / "rollouts" / "*" / "part-*.parquet")
    computed = pl.col("num_prompt_tokens") - pl.col("num_cached_tokens").fill_null(0)
    prefilled = rows.group_by("policy_id", "state_id").agg(computed.max())["num_prompt_tokens"].sum()
    return Cost(turns=len(rows), generated=int(rows["num_tokens"].sum()), prefilled=int(prefilled))


def chosen(mined: Mined, rule: Rule, seed: int, *, limit: int | None = None) -> Path:
    """The folder of a dataset that `select` writes by a rule, nothing held out."""
    name = f"{rule}-{limit or 'all'}-{seed}"
    config = SelectConfig(
        name=name, strategy=rule, limit=limit, seed=seed, validation_share=0.0, num_demonstrations=ALL
    )
    folder = mined.run / "pivots" / name
    with locked(mined.run.parent / "select-lock"):  # another process may want the same rows
        if not (folder / "README.md").is_file():
            with (mined.run.parent / "log.txt").open("a") as log, redirect_stdout(log), redirect_stderr(log):
                summary = select(config, mined.run)
            if not summary.train:
                raise UserError(f"{mined.run}: the rule {rule} chose no state")
    return folder


def num_rows(dataset: Path) -> int:
    """Rows of a dataset's training split."""
    return pl.scan_parquet(dataset / "train.parquet").select(pl.len()).collect().item()
