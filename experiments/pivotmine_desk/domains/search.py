"""Questions with the answer on a page, or on a second page that the first one names.

The new edition of a page counts. A stale page has a newer one, an empty page needs an expert, a disputed answer is
given as not sure. Companies are in the register, not in the pages.
"""

from __future__ import annotations

import random
from typing import Any

from pivotmine_desk.agent import Agent
from pivotmine_desk.names import Names, words
from pivotmine_desk.world import Draft, Param, Tables, Task, Tool, find, one

JOBS = words("baker nurse pilot judge painter farmer teacher miner")


def _search(tables: Tables, query: str, sort: str) -> Any:
    listed = {key: page for key, page in tables["pages"].items() if page["listed"]}
    if query not in {page["title"] for page in listed.values()}:
        return []
    pages = [{"title": page["title"], "page": key} for key, page in listed.items() if page["title"].startswith(query)]
    return pages if sort == "best" else pages[::-1]


def _register(tables: Tables, name: str) -> Any:
    key = find(tables["register"], "title", name, "company")
    return {"title": name, "page": key}


def _open_page(tables: Tables, page: str) -> Any:
    row = one(tables["pages"] | tables["register"], page, "page")
    return {"title": row["title"], **row["facts"], "state": row["state"]}


def _newer(tables: Tables, page: str) -> Any:
    return {"old": page, "page": one(tables["newer"], page, "page")["page"]}


def _ask_expert(tables: Tables, page: str, days: int) -> Any:
    one(tables["pages"] | tables["register"], page, "page")
    tables["asked"][page] = {"days": days}
    return {"page": page, "asked": True}


def _answer(tables: Tables, value: str, sure: bool) -> Any:  # noqa: FBT001 - a tool's argument, passed by name
    tables["answers"][str(len(tables["answers"]))] = {"value": value, "sure": sure}
    return {"answer": value}


TOOLS = {
    "search": Tool(
        description="The page of a title, and those whose titles begin alike",
        params={"query": Param(), "sort": Param(default="best", options=("best", "date"))},
        run=_search,
    ),
    "register": Tool(description="A company's page", params={"name": Param()}, run=_register),
    "open_page": Tool(description="What a page says", params={"page": Param()}, run=_open_page),
    "newer": Tool(description="The newer page of a stale one", params={"page": Param()}, run=_newer),
    "ask_expert": Tool(
        description="Leave an empty page to an expert",
        params={"page": Param(), "days": Param(kind="integer", default=3)},
        run=_ask_expert,
    ),
    "answer": Tool(
        description="Answer the question",
        params={"value": Param(), "sure": Param(kind="boolean", default=True)},
        run=_answer,
    ),
}


def make(rng: random.Random, names: Names) -> Draft:
    """A town or a company with a head, and the head's page; the answer takes one page or two."""
    company, hops = rng.random() < 0.45, rng.choice((1, 1, 2))
    subject = names.company() if company else names.town()
    head, town, wrong = names.person(), names.town(), names.person()
    hard = rng.random() < (0.8 if company else 0.25)
    first, last = names.id("new"), names.id("new")
    state = rng.choice(("stale", "disputed", "empty", "ok") if hard else ("ok", "ok", "ok", "disputed"))
    facts = {"head": head, "founder": wrong} if not company else {"owner": head, "founder": wrong}
    pages: Tables = {"pages": {}, "register": {}, "newer": {}}
    home = pages["register" if company else "pages"]
    home[first] = _page(subject, facts, state)
    if state == "stale":
        renewed = names.id("newest")
        pages["newer"][first] = {"page": renewed}
        home[first]["facts"] = {"head" if not company else "owner": names.person(), "founder": wrong}
        pages["pages"][renewed] = _page(subject, facts, "ok") | {"listed": False}
    if state == "empty":
        home[first]["facts"] = {}
    if not company and rng.random() < 0.5:
        past = {"head": names.person(), "founder": wrong}
        pages["pages"][names.id("old")] = _page(subject, past, "ok")
    if not company:
        pages["pages"][names.id("river")] = _page(f"{subject} river", {"length": str(rng.randint(10, 99))}, "ok")
    pages["pages"][last] = _page(head, {"town": town, "job": rng.choice(JOBS)}, "ok")
    role = "owner" if company else "head"
    ask = rng.choice(("town", "job"))
    request = f"Who is the {role} of {subject}?" if hops == 1 else f"What is the {ask} of the {role} of {subject}?"
    return Draft(
        request=request,
        tables={**pages, "asked": {}, "answers": {}},
        facts={"subject": subject, "company": company, "role": role, "ask": ask if hops == 2 else ""},
    )


def _page(title: str, facts: dict[str, Any], state: str) -> dict[str, Any]:
    return {"title": title, "facts": facts, "state": state, "listed": True}


def script(task: Task, agent: Agent) -> None:
    """Find the page, handle its state, go to the second page if needed, and answer."""
    facts = task.facts
    tool = agent.choose("search.company", "register", "search") if facts["company"] else "search"
    found = agent.call(tool, **{"name" if tool == "register" else "query": facts["subject"]})
    rows = found if isinstance(found, list) else [found]
    editions = {row["page"].split("#")[0]: row["page"] for row in rows if row["title"] == facts["subject"]}
    if not editions:
        agent.give_up()
    page = editions[agent.choose("search.edition", "new", "old") if len(editions) > 1 else "new"]
    content = agent.call("open_page", page=page)
    if content["state"] == "empty":
        if agent.choose("search.empty", "ask_expert", "give up") == "give up":
            agent.give_up()
        agent.call("ask_expert", page=page)
        return
    if content["state"] == "stale" and agent.choose("search.stale", "newer", "go on") == "newer":
        renewed = agent.call("newer", page=page)["page"]
        content = agent.call("open_page", page=renewed)
    value = content[facts["role"]]
    sure = content["state"] != "disputed"
    if facts["ask"]:
        pages = agent.call("search", query=value)
        if not pages:
            agent.give_up()
        value = agent.call("open_page", page=pages[0]["page"])[facts["ask"]]
    if not sure:
        sure = agent.choose("search.disputed", "not sure", "sure") == "sure"
    agent.call("answer", value=value, **({} if sure else {"sure": False}))
