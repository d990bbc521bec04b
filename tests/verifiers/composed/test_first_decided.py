"""`first_decided` with a judge as the last member: the server is asked only if the first member gives no proof."""

from __future__ import annotations

import json
from typing import Any

import pytest
from judge_server import judge_server

from pivotmine.actions import Action, ToolCall
from pivotmine.verifiers import Outcome, State, make_spec, verify


def call(tool: str, **arguments: Any) -> Action:
    return Action(tool_calls=(ToolCall(name=tool, arguments=arguments),))


def shell(command: str) -> Action:
    return call("bash", command=command)


def query(text: str) -> Action:
    return call("run_sql", query=text)


def code(text: str) -> Action:
    return call("python", code=text)


def say(text: str) -> Action:
    return Action(message=text)


def search(text: str) -> Action:
    return call("search", query=text)


def typed(*keystrokes: str) -> Action:
    commands = [{"keystrokes": keys} for keys in keystrokes]
    return say(json.dumps({"analysis": "", "plan": "", "commands": commands, "task_complete": False}))


def replace(path: str, old: str, new: str) -> Action:
    return call("edit", path=path, old_str=old, new_str=new)


CASES = {
    # demonstration: the same, different, unproven
    "shell": (
        shell("ls -la src"),
        [shell("ls -al src"), shell("ls -la  'src'")],
        [shell("rm -r src"), shell("ls -la docs"), shell("ls -la src > out.txt"), call("sh", command="ls -la src")],
        [shell("ls -l src"), shell("cd src && ls -la"), shell("ls -la ./src | cat")],
    ),
    "sql": (
        query("select a from t where b = 3"),
        [query("SELECT a FROM t WHERE 3 = b")],
        [query("select a from t where b = 4"), query("select a from u where b = 3"), query("delete from t")],
        [query("select a from t where b + 0 = 3"), query("select a from t where b >= 3 and b <= 3")],
    ),
    "python": (
        code("x = load('a')\nprint(x)"),
        [code("x = load( 'a' )  # read\nprint(x)")],
        [code("x = load('b')\nprint(x)"), call("python", code=3)],
        [code("print(load('a'))"), code("y = load('a')\nprint(y)"), code("!cat a")],
    ),
    "edit": (
        replace("/w/a.py", "x = 1", "x = 2"),
        [replace("/w/./a.py", "x = 1", "x = 2")],
        [replace("/w/b.py", "x = 1", "x = 2"), call("view", path="/w/a.py")],
        [replace("/w/a.py", "x = 1\n", "x = 2\n"), replace("a.py", "x = 1", "x = 2")],
    ),
    "auto": (
        shell("ls -la src"),
        [shell("ls -al src")],
        [shell("rm -r src"), call("sh", command="ls -la src")],
        [shell("ls -l src")],
    ),
    "math": (
        say("The answer is 5 m."),
        [say(r"\boxed{500 cm}"), say("x = 5 m"), say("The answer is 5.")],
        [say("The answer is 6 m."), say("The answer is 5 kg."), say("It is 5 or 6."), say("No idea.")],
        [say(r"\boxed{5 furlongs}"), say(r"\boxed{5, 6}")],
    ),
    "search_query": (
        search("colour of red cars"),
        [search("what is the color of red cars"), search("red cars colour")],
        [search("color of blue cars"), search("colour of red cars Rome"), search("colour of red cars 2024")],
        [search("colour of red cars today"), search("cars red colour")],
    ),
    "terminal": (
        typed("ls -l -a src\n"),
        [typed("ls -a -l src\n"), typed("ls -l -a src", "\n")],
        [typed("ls -l -a docs\n"), typed("ls -l -a src\n", "C-c"), say("ls -l -a src")],
        [typed(f"echo {'a' * 30_000}\n")],
    ),
    "text": (
        say("I have booked the room for May 5."),
        [say("Certainly! I've booked the room for 5 May."), say("I have booked the room for May 5. Thank you!")],
        [say("I have not booked the room for May 5."), say("I have booked the room for May 6."), call("book", room=1)],
        [say("The room is reserved for May 5."), say("I have booked the room for May 5 and waived all fees.")],
    ),
    "tool_call": (call("find", id=3), [call("find", id=3.0)], [call("find", id=4), call("other", id=3)], []),
}


@pytest.mark.parametrize("name", CASES)
def test_the_judge_is_asked_where_nothing_is_proved(name: str) -> None:
    demonstration, same, different, unproven = CASES[name]
    with judge_server() as server:
        judge = make_spec("judge", {"base_url": server.url, "max_attempts": 1})
        spec = make_spec("first_decided", {"members": [make_spec(name, {}), judge]})
        for actions, reward, asks in ((same, 1.0, False), (different, 0.0, False), (unproven, 1.0, True)):
            for action in actions:
                before = len(server.asked)
                found = verify(spec, State(), [demonstration], action)
                assert (found.reward, len(server.asked) > before) == (reward, asks), (action, found)


def test_the_verifier_s_own_answer_counts_without_a_judge() -> None:
    for name, (demonstration, _, _, unproven) in CASES.items():
        for action in unproven[:1]:
            found = verify(make_spec(name, {"unproven": "null"}), State(), [demonstration], action)
            assert (found.reward, found.outcome) == (None, Outcome.UNPROVEN), (name, action)
