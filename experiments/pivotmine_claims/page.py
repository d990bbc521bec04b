"""`docs/results.md`, written from the finished cells: `python -m pivotmine_claims page`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pivotmine_claims import claims
from pivotmine_claims.arms import ARMS
from pivotmine_claims.cells import TRY_SEED, frozen
from pivotmine_claims.figures import panels
from pivotmine_claims.ledger import Cost
from pivotmine_claims.mining import World
from pivotmine_claims.scale import Scale
from pivotmine_claims.scores import Scores, load, percent, points, table
from pivotmine_claims.statistics import Estimate

MARKS = ("<!-- claims: written by `just claims` -->", "<!-- end of claims -->")
X_AXES = {"turns": "rollout turns, mining included", "tokens": "tokens, all kinds", "cpu_s": "CPU seconds"}


def write(out: Path, results: Path, world: World, scale: Scale, readme: Path | None = None) -> None:
    """Write the page, its figures next to the cells, and the README's table between its two marks."""
    scores = load(world, scale, results)
    folder = results / world.name
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [arm for arm in ARMS if scores.cells[arm]]
    titles = [ARMS[arm].title for arm in drawn]
    curves = [(label, {ARMS[arm].title: scores.curve(arm, x) for arm in drawn}) for x, label in X_AXES.items()]
    (folder / "curves.svg").write_text(panels(curves, "greedy success", titles), encoding="utf-8")
    found = folder / "world.json"
    classes = json.loads(found.read_text(encoding="utf-8")) if found.is_file() else None
    place = results.relative_to(out.parent) if results.is_relative_to(out.parent) else results
    out.write_text(_page(scores, world, scale, results, classes, f"{place.as_posix()}/{world.name}"), encoding="utf-8")

    if readme is not None:
        before, rest = readme.read_text(encoding="utf-8").split(MARKS[0])
        _, after = rest.split(MARKS[1])
        readme.write_text(f"{before}{MARKS[0]}\n\n{_why(scores)}\n\n{MARKS[1]}{after}", encoding="utf-8")


def _why(scores: Scores) -> str:
    """The README's table of the arms that a user chooses among, and its conclusions."""
    rows: list[list[str]] = []
    for arm in ("base", "sft", "pivots", "sft_then_pivots", "pivots_demonstrations", "end_to_end"):
        cost, seeds = scores.cost(arm), len(scores.cells[arm])
        means = [percent(scores.mean(arm, name).mean) for name in ("greedy", "sampled", "skills_mean")]
        shown = [f"{cost.turns:,}", *means] if cost is not None else [claims.MISSING, *means]
        rows.append([ARMS[arm].title, str(seeds), *shown])
    names = ("desk, never 20 %", "seeds", "turns, mining included", "greedy", "sampled", "general skills")
    return f"{table(names, rows)}\n\n{claims.conclusions(scores)}"


def status(results: Path, world: World, scale: Scale) -> None:
    """Print which cells are there."""
    scores = load(world, scale, results)
    for arm in ARMS:
        tried = sum(one is not None for one in scores.tries[arm])
        seeds = ", ".join(map(str, scores.cells[arm])) or "none"
        print(f"{arm:24} tries {tried} of {len(scores.tries[arm])}, seeds {seeds}")  # noqa: T201


def _page(scores: Scores, world: World, scale: Scale, results: Path, classes: dict[str, Any] | None, place: str) -> str:
    made, wanted = sum(len(of_arm) for of_arm in scores.cells.values()), len(ARMS) * scale.seeds
    parts = [
        "# Results: PivotRL's claims on the desk",
        "This page is written by `python -m pivotmine_claims page` from the cells under `docs/results`. "
        f'{made} of {wanted} cells are there; a missing one reads "{claims.MISSING}". For an arm with fewer than 3 '
        "seeds the page gives no interval and draws no conclusion.",
        _other_files(scores),
        "## What was measured",
        _world(world, classes),
        _how(scale),
        "## The middle world",
        _results(scores),
        "Means over the seeds that are there. Turns are sampled actions; tokens are generated, prefilled and trained "
        "together; CPU seconds are those of one core of a busy machine, without measuring. Dead groups are training "
        "groups whose rewards were all equal. Skills are the mean and the worst of 8. KL is to the base "
        "policy, in nats a token of pre-training text.",
        f"![Greedy success over turns, tokens and CPU seconds]({place}/curves.svg)",
        f"Greedy success of measured policies; a line is a seed. Points before the last are {scale.curve_tasks} test "
        f"tasks, the last {scale.final_tasks}. The costs include mining.",
        "### Every seed",
        _seeds(scores, scale),
        "### Differences, paired by seed",
        _differences(scores),
        "In points. In brackets the 95 % interval of Student's t over the seeds' differences, from 3 seeds on; then "
        "each seed's difference.",
        "## The claims",
        *[f"### {heading}\n\n{text}" for heading, text in claims.paragraphs(scores)],
        "## What to do",
        table(
            ("what the profile shows", "what to do", "evidence"),
            claims.guide(scores, (classes or {}).get("demonstrations", {}).get("never")),
        ),
        "With fewer than 3 seeds the advice says what it looks like so far. `pivotmine report` and "
        "`pivotmine score` show the shares of never, sometimes and always.",
        "## Settings that were tried",
        _tried(scores, world, scale, results),
        "## Make it again",
        "`just claims` makes the cells that are missing and writes this page. `just claims 20` stops after 20 minutes "
        "and goes on the next time. `python -m pivotmine_claims measure --policy DIR` measures any policy in the same "
        "way. A cell is known by its data, verifier, settings and sizes, not by a commit.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _other_files(scores: Scores) -> str:
    if not scores.other_files:
        return ""
    return f"{scores.other_files} files under `docs/results` are of other settings and are left out."


def _world(world: World, classes: dict[str, Any] | None) -> str:
    words = (
        "The desk (`data/desk`) has 400 trajectories of a teacher, a policy of 0.9 million parameters, and a simulator "
        "that judges whole episodes."
    )
    if classes is None:
        return f"{words} The shares of its states are {claims.MISSING}."
    low, high = (f"{100 * bound:.0f}" for bound in world.never)
    names = {"never": "never", "mixed": "sometimes", "always": "always"}
    probable = classes.get("demonstrations", {})
    rows = [(name, percent(classes[kind]), _probability(probable.get(kind))) for kind, name in names.items()]
    return (
        f"{words} Before any arm ran, {classes['states']:,} teacher states were sampled {classes['samples']} times "
        f"each. The middle world is to have {low} to {high} % never.\n\n"
        + table(("states of the base policy", "share", "median probability of the demonstration, word by word"), rows)
    )


def _probability(value: float | None) -> str:
    return claims.MISSING if value is None else f"{value:.1e}" if value < 1e-3 else f"{value:.3f}"


def _how(scale: Scale) -> str:
    rows = [
        ("seeds", "5", f"{scale.seeds} planned"),
        ("test tasks at the end, greedy and sampled", "1,000", f"{scale.final_tasks:,}"),
        ("test tasks of a curve's point", "200", f"{scale.curve_tasks:,}"),
        ("validation tasks of a try", "not said", f"{scale.try_tasks:,}"),
        ("tries", "6 an arm", f"6 an arm, {scale.try_share:.0%} of the steps long"),
        ("samples of a state in mining", "not said", f"{scale.mining_samples}"),
        ("turn-level RL", "not said", f"{scale.rl_steps} steps of {scale.prompts} states x {scale.group} samples"),
        ("SFT", "not said", f"{scale.sft_steps} steps of {scale.sft_batch} trajectories"),
        (
            "end-to-end RL",
            "not said",
            f"{scale.episode_steps} steps of {scale.episode_tasks} tasks x {scale.group} episodes",
        ),
        ("worlds", "3 (never 5, 20 and 40 %)", "1 (never 20 %)"),
    ]
    return (
        "What was planned, and what was done on two shared cores:\n\n"
        + table(("what", "planned", "here"), rows)
        + "\n\n- All arms use the same demonstrations, the same sampler and, for RL, the same loss "
        "(`pivotmine-train`).\n- Turn-level RL trains on call turns, so strict and functional rewards see the same "
        "states.\n- Random states are as many as pivots. They are charged no mining, since choosing them needs none. "
        "They are drawn by `select --strategy random --max-rows`, not by `--twin random`.\n"
        "- Each arm has tries of its own, so arms that differ in data or reward alone may have different rates. A "
        "matched control takes the settings of the arm that it controls.\n"
        "- SFT's grid of rates ends where longer training ruined the skills (`data/desk/sft.json`).\n"
        f"- End-to-end RL filters its tasks: {scale.filter_tasks} tasks, {scale.filter_episodes} episodes each, those "
        "kept that are sometimes solved. These episodes are its mining.\n"
        "- Mining, training and the episodes' random numbers all depend on the seed; arms are paired by it."
    )


def _results(scores: Scores) -> str:
    header = (
        *("arm", "seeds", "training turns", "mining turns", "tokens", "CPU s", "dead groups"),
        *("greedy", "sampled", "skills", "worst skill", "KL"),
    )
    return table(header, [_result(scores, arm) for arm in ARMS])


def _result(scores: Scores, arm: str) -> list[str]:
    title, number = ARMS[arm].title, len(scores.cells[arm])
    training, mining, both = (scores.cost(arm, kind) for kind in ("training", "mining", None))
    if training is None or mining is None or both is None:
        return [title, "0", claims.MISSING, *["–"] * 9]
    greedy, sampled, skills, worst, divergence = (
        scores.mean(arm, name).mean for name in ("greedy", "sampled", "skills_mean", "skills_worst", "kl_to_base")
    )
    return [
        *(title, str(number), f"{training.turns:,}", f"{mining.turns:,}", _millions(both), f"{both.cpu_s:,.0f}"),
        percent(training.dead_groups / training.groups) if training.groups else "–",
        *(percent(greedy), percent(sampled), percent(skills), percent(worst), f"{divergence:.4f}"),
    ]


def _millions(cost: Cost) -> str:
    return f"{cost.tokens / 1e6:.2f} M"


def _seeds(scores: Scores, scale: Scale) -> str:
    rows: list[list[str]] = []
    for arm in ARMS:
        for name in ("greedy", "sampled", "skills_mean"):
            found = scores.final(arm, name)
            if found:
                shown = [percent(found.get(seed)) for seed in range(scale.seeds)]
                rows.append([ARMS[arm].title, name.removesuffix("_mean"), *shown])
    return table(("arm", "score", *[f"seed {seed}" for seed in range(scale.seeds)]), rows) if rows else claims.MISSING


def _differences(scores: Scores) -> str:
    rows = [
        [
            f"{ARMS[one.ours].title} − {ARMS[one.theirs].title}",
            one.question,
            *(
                _difference(scores.difference(one.ours, one.theirs, name))
                for name in ("greedy", "sampled", "skills_mean")
            ),
        ]
        for one in claims.DIFFERENCES
    ]
    return table(("arms", "question", "greedy", "sampled", "skills"), rows)


def _difference(estimate: Estimate) -> str:
    if estimate.mean is None:
        return claims.MISSING
    if len(estimate.values) == 1:
        return points(estimate.mean)
    each = ", ".join(map(points, estimate.values))
    if estimate.interval is None:
        return f"{points(estimate.mean)}; {each}"
    return f"{points(estimate.mean)} [{points(estimate.interval[0])}, {points(estimate.interval[1])}]; {each}"


def _tried(scores: Scores, world: World, scale: Scale, results: Path) -> str:
    rows, at_ends = list[list[str]](), list[str]()
    for arm, tried in ARMS.items():
        best = frozen(arm, world, scale, results)
        for settings, found in zip(tried.tries, scores.tries[arm], strict=True):
            score = claims.MISSING if found is None else percent(found["points"][-1]["measured"]["greedy"])
            words = ", ".join(f"{name} {value:g}" for name, value in settings.items())
            rows.append([tried.title, words, score, "frozen" if best == settings else ""])
        rates = [settings["learning_rate"] for settings in tried.tries]
        if rates and best is not None and best["learning_rate"] in (min(rates), max(rates)):
            which = "smallest" if best["learning_rate"] == min(rates) else "largest"
            at_ends.append(f"{tried.title} ({which})")
    ends = f" A better rate may lie outside of what was tried: {', '.join(at_ends)}." if at_ends else ""
    return (
        f"Greedy success in {scale.try_tasks} validation episodes after {scale.try_share:.0%} of the arm's steps, seed "
        f"{TRY_SEED}. The best is frozen for all seeds, ties go to the first. A shorter try favours small rates and "
        "small weights: what is best after a part of the steps need not be best at the end."
        f"{ends}\n\n" + table(("arm", "setting", "validation", ""), rows)
    )
