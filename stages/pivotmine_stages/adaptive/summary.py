"""Summaries of adaptive rounds, `rollout --from` and `rollout --dry-run`."""

from __future__ import annotations

from dataclasses import dataclass, field

from pivotmine.stats.carry_bounds import Calibration, Decay
from pivotmine_stages.command import OMITTED
from pivotmine_stages.rollout.stage import RolloutSummary
from pivotmine_stages.score.stage import ScoreSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class TriageSummary:
    """The probabilities of demonstrations."""

    above: int
    """States that need no sample."""
    max_mean: float
    """Minimum probability of the demonstration in these states."""
    states: int = 0
    """States that this start prefilled."""
    refused: int = 0
    """States among them whose demonstration has no probability; their rows say why."""
    prefill_tokens: int = 0
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveSummary:
    """The rounds so far."""

    policy_id: str
    verifier_id: str
    rule: str
    """`exact` or `probabilistic`."""
    rounds: int
    states: int
    """States that may be sampled."""
    triaged: int
    """States that need no sample, by triage alone."""
    round_states: int
    """States sampled in the last round."""
    round_samples: int
    samples: int
    """Samples stored for these states."""
    fixed_samples: int
    """Samples that these states would have without rounds."""
    failed_states: int
    """States that could not be sampled; the rejects say why."""
    phi: float | None = field(default=None, metadata=OMITTED)
    """Concentration of the fitted prior. It and the next two are None for an exact rule, or after a pilot."""
    price: float | None = field(default=None, metadata=OMITTED)
    """Price of a token: a batch that is worth less is not drawn."""
    expected_samples: float | None = field(default=None, metadata=OMITTED)
    """Expected samples when all rounds are done."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrySummary:
    """What was carried over from earlier policies."""

    states: int | None = field(default=None, metadata=OMITTED)
    """States whose stored actions this start prefilled. It and the next three are None if there were none left."""
    actions: int | None = field(default=None, metadata=OMITTED)
    refused: int | None = field(default=None, metadata=OMITTED)
    """States without bounds; their rows say why."""
    prefill_tokens: int | None = field(default=None, metadata=OMITTED)
    seconds: float
    """Duration of carrying over."""
    unseen_mass: float
    """Mean over the states of the probability of actions that nobody has stored, from 0 to 1."""
    unsampled: int
    """States that need no sample."""
    decay: Decay
    calibration: Calibration | None
    """On states that the decay was not fitted on; None if none of them was sampled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """The result of the rounds."""

    adaptive: AdaptiveSummary
    rollout: RolloutSummary
    """What this start sampled, in all its rounds."""
    score: ScoreSummary
    carried: CarrySummary | None = None
    """None if there was nothing to carry over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedRollout(RolloutSummary):
    """`rollout --from`."""

    adaptive: AdaptiveSummary
    carried: CarrySummary
    score: ScoreSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """`rollout --dry-run`."""

    dry_run: bool = True
    policy_id: str
    verifier_id: str
    states: int
    """States that lack samples, without those that are too long."""
    samples: int
    """Samples to draw."""
    continued: int
    """Truncated samples to continue."""
    max_model_len: int | None
    """The policy's context, in tokens; None if unknown."""
    too_long: int
    """States whose prompt leaves no room for the token budget."""
    prompt_tokens: int
    """Each state's prompt once."""
    unrendered: int
    """States that the chat template refuses."""
    longest: int
    """Context that the longest of all prompts and its reply need, in tokens."""
    distinct_prefix_tokens: int
    """What an engine with an endless prefix cache prefills."""
    tokens_per_sample: float | None
    """Mean over the stored samples, with equal weight per state; None if no sample is stored."""
    generated_tokens: float
    """Expected; if no sample is stored, the maximum."""
    adaptive_share: float | None
    """Samples that `--adaptive probabilistic` is expected to need, relative to all; None if nothing is scored."""
    gpu_hours: float | None
    """Prefill included. It and `price` are None if a figure that they need was not given."""
    price: float | None
    """In the unit of `--price-per-hour`."""
