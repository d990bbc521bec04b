"""`gym_single_step`: the rewards of NVIDIA NeMo Gym's single-step tool-use server, with their leaks.

Use it to reproduce published numbers; for mining, `tool_call` and `text` are the better verifiers. Written from the
described behaviour of `resources_servers/single_step_tool_use_with_argument_comparison` in the NeMo-Gym repository:

- If a message is demonstrated, any message passes, even an empty one. Its text is not compared.
- Tool names must be equal. Arguments are compared by `arguments_match`. If the action has a call, its text is ignored.
- `version` "after" (pull request 2463, August 2026): calls are matched by maximum bipartite matching. Without
  `parallel_tool_call_rewarding`, surplus calls are free. With it, every call counts, also one whose arguments are not
  JSON, which matches nothing. Version "before": only the first call counts.

Paid there, though wrong: any text; twenty calls that contain the right one; half of the words, or none of them at
threshold 0; the same words in another order; `true` for 1; a truncated sample; a tool call that no parser could read
if a message is demonstrated. Refused there, though right: 1 for 1.0, an optional argument made explicit, "Paris" for
"paris", and above a threshold of 0.5 every text of several words, even the demonstrated one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pivotmine.actions.action import Action, ToolCall
from pivotmine.errors import UserError
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier, shown_text
from pivotmine.verifiers.tool_calls.matching import maximum_matching

FLOAT_TOLERANCE = 1e-6
"""Numbers match if their absolute difference is smaller."""

MODES = ("binary_strict", "fractional", "f1")
VERSIONS = ("before", "after")


@dataclass(frozen=True, slots=True, kw_only=True)
class GymSingleStepOptions:
    threshold: float = 0.1
    """Minimum word-count similarity of strings of two or more words; equal words give 0.5. Published:
    0.1 for conversations, function calling and parallel calls, 0.3 for search, 0.0 for software."""
    version: str = "after"
    """"before" or "after" pull request 2463, which made every call of an action count, instead of the first."""
    parallel_tool_call_rewarding: bool = False
    """Score the calls by `mode`, if `allow_subset` and `allow_superset` allow their number. Without this option, the
    reward is 1 if every demonstrated call is matched, and surplus calls are free."""
    allow_subset: bool = False
    """Fewer calls than demonstrated may earn a reward."""
    allow_superset: bool = False
    """More calls than demonstrated may earn a reward."""
    mode: str = "binary_strict"
    """"binary_strict": 1 if all required calls are matched: as many as demonstrated or as given, whichever is less.
    "fractional": the matched share of the required calls. "f1": 2 * matched / (demonstrated + given)."""

    def __post_init__(self) -> None:
        for option, value, known in (("version", self.version, VERSIONS), ("mode", self.mode, MODES)):
            if value not in known:
                allowed = ", ".join(known)
                raise UserError(f'verifier gym_single_step, option {option}: choose one of {allowed}, not "{value}"')


def prepare(state: State, demonstration: Action, options: GymSingleStepOptions) -> Callable[[Action], Verdict]:
    """Return a scorer for one demonstration. It judges any action, truncated and unreadable ones too."""
    demonstrated = demonstration.tool_calls
    if not demonstrated:
        return _judge_message
    if options.version == "before" and len(demonstrated) > 1:
        unknown = Verdict(None, Outcome.ERROR, "before #2463 no action could have several calls")
        return lambda action: unknown

    without_call = Verdict(
        0.0, Outcome.WRONG_KIND, f"a message, demonstrated {shown_text(demonstration.tool_calls[0].name)}"
    )

    def judge(action: Action) -> Verdict:
        given = action.tool_calls if options.version == "after" else action.tool_calls[:1]
        if not given:
            return without_call
        num_given = len(given) + (len(action.unparsed) if options.version == "after" else 0)
        return _judge_calls(demonstrated, given, num_given, options)

    return judge


def _judge_message(action: Action) -> Verdict:
    if action.tool_calls:
        return Verdict(0.0, Outcome.WRONG_KIND, f"a call of {shown_text(action.tool_calls[0].name)}")
    return Verdict(1.0, Outcome.CORRECT)


def _judge_calls(
    demonstrated: Sequence[ToolCall], given: Sequence[ToolCall], num_given: int, options: GymSingleStepOptions
) -> Verdict:
    """`num_given` includes the calls that could not be read."""
    scored = options.parallel_tool_call_rewarding
    if num_given < len(demonstrated) and not (scored and options.allow_subset):
        return Verdict(0.0, Outcome.MISSING_CALLS, f"calls: {num_given}, demonstrated {len(demonstrated)}")
    if num_given > len(demonstrated) and scored and not options.allow_superset:
        return Verdict(0.0, Outcome.SURPLUS_CALLS, f"calls: {num_given}, demonstrated {len(demonstrated)}")
    edges = [
        [at for at, call in enumerate(given) if calls_match(wanted, call, options.threshold)] for wanted in demonstrated
    ]
    matched = len(maximum_matching(edges))
    reward = _reward(matched, len(demonstrated), num_given, options.mode if scored else "binary_strict")
    if reward == 1.0:
        return Verdict(1.0, Outcome.CORRECT)
    detail = f"calls matched: {matched} of {len(demonstrated)}"
    if reward > 0:
        return Verdict(reward, Outcome.PARTIAL, detail)
    names = {call.name for call in demonstrated}
    known = any(call.name in names for call in given)
    return Verdict(0.0, Outcome.WRONG_ARGUMENTS if known else Outcome.WRONG_TOOL, detail)


def _reward(matched: int, demonstrated: int, given: int, mode: str) -> float:
    if mode == "f1":
        return 2 * matched / (demonstrated + given)
    required = min(demonstrated, given)
    return matched / required if mode == "fractional" else float(matched == required)


def calls_match(demonstrated: ToolCall, given: ToolCall, threshold: float) -> bool:
    """Whether names are equal and arguments match."""
    return demonstrated.name == given.name and arguments_match(demonstrated.arguments, given.arguments, threshold)


def arguments_match(demonstrated: Any, given: Any, threshold: float) -> bool:
    """The recursive comparison of two JSON values. Not symmetric: `true` passes for 1, 1 does not for `true`."""
    if not isinstance(given, type(demonstrated)):
        return False
    if isinstance(demonstrated, dict):
        same_keys = demonstrated.keys() == given.keys()
        return same_keys and all(arguments_match(demonstrated[key], given[key], threshold) for key in demonstrated)
    if isinstance(demonstrated, list):
        same_length = len(demonstrated) == len(given)
        return same_length and all(map(lambda one, other: arguments_match(one, other, threshold), demonstrated, given))
    if isinstance(demonstrated, float):
        return abs(given - demonstrated) < FLOAT_TOLERANCE
    if isinstance(demonstrated, str):
        return _strings_match(demonstrated, given, threshold)
    return demonstrated == given


def _strings_match(demonstrated: str, given: str, threshold: float) -> bool:
    words, given_words = demonstrated.lower().split(), given.lower().split()
    if min(len(words), len(given_words)) < 2:
        return demonstrated == given
    shared = (Counter(words) & Counter(given_words)).total()
    return shared / (len(words) + len(given_words)) >= threshold


VERIFIER = Verifier(
    prepare=prepare, options=GymSingleStepOptions, version=2, kinds=frozenset({"message", "tool_call"}), judges_all=True
)
