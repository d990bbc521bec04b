"""Which turns are demonstrations: not those that the source masks, that failed, or of trajectories that did badly.

What one turn says is known as it is read. How good a trajectory must be depends on the best outcome label of all
sources, so the turns settle last.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from pivotmine import messages
from pivotmine.actions import Action, action_to_json
from pivotmine.escape import one_line


class Demonstration(NamedTuple):
    kind: str
    """`tool_call` or `message`."""
    action: str
    """The action as JSON."""
    reason: str | None
    """Why it is not worth imitating, whatever came of it; None: it may be."""
    detail: str
    """What exactly; empty: the reason says it all."""


def demonstration(message: dict[str, Any], action: Action, *, ordinary: bool | None = None) -> Demonstration:
    """What an assistant message demonstrates by itself.

    action: the one in it; ordinary: what `strict_json.is_ordinary` says of its arguments, where that is known.
    """
    return Demonstration(action.kind, action_to_json(action, ordinary=ordinary), *_problem(message, action))


def _problem(message: dict[str, Any], action: Action) -> tuple[str | None, str]:
    if message.get("weight") == 0 or message.get("is_demo") is True:
        return "masked", "the source excludes it from training"
    if action.unparsed:
        return "format_error" if action.text else "bad_arguments", action.unparsed[0].reason
    if not action.tool_calls and not action.message:
        return "empty_turn", "neither text nor call"
    return None, ""


def result_failure(message: dict[str, Any]) -> str | None:
    """The beginning of a tool result that reports a failure; None where it reports none."""
    if not messages.result_failed(message):
        return None
    return one_line(messages.text_of(message.get("content")))[:200]


def least_outcome(labels: Iterable[tuple[float | None, float]]) -> float | None:
    """The best of (outcome, the format's failure label); infinity where all fail, None where nothing is labelled."""
    labelled = [(outcome, failure) for outcome, failure in labels if outcome is not None]
    if not labelled:
        return None
    return max((outcome for outcome, failure in labelled if outcome > failure), default=math.inf)
