"""`search_query`: queries that a search engine answers alike and those that it does not, pair by pair."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine.actions.action import Action, ToolCall
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, passes_gate, verify


def search(query: Any, **more: Any) -> Action:
    return Action(tool_calls=(ToolCall(name="search", arguments={"query": query, **more}),))


def outcome(one: Any, other: Any, **options: Any) -> Outcome:
    """The outcome of two queries, either of them the demonstrated one."""
    spec = make_spec("search_query", options)
    there, back = (verify(spec, State(), [search(a)], search(b)) for a, b in ((one, other), (other, one)))
    assert (there.reward, there.outcome) == (back.reward, back.outcome)
    assert there.reward == (1.0 if there.outcome == Outcome.CORRECT else 0.0)
    return there.outcome


SAME = [
    ("weather Paris", "weather paris", "letter case"),
    ("weather in Paris", "Paris weather", "order and function words"),
    ("  red  running shoes ", "red running shoes", "white space"),
    ("Who is the president of France?", "who is the president of france", "a question mark"),
    ("Marie Curie's Nobel Prize 1903", "Nobel Prize 1903 of Marie Curie", "an apostrophe"),
    ("tall oak tree", "tall oak trees", "a plural"),
    ("city with many bridges", "cities with many bridge", "a plural in y"),
    ("favourite theatre", "favorite theater", "two spellings"),
    ("what is the height of Ben Nevis", "height of Ben Nevis", "a frame"),
    ("how to sharpen a knife", "sharpen knife", "a frame"),
    ("search for sharpen a knife", "sharpen knife", "a request"),
    ("flights from Paris to London", "Flights from paris to london", "the same words in order"),
    ('"climate change" report 2020', '2020 report "Climate Change"', "a phrase anywhere"),
    ('site:who.int malaria "children"', 'malaria site:WHO.int "children"', "operators anywhere"),
    ('site:who.int "malaria"', '"malaria" site:who.int', "operators alone"),
    ("!!!", "!!!", "the same text, though no word"),
    ("", "", "nothing, as demonstrated"),
]

DIFFERENT = [
    ("weather Paris", "weather London", "another place"),
    ("weather Paris", "weather", "the place left out"),
    ("weather paris", "weather Paris Texas", "another place named"),
    ("red running shoes Paris", "red running shoes", "a name left out"),
    ("best red running shoes for women", "best blue running shoes for women", "a word for another"),
    ("population of France 2020", "population of France 2021", "another number"),
    ("population of France 2020", "population of France", "a number left out"),
    ("gpt4 release date", "gpt3 release date", "another digit in a word"),
    ("5 10 results", "10 5 5 results", "a number more"),
    ("flights from Paris to London", "flights from London to Paris", "the other way round"),
    ("python list to dict", "python dict to list", "the other way round"),
    ("phones cheaper than iphone", "iphone cheaper than phones", "the other way round"),
    ("films before war", "films after war", "another relation"),
    ("recipes without sugar", "recipes sugar", "with or without"),
    ("recipes not with sugar", "recipes with sugar", "not"),
    ("jaguar -car", "jaguar car", "left out or asked for"),
    ("jaguar -car", "jaguar", "an operator less"),
    ("site:who.int malaria", "site:cdc.gov malaria", "another site"),
    ("site:who.int malaria", "malaria who.int", "no operator"),
    ('"climate change"', '"change climate"', "another phrase"),
    ('"climate change"', "climate change", "no phrase"),
    ("cats OR dogs", "cats or dogs", "an operator in capitals"),
    ("C++ tutorial", "C tutorial", "another language"),
    (".NET jobs today here", "net jobs today here", "a name with a dot"),
    ("windows update", "window update", "a plural may be a name"),
    ("pаris weather", "paris weather", "letters that look alike"),
    ("cheap red running shoes", "cheap red winter boots", "half of the words"),
    ("the", "a", "function words alone"),
    ("", "anything", "nothing"),
    ("!!!", "???", "no word"),
]


@pytest.mark.parametrize(("one", "other", "why"), SAME)
def test_the_same(one: str, other: str, why: str) -> None:
    assert outcome(one, other) == Outcome.CORRECT, why


@pytest.mark.parametrize(("one", "other", "why"), DIFFERENT)
def test_not_the_same(one: str, other: str, why: str) -> None:
    assert outcome(one, other) == Outcome.WRONG_ARGUMENTS, why


UNPROVEN = [
    ("cat chases mouse", "mouse chases cat", "who does it"),
    ("effect of tea on mood", "effect of mood on tea", "which on which"),
    ("shed roof repair cost", "shed roof repair", "a word more"),
    ("apollo landing", "apollo landing hoax", "a word that turns it round"),
    ("java map sort", "java sort map", "order"),
    ("what is compost", "how to compost", "another question"),
    ("Marie Curie Nobel Prize 1903", "Nobel Prize 1903 Marie Curie", "order"),
]


@pytest.mark.parametrize(("one", "other", "why"), UNPROVEN)
def test_what_is_not_proven(one: str, other: str, why: str) -> None:
    assert outcome(one, other) == Outcome.UNPROVEN, why


def test_the_rest_of_a_call_is_compared_as_tool_call_does() -> None:
    spec, gold = make_spec("search_query", {}), search("weather Paris", limit=5)
    for action, expected in (
        (search("weather paris", limit=5), Outcome.CORRECT),
        (search("weather paris", limit=6), Outcome.WRONG_ARGUMENTS),
        (search("paris weather"), Outcome.MISSING_ARGUMENTS),
        (Action(tool_calls=(ToolCall(name="search", arguments={"q": "paris weather", "limit": 5}),)),
         Outcome.MISSING_ARGUMENTS),
        (search(["paris", "weather"], limit=5), Outcome.WRONG_ARGUMENTS),
        (Action(message="weather Paris"), Outcome.WRONG_KIND),
    ):  # fmt: skip
        assert verify(spec, State(), [gold], action).outcome == expected
    assert not spec.handles("message")


@pytest.mark.parametrize(
    "text",
    [
        "a " * 5_000_000,
        "x" * 10_000_000,
        '"' * 2_000,
        "-a " * 600,
        "a:" * 900,
        " " * 10_000_000,
        "\0 \ud800",
        "“" * 1_999,
    ],
    ids=range(8),
)
def test_hostile_queries_are_compared_in_no_time_and_never_passed(text: str) -> None:
    assert outcome(text, text) == Outcome.CORRECT
    assert outcome(text, "weather") == Outcome.WRONG_ARGUMENTS
    assert outcome(text, f"{text}z") == Outcome.WRONG_ARGUMENTS


WORDS = st.lists(
    st.sampled_from(["red", "Paris", "shoes", "2020", "to", "the", '"a b"', "-x", "site:a.b", "blue"]), max_size=6
)


@settings(max_examples=60)
@given(WORDS, WORDS)
def test_what_is_named_agrees_wherever_a_query_passes(one: list[str], other: list[str]) -> None:
    texts = " ".join(one), " ".join(other)
    assert passes_gate(make_spec("search_query", {}), State(), search(texts[0])) == Verdict(1.0, Outcome.CORRECT)
    if outcome(*texts) == Outcome.CORRECT:
        for word in ("2020", '"a b"', "-x", "site:a.b", "Paris"):
            assert (word in one) == (word in other)
        assert not ({"red", "blue"} <= set(one) ^ set(other) and len({"red", "blue"} & set(one)) == 1)
