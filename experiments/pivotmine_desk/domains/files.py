"""Files to tidy up or to share.

Tidying: draft -> delete, final -> archive, secret -> lock, old -> as the rule says. Sharing: a guest may view, staff
may edit, an owner gets the file. A busy file must be released first. Folders have their own look-up tool.
"""

from __future__ import annotations

import random
from typing import Any

from pivotmine_desk.agent import Agent
from pivotmine_desk.names import Names, words
from pivotmine_desk.world import Draft, Param, Refused, Tables, Task, Tool, find, one

WORDS = words("budget plan notes report list")
EASY, HARD = ("draft", "draft", "final"), ("secret", "old", "final")
"""Kinds of file in easy and in hard tasks."""


def _find_file(tables: Tables, name: str, order: str) -> Any:
    find(tables["files"], "name", name, "file")
    stem = name.split("-")[0]
    files = [
        {"name": f["name"], "file": key, "state": f["state"]}
        for key, f in tables["files"].items()
        if f["name"].startswith(stem + "-")
    ]
    return files if order == "name" else files[::-1]


def _find_folder(tables: Tables, name: str) -> Any:
    key = find(tables["files"], "name", name, "folder")
    return {"name": name, "file": key, "state": tables["files"][key]["state"]}


def _read_file(tables: Tables, file: str) -> Any:
    row = one(tables["files"], file, "file")
    return {"name": row["name"], "kind": row["kind"]}


def _delete(tables: Tables, file: str, keep_copy: bool) -> Any:  # noqa: FBT001 - a tool's argument, passed by name
    return _set(tables, file, "deleted", keep_copy=keep_copy)


def _archive(tables: Tables, file: str, years: int) -> Any:
    return _set(tables, file, "archived", years=years)


def _lock(tables: Tables, file: str, note: str) -> Any:
    return _set(tables, file, "locked", note=note)


def _release(tables: Tables, file: str) -> Any:
    one(tables["files"], file, "file")["state"] = "open"
    return {"file": file, "state": "open"}


def _set(tables: Tables, file: str, state: str, **how: Any) -> Any:
    row = one(tables["files"], file, "file")
    if row["state"] == "busy":
        raise Refused("file busy")
    row |= {"state": state, **how}
    return {"file": file, "state": state}


def _find_user(tables: Tables, name: str) -> Any:
    key = find(tables["users"], "name", name, "user")
    return {"name": name, "user": key, "role": tables["users"][key]["role"]}


def _share(tables: Tables, file: str, user: str, mode: str) -> Any:
    one(tables["users"], user, "user")
    return _set(tables, file, "shared", user=user, mode=mode)


def _hand_over(tables: Tables, file: str, user: str) -> Any:
    one(tables["users"], user, "user")
    return _set(tables, file, "handed over", user=user)


def _get_rule(tables: Tables, kind: str) -> Any:
    return {"rule": kind, "do": one(tables["rules"], kind, "rule")["do"]}


TOOLS = {
    "find_file": Tool(
        description="A file, and those whose names begin alike",
        params={"name": Param(), "order": Param(default="name", options=("name", "size"))},
        run=_find_file,
    ),
    "find_folder": Tool(description="A folder by name", params={"name": Param()}, run=_find_folder),
    "release": Tool(description="Take a file from who has it", params={"file": Param()}, run=_release),
    "read_file": Tool(description="What kind a file is", params={"file": Param()}, run=_read_file),
    "delete_file": Tool(
        description="Delete",
        params={"file": Param(), "keep_copy": Param(kind="boolean", default=False)},
        run=_delete,
    ),
    "archive_file": Tool(
        description="Archive",
        params={"file": Param(), "years": Param(kind="integer", default=5)},
        run=_archive,
    ),
    "lock_file": Tool(
        description="Lock", params={"file": Param(), "note": Param(default="none", free_text=True)}, run=_lock
    ),
    "find_user": Tool(description="Find a user by name", params={"name": Param()}, run=_find_user),
    "share_file": Tool(
        description="Share",
        params={"file": Param(), "user": Param(), "mode": Param(default="view", options=("view", "edit"))},
        run=_share,
    ),
    "hand_over": Tool(description="Give a file away", params={"file": Param(), "user": Param()}, run=_hand_over),
    "get_rule": Tool(
        description="What to do with a kind",
        params={"kind": Param(options=("draft", "final", "secret", "old"))},
        run=_get_rule,
    ),
}


def make(rng: random.Random, names: Names) -> Draft:
    """Files with a common stem, one of which is meant; in half of the tasks it is shared with a user."""
    share, folder = rng.random() < 0.5, rng.random() < 0.45
    hard = rng.random() < (0.8 if folder else 0.3)
    stem = names.stem()
    listed = [f"{stem}-{word}" for word in rng.sample(WORDS, rng.randint(2, 3))]
    target = stem if folder else listed[0]
    listed = [target, *listed[1:]]
    rng.shuffle(listed)
    kinds = HARD if hard else EASY
    files = {_id(names, name): {"name": name, "kind": rng.choice(kinds), "state": "open"} for name in listed}
    if rng.random() < 0.35:
        next(row for row in files.values() if row["name"] == target)["state"] = "busy"
    user, key = names.person(), names.id()
    role = rng.choice(("staff", "owner")) if hard else rng.choice(("guest", "guest", "staff"))
    what = f"folder {target}" if folder else f"file {target}"
    request = f"Share {what} with {user}." if share else f"Tidy up {what}."
    tables: Tables = {
        "files": files,
        "users": {key: {"name": user, "role": role}},
        "rules": {"old": {"do": rng.choice(("delete_file", "archive_file", "lock_file"))}},
    }
    facts = {"target": target, "folder": folder, "user": user if share else ""}
    return Draft(request=request, tables=tables, facts=facts)


def _id(names: Names, name: str) -> str:
    return names.id(name.partition("-")[2] or "folder")


def script(task: Task, agent: Agent) -> None:
    """Find the file, then do what its kind or the user's role requires."""
    facts = task.facts
    tool = agent.choose("files.folder", "find_folder", "find_file") if facts["folder"] else "find_file"
    found = agent.call(tool, name=facts["target"])
    rows = found if isinstance(found, list) else [found]
    row = next((row for row in rows if row["name"] == facts["target"]), None)
    if row is None:
        agent.give_up()
    file = row["file"]
    if row["state"] == "busy" and agent.choose("files.busy", "release", "go on") == "release":
        agent.call("release", file=file)
    if facts["user"]:
        _share_with(agent, file, facts["user"])
        return
    kind = agent.call("read_file", file=file)["kind"]
    tool = agent.choose(f"files.{kind}", *_OPTIONS[kind])
    if tool == "get_rule":
        tool = agent.call("get_rule", kind=kind)["do"]
    agent.call(tool, file=file)


def _share_with(agent: Agent, file: str, name: str) -> None:
    user = agent.call("find_user", name=name)
    who = {"file": file, "user": user["user"]}
    how = agent.choose(f"files.{user['role']}", *_ROLES[user["role"]])
    if how == "give":
        agent.call("hand_over", **who)
    else:
        agent.call("share_file", **who, **({"mode": "edit"} if how == "edit" else {}))


_OPTIONS = {
    "draft": ("delete_file", "archive_file"),
    "final": ("archive_file", "delete_file"),
    "secret": ("lock_file", "archive_file"),
    "old": ("get_rule", "delete_file"),
}
"""Kind -> the right tool, and the wrong one of a mediocre agent."""
_ROLES = {"guest": ("view", "edit"), "staff": ("edit", "view"), "owner": ("give", "edit")}
"""Role -> the right access, and the wrong one of a mediocre agent."""
