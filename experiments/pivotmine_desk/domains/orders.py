"""Orders that a customer does not want: find the customer and the order, and do what its status requires.

pending -> cancel, delivered -> return, shipped -> recall, lost -> replace, damaged -> as the rule says. A locked
account must be unlocked first. Companies have hard cases more often than people.
"""

from __future__ import annotations

import random
from typing import Any

from pivotmine_desk.agent import Agent
from pivotmine_desk.names import Names, words
from pivotmine_desk.world import Draft, Param, Refused, Tables, Task, Tool, find, one

ITEMS = words("lamp desk chair phone bike coat shoes tent radio clock")
REASONS = (
    "too big",
    "too small",
    "wrong colour",
    "came too late",
    "found a cheaper one",
    "not needed any more",
)
EASY, HARD = ("pending", "pending", "delivered"), ("shipped", "lost", "damaged", "delivered")
"""Statuses in easy and in hard tasks."""


def _find_customer(tables: Tables, name: str) -> Any:
    return _customer(tables, find(tables["people"], "name", name, "customer"))


def _find_company(tables: Tables, name: str) -> Any:
    return _customer(tables, find(tables["companies"], "name", name, "company"))


def _customer(tables: Tables, key: str) -> dict[str, Any]:
    row = (tables["people"] | tables["companies"])[key]
    return {"name": row["name"], "customer": key, "account": row["account"]}


def _unlock(tables: Tables, customer: str) -> Any:
    row = one(tables["people"] | tables["companies"], customer, "customer")
    row["account"] = "open"
    return {"customer": customer, "account": "open"}


def _list_orders(tables: Tables, customer: str, sort: str) -> Any:
    row = one(tables["people"] | tables["companies"], customer, "customer")
    if row["account"] == "locked":
        raise Refused("account locked")
    orders = [key for key, order in tables["orders"].items() if order["customer"] == customer]
    return orders if sort == "new" else orders[::-1]


def _get_order(tables: Tables, order: str) -> Any:
    return {"order": order, "status": one(tables["orders"], order, "order")["status"]}


def _close(tables: Tables, order: str, status: str, **how: Any) -> Any:
    row = one(tables["orders"], order, "order")
    if row["status"] in ("cancelled", "returned", "recalled", "replaced"):
        raise Refused("already closed")
    row |= {"status": status, **how}
    return {"order": order, "status": status}


def _cancel(tables: Tables, order: str, reason: str) -> Any:
    return _close(tables, order, "cancelled", reason=reason)


def _return(tables: Tables, order: str, refund: str) -> Any:
    return _close(tables, order, "returned", refund=refund)


def _recall(tables: Tables, order: str, notify: bool) -> Any:  # noqa: FBT001 - a tool's argument, passed by name
    return _close(tables, order, "recalled", notify=notify)


def _replace(tables: Tables, order: str, quantity: int) -> Any:
    return _close(tables, order, "replaced", quantity=quantity)


def _get_rule(tables: Tables, status: str) -> Any:
    return {"rule": status, "do": one(tables["rules"], status, "rule")["do"]}


_STATUSES = ("pending", "delivered", "shipped", "lost", "damaged")
TOOLS = {
    "find_customer": Tool(description="Find a person by name", params={"name": Param()}, run=_find_customer),
    "find_company": Tool(description="Find a company by name", params={"name": Param()}, run=_find_company),
    "unlock": Tool(description="Unlock an account", params={"customer": Param()}, run=_unlock),
    "list_orders": Tool(
        description="A customer's orders",
        params={"customer": Param(), "sort": Param(default="new", options=("new", "old"))},
        run=_list_orders,
    ),
    "get_order": Tool(description="One order with its status", params={"order": Param()}, run=_get_order),
    "cancel_order": Tool(
        description="Cancel an order that has not left",
        params={"order": Param(), "reason": Param(free_text=True)},
        run=_cancel,
    ),
    "return_order": Tool(
        description="Take an order back",
        params={"order": Param(), "refund": Param(default="card", options=("card", "voucher"))},
        run=_return,
    ),
    "recall_order": Tool(
        description="Call back an order on its way",
        params={"order": Param(), "notify": Param(kind="boolean", default=True)},
        run=_recall,
    ),
    "replace_order": Tool(
        description="Send an order again",
        params={"order": Param(), "quantity": Param(kind="integer", default=1)},
        run=_replace,
    ),
    "get_rule": Tool(
        description="What to do in a special case", params={"status": Param(options=_STATUSES)}, run=_get_rule
    ),
}


def make(rng: random.Random, names: Names) -> Draft:
    """Two to four orders of one customer, one or two of them unwanted, and an unrelated customer."""
    company, direct = rng.random() < 0.45, rng.random() < 0.25
    name, other = (names.company(), names.company()) if company else (names.person(), names.person())
    locked = rng.random() < (0.6 if company else 0.2)
    customer, stranger = names.id(), names.id()
    rows = {
        customer: {"name": name, "account": "locked" if locked else "open"},
        stranger: {"name": other, "account": "open"},
    }
    hard = rng.random() < (0.8 if company else 0.35)
    statuses = HARD if hard else EASY
    items = rng.sample(ITEMS, rng.randint(2, 4))
    orders: Tables = {"orders": {}}
    for item in items:
        orders["orders"][names.id(item)] = {"customer": customer, "item": item, "status": rng.choice(statuses)}
    wanted = rng.sample(items, 2 if rng.random() < 0.35 and not direct and not hard else 1)
    reason = rng.choice(REASONS)
    order = next(key for key, row in orders["orders"].items() if row["item"] == wanted[0])
    what = f"order {order}" if direct else f"the {' and the '.join(wanted)}"
    request = f"{name} does not want {what}: {reason}."
    tables: Tables = {
        "people": {} if company else rows,
        "companies": rows if company else {},
        **orders,
        "rules": {"damaged": {"do": rng.choice(("return_order", "replace_order", "cancel_order"))}},
    }
    facts = {
        "name": name,
        "company": company,
        "items": wanted,
        "reason": reason,
        "order": order if direct else "",
    }
    return Draft(request=request, tables=tables, facts=facts)


def script(task: Task, agent: Agent) -> None:
    """Find the customer, list the orders, and settle every unwanted one."""
    facts = task.facts
    if facts["order"]:
        _settle(agent, facts["order"], facts["reason"])
        return
    tool = agent.choose("orders.company", "find_company", "find_customer") if facts["company"] else "find_customer"
    found = agent.call(tool, name=facts["name"])
    if found["account"] == "locked" and agent.choose("orders.locked", "unlock", "go on") == "unlock":
        agent.call("unlock", customer=found["customer"])
    orders = agent.call("list_orders", customer=found["customer"])
    for item in facts["items"]:
        _settle(agent, next(order for order in orders if order.startswith(item)), facts["reason"])


def _settle(agent: Agent, order: str, reason: str) -> None:
    status = agent.call("get_order", order=order)["status"]
    tool = agent.choose(f"orders.{status}", *_OPTIONS[status])
    if tool == "get_rule":
        tool = agent.call("get_rule", status=status)["do"]
    arguments = {"reason": reason} if tool == "cancel_order" else {}
    agent.call(tool, order=order, **arguments)


_OPTIONS = {
    "pending": ("cancel_order", "return_order"),
    "delivered": ("return_order", "replace_order"),
    "shipped": ("recall_order", "cancel_order"),
    "lost": ("replace_order", "return_order"),
    "damaged": ("get_rule", "return_order"),
}
"""Status -> the right tool, and the wrong one of a mediocre agent."""
