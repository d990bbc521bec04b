"""Strict JSON for untrusted text: one parser that only ever raises ValueError, one canonical writer.

The standard parser accepts what is not JSON (NaN, Infinity), keeps the last of two equal keys without a word, and
leaves with RecursionError on deep nesting. Text from trajectories and models may hold all three.
"""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 100
"""Deepest nesting of arrays and objects that is read; no tool call of ours or of a peer's comes near."""


def loads(text: str) -> Any:
    """Parse strict JSON; raises ValueError (with the reason) on anything else."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique_keys)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _depth_exceeds(value, MAX_DEPTH):
        raise ValueError("nested too deeply")
    return value


def dumps(value: Any) -> str:
    """Compact JSON, key order kept: what is stored."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def canonical(value: Any) -> str:
    """Compact JSON with sorted keys: what is hashed and compared."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"number out of range: {text[:40]}")
    return number


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object repeats a key")
    return value


def _depth_exceeds(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return False
    return True
