"""Which turns are demonstrations: those that the source does not mask, whose call succeeded, of good trajectories.

The first two follow from a turn and its results. How good a trajectory must be depends on the best outcome label of all
sources, so it is decided last.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from pivotmine import messages
from pivotmine.actions import Action, action_to_json
from pivotmine.escape import one_line

_TRAINED_KEYS = ("weight", "loss", "train", "training", "trainable", "loss_mask", "loss_weight")
_LEFT_OUT_KEYS = ("is_demo", "mask")
_MASKING_KEYS = frozenset((*_TRAINED_KEYS, *_LEFT_OUT_KEYS))


class Demonstration(NamedTuple):
    kind: str
    """`tool_call` or `message`."""
    action: str
    """The action as JSON."""
    reason: str | None
    """Why the action is not worth imitating even if its call succeeds; None if it may be."""
    detail: str
    """Details of the reason; may be empty."""


def demonstration(message: dict[str, Any], action: Action, *, ordinary: bool | None = None) -> Demonstration:
    """Return what an assistant message demonstrates by itself.

    action: the parsed message. ordinary: `strict_json.is_ordinary` of its arguments; None if unknown.
    """
    return Demonstration(action.kind, action_to_json(action, ordinary=ordinary), *_problem(message, action))


def _problem(message: dict[str, Any], action: Action) -> tuple[str | None, str]:
    if (key := masking_key(message)) is not None:
        return "masked", f"the source excludes it from training: `{key}`"
    if action.unparsed:
        return "format_error" if action.text else "bad_arguments", action.unparsed[0].reason
    if not action.tool_calls and not action.message:
        return "empty_turn", "neither text nor call"
    return None, ""


def masking_key(message: dict[str, Any]) -> str | None:
    """Return the key by which the source excludes an assistant message from training; None if it does not.

    False or 0 excludes under `weight` (OpenAI), `loss` (ms-swift, AgentInstruct), `train` and `training` (axolotl),
    `trainable`, `loss_mask` and `loss_weight`; true excludes under `is_demo` (SWE-agent). `mask: true` can mean either,
    and a doubtful turn is not a demonstration. `mask: false` has no documented meaning and excludes nothing.
    """
    if message.keys().isdisjoint(_MASKING_KEYS):  # nearly every message
        return None
    for key in _TRAINED_KEYS:
        value = message.get(key)
        if value is not None and isinstance(value, bool | int | float) and not value:
            return key
    return next((key for key in _LEFT_OUT_KEYS if message.get(key) is True or message.get(key) == 1), None)


def result_failure(message: dict[str, Any]) -> str | None:
    """Return the beginning of a tool result that reports a failure; None if it does not."""
    if not messages.result_failed(message):
        return None
    return one_line(messages.text_of(message.get("content")))[:200]


def least_outcome(labels: Iterable[tuple[float | None, float]]) -> float | None:
    """Return the best outcome of (outcome, the format's failure label) pairs.

    Infinity if all labels are failures, None if nothing is labelled.
    """
    labelled = [(outcome, failure) for outcome, failure in labels if outcome is not None]
    if not labelled:
        return None
    return max((outcome for outcome, failure in labelled if outcome > failure), default=math.inf)
