"""Options of `audit`. Light: the command line reads them for its help."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pivotmine.options import Option
from pivotmine.verifiers import VerifierSpec
from pivotmine_stages.command import Command
from pivotmine_stages.score.options import VERIFIER, auto_verifier

NUM_PAIRS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    verifier: Annotated[VerifierSpec, VERIFIER] = field(default_factory=auto_verifier)
    """The verifier on trial: auto (the rules [[choose]] of --config), or a name (see `pivotmine verifiers`)."""
    policy: Annotated[str | None, Option()] = None
    """Policy id, or a part of it, whose samples and scores are used; by default the only one, if any is scored."""
    limit: Annotated[int | None, Option(min=1)] = None
    """Maximum number of states, in the order of the sources; by default all."""
    num_pairs: Annotated[int | None, Option(min=0)] = None
    """Maximum number of verdicts on actions of other states. The search for the best constant action may take twice as
    many for tools, and again for domains. By default 10,000; 0 for a verifier that asks a server."""
    num_examples: Annotated[int, Option(min=0)] = 5
    """Maximum examples of each kind of error and of each disagreement."""
    calibrate: Annotated[Path | None, Option(metavar="FILE")] = None
    """JSON lines of labelled pairs: compare the verifier with these labels, and do nothing else. Not with --limit,
    --policy or --num-pairs, which are about the run's states."""


COMMAND = Command(
    help="Put the verifier on trial: mutations, actions of other states, the best constant action, stored scores.",
    stage="pivotmine_stages.audit.stage:audit",
    report="pivotmine_stages.cli.audit_printing:audit_report",
    options=(AuditConfig,),
    examples=("pivotmine audit runs/mine --config run.toml", "pivotmine audit runs/mine --calibrate pairs.jsonl"),
)
