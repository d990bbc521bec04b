"""How each arm makes its policy. A recipe gives the policies to measure, each with the ledger up to there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pivotmine_claims import demonstrations, training, whole_episodes
from pivotmine_claims.arms import Settings
from pivotmine_claims.ledger import Cost, Entry, stage
from pivotmine_claims.mining import Lab, Rule, chosen, digest, functional, mine, num_rows
from pivotmine_claims.training import checkpoint, grpo_settings, sft_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A policy during or after training, and its total cost."""

    step: int
    policy: Path
    ledger: Sequence[Entry]


Recipe = Callable[..., list[Point]]
"""(lab, settings, **options) -> points in the order of their steps; the last is the arm's policy."""


def base(lab: Lab, settings: Settings) -> list[Point]:
    """The base policy as it is."""
    return [Point(step=0, policy=lab.world.policy, ledger=())]


def sft(lab: Lab, settings: Settings, *, turns: str = "all") -> list[Point]:
    """SFT on the demonstrations: every turn, or call turns only. It needs no mining, so none is charged."""
    dataset = chosen(mine(lab, lab.world.policy, "mine-base"), "all", lab.seed)
    return _sft(lab, dataset, sft_settings(lab, settings, turns=turns), ())


def rejection_sampling(lab: Lab, settings: Settings) -> list[Point]:
    """SFT on one success of the base policy in each state that it ever solved."""
    mined = mine(lab, lab.world.policy, "mine-base")
    dataset = demonstrations.own_successes(mined, chosen(mined, "all", lab.seed), lab.seed)
    return _sft(lab, dataset, sft_settings(lab, settings, turns="calls"), (mined.entry,), kind="own-successes")


def turn_level(
    lab: Lab, settings: Settings, *, rule: Rule = "pivots", verifier: str | None = None, demos: bool = False
) -> list[Point]:
    """Turn-level RL on states of the base policy's mining.

    Random states are as many as pivots and come from the same mining. Choosing them needs no samples, so no mining is
    charged. verifier: replaces the mining's verifier in training.
    """
    mined = mine(lab, lab.world.policy, "mine-base")
    pivots = chosen(mined, "pivots", lab.seed)
    dataset = (
        chosen(mined, rule, lab.seed, limit=num_rows(pivots)) if rule == "random" else chosen(mined, rule, lab.seed)
    )
    more = {"verifier": verifier} if verifier else {}
    paid = () if rule == "random" else (mined.entry,)
    return _grpo(lab, lab.world.policy, dataset, {**settings, **more}, paid, start="base", demos=demos)


def demonstrations_alone(lab: Lab, settings: Settings) -> list[Point]:
    """The matched control of pivots with the demonstration loss."""
    dataset = chosen(mine(lab, lab.world.policy, "mine-base"), "pivots", lab.seed)
    scale, rate = lab.scale, settings["learning_rate"]
    sizes = {
        "steps": scale.rl_steps,
        "count": scale.prompts,
        "save_steps": scale.save_steps,
        "warmup": scale.warmup_steps,
    }
    loss = demonstrations.demonstration_loss(dataset, lab.world.policy, lab.seed)
    folder = _folder(lab, "demonstrations", {"rate": rate, **sizes, "states": len(loss.sequences)})
    policy = lab.world.policy
    found = stage(
        folder, lambda folder: demonstrations.train_alone(folder, policy, dataset, seed=lab.seed, rate=rate, **sizes)
    )
    return [
        _point(
            folder, step, (), "demonstrations", demonstrations.cost_alone(loss, steps=step, count=scale.prompts),
            found["cpu_s"] * step / scale.rl_steps,
        )
        for step in _measured(scale.rl_steps, scale.save_steps)
    ]  # fmt: skip


def mined_again(lab: Lab, settings: Settings) -> list[Point]:
    """Pivots, mined again with the policy of the moment every `save_steps` steps."""
    policy, points, paid, done = lab.world.policy, list[Point](), list[Entry](), 0
    made: Settings = {}
    while done < lab.scale.rl_steps:
        steps = min(lab.scale.save_steps, lab.scale.rl_steps - done)
        mined = mine(lab, policy, f"mine-after-{done}" if done else "mine-base", **made)
        paid.append(mined.entry)
        dataset = chosen(mined, "pivots", lab.seed)
        made = {
            "again": {**settings, "done": done + steps, "steps": steps, "every": lab.scale.save_steps},
            **_sizes(lab),
        }
        start = f"after-{done}" if done else "base"
        part = _grpo(lab, policy, dataset, settings, paid, start=start, steps=steps, made=made)[-1]
        done, policy = done + steps, part.policy
        points.append(Point(step=done, policy=policy, ledger=part.ledger))
        paid = list(part.ledger)
    return points


def sft_then_pivots(lab: Lab, settings: Settings, *, first: Settings) -> list[Point]:
    """SFT as users do it, then turn-level RL on the pivots of the SFT policy. first: SFT's settings."""
    before = sft(lab, first)[-1]
    mined = mine(lab, before.policy, "mine-sft", sft=first, sft_steps=lab.scale.sft_steps, batch=lab.scale.sft_batch)
    paid = (*before.ledger, mined.entry)
    made = {"sft": first, "sft_steps": lab.scale.sft_steps}
    return _grpo(lab, before.policy, chosen(mined, "pivots", lab.seed), settings, paid, start="sft", made=made)


def end_to_end(lab: Lab, settings: Settings) -> list[Point]:
    """Whole episodes, rewarded by their outcome, of the tasks that the base policy sometimes solves."""
    scale = lab.scale
    sizes = {"tasks": scale.filter_tasks, "episodes": scale.filter_episodes}
    _, found = lab.shared(
        "filter-tasks", lambda folder: whole_episodes.filter_tasks(lab.world.policy, seed=lab.seed, **sizes), **sizes
    )
    paid = Entry(
        stage="filter tasks", kind="mining", cost=Cost(**found["cost"], cpu_s=found["cpu_s"]), found=found["profile"]
    )
    save_steps = max(1, scale.episode_steps // 3)
    options: Settings = {
        "max_steps": scale.episode_steps, "save_steps": save_steps, "num_generations": scale.group,
        "warmup_steps": scale.warmup_steps, "seed": lab.seed, **settings,
    }  # fmt: skip
    folder = _folder(lab, "episodes", {**options, **sizes, "per_step": scale.episode_tasks})
    trained = stage(
        folder,
        lambda folder: whole_episodes.train_episodes(
            folder, lab.world.policy, found["tasks"], options, tasks_per_step=scale.episode_tasks
        ),
    )
    return [
        _point(folder, step, (paid,), "episodes", whole_episodes.cost_of_episodes(folder, up_to=step),
               trained["cpu_s"] * step / scale.episode_steps)
        for step in _measured(scale.episode_steps, save_steps)
    ]  # fmt: skip


RECIPES: dict[str, Recipe] = {
    "base": base,
    "sft": sft,
    "rejection_sampling": rejection_sampling,
    "turn_level": turn_level,
    "demonstrations_alone": demonstrations_alone,
    "mined_again": mined_again,
    "sft_then_pivots": sft_then_pivots,
    "end_to_end": end_to_end,
}


def _sft(
    lab: Lab, dataset: Path, options: Settings, paid: Sequence[Entry], kind: str = "demonstrations"
) -> list[Point]:
    folder = _folder(lab, "sft", {**options, "kind": kind, **_mining_sizes(lab)})
    cpu_s = training.train(lab, folder, lab.world.policy, dataset, options)["cpu_s"]
    steps = options["max_steps"]
    return [
        _point(folder, step, paid, "SFT", training.cost_of_sft(folder, up_to=step), cpu_s * step / steps)
        for step in _measured(steps, options["save_steps"])
    ]


def _grpo(
    lab: Lab,
    policy: Path,
    dataset: Path,
    settings: Settings,
    paid: Sequence[Entry],
    *,
    start: str,
    steps: int | None = None,
    demos: bool = False,
    made: Settings | None = None,
) -> list[Point]:
    """start and made name the policy that training starts from; both are part of the folder's name."""
    scale, steps = lab.scale, steps or lab.scale.rl_steps
    options = grpo_settings(lab, settings, steps=steps)
    loss = demonstrations.demonstration_loss(dataset, policy, lab.seed) if demos else None
    known = {**options, "start": start, "made": made or {}, "dataset": dataset.name, **_mining_sizes(lab)}
    folder = _folder(lab, "grpo", known)
    cpu_s = training.train(lab, folder, policy, dataset, options)["cpu_s"]
    points: list[Point] = []
    for step in _measured(steps, options["save_steps"]):
        cost = training.cost_of_samples(folder, dataset, group=scale.group, up_to=step)
        if loss is not None:
            more = demonstrations.drawn_tokens(loss, steps=step, count=scale.prompts)
            cost = replace(cost, trained=cost.trained + more)
        points.append(_point(folder, step, paid, "turn-level RL", cost, cpu_s * step / steps))
    return points


def _point(folder: Path, step: int, paid: Sequence[Entry], name: str, cost: Cost, cpu_s: float) -> Point:
    entry = Entry(stage=name, kind="training", cost=replace(cost, cpu_s=cpu_s))
    return Point(step=step, policy=checkpoint(folder, step), ledger=(*paid, entry))


def _measured(steps: int, every: int) -> list[int]:
    """Return the steps whose policies are kept: every `every`-th, and the last."""
    return sorted({*range(every, steps + 1, every), steps})


def _mining_sizes(lab: Lab) -> Settings:
    return {"trajectories": lab.scale.trajectories, "samples": lab.scale.mining_samples}


def _sizes(lab: Lab) -> Settings:
    return {"prompts": lab.scale.prompts, "group": lab.scale.group, "warmup": lab.scale.warmup_steps}


def _folder(lab: Lab, name: str, settings: Settings) -> Path:
    """Return the folder of a training's checkpoints. Equal settings and seeds give the same folder for every arm."""
    key = digest({"data": lab.world.digest(), "verifier": functional().verifier_id, "seed": lab.seed, **settings})
    return lab.work / lab.world.name / "trained" / f"{name}-{lab.seed}-{key[:8]}"
