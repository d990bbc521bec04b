"""`shell`'s proofs of *different* against outputs: pairs of commands from InterCode's bash tasks.

    PIVOTMINE_REAL_DATA=FOLDER python -m benchmarks shell_difference [--show]

The environment ran every command and kept its output. Of commands that ran without an error and wrote something, two
with other outputs are truly different. Two at one task that were both rewarded 1 and wrote the same are equal as far as
the environment can tell. Other programs may write the same by chance (`uname -r` has no `#` to cut at), so pairs of
equal outputs with less reward are counted by themselves. Tasks in which one text gave two outputs are left out: time,
load or the session changed them.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from random import Random
from typing import NamedTuple

from pivotmine.actions.action import Action
from pivotmine.verifiers import Outcome, State, make_spec, prepare

REWARDED = 1.0
ACROSS = 20_000
"""Pairs of two tasks that are tried, a random sample."""


class Ran(NamedTuple):
    task: str
    command: str
    output: str
    reward: float


class Pair(NamedTuple):
    kind: str
    """`other outputs, one task`, `other outputs, two tasks`, `equal` or `equal outputs, less reward`."""
    one: str
    other: str
    answer: str
    """same, different or unproven."""


def ran(folder: Path) -> list[Ran]:
    """Every command that ran without an error and wrote something, once a task, if its output is always the same."""
    outputs: dict[tuple[str, str], set[tuple[str, float]]] = defaultdict(set)
    for path in sorted((folder / "intercode" / "bash").glob("*.json")):
        for record in json.loads(path.read_text()).values():
            history = record["turn_history"]
            names = ("actions", "observations", "rewards", "valid_action")
            for action, output, reward, valid in zip(*(history[name] for name in names), strict=True):
                if valid and action.strip() and output.strip():
                    outputs[record["query"], action.strip()].add((output, reward))
    unstable = {task for (task, _), found in outputs.items() if len({output for output, _ in found}) > 1}
    return [Ran(*key, *max(found, key=lambda one: one[1])) for key, found in outputs.items() if key[0] not in unstable]


def pairs(found: list[Ran]) -> Iterator[Pair]:
    """All pairs of one task, and a random sample of those of two tasks."""
    tasks: dict[str, list[Ran]] = defaultdict(list)
    for one in found:
        tasks[one.task].append(one)
    for group in tasks.values():
        for one, other in combinations(group, 2):
            if one.output != other.output:
                yield _judged("other outputs, one task", one, other)
            else:
                right = one.reward == other.reward == REWARDED
                yield _judged("equal" if right else "equal outputs, less reward", one, other)
    random = Random(0)
    for _ in range(ACROSS):
        one, other = random.sample(found, 2)
        if one.task != other.task and one.output != other.output:
            yield _judged("other outputs, two tasks", one, other)


def _judged(kind: str, one: Ran, other: Ran) -> Pair:
    judge = prepare(make_spec("shell", {"unproven": "null"}), State(), [Action(message=one.command)])
    verdict = judge(Action(message=other.command))
    answer = "same" if verdict.reward == 1 else "unproven" if verdict.outcome == Outcome.UNPROVEN else "different"
    return Pair(kind, one.command, other.command, answer)


def main() -> None:
    """Print the shares of the three answers by kind of pair."""
    folder = os.environ.get("PIVOTMINE_REAL_DATA")
    if folder is None:
        print("shell_difference  skipped: PIVOTMINE_REAL_DATA names no folder")
        return
    found = list(pairs(ran(Path(folder))))
    for kind in sorted({pair.kind for pair in found}):
        answers = Counter(pair.answer for pair in found if pair.kind == kind)
        shares = ", ".join(
            f"{name} {answers[name]} ({answers[name] / answers.total():.1%})" for name in sorted(answers)
        )
        print(f"shell_difference  {kind}: {answers.total()} pairs, {shares}")
    if "--show" in sys.argv:
        for pair in found:
            if (pair.answer == "different") == pair.kind.startswith("equal"):
                print(f"{pair.kind}, {pair.answer}\n    {pair.one!r}\n    {pair.other!r}")


if __name__ == "__main__":
    main()
