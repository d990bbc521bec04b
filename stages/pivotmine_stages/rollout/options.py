"""Options and summary of `rollout`. Light: the command line reads them for its help."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pivotmine.options import Option
from pivotmine.verifiers import VerifierSpec
from pivotmine_stages.command import Command
from pivotmine_stages.policy.options import PolicyConfig
from pivotmine_stages.score.options import VERIFIER, auto_verifier
from pivotmine_stages.select.options import SelectConfig

MAX_SAMPLES = 16_384
"""Maximum samples of a state, which is vLLM's maximum in one request."""


def _shard(text: str) -> tuple[int, int]:
    i, _, n = text.partition("/")
    if not (i.isdecimal() and n.isdecimal() and int(i) < int(n)):
        raise ValueError("i/n with i from 0 to n-1, for example 0/4")
    return int(i), int(n)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutConfig:
    policy: PolicyConfig
    verifier: Annotated[VerifierSpec, VERIFIER] = field(default_factory=auto_verifier)
    """States whose demonstrations all fail this verifier are not sampled. auto chooses by the rules of --config."""
    num_samples: Annotated[int, Option(panel="Sampling", min=1, max=MAX_SAMPLES)] = 8
    """Samples per state (the paper's K)."""
    limit: Annotated[int | None, Option(min=0)] = None
    """Maximum number of states, the first in the order of the sources; by default all."""
    shard: Annotated[tuple[int, int], Option(read=_shard, metavar="i/n")] = (0, 1)
    """Sample only the i-th of n shares of the trajectories, i from 0."""
    plan: Annotated[Path | None, Option()] = None
    """Parquet, CSV or JSON lines file with state_id and num_samples: sample exactly these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOptions:
    """Options of a dry run."""

    dry_run: Annotated[bool, Option(panel="Cost")] = False
    """Estimate the cost of sampling; sample only what --pilot says."""
    pilot: Annotated[int, Option(panel="Cost", min=0)] = 0
    """Number of states that a dry run samples, to measure the length of an action; the samples are kept."""
    tokens_per_second: Annotated[float | None, Option(panel="Cost", above=0)] = None
    """Generated tokens per second and GPU, for the GPU-hours of a dry run."""
    prompt_tokens_per_second: Annotated[float | None, Option(panel="Cost", above=0)] = None
    """Prefilled tokens per second and GPU, for the GPU-hours of a dry run; by default 10 times --tokens-per-second."""
    price_per_hour: Annotated[float | None, Option(panel="Cost", min=0)] = None
    """Price of a GPU per hour; a dry run then estimates the total price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CarryOptions:
    """Mining again: the earlier policies to estimate from, and how many new samples to draw."""

    earlier: Annotated[tuple[str, ...], Option(panel="Mining again", spelling="--from", metavar="POLICY")] = ()
    """Earlier policy of the run. Its stored actions bound the new mean rewards; only states that the bounds leave
    undecided are sampled. Repeat it for several policies; the first one's profiles count."""
    completions: Annotated[tuple[Path, ...], Option(panel="Mining again")] = ()
    """Folder OUTPUT_DIR/completions of a training, whose actions count as stored ones; repeat it for several."""
    max_mean: Annotated[float, Option(panel="Mining again", above=0, max=1)] = SelectConfig().max_mean
    """The --max-mean that `select` will use; 1 for --strategy mixed."""
    target_recall: Annotated[float, Option(panel="Mining again", above=0, max=1)] = 0.98
    """Share to reach of the signal that --num-samples in every state would give."""
    sample_budget: Annotated[int | None, Option(panel="Mining again", min=1)] = None
    """Maximum total number of samples, stored ones included; by default as many as --target-recall needs."""


COMMAND = Command(
    help="Sample K actions of the policy in every demonstrated state. A rerun draws only missing samples.",
    stage="pivotmine_stages.adaptive.cost:rollout_or_estimate",
    report="pivotmine_stages.cli.reports:rollout_report",
    options=(RolloutConfig, CostOptions, CarryOptions),
    examples=(
        "pivotmine rollout runs/mine --model Qwen/Qwen3-8B --num-samples 16",
        "pivotmine rollout runs/mine --model Qwen/Qwen3-8B --dry-run --pilot 100 --tokens-per-second 2500",
        "pivotmine rollout runs/mine --model Qwen/Qwen3-8B --engine openai --base-url http://127.0.0.1:8000/v1 "
        "--policy-name qwen3-8b",
        "pivotmine rollout runs/mine --model runs/round-1 --policy-name round-1 --num-samples 16 --from Qwen3-8B",
    ),
)
