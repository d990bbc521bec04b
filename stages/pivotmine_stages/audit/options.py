"""Options of `audit`. Light: the command line reads them for its help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pivotmine.options import Option
from pivotmine.verifiers import VerifierSpec
from pivotmine_stages.command import Command
from pivotmine_stages.score.options import VERIFIER, auto_verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    verifier: Annotated[VerifierSpec, VERIFIER] = field(default_factory=auto_verifier)
    """The verifier on trial: auto (the rules [[choose]] of --config), or a name (see `pivotmine verifiers`)."""
    policy: Annotated[str | None, Option()] = None
    """Policy id, or a part of it, whose scores are compared; by default the only one, if anything was sampled."""
    limit: Annotated[int | None, Option(min=0)] = None
    """Maximum number of states, the first in the order of the sources; by default all."""
    num_examples: Annotated[int, Option(min=0)] = 5
    """Maximum examples of each kind of error and of each disagreement."""


COMMAND = Command(
    help="Put the verifier on trial: mutations that must fail or pass, and where stored scores disagree.",
    stage="pivotmine_stages.audit.stage:audit",
    report="pivotmine_stages.cli.reports:audit_report",
    options=(AuditConfig,),
    examples=("pivotmine audit runs/mine --config run.toml", "pivotmine audit runs/mine --verifier exact --limit 200"),
)
