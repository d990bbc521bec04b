"""One spec of every verifier in the registry, so that a new entry is under the tests for all of them by itself."""

from __future__ import annotations

from typing import Any

from pivotmine.verifiers import VERIFIERS, VerifierSpec, make_spec

_MEMBERS = [make_spec("tool_call", {}), make_spec("exact", {})]
_OPTIONS: dict[str, dict[str, Any]] = {
    **{name: {"members": _MEMBERS} for name in ("all", "any", "first_decided")},
    "weighted": {"members": _MEMBERS, "weights": [2.0, 1.0]},
}
SPECS: dict[str, VerifierSpec] = {name: make_spec(name, _OPTIONS.get(name, {})) for name in sorted(VERIFIERS)}

OF_THE_DATA = frozenset({"judge", "recorded"})
"""Not a function of state, demonstration and action alone."""
CALLS_AS_JSON = ("all", "any", "auto", "exact", "first_decided", "tool_call", "weighted")
"""Compare calls of any tool by all of their arguments."""
EARLY = [name for name, spec in SPECS.items() if not spec.judges_all or spec.members]
"""Truncated, unreadable and empty actions never come to these."""
