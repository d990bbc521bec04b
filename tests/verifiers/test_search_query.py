"""`search_query`: pairs of queries that a search engine answers alike or differently."""

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
    ("Marie Curie's Nobel Prize 1903", "marie curie's nobel prize 1903", "an apostrophe"),
    ("vegan soup recipes", "vegan soup recipe", "a plural that is nothing else"),
    ("universities without tuition", "university without tuition", "a plural in y"),
    ("Flights Oslo Bergen", "flights oslo bergen", "a first word with a capital"),
    ("hotels in rome", "rome hotel", "a noun whose place may stand in front"),
    ("history of the piano", "piano history", "an attribute"),
    ("report 1987 wheat prices", "report wheat prices 1987", "a year anywhere"),
    ("The Hague weather", "hague weather", "an article"),
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
    ('-"big cat" "red dog" zoo', '"big cat" -"red dog" zoo', "which phrase is left out"),
    ('intitle:"big cat" "red dog"', '"big cat" intitle:"red dog"', "an operator of a phrase"),
    ("vitamin A deficiency", "vitamin deficiency", "a letter"),
    ("iphone 11 vs galaxy 10", "iphone 10 vs galaxy 11", "which number belongs to which word"),
    ("cats OR dogs food", "cats dogs OR food", "what the operator joins"),
    ("tigers not lions", "lions not tigers", "the other way round"),
    ("cats OR dogs", "cats or dogs", "an operator in capitals"),
    ("C++ tutorial", "C tutorial", "another language"),
    (".NET jobs today here", "net jobs today here", "a name with a dot"),
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
    ("Marie Curie's Nobel Prize 1903", "Nobel Prize 1903 of Marie Curie", "order"),
    ("windows update", "window update", "a plural may be a name"),
    ("dog in kennel", "kennel dog", "which in which"),
    ("dog in kennel", "dog kennel", "a kennel for a dog"),
    ("glass of wine", "wine glass", "full or empty"),
    ("glass of wine", "glass in wine", "another preposition"),
    ("book on Keynes", "book for Keynes", "another preposition"),
    ("house of cards", "cards house", "a title"),
    ("shoes for women", "shoes women", "a preposition less"),
    ("what doe eats", "what does eats", "a word that only looks like a plural"),
    ("many lives", "many live", "a word that only looks like a plural"),
    ("James biography", "Jame biography", "a name"),
    ("Rivers biography", "River biography", "a name"),
    ("leaves of grass", "leave of grass", "two singulars"),
    ("axes of rotation", "axe of rotation", "two singulars"),
    ("McDonald's menu", "McDonald menu", "a name with an apostrophe"),
    ("hepatitis a vaccine", "hepatitis vaccine", "a letter"),
    ("google maps", "maps", "a name, no request"),
    ("show me love", "love", "a title, no request"),
    ("search for meaning", "meaning", "a title, no request"),
    ("the cure", "cure", "an article that may be a part of a name"),
    ("find nemo", "nemo", "a name, no request"),
    ("how to fly", "fly", "an insect"),
    ("what was the population of rome", "population of rome", "in the past"),
    ("5 foot 3 inch", "3 foot 5 inch", "which number belongs to which word"),
    ("(cats OR dogs) food", "cats OR (dogs food)", "what the operator joins"),
    ("tax on 300 of 2000", "tax on 2000 of 300", "which number is which"),
    ("train Bern", "train to Bern", "a relation more"),
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
