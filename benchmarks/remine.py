"""Mining the desk again after training: `rollout --from` against old classes, old posteriors and a full fresh profile.

    pivotmine run data/desk/trajectories.jsonl --run RUN --model data/desk/policy --engine transformers \\
        --config data/desk/run.toml
    pivotmine select RUN --name train --validation-share 0.2
    pivotmine-train --config trainer/configs/desk.yaml --dataset RUN/pivots/train --model data/desk/policy \\
        --output_dir TRAINED --max_steps 100 --save_steps 20 --save_total_limit 10
    python -m benchmarks remine --run RUN --checkpoints TRAINED/checkpoint-20 TRAINED/checkpoint-100

Each checkpoint is sampled 64 times in every state, by a seed of its own: 16 samples are the full fresh profile, the
other 48 the truth. Every arm names the states that it would train on (0 < p < 0.6). Signal recall is the sum of
sqrt(p (1 - p)) over these, relative to that of the fresh profile. A state changed if the old 16 samples and the truth
disagree on whether it is a pivot.

Work is kept in --work: what was sampled there is not sampled again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from pivotmine.run import rundir
from pivotmine.stats.success_prior import replication_probability
from pivotmine_stages.adaptive import carry as carry_module
from pivotmine_stages.cli.config_file import read_config
from pivotmine_stages.cli.options import rollout, score
from pivotmine_stages.select.carry_chance import LIKELY

K, TRUTH, SEED, MAX_MEAN = 16, 48, 7, 0.6
CONFIG = Path("data/desk/run.toml")


class Arm(NamedTuple):
    name: str
    chosen: pl.Series
    """Whether each state is selected."""
    samples: int = 0
    tokens: int = 0
    prefilled: int = 0


def copy_of(run: Path, target: Path) -> Path:
    """A copy of the mined run, made once."""
    if not target.exists():
        half = target.with_name(f"{target.name}.tmp")
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(run, half)
        half.rename(target)
    return target


def sampled(run: Path, checkpoint: Path, **options: Any) -> Any:
    """Rollouts and scores of a checkpoint."""
    tables = read_config(CONFIG)
    settings = {**tables["rollout"], "engine": "transformers", "batch_size": 256, "policy_name": checkpoint.name}
    return rollout(tables, run=run, model=str(checkpoint), **{**settings, **options})


def truth(run: Path, checkpoint: Path) -> tuple[pl.DataFrame, int]:
    """By state: `p` of the truth, `fresh` mean of the full profile; and the generated tokens of that profile."""
    sampled(run, checkpoint, num_samples=K + TRUTH, seed=SEED)
    score(read_config(CONFIG), run=run, policy=checkpoint.name)
    mine = pl.col("policy_id").str.starts_with(checkpoint.name)
    rows = rundir.scan(run, "scores").filter(mine).select("state_id", "sample_index", pl.col("reward").fill_null(0.0))
    is_fresh = pl.col("sample_index") < K
    means = {"p": pl.col("reward").filter(~is_fresh).mean(), "fresh": pl.col("reward").filter(is_fresh).mean()}
    tokens = rundir.scan(run, "rollouts").filter(mine & is_fresh).select(pl.col("num_tokens").sum()).collect().item()
    return rows.group_by("state_id").agg(**means).collect().sort("state_id"), tokens


def is_pivot(mean: pl.Series) -> pl.Series:
    """The paper's rule."""
    return (mean > 0) & (mean < MAX_MEAN)


def carried(run: Path, checkpoint: Path, old: str, states: pl.DataFrame, name: str, **options: Any) -> Arm:
    """Mining again by `rollout --from`."""
    summary = sampled(run, checkpoint, earlier=(old,), **options)
    rows = rundir.scan(run, "profiles").filter(pl.col("policy_id").str.starts_with(checkpoint.name)).collect()
    chosen = states.join(rows, on="state_id", how="left", maintain_order="left")["pivot_probability"] >= LIKELY
    counts = rundir.scan(run, "carried").select(pl.col("num_prefill_tokens").sum()).collect().item()
    stored, found = summary.stored, summary.carried
    print(f"         {name}: {found.unsampled:,} states unsampled, unseen mass {found.unseen_mass:.3f}, ", end="")
    print(f"{found.decay}, {found.calibration}, {summary.adaptive.seconds} s")
    return Arm(name, chosen.fill_null(False), stored.samples, stored.tokens, counts or 0)


def without_bounds(work: Callable[[], Arm]) -> Arm:
    """The same where no engine gives a probability."""
    before = carry_module.no_probabilities
    carry_module.no_probabilities = lambda _: "bounds (the benchmark takes them away)"
    try:
        return work()
    finally:
        carry_module.no_probabilities = before


def show(label: str, states: pl.DataFrame, tokens: int, arms: Sequence[Arm]) -> None:
    """A row an arm."""
    signal, true = (states["p"] * (1 - states["p"])).sqrt(), is_pivot(states["p"])
    changed = is_pivot(states["old"]) != true
    full, opened = float(signal.filter(is_pivot(states["fresh"])).sum()), count(changed & true)
    print(
        f"remine   {label}: {len(states):,} states, {count(true)} pivots, {count(changed)} changed, {opened} new ones"
    )
    print(
        "         arm                          samples  tokens prefilled selected signal precision | new found, precise"
    )
    for arm in arms:
        chosen = arm.chosen
        hit, named = count(chosen & true & changed), count(chosen & changed)
        print(
            f"         {arm.name:<28} {arm.samples / (K * len(states)):>7.1%} {arm.tokens / tokens:>7.1%} "
            f"{arm.prefilled:>9,} {count(chosen):>8} {float(signal.filter(chosen).sum()) / full:>6.3f} "
            f"{count(chosen & true) / max(count(chosen), 1):>9.2f} | "
            f"{hit / max(opened, 1):>9.2f}, {hit / max(named, 1):>7.2f}",
            flush=True,
        )


def count(states: pl.Series) -> int:
    """How many are true."""
    return len(states.filter(states))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table a checkpoint."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks remine", description="Mine the desk again after training."
    )
    parser.add_argument("--run", type=Path, default=Path("runs/desk"), help="mined from data/desk/policy, K = 16")
    parser.add_argument("--checkpoints", type=Path, nargs="+", default=[])
    parser.add_argument("--work", type=Path, default=Path("runs/remine"))
    parser.add_argument("--targets", type=float, nargs="+", default=[0.95, 0.98], help="of --target-recall")
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    if not options.checkpoints:
        print("remine   nothing to do: name trained --checkpoints (the first lines of benchmarks/remine.py say how)")
        return
    options.work.mkdir(parents=True, exist_ok=True)
    profiles = rundir.scan(options.run, "profiles").collect()
    (old,) = profiles["policy_id"].unique()
    before = profiles.select("state_id", "posterior_alpha", "posterior_beta", old="mean")
    for checkpoint in options.checkpoints:
        place = options.work / checkpoint.name
        known, tokens = truth(copy_of(options.run, place / "truth"), checkpoint)
        states = known.join(before, on="state_id", maintain_order="left")
        pairs = states.select("posterior_alpha", "posterior_beta").iter_rows()
        chances = pl.Series([replication_probability(a, b, K, MAX_MEAN) for a, b in pairs])
        arms = [
            Arm("old classes", is_pivot(states["old"])),
            Arm("old posteriors", chances >= LIKELY),
            without_bounds(
                lambda place=place, checkpoint=checkpoint, states=states: carried(
                    copy_of(options.run, place / "posterior"), checkpoint, old, states, "decayed posteriors, samples"
                )
            ),
        ]
        for target in options.targets:
            run = copy_of(options.run, place / f"from-{target}")
            arms.append(carried(run, checkpoint, old, states, f"--from, target {target}", target_recall=target))
        arms.append(Arm("fresh, K = 16", is_pivot(states["fresh"]), K * len(states), tokens))
        show(str(checkpoint), states, tokens, arms)


if __name__ == "__main__":
    main()
