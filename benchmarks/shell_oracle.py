"""`shell` against a real environment: pairs of commands tried at one query of InterCode's bash tasks.

    PIVOTMINE_REAL_DATA=FOLDER python -m benchmarks.shell_oracle [--show]

The environment runs a command in its session and rewards output and file changes from 0 to 1. Two commands at one
query that are both rewarded 1 should pass, two with different rewards should not. The oracle is not exact.
The reward depends on earlier commands, so one text may get two rewards, and two commands that do different things may
both satisfy a query. So disagreements are counted by kind.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from pivotmine.actions.action import Action
from pivotmine.verifiers import Scorer, State, make_spec, prepare

REWARDED = 1.0


class Attempt(NamedTuple):
    query: str
    command: str
    reward: float


class Pair(NamedTuple):
    one: str
    other: str
    should_pass: bool
    passes: bool

    @property
    def kind(self) -> str:
        """Whether verifier and oracle agree, or how they disagree."""
        if self.should_pass:
            return "both pass" if self.passes else "rewarded 1 both, not shown to be the same"
        if not self.passes:
            return "both fail"
        return "one text, two rewards" if self.one == self.other else "passed, though one was rewarded less"


def attempts(folder: Path) -> list[Attempt]:
    """Every action of every history that is not empty, duplicates included."""
    found: list[Attempt] = []
    for path in sorted((folder / "intercode" / "bash").glob("*.json")):
        for record in json.loads(path.read_text()).values():
            history = record["turn_history"]
            rows = zip(history["actions"], history["rewards"], strict=True)
            found += [Attempt(record["query"], action.strip(), reward) for action, reward in rows if action.strip()]
    return found


def pairs(found: list[Attempt]) -> Iterator[Pair]:
    """Pairs of different attempts at one query, at least one of them rewarded 1."""
    spec = make_spec("shell", {})
    by_query: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in found:
        by_query[attempt.query].append(attempt)
    for group in by_query.values():
        rewarded = {attempt.command for attempt in group if attempt.reward == REWARDED}
        judges: dict[str, Scorer] = {c: prepare(spec, State(), [Action(message=c)]) for c in rewarded}
        for one, other in combinations(group, 2):
            if one.reward != REWARDED:
                one, other = other, one
            if one.reward == REWARDED:
                passes = judges[one.command](Action(message=other.command)).reward == 1.0
                yield Pair(one.command, other.command, other.reward == REWARDED, passes)


def passed_pairs(found: list[Attempt]) -> Iterator[tuple[Attempt, Attempt]]:
    """Pairs of different texts at one query, with any rewards, where `shell` passes one for the other."""
    spec = make_spec("shell", {})
    by_query: dict[str, set[Attempt]] = defaultdict(set)
    for attempt in found:
        by_query[attempt.query].add(attempt)
    for group in by_query.values():
        judges = {a.command: prepare(spec, State(), [Action(message=a.command)]) for a in group}
        for one, other in combinations(sorted(group), 2):
            if one.command != other.command and judges[one.command](Action(message=other.command)).reward == 1.0:
                yield one, other


def main() -> None:
    """Print the kinds, over all pairs and over pairs of different texts."""
    folder = os.environ.get("PIVOTMINE_REAL_DATA")
    if folder is None:
        print("shell_oracle  skipped: PIVOTMINE_REAL_DATA names no folder")
        return
    found = list(pairs(attempts(Path(folder))))
    for name, chosen in (("all pairs", found), ("different texts", [pair for pair in found if pair.one != pair.other])):
        agree = sum(pair.should_pass == pair.passes for pair in chosen)
        print(f"shell_oracle  {name}: {len(chosen)}, agreement {agree / len(chosen):.3f}")
        for kind, count in sorted(Counter(pair.kind for pair in chosen).items()):
            print(f"shell_oracle    {count:5d}  {kind}")
    equal = list(passed_pairs(attempts(Path(folder))))
    same = sum(one.reward == other.reward for one, other in equal)
    print(f"shell_oracle  different texts that pass, at any reward: {len(equal)}, of them rewarded alike: {same}")
    if "--show" in sys.argv:
        for pair in sorted(set(found)):
            if pair.should_pass != pair.passes:
                print(f"{pair.kind}\n    {pair.one!r}\n    {pair.other!r}")
        for one, other in equal:
            print(
                f"passed, rewarded {one.reward:.2f} and {other.reward:.2f}\n    {one.command!r}\n    {other.command!r}"
            )


if __name__ == "__main__":
    main()
