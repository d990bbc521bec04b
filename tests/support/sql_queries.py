"""Two statements as calls, and the verdict of `sql` on them."""

from __future__ import annotations

from typing import Any

from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers import Outcome, State, make_spec, verify

DDL = """You can query this database:
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INT, city VARCHAR(20), joined DATE);
create table Orders (id INT, user_id INT REFERENCES users(id), total DECIMAL(8, 2), status TEXT);"""


def query(text: Any, **more: Any) -> Action:
    return Action(tool_calls=(ToolCall(name="run_sql", arguments={"query": text, **more}),))


def outcome(one: Any, other: Any, schema: str = "", **options: Any) -> Outcome:
    """The outcome of two statements; checks that it is the same if either is the demonstration."""
    spec = make_spec("sql", options)
    state = State(messages=({"role": "system", "content": schema},))
    there, back = (verify(spec, state, [query(a)], query(b)) for a, b in ((one, other), (other, one)))
    assert (there.reward, there.outcome) == (back.reward, back.outcome)
    assert there.reward == (1.0 if there.outcome == Outcome.CORRECT else 0.0)
    return there.outcome
