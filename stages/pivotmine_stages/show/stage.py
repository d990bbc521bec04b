"""`pivotmine show`: states in the terminal, with what was demonstrated and what the policy did."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotmine.counts import counted
from pivotmine.errors import UserError
from pivotmine.escape import inert
from pivotmine.run import rundir
from pivotmine_stages.profiles.never_states import MIN_RATE
from pivotmine_stages.report.details import details, message_texts, on_one_line, reward_text
from pivotmine_stages.report.subject import choose_subject, connect, connect_unscored, subjects
from pivotmine_stages.show.options import ShowConfig
from pivotmine_stages.view.listing import Filters, listing

if TYPE_CHECKING:
    import duckdb

NUM_MESSAGES = 2
"""Maximum number of messages shown of a conversation, the last ones."""
MAX_GROUPS = 8
"""Maximum number of groups of samples shown."""
WIDTH = 100
_INDENT, _LABEL = 10, 28


def show(config: ShowConfig, run: Path) -> list[dict[str, Any]]:
    """Return the states that fit, like `report.details.details` but with messages in full; UserError if none fits."""
    connection, name = _opened(config, run)
    filter_values = {name: getattr(config, name) or "" for name in ("reward_class", "domain", "tool", "outcome")}
    filters = replace(Filters(), **filter_values)
    if config.state is not None:
        query = "select state_id from state_index where starts_with(state_id, ?) order by state_id limit ?"
        rows = connection.execute(query, [config.state, config.num_states]).fetchall()
        wanted = [state_id for (state_id,) in rows]
    else:
        _, found = listing(connection, filters, sort=config.sort, count=config.num_states)
        wanted = [row["state_id"] for row in found]
    if not wanted:
        given = {name: value for name, value in {"state": config.state, **filter_values}.items() if value}
        words = ", ".join(f"{name} {value}" for name, value in given.items()) or "any filter"
        raise UserError(f"no {name} has {words}")
    shown = details(connection, wanted)
    texts = message_texts(connection, [message_id for one in shown for message_id in one["messages"]])
    return [{**one, "messages": [texts[message_id] for message_id in one["messages"]]} for one in shown]


def _opened(config: ShowConfig, run: Path) -> tuple[duckdb.DuckDBPyConnection, str]:
    """Return the states to choose from, and how to call them. If nothing is scored, all demonstrated states are."""
    rundir.require_run(run)
    of_samples = (config.policy, config.verifier, config.reward_class, config.outcome)
    if not subjects(run) and of_samples == (None,) * len(of_samples):
        return connect_unscored(run), "demonstrated state"
    subject = choose_subject(run, config.policy, config.verifier)
    return connect(run, subject), f"profiled state of {subject.name}"


def show_report(states: list[dict[str, Any]]) -> str:
    """Return the states as lines of text, with foreign text escaped and cut."""
    return "\n\n".join("\n".join(_state_lines(one)) for one in states)


def _state_lines(one: dict[str, Any]) -> list[str]:
    row = one["state"]
    facts = ["not scored"] if row["num_samples"] is None else _profile(row)
    facts.append(f"domain {row['domain'] or 'none'}")
    if row["class"] == "never" and row["solvable_probability"] is not None:
        facts.insert(3, f"{row['solvable_probability']:.0%} chance of a success rate above {MIN_RATE:.0%}")
    usable = [demo for demo in one["demonstrations"] if not demo["reject_reason"]] or one["demonstrations"]
    earlier = len(one["messages"]) - NUM_MESSAGES
    groups = one["samples"]
    return [
        inert(f"state     {row['state_id']}: {', '.join(facts)}, turn {row['depth']} of {row['trajectory_id']}"),
        _line("tools", ", ".join(tool["name"] for tool in one["tools"]) or _no_tools(row)),
        *([_line("", f"({earlier} earlier messages)")] if earlier > 0 else []),
        *[_line(message["role"], on_one_line(message)) for message in one["messages"][-NUM_MESSAGES:]],
        *[_line("demonstrated", said) for said in dict.fromkeys(on_one_line(demo["action"]) for demo in usable)],
        *[_line(f"{g['count']} x {reward_text(g['reward'])} {g['outcome']}", _judged(g)) for g in groups[:MAX_GROUPS]],
        *([_line("", f"and {len(groups) - MAX_GROUPS} more groups")] if len(groups) > MAX_GROUPS else []),
    ]


def _no_tools(row: dict[str, Any]) -> str:
    return "none: the harness reads text" if row["offers_tools"] else "none offered"


def _profile(row: dict[str, Any]) -> list[str]:
    mean = "no mean" if row["mean"] is None else f"mean reward {row['mean']:.2f}"
    if row["mean"] is not None and row["num_scored"] < row["num_samples"]:
        mean += f" of the {row['num_scored']} decided"
    return [row["class"], counted(row["num_samples"], "sample"), mean]


def _judged(group: dict[str, Any]) -> str:
    return on_one_line(group["action"]) + (f"   [{group['detail']}]" if group["detail"] else "")


def _line(label: str, text: str) -> str:
    flat, width = inert(" ".join(text.split())), _width()
    return f"{'':<{_INDENT}}{label:<{_LABEL}}  {flat if len(flat) <= width else flat[: width - 3] + '...'}"


def _width() -> int:
    """Return how many characters of text fit on a line of the terminal."""
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH + _INDENT + _LABEL + 2
    return max(20, min(WIDTH, columns - _INDENT - _LABEL - 2))
