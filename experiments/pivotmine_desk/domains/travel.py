"""Flights to book: find the traveller or the team, the right flight with seats, and the cabin of their level.

basic -> economy, gold -> business, crew -> as the rule says. Without seats: the waiting list.
"""

from __future__ import annotations

import random
from typing import Any

from pivotmine_desk.agent import Agent
from pivotmine_desk.names import Names
from pivotmine_desk.world import Draft, Param, Refused, Tables, Task, Tool, find, one

TIMES = ("morning", "noon", "evening", "night")
CABINS = ("economy", "business", "first")


def _find_traveller(tables: Tables, name: str) -> Any:
    return _traveller(tables, find(tables["people"], "name", name, "traveller"))


def _find_team(tables: Tables, name: str) -> Any:
    return _traveller(tables, find(tables["teams"], "name", name, "team"))


def _traveller(tables: Tables, key: str) -> dict[str, Any]:
    row = (tables["people"] | tables["teams"])[key]
    return {"name": row["name"], "traveller": key, "level": row["level"]}


def _search_flights(tables: Tables, town: str, sort: str) -> Any:
    flights = [key for key, f in tables["flights"].items() if f["town"] == town]
    if not flights:
        raise Refused("no flights")
    return flights if sort == "price" else flights[::-1]


def _get_flight(tables: Tables, flight: str) -> Any:
    return {"flight": flight, "seats": one(tables["flights"], flight, "flight")["seats"]}


def _book(tables: Tables, flight: str, traveller: str, cabin: str, bags: int) -> Any:
    if one(tables["flights"], flight, "flight")["seats"] == "none":
        raise Refused("no seats")
    return _note(tables, "bookings", flight, traveller, cabin=cabin, bags=bags)


def _wait(tables: Tables, flight: str, traveller: str, days: int) -> Any:
    return _note(tables, "waiting", flight, traveller, days=days)


def _note(tables: Tables, table: str, flight: str, traveller: str, **how: Any) -> Any:
    one(tables["flights"], flight, "flight")
    one(tables["people"] | tables["teams"], traveller, "traveller")
    tables[table][f"{flight} {traveller}"] = how
    return {"flight": flight, "done": table}


def _get_rule(tables: Tables, level: str) -> Any:
    return {"rule": level, "cabin": one(tables["rules"], level, "rule")["cabin"]}


TOOLS = {
    "find_traveller": Tool(description="Find a person by name", params={"name": Param()}, run=_find_traveller),
    "find_team": Tool(description="Find a team by name", params={"name": Param()}, run=_find_team),
    "search_flights": Tool(
        description="Flights to a town",
        params={"town": Param(), "sort": Param(default="price", options=("price", "length"))},
        run=_search_flights,
    ),
    "get_flight": Tool(description="Seats left on a flight", params={"flight": Param()}, run=_get_flight),
    "book": Tool(
        description="Book seats",
        params={
            "flight": Param(),
            "traveller": Param(),
            "cabin": Param(default="economy", options=CABINS),
            "bags": Param(kind="integer", default=0),
        },
        run=_book,
    ),
    "wait_list": Tool(
        description="Wait for a seat",
        params={"flight": Param(), "traveller": Param(), "days": Param(kind="integer", default=7)},
        run=_wait,
    ),
    "get_rule": Tool(
        description="The cabin of a level",
        params={"level": Param(options=("basic", "gold", "crew"))},
        run=_get_rule,
    ),
}


def make(rng: random.Random, names: Names) -> Draft:
    """Two to four flights to a town, one of them requested by its time of day, and a flight elsewhere."""
    team = rng.random() < 0.45
    name = f"team {names.town()}" if team else names.person()
    hard = rng.random() < (0.75 if team else 0.25)
    level = rng.choice(("gold", "crew")) if hard else rng.choice(("basic", "basic", "gold"))
    town, traveller = names.town(), names.id()
    times = rng.sample(TIMES, rng.randint(2, 4))
    flights: dict[str, dict[str, Any]] = {names.id("noon"): {"town": names.town(), "seats": "some"}}
    keys = {time: names.id(time) for time in times}
    for time in times:
        seats = "none" if rng.random() < (0.35 if hard else 0.1) else "some"
        flights[keys[time]] = {"town": town, "seats": seats}
    time, bags, direct = rng.choice(times), rng.choice((0, 0, 1, 2, 3)), rng.random() < 0.25
    flight = f"flight {keys[time]}" if direct else f"the {time} flight to {town}"
    request = f"Book {flight} for {name}{f', {bags} bags' if bags else ''}."
    row = {traveller: {"name": name, "level": level}}
    tables: Tables = {
        "people": {} if team else row,
        "teams": row if team else {},
        "flights": flights,
        "bookings": {},
        "waiting": {},
        "rules": {"crew": {"cabin": rng.choice(CABINS)}},
    }
    facts = {"name": name, "team": team, "town": town, "time": time, "bags": bags}
    return Draft(request=request, tables=tables, facts=facts | {"flight": keys[time] if direct else ""})


def script(task: Task, agent: Agent) -> None:
    """Find traveller, cabin and flight, look for seats, and book."""
    facts = task.facts
    tool = agent.choose("travel.team", "find_team", "find_traveller") if facts["team"] else "find_traveller"
    found = agent.call(tool, name=facts["name"])
    cabin = _cabin(agent, found["level"])
    flight = facts["flight"]
    if not flight:
        flights = agent.call("search_flights", town=facts["town"])
        flight = next(flight for flight in flights if flight.startswith(facts["time"]))
    who = {"flight": flight, "traveller": found["traveller"]}
    if agent.choose("travel.seats", "get_flight", "go on") == "get_flight":
        seats = agent.call("get_flight", flight=flight)["seats"]
        if seats == "none" and agent.choose("travel.none", "wait_list", "book") == "wait_list":
            agent.call("wait_list", **who)
            return
    arguments = {"cabin": cabin} if cabin != "economy" else {}
    agent.call("book", **who, **arguments, **({"bags": facts["bags"]} if facts["bags"] else {}))


def _cabin(agent: Agent, level: str) -> str:
    if level == "crew" and agent.choose("travel.crew", "get_rule", "guess") == "get_rule":
        return agent.call("get_rule", level=level)["cabin"]
    if level == "gold":
        return agent.choose("travel.gold", "business", "economy")
    return "economy"
