"""`tool_name`: the same tools are called, with any arguments: the coarse signal of the paper's software runs.

PivotRL's appendix A.2 rewards software turns by the name of the tool alone, "without attempting to score tool arguments
or patch quality". It leaks by design: an empty call, another file, a wrong edit and `rm -rf /` in place of `ls` all
earn 1 if their tool is the demonstrated one, and a policy finds the cheapest of them. Use it to reproduce the paper, or
as one member of a combination. For mining, use `tool_call`.

Names are compared as a multiset: a surplus call fails, and the order of parallel calls does not count. A tool that
the state does not offer fails, even if it is demonstrated. Symmetric.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pivotmine.actions.action import Action
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier, shown_text
from pivotmine.verifiers.tool_calls import call_diff
from pivotmine.verifiers.tool_calls.schema import parameters_by_tool


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolNameOptions:
    """It has no options."""


def prepare(state: State, demonstration: Action, options: ToolNameOptions) -> Callable[[Action], Verdict]:
    """Return a scorer for one demonstration with at least one call."""
    demonstrated = demonstration.tool_calls
    offered = parameters_by_tool(state.tools)
    unknown = next((call.name for call in demonstrated if offered and call.name not in offered), None)
    matched = Verdict(1.0, Outcome.CORRECT)
    if unknown is not None:
        detail = f"{shown_text(unknown)}: no tool of this state, though demonstrated"
        matched = Verdict(0.0, Outcome.WRONG_TOOL, detail)

    def judge(action: Action) -> Verdict:
        given = action.tool_calls
        return call_diff.in_number(demonstrated, given) or call_diff.in_names(demonstrated, given) or matched

    return judge


VERIFIER = Verifier(prepare=prepare, options=ToolNameOptions, version=1, kinds=frozenset({"tool_call"}))
