"""Options of `select`. Light: the command line reads them for its help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pivotmine.options import Option
from pivotmine_stages.command import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectConfig:
    name: Annotated[str, Option(panel="Output")] = "default"
    """Name of the pivot dataset: its folder under `pivots/`."""
    policy: Annotated[str | None, Option(panel="Scores")] = None
    """Policy id, or a part of it; needed only if the run has several."""
    verifier: Annotated[str | None, Option(panel="Scores")] = None
    """Verifier id, or a part of it; needed only if the policy was scored by several."""
    strategy: Annotated[Literal["pivots", "mixed", "entropy", "random", "all"], Option(panel="Rule")] = "pivots"
    """pivots (the paper's rule), mixed (rewards differ), entropy (states where the policy's actions vary most come
    first), random (profiled states), all (every demonstrated turn). --variance-share or --target-mean alone means
    mixed."""
    max_mean: Annotated[float, Option(panel="Rule", above=0, max=1)] = 0.6
    """A pivot's mean reward is below this (the paper's lambda; 0.6 in its one known setting)."""
    min_mean: Annotated[float | None, Option(panel="Rule", min=0, below=1)] = None
    """A pivot's mean reward is at least this; by default only above 0."""
    target_mean: Annotated[float | None, Option(panel="Rule", min=0, max=1)] = None
    """Give each row a `weight` instead of cutting: 1 at this mean reward, smaller on both sides. The trainer draws
    prompts by it."""
    target_width: Annotated[float, Option(panel="Rule", above=0)] = 0.2
    """Standard deviation of the weights' bell curve over the mean reward."""
    min_scored: Annotated[int, Option(panel="Rule", min=1)] = 2
    """Minimum scored samples of a state; `all` ignores it."""
    min_decided: Annotated[float, Option(panel="Rule", min=0, max=1)] = 0.5
    """Minimum share of decided samples, in states with unproven samples that have no reward."""
    min_pivot_probability: Annotated[float | None, Option(panel="Rule", min=0, max=1)] = None
    """Minimum probability that a new profile would make the state a pivot again."""
    min_entropy: Annotated[float | None, Option(panel="Rule", min=0)] = None
    """Minimum entropy of the policy's actions in a state, in nats, with --strategy entropy. Long actions have more."""
    holdout: Annotated[Literal["none", "half"], Option(panel="Rule")] = "none"
    """half: choose by samples of even index, and report mean and variance of the odd ones. Samples that choose a state
    for its low mean underestimate its success rate."""
    variance_share: Annotated[float | None, Option(panel="Rule", above=0, max=1)] = None
    """Keep the states of greatest variance that together carry this share of it (RAGEN-2)."""
    max_per_trajectory: Annotated[int | None, Option(panel="Limits", min=1)] = None
    """Maximum states of one trajectory."""
    max_per_domain: Annotated[int | None, Option(panel="Limits", min=1)] = None
    """Maximum states of one domain; states without a domain count as one domain."""
    domain_quota: Annotated[tuple[str, ...], Option(panel="Limits", metavar="DOMAIN=ROWS")] = ()
    """Maximum rows of one domain, such as travel=50; may be given several times. It replaces --max-per-domain there; an
    empty name means states without a domain."""
    max_message_share: Annotated[float | None, Option(panel="Limits", min=0, max=1)] = None
    """Maximum share of message turns."""
    limit: Annotated[int | None, Option(panel="Limits", flag="max_rows", was="limit", min=0)] = None
    """Maximum number of rows; by default no limit."""
    max_prompt_tokens: Annotated[int | None, Option(panel="Limits", min=1)] = None
    """Maximum tokens of a prompt, such as the trainer's context minus the reply."""
    tokenizer: Annotated[str | None, Option(panel="Output")] = None
    """Folder or hub id of the tokenizer, if a chat server rendered the prompts; by default the rollouts' own."""
    twin: Annotated[Literal["none", "random"], Option(panel="Output")] = "none"
    """random: also write a control, NAME-random, with as many rows of each domain and split, drawn at random without
    looking at rewards."""
    num_demonstrations: Annotated[int, Option(panel="Output", min=0)] = 1000
    """Rows of `demonstrations.parquet`: a fair random sample of all demonstrated states that no held-out task has met,
    for the trainer's --demonstration_weight. 0 writes no such file."""
    validation_share: Annotated[float, Option(panel="Output", min=0, below=1)] = 0.1
    """Share of the tasks that are held out."""
    seed: Annotated[int, Option(panel="Output", flag="salt", was="seed")] = 0
    """Salt of the random order and of the split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewOptions:
    """Options of `select --dry-run`."""

    dry_run: Annotated[bool, Option(panel="Output")] = False
    """Only count: print the rows over K and --max-mean, and write nothing."""


COMMAND = Command(
    help="Choose the states worth training on and write them as a dataset with a card.",
    stage="pivotmine_stages.select.preview:select_or_preview",
    report="pivotmine_stages.cli.reports:select_report",
    options=(SelectConfig, PreviewOptions),
    examples=(
        "pivotmine select runs/mine",
        "pivotmine select runs/mine --dry-run",
        "pivotmine select runs/mine --name mixed --strategy mixed --max-per-trajectory 4",
        "pivotmine select runs/mine --name weighted --target-mean 0.5 --twin random",
    ),
)
