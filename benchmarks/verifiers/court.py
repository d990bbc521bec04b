"""Rank all shipped rewards on labelled pairs: `python -m benchmarks verifiers [--write] [--show]`.

`pairs/NAME.jsonl` holds the pairs of one verifier, a JSON object per line: `same` (the label), `demonstration`,
`action`, and `reason`. A different pair is one that a similarity or a check of types would accept. A same pair is one
that string equality would reject. How the two texts become actions depends on the file (`ACTIONS`); all pairs of a
file share one state.

A reward is asked about every pair that it handles and whose demonstration passes its gate. --write puts the tables into
docs/verifiers.md. --show prints every pair that a verifier judges wrongly in its own file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers import Outcome, State, Verdict, VerifierSpec, make_spec, passes_gate, verify

PAIRS = Path(__file__).with_name("pairs")
PAGE = Path(__file__).parents[2] / "docs" / "verifiers.md"
BEGIN, END = "<!-- court: begin -->", "<!-- court: end -->"
RULE = "string equality"
"""The reward 1 for equal text and equal arguments, in this order: the baseline."""

_DDL = """CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT NOT NULL, country TEXT);
CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT NOT NULL, author_id INTEGER REFERENCES author(id), genre TEXT,
    pages INTEGER);
CREATE TABLE member (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT, age INTEGER);
CREATE TABLE loan (book_id INTEGER REFERENCES book(id), member_id INTEGER REFERENCES member(id), returned DATE);"""

_FILE = "import os\n\n\ndef add(a, b):\n    return a + b\n\n\ndef mul(a, b):\n    return a * b\n"
_CREATED = {"command": "create", "path": "/app/util.py", "file_text": _FILE}
_TEXT = {"type": "string"}


def _tool(tool: str, required: Sequence[str], /, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": tool, "parameters": parameters}}


_BOOKING = _tool(
    "book_table", ("name", "guests"), name=_TEXT, guests={"type": "integer"}, note=_TEXT,
    terrace={"type": "boolean", "default": False}, at={"type": "string", "format": "date-time"},
    mail={"type": "string", "format": "email"}, site={"type": "string", "format": "uri"},
    ref={"type": "string", "format": "uuid"}, tags={"type": "array", "uniqueItems": True, "default": []},
    seat={"type": "object", "properties": {"row": {"type": "integer"}, "side": {"type": "string", "default": "left"}}},
)  # fmt: skip
_EDITOR = _tool(
    "editor", ("command", "path"), command=_TEXT, path=_TEXT, old_str=_TEXT, new_str=_TEXT, file_text=_TEXT,
    insert_line={"type": "integer"},
)  # fmt: skip

STATES: dict[str, State] = {
    "text": State(messages=({"role": "user", "content": "I am Mia Li. Where is my order?"},)),
    "sql": State(messages=({"role": "system", "content": _DDL},)),
    "tool_call": State(tools=(_BOOKING, _tool("cancel", ()))),
    "edit": State(
        tools=(_EDITOR,),
        messages=(
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "editor", "arguments": json.dumps(_CREATED)}}
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": "File created successfully."},
        ),
    ),
}
OPTIONS: dict[str, dict[str, Any]] = {"sql": {"dialect": "sqlite"}}
REWARDS = (
    "auto", "edit", "exact", "gym_single_step", "gym_terminus_string", "math", "python", "search_query", "shell", "sql",
    "terminal", "text", "tool_call", "tool_name",
)  # fmt: skip


class Pair(NamedTuple):
    file: str
    same: bool
    demonstration: Action
    action: Action
    texts: tuple[str, str]
    reason: str


class Tally(NamedTuple):
    """Answers of one reward."""

    different: int
    paid: int
    """Of the different pairs."""
    same: int
    refused: int
    """Of the same pairs, as different."""
    unproven: int
    """Of the same pairs."""
    gated: int
    """Pairs that the reward could not be asked about: it does not handle or accept the demonstration."""

    @property
    def rank(self) -> tuple[float, float]:
        """Wrongly paid first, wrongly unpaid second."""
        return self.paid / max(1, self.different), (self.refused + self.unproven) / max(1, self.same)


def _call(tool: str, argument: str) -> Callable[[Any], Action]:
    return lambda text: Action(tool_calls=(ToolCall(name=tool, arguments={argument: text}),))


def _calls(calls: list[dict[str, Any]]) -> Action:
    return Action(tool_calls=tuple(ToolCall(name=call["name"], arguments=call["arguments"]) for call in calls))


def _message(text: str) -> Action:
    return Action(message=text)


def _batch(keystrokes: list[str]) -> Action:
    commands = [{"keystrokes": keys} for keys in keystrokes]
    return Action(message=json.dumps({"analysis": "", "plan": "", "commands": commands, "task_complete": False}))


ACTIONS: dict[str, Callable[[Any], Action]] = {
    "edit": _calls,
    "math": _message,
    "python": _call("run_python", "code"),
    "search_query": _call("search", "query"),
    "shell": _call("bash", "command"),
    "sql": _call("run_sql", "query"),
    "terminal": _batch,
    "text": _message,
    "tool_call": _calls,
}


def pairs(name: str) -> Iterator[Pair]:
    """The pairs of one file."""
    make = ACTIONS[name]
    for line in (PAIRS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        texts = [json.dumps(row[side], ensure_ascii=False) for side in ("demonstration", "action")]
        yield Pair(
            name, row["same"], make(row["demonstration"]), make(row["action"]), (texts[0], texts[1]), row["reason"]
        )


def judge(spec: VerifierSpec | None, pair: Pair) -> Verdict | None:
    """The verdict on a pair; None if the reward cannot be asked. Without a spec: string equality."""
    if spec is None:
        same = pair.texts[0] == pair.texts[1]
        return Verdict(float(same), Outcome.CORRECT if same else Outcome.WRONG_ARGUMENTS)
    state = STATES.get(pair.file, State())
    if not spec.handles(pair.demonstration.kind) or passes_gate(spec, state, pair.demonstration).reward != 1:
        return None
    return verify(spec, state, [pair.demonstration], pair.action)


def is_paid(verdict: Verdict) -> bool:
    """Whether the action earns something worth having."""
    return verdict.reward is not None and verdict.reward >= 0.5


def tally(spec: VerifierSpec | None, judged: Sequence[Pair]) -> Tally:
    """How a reward answers to the pairs."""
    counts = dict.fromkeys(Tally._fields, 0)
    for pair in judged:
        verdict = judge(spec, pair)
        if verdict is None:
            counts["gated"] += 1
            continue
        paid = is_paid(verdict)
        counts["same" if pair.same else "different"] += 1
        if pair.same and not paid:
            counts["unproven" if verdict.outcome == Outcome.UNPROVEN else "refused"] += 1
        counts["paid"] += paid and not pair.same
    return Tally(**counts)


def tables() -> str:
    """Both tables as Markdown."""
    everything = [pair for name in sorted(ACTIONS) for pair in pairs(name)]
    specs: dict[str, VerifierSpec | None] = {name: make_spec(name, OPTIONS.get(name, {})) for name in REWARDS}
    specs[RULE] = None
    ranked = sorted(
        ((tally(spec, everything), name) for name, spec in specs.items()), key=lambda row: (*row[0].rank, row[1])
    )
    own = [(tally(specs[name], [pair for pair in everything if pair.file == name]), name) for name in sorted(ACTIONS)]
    return "\n".join(
        (
            f"All rewards on all {len(everything)} pairs, fewest wrongly paid first. A reward is not asked if it cannot compare",
            "the demonstration. Measured by `python -m benchmarks verifiers`.",
            "",
            *_rows(ranked),
            "",
            'Each verifier on its own pairs. `sql` runs with `dialect = "sqlite"`, all others with their defaults.',
            "",
            *_rows(own),
        )
    )


def _rows(tallies: Sequence[tuple[Tally, str]]) -> list[str]:
    head = ["reward", "different pairs", "paid wrongly", "same pairs", "refused wrongly", "unproven", "not asked"]
    rows = [head, ["---", *["---:"] * 6]]
    for found, name in tallies:
        shares = (
            _share(found.paid, found.different),
            _share(found.refused, found.same),
            _share(found.unproven, found.same),
        )
        rows.append([name, str(found.different), shares[0], str(found.same), shares[1], shares[2], str(found.gated)])
    return [f"| {' | '.join(row)} |" for row in rows]


def _share(count: int, total: int) -> str:
    return f"{count} ({100 * count / total:.0f} %)" if total else "-"


def wrong(name: str) -> Iterator[tuple[Pair, Verdict | None]]:
    """The pairs of a verifier's own file that it does not judge by their label."""
    spec = make_spec(name, OPTIONS.get(name, {}))
    for pair in pairs(name):
        verdict = judge(spec, pair)
        if verdict is None or is_paid(verdict) != pair.same:
            yield pair, verdict


def main() -> None:
    """Print the tables, and write them into the page if asked to."""
    found = tables()
    if "--write" in sys.argv:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{found}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    print(found)
    if "--show" in sys.argv:
        for name in sorted(ACTIONS):
            for pair, verdict in wrong(name):
                answer = "not asked" if verdict is None else verdict.outcome.value
                print(f"{name}: {answer}: {pair.texts[0]} / {pair.texts[1]} ({pair.reason})")
