"""The printed audit: errors first, marked, and the verdict last."""

from __future__ import annotations

from pivotmine.actions import Action, ToolCall, Unparsed, action_to_json
from pivotmine_stages.audit.marking import action_text, marked
from pivotmine_stages.audit.stage import AuditSummary, OtherStates
from pivotmine_stages.cli.audit_printing import audit_report

SAID = action_to_json(Action(message="It leaves at 9 from gate 4, and your two bags are included in the price."))
RATES = {"false_accept": 0, "false_accept_rate": 0.0, "must_pass": 4, "false_reject": 0, "false_reject_rate": 0.0}
BAD = {"must_fail": 2, "false_accept": 1, "false_accept_rate": 0.5, "must_pass": 0, "false_reject": 0, "null": 0}
SUMMARY = AuditSummary(
    verdict="unfit: text accepts 50.0% of 2 mutations antonym",
    verifier_id="text-1",
    states=2,
    gates={"correct": 2},
    rates=[{"verifier": "text", "tool": "message", "domain": "\x1b[2J", **BAD, "false_reject_rate": None}],
    mutations=[
        {"verifier": "text", "trial": "antonym", **BAD, "false_reject_rate": None},
        {"verifier": "text", "trial": "courtesy", "must_fail": 2, **RATES, "null": 0},
    ],
    other_states=OtherStates(pairs=100, is_sample=True, tried=10, paid=1),
    constants=[
        {
            **{"grouped_by": grouped_by, "name": name, "action": SAID, "mean_reward": mean, "num_paid": 1},
            **{"num_states": states, "num_actions": 3, "is_exact": states < 100},
        }
        for grouped_by, name, mean, states in (("domain", None, 0.5, 200), ("tool", "message", 1.0, 2))
    ],
    errors=[
        {
            **{"state_id": "s1", "verifier": "text", "trial": "antonym", "error": "false_accept", "detail": None},
            **{"demonstrated": SAID, "given": SAID.replace("leaves", "arrives").replace("price", "\\u001b[2J")},
        }
    ],
    policy_id=None,
    outcomes=[],
    agreements=[],
    seconds=1.0,
)
PRINTED = r"""audit     2 states under text-1
          demonstrations against themselves: correct 2
          2 mutations that must fail: 1 false accept; 0 that must pass: 0 false rejects; 0 null
          10 actions of other states of the same tool, written otherwise, a random sample of 100 pairs: 1 paid (10.0%)
          no samples of this run are scored: only demonstrations and mutations were judged

verifier  trial    must_fail  false_accept  false_accept_rate  must_pass  false_reject  null  false_reject_rate
--------  -------  ---------  ------------  -----------------  ---------  ------------  ----  -----------------
text      antonym  2          1             0.5                0          0             0     null
(1 row)
1 other trial without an error

verifier  tool     domain   must_fail  false_accept  false_accept_rate  must_pass  false_reject  null  false_reject_rate
--------  -------  -------  ---------  ------------  -----------------  ---------  ------------  ----  -----------------
text      message  \x1b[2J  2          1             0.5                0          0             0     null
(1 row)
0 other tools and domains without an error

best constant action, given in every state of a tool or domain
  domain (none): the best of 3 actions (most screened on a sample) earns 50.0% of 200 states
                It leaves at 9 from gate 4, and your two bags are included in the price.
  1 of fewer than 5 states is not shown

false_accept of antonym by text, state s1
  difference    It [-leaves-]{+arrives+} at 9 ... in the [-price-]{+\x1b[2J+}.

1.0 s
verdict   unfit: text accepts 50.0% of 2 mutations antonym"""


def test_only_errors_are_printed_and_the_verdict_is_last() -> None:
    assert audit_report(SUMMARY) == PRINTED


def test_an_action_on_one_line() -> None:
    call = ToolCall(name="find", arguments={"id": "A\n", "n": 1})
    assert action_text(action_to_json(Action(message="Now.", tool_calls=(call,)))) == 'Now. find(id="A\\n", n=1)'
    assert action_text(action_to_json(Action(unparsed=(Unparsed(text="{", reason="no"),)))) == "unreadable: {"
    assert action_text(action_to_json(Action(reasoning="so"))) == "(nothing)"
    assert action_text(action_to_json(Action(message="x", truncated=True))) == "x (truncated)"


def test_what_is_the_same_on_one_line_says_so() -> None:
    one, other = (action_to_json(Action(message="a", reasoning=reasoning)) for reasoning in ("", "so"))
    assert marked(one, other) == "a (the same but for white space, reasoning or types)"


def test_a_long_text_is_compared_up_to_a_bound() -> None:
    long = action_to_json(Action(message="word " * 100_000))
    assert len(marked(long, action_to_json(Action(message=f"other {'word ' * 100_000}")))) < 200
