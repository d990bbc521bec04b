"""Options of `score`, and the option --verifier that other commands share. Light: the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pivotmine.options import Option
from pivotmine.verifiers import VerifierSpec
from pivotmine.verifiers.configured import configured_spec
from pivotmine_stages.command import Command
from pivotmine_stages.policy.options import parser_names


def verifier_named(name: str) -> VerifierSpec:
    """Return a verifier with its default options."""
    return configured_spec(name, {})


def auto_verifier() -> VerifierSpec:
    """Return the default verifier of every command."""
    return verifier_named("auto")


VERIFIER = Option(panel="Verifier", read=verifier_named, metavar="NAME")
"""`--verifier`; the options of the verifier come from --config."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    verifier: Annotated[VerifierSpec, VERIFIER] = field(default_factory=auto_verifier)
    """Name of a verifier (see `pivotmine verifiers`); auto chooses by the rules [[choose]] of --config."""
    policy: Annotated[str | None, Option()] = None
    """Policy id, or a part of it; needed only if the run has several."""
    parser: Annotated[str | None, Option(choices=parser_names)] = None
    """Convention in which the actions are written; by default the one that rollout chose."""
    max_new_tokens: Annotated[int | None, Option(min=1)] = None
    """Token budget of the profiles: longer samples count as truncated. By default the last one of rollout."""
    num_processes: Annotated[int | None, Option(min=1)] = None
    """Number of worker processes; by default one per core."""


COMMAND = Command(
    help="Verify the sampled actions and profile every state: mean, variance, outcomes.",
    stage="pivotmine_stages.score.stage:score",
    report="pivotmine_stages.cli.reports:score_report",
    options=(ScoreConfig,),
    examples=("pivotmine score runs/mine --config run.toml", "pivotmine score runs/mine --verifier exact"),
)
