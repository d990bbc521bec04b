"""A text harness through extract and score: only its own convention parses demonstrations and samples."""

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from extracting import assistant, mine, rows, user, write_lines
from reading import needs_real_data, real_file
from runs import add_rollouts, policy_record, remember, sample

from pivotmine.actions import Action, action_from_json
from pivotmine.actions.conventions import read_text
from pivotmine.verifiers import State, make_spec, resolve, verify
from pivotmine_stages.report.options import ReportConfig
from pivotmine_stages.report.stage import report
from pivotmine_stages.score.stage import ScoreConfig, score

FIRST = "I look.\n```bash\nls src\n```"


def block(command: str) -> str:
    return f"Now this.\n```bash\n{command}\n```"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    messages = [user("Include ONE bash code block."), assistant(FIRST), user("a.py"), assistant(block("cat src/a.py"))]
    mine(tmp_path / "run", write_lines(tmp_path / "runs.jsonl", {"messages": messages}))
    return tmp_path / "run"


def test_the_segment_keeps_its_words_and_its_turns_are_calls(run: Path) -> None:
    assert rows(run, "segments", "action_format") == [{"action_format": "fenced_command"}]
    turns = rows(run, "turns", "kind", "demonstration", "tools_id")
    assert [(turn["kind"], turn["tools_id"]) for turn in turns] == [("tool_call", None)] * 2
    assert json.loads(turns[0]["demonstration"]) == {
        "reasoning": "I look.",
        "tool_calls": [{"name": "bash", "arguments": {"command": "ls src"}}],
        "text": FIRST,
    }


def test_samples_are_read_by_the_convention(run: Path) -> None:
    state_id = rows(run, "turns", "state_id")[0]["state_id"]
    server = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "bash", "arguments": "{}"}}]}
    samples = [
        sample(block("ls  src")),
        sample("Other thought.\n```bash\nls -la src\n```"),
        sample('<tool_call>\n{"name": "bash", "arguments": {"command": "ls src"}}\n</tool_call>'),
        sample(f"{FIRST}\n{FIRST}"),
        sample(f"<think>{block('rm -r src')}</think>\n{FIRST}"),
        sample("", message=json.dumps(server)),
        sample("", message=json.dumps({"role": "assistant", "content": FIRST})),
    ]
    remember(run, policy_record())
    add_rollouts(run, {state_id: samples})
    score(ScoreConfig(verifier=make_spec("auto", {}), num_processes=1), run)
    found = sorted(rows(run, "scores", "sample_index", "reward", "outcome"), key=lambda row: row["sample_index"])
    assert [row["reward"] for row in found] == [1.0, 0.0, 0.0, 0.0, 1.0, None, 1.0]
    assert [found[i]["outcome"] for i in (2, 3, 5)] == ["invalid_call", "invalid_call", "error"]
    # The prompt tells of the command, so the page does not miss a list of tools.
    report(ReportConfig(), run)
    assert "offered no tools" not in (run / "report.html").read_text(encoding="utf-8")


def pairs_paid(texts: list[str], name: str) -> tuple[int, int, int]:
    """(other command under the same thought: pairs, paid; the same command under another thought: refused)."""
    actions = [read_text(text, name) for text in texts]
    pairs = paid = refused = 0
    for one, other in permutations(actions, 2):
        swapped = Action(tool_calls=other.tool_calls, reasoning=one.reasoning)
        spec = resolve(make_spec("auto", {}), None, [one])
        assert spec is not None
        if one.tool_calls != other.tool_calls:
            pairs += 1
            paid += verify(spec, State(action_format=name), [one], swapped).reward == 1.0
        same = Action(tool_calls=one.tool_calls, reasoning=other.reasoning)
        refused += verify(spec, State(action_format=name), [one], same).reward != 1.0
    return pairs, paid, refused


def test_the_command_counts_and_the_thought_does_not() -> None:
    texts = [f"Step {i}.\n```bash\n{c}\n```" for i, c in enumerate(("ls -r build", "rm -r build", "git push", "make"))]
    assert pairs_paid(texts, "fenced_command") == (12, 0, 0)


@needs_real_data
@pytest.mark.parametrize("name", ["thought_action", "xml"])
def test_the_commands_of_real_runs_count(name: str, tmp_path: Path) -> None:
    mine(tmp_path / "run", real_file(f"swe-agent/{name}.traj"))
    (found,) = {row["action_format"] for row in rows(tmp_path / "run", "segments")}
    turns: list[dict[str, Any]] = rows(tmp_path / "run", "turns")
    assert {turn["kind"] for turn in turns} == {"tool_call"}
    texts = [action_from_json(turn["demonstration"]).text for turn in turns]
    pairs, paid, refused = pairs_paid(texts, found)
    assert (pairs > 50, paid, refused) == (True, 0, 0)
