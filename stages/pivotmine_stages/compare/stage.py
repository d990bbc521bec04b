"""`pivotmine compare`: two profiles, by the states that changed class, or two selections, by the states chosen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pivotmine.counts import counted
from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine_stages.compare.options import CompareConfig
from pivotmine_stages.report.selections import chosen_states
from pivotmine_stages.report.subject import connect, differing, parse_subject, settings_of
from pivotmine_stages.report.transitions import compared

_PIVOTS = "pivots/"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileComparison:
    """The states that both profiles have. `compared` describes the attributes that are not described here."""

    kind: Literal["profiles"] = "profiles"
    one: str
    other: str
    words: list[str]
    """For each of the two, the settings in which it differs from the other."""
    name: str
    shared: int
    mean: float | None
    other_mean: float | None
    decided: float | None
    other_decided: float | None
    transitions: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionComparison:
    kind: Literal["selections"] = "selections"
    one: str
    other: str
    groups: list[dict[str, Any]]
    """{rows, states, examples}: for the states in both, only in the first, and only in the second."""


def compare(config: CompareConfig, run: Path) -> ProfileComparison | SelectionComparison:
    """Compare two profiles by the states that changed class, or two selections by their states.

    UserError if a name fits nothing, or if a profile is compared with a selection.
    """
    rundir.require_run(run)
    kinds = [text.startswith(_PIVOTS) for text in (config.one, config.other)]
    if all(kinds):
        return _selections(config, run)
    if any(kinds):
        raise UserError(f"{config.one} and {config.other}: compare two profiles or two selections (pivots/NAME)")
    one, other = parse_subject(run, config.one), parse_subject(run, config.other)
    if one == other:
        raise UserError(f"{config.one} and {config.other} are the same profile: {one.name}")
    found = compared(connect(run, one), other, config.num_examples)
    words = differing([settings_of(run, one), settings_of(run, other)])
    return ProfileComparison(one=one.name, other=other.name, words=words, **found)


def _selections(config: CompareConfig, run: Path) -> SelectionComparison:
    names = [text.removeprefix(_PIVOTS) for text in (config.one, config.other)]
    states = [set(chosen_states(run, name)["state_id"]) for name in names]
    groups = {
        "both": states[0] & states[1],
        f"only {config.one}": states[0] - states[1],
        f"only {config.other}": states[1] - states[0],
    }
    rows = [
        {"rows": name, "states": len(ids), "examples": sorted(ids)[: config.num_examples]}
        for name, ids in groups.items()
    ]
    return SelectionComparison(one=config.one, other=config.other, groups=rows)


def compare_report(found: ProfileComparison | SelectionComparison) -> str:
    """Return the comparison as lines of text."""
    lines = [f"{found.one}  against  {found.other}"]
    if isinstance(found, SelectionComparison):
        lines += [
            f"{row['states']:>7,} {_where(row['rows'])}  {_ids(row['examples'])}".rstrip() for row in found.groups
        ]
    else:
        lines += [f"  {name}: {words}" for name, words in zip(("first", "second"), found.words, strict=True)]
        lines.append(f"{counted(found.shared, 'state')} in both; {_mean(found.mean)} -> {_mean(found.other_mean)}")
        lines += [_transition(row) for row in found.transitions]
    return "\n".join(f"{'compare' if i == 0 else '':<9} {line}" for i, line in enumerate(lines))


def _where(rows: str) -> str:
    """Return `both` or `only pivots/a` as words that follow a number."""
    return f"only in {rows.removeprefix('only ')}" if rows.startswith("only ") else f"in {rows}"


def _transition(row: dict[str, Any]) -> str:
    share = f"{row['share']:.1%} [{row['low']:.1%}, {row['high']:.1%}]"
    return f"{row['from']:>9} -> {row['to']:<9} {row['states']:>7,}  {share:<22} {_ids(row['examples'])}"


def _ids(state_ids: list[str]) -> str:
    return " ".join(state_id[:12] for state_id in state_ids)


def _mean(value: float | None) -> str:
    return "no mean reward" if value is None else f"mean reward {value:.3f}"
