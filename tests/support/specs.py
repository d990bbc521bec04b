"""One spec of every verifier in the registry, so that a new one is included in the tests for all of them."""

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
"""Verifiers that depend on more than state, demonstration and action."""
CALLS_AS_JSON = ("all", "any", "auto", "exact", "first_decided", "tool_call", "weighted")
"""Verifiers that compare calls of any tool by all arguments."""
EARLY = [name for name, spec in SPECS.items() if not spec.judges_all or spec.members]
"""Verifiers that never see truncated, unparsable and empty actions."""
