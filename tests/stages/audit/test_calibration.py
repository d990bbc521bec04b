"""A verifier against labelled pairs: figures over hand-made counts, and every form of the pairs' file."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from auditing import calibrate
from judge_server import judge_server
from runs import answered, called, make_run, said, states_of, trajectory

from pivotmine.errors import UserError
from pivotmine.verifiers import make_spec
from pivotmine.verifiers.configured import configured_spec
from pivotmine_stages.audit.calibration import NotAsked, figures
from pivotmine_stages.audit.options import AuditConfig
from pivotmine_stages.cli.audit_printing import audit_report

AUTO = make_spec("auto", {})
FIND_A = {"tool_calls": [{"name": "find", "arguments": {"id": "A"}}]}
FIND_NOTHING = {"tool_calls": [{"name": "find", "arguments": {}}]}
FENCED = {"action_format": "fenced_command"}
TOOLS = [{"type": "function", "function": {"name": "go", "parameters": {"properties": {"far": {"default": False}}}}}]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path, trajectory(said("A, please"), called("find", id="A"), answered("found")))


def written(run: Path, *pairs: Any) -> Path:
    path = run.parent / "pairs.jsonl"
    lines = [pair if isinstance(pair, str) else json.dumps(pair) for pair in pairs]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


def test_figures_of_a_table_of_answers() -> None:
    counts = Counter(same=50, different=50, same_same=40, same_different=8, same_unproven=2)
    counts.update(different_different=45, different_same=3, different_failed=1, different_not_asked=1)
    found = figures(counts)
    assert (found["decided"], found["agreement"]) == (96, 85 / 96)
    # By chance: 48 of each label, 43 answers same and 53 different.
    chance = (48 * 43 + 48 * 53) / 96**2
    assert found["kappa"] == pytest.approx((85 / 96 - chance) / (1 - chance))
    assert (found["false_accept"], found["false_accept_rate"]) == (3, 3 / 48)
    assert (found["false_reject"], found["false_reject_rate"]) == (8, 8 / 48)
    named = ("unproven_same", "unproven_different", "failed_different", "not_asked_different")
    assert [found[name] for name in named] == [2, 0, 1, 1]
    nothing = figures(Counter(same=1, same_unproven=1))
    rates = ("agreement", "kappa", "false_accept_rate", "false_reject_rate")
    assert [nothing[name] for name in rates] == [None] * 4
    # All labels and answers are one: chance alone agrees.
    assert (figures(Counter(same=2, same_same=2))["agreement"], figures(Counter(same=2, same_same=2))["kappa"]) == (
        1,
        None,
    )


def test_pairs_in_every_form(run: Path) -> None:
    (state,) = states_of(run).values()
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "find", "arguments": '{"id": " A"}'}}],
    }
    far = {"tool_calls": [{"name": "go", "arguments": {"far": False}}]}
    here = {"tool_calls": [{"name": "go", "arguments": {}}]}
    path = written(
        run,
        {"label": "same", "state_id": state, "demonstration": FIND_A, "action": message, "reason": "white space"},
        {"label": "different", "state_id": state, "demonstration": FIND_A, "action": {"message": "Found."}},
        {"label": "same", "tools": TOOLS, "demonstration": here, "action": far},
        {"label": "same", "demonstration": "I have found it.", "action": "I've found it."},
        {"label": "different", "demonstration": "I have found it.", "action": "Sure, I have found it."},
        {"label": "same", "demonstration": "I have found it.", "action": "There it is."},
        {"label": "different", **FENCED, "demonstration": "```bash\nls\n```", "action": "```bash\nrm a\n```"},
        {"label": "same", "demonstration": FIND_NOTHING, "state_id": state, "action": FIND_A},
        "",
    )
    summary = calibrate(AuditConfig(verifier=AUTO, calibrate=path), run)
    assert (summary.pairs, summary.same, summary.different, summary.decided) == (8, 5, 3, 6)
    assert (summary.unproven_same, summary.not_asked_same) == (1, 1)
    assert (summary.false_accept, summary.false_reject, summary.agreement) == (1, 0, 5 / 6)
    (error,) = summary.errors
    assert (error.line, error.label, error.answer) == (5, "different", "same")
    text = audit_report(summary)
    assert "line 5: labelled different, judged same\n  difference    {+Sure, +}I have found it." in text
    assert text.endswith(f"verdict   agreement 83.3% on 6 decided pairs, kappa {summary.kappa:.2f}")
    assert not any(run.glob("audits/*"))


def test_a_judge_is_asked_about_every_pair(run: Path) -> None:
    pairs = [
        {"label": label, "demonstration": "It is here.", "action": f"{label} place."} for label in ("same", "different")
    ]
    with judge_server() as server:
        options = {"base_url": server.url, "max_attempts": 1}
        spec = configured_spec("both", {"judge": options, "both": {"first_decided": ["text", "judge"]}})
        summary = calibrate(AuditConfig(verifier=spec, calibrate=written(run, *pairs)), run)
    assert (summary.decided, summary.false_accept, summary.kappa) == (2, 1, 0.0)


def pair(action: Any) -> dict[str, Any]:
    return {"label": "same", "demonstration": "a", "action": action}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: needs an object with a label, same or different"),
        ({"label": "yes"}, "line 2: needs an object with a label"),
        ({"label": "same", "action": "a"}, "line 2: demonstration must be a text"),
        ({"label": "same", "demonstration": "a", "action": ["a"]}, "line 2: action must be a text"),
        ({"label": "same", "demonstration": "a", "action": "a", "tools": {}}, "line 2: tools must be a list"),
        ({"label": "same", "demonstration": "a", "action": "a", "messages": ["a"]}, "line 2: messages and tools must"),
        ({"label": "same", "demonstration": "a", "action": "a", "state_id": "x"}, "line 2: the run has no state x"),
        (
            {"label": "same", "demonstration": "a", "action": "a", "action_format": "fenced_comand"},
            "line 2: action_format fenced_comand: choose from .*; did you mean fenced_command",
        ),
        (pair({"role": "user", "content": "a"}), "line 2: action has the role 'user': only an assistant acts"),
        (pair({"contents": "a"}), "line 2: action has the keys contents: it must be a text"),
        (pair({"message": 1}), "line 2: action has a message, reasoning or text that is not a text"),
        (pair({"content": "a", "tool_calls": "f"}), "line 2: action has tool_calls that are not a list of objects"),
        (pair({"content": None, "tool_calls": [1]}), "line 2: action has tool_calls that are not a list of objects"),
        (pair({"tool_calls": [{"name": 1}]}), "line 2: action has a tool call without a name"),
        (pair({"tool_calls": [{"type": "function"}]}), "line 2: action has a tool call without a name"),
        (pair({"tool_calls": [{"function": None}]}), "line 2: action has a tool call without a name"),
        (pair({"tool_calls": [{"name": "f", "arguments": "{}"}]}), "line 2: action has a stored tool call whose"),
        (pair({"tool_calls": [], "unparsed": ["a"]}), "line 2: action cannot be read"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(run: Path, line: Any, words: str) -> None:
    path = written(run, {"label": "same", "demonstration": "a", "action": "a"}, line)
    with pytest.raises(UserError, match=words):
        calibrate(AuditConfig(verifier=AUTO, calibrate=path), run)


def test_a_pair_that_cannot_be_asked_is_told_with_its_line(run: Path) -> None:
    unreadable = {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}
    said = {"label": "same", "demonstration": "Sent.", "action": "Sent!"}
    path = written(run, said, {**said, "demonstration": unreadable}, {**said, "demonstration": FIND_A, "domain": "x"})
    summary = calibrate(AuditConfig(verifier=make_spec("text", {}), calibrate=path), run)
    assert (summary.decided, summary.not_asked_same) == (1, 2)
    unread, unhandled = summary.not_asked
    assert unread.line == 2
    assert unread.reason.startswith("the demonstration does not pass against itself: invalid_call")
    assert unhandled == NotAsked(3, "text handles no tool_call turn of domain x")
    assert "\n          line 3: text handles no tool_call turn of domain x" in audit_report(summary)
    with pytest.raises(UserError, match=r"text cannot judge any of 1 pair; line 1: text handles no tool_call"):
        calibrate(
            AuditConfig(verifier=make_spec("text", {}), calibrate=written(run, {**said, "demonstration": FIND_A})), run
        )
    assert len(list(run.glob("manifests/calibrate*"))) == 1


def test_a_byte_order_mark_is_no_part_of_the_file(run: Path) -> None:
    path = written(run, {"label": "same", "demonstration": "Sent.", "action": "Sent!"})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert calibrate(AuditConfig(verifier=AUTO, calibrate=path), run).agreement == 1.0


def test_a_pair_cannot_change_the_action_format_of_a_state(run: Path) -> None:
    (state,) = states_of(run).values()
    path = written(run, {"label": "same", "state_id": state, "demonstration": "a", "action": "a", **FENCED})
    with pytest.raises(UserError, match=r"line 1: action_format fenced_command, but the run's state .* has native"):
        calibrate(AuditConfig(verifier=AUTO, calibrate=path), run)


def test_options_that_would_be_ignored_are_refused(run: Path) -> None:
    path = written(run, {"label": "same", "demonstration": "a", "action": "a"})
    with pytest.raises(UserError, match="leave out --limit and --policy and --num-pairs"):
        calibrate(AuditConfig(calibrate=path, limit=3, policy="p", num_pairs=1), run)


def test_a_file_without_pairs_is_an_error(run: Path) -> None:
    with pytest.raises(UserError, match="has no pair"):
        calibrate(AuditConfig(verifier=AUTO, calibrate=written(run)), run)
    with pytest.raises(UserError, match="No such file"):
        calibrate(AuditConfig(verifier=AUTO, calibrate=run / "none.jsonl"), run)
