"""A verifier of your own: a function of the state, one demonstration and one action.

    python examples/own_verifier.py RUN

The script tries it on the demonstrations of `data/desk` and on mutations of them. Every command finds it by its name:

    PYTHONPATH=examples pivotmine score RUN --verifier own_verifier:same_record
"""

from __future__ import annotations

import sys
from pathlib import Path

from pivotmine.actions import Action
from pivotmine.verifiers import State, make_spec
from pivotmine_stages import AuditConfig, ExtractConfig, run_audit, run_extract
from pivotmine_stages.audit.stage import AuditSummary

DESK = Path(__file__).parents[1] / "data" / "desk"


def same_record(state: State, demonstration: Action, action: Action) -> float | None:
    """1 if the action calls the demonstrated tools with the same values in any order; None for messages."""
    if demonstration.kind == "message":
        return None
    return float(_calls(action) == _calls(demonstration))


def _calls(action: Action) -> list[tuple[str, list[str]]]:
    return sorted((call.name, sorted(map(str, (call.arguments or {}).values()))) for call in action.tool_calls)


# Raise it when a verdict changes: it is part of the verifier's id.
same_record.version = 1  # pyright: ignore[reportFunctionMemberAccess]


def main(folder: Path) -> None:
    run_extract(ExtractConfig(sources=(DESK / "trajectories.jsonl",)), folder)
    found = run_audit(AuditConfig(verifier=make_spec("own_verifier:same_record", {}), limit=200), folder)
    assert isinstance(found, AuditSummary)  # with `calibrate`, it is a `Calibration`
    print(f"{found.verifier_id}: gates {found.gates}")
    for row in found.mutations:
        print(f"  {row['trial']:<24} accepted wrongly {row['false_accept']}, refused wrongly {row['false_reject']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
