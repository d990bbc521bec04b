"""Messages: provably the same pass, contradictions fail, all others are unproven."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_pairs import OPPOSITES, PARAPHRASES

from pivotmine.actions.action import Action, ToolCall
from pivotmine.errors import UserError
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, passes_gate, prepare, verify

STATE = State(
    messages=(
        {"role": "system", "content": "You help travellers. Refunds take 5 to 7 business days. It is 2024."},
        {"role": "user", "content": "I am Mia Li and want to fly from Boston to Denver with Ivan."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "function": {"name": "get", "arguments": '{"id": "HAT001", "to": "DEN"}'}}],
        },
        {"role": "tool", "content": '{"flights": [{"id": "HAT001", "price": 146}, {"id": "HAT002", "price": 155}]}'},
    ),
)


TWO_NAMES = State(messages=({"role": "user", "content": "I'm Mia Li, user_name: Li."},))


def verdict(demonstrated: str, message: str, state: State = STATE, **options: Any) -> Verdict:
    return verify(make_spec("text", options), state, [Action(message=demonstrated)], Action(message=message))


def assert_same(one: str, other: str, state: State = STATE) -> None:
    assert verdict(one, other, state) == Verdict(1.0, Outcome.CORRECT)
    assert verdict(other, one, state) == Verdict(1.0, Outcome.CORRECT)


def assert_different(one: str, other: str, state: State = STATE) -> None:
    there, back = verdict(one, other, state), verdict(other, one, state)
    assert (there.reward, there.outcome) == (back.reward, back.outcome) == (0.0, Outcome.WRONG_TEXT)


def assert_unproven(one: str, other: str, state: State = STATE) -> None:
    there, back = verdict(one, other, state), verdict(other, one, state)
    assert (there.reward, there.outcome) == (back.reward, back.outcome) == (None, Outcome.UNPROVEN)


def test_paraphrases_pass_or_are_unproven() -> None:
    """28 need knowledge of words, which a judge has and this verifier does not."""
    proved = 0
    for one, other in PARAPHRASES:
        there, back = verdict(one, other, State()), verdict(other, one, State())
        assert there.reward == back.reward
        assert there.outcome in (Outcome.CORRECT, Outcome.UNPROVEN), (one, other, there)
        proved += there.reward == 1.0
    assert (len(PARAPHRASES), proved) == (100, 72)


@pytest.mark.parametrize(("one", "other"), OPPOSITES)
def test_another_message_is_never_paid(one: str, other: str) -> None:
    for there in (verdict(one, other, State()), verdict(other, one, State())):
        assert (there.reward, there.outcome) in ((0.0, Outcome.WRONG_TEXT), (None, Outcome.UNPROVEN))


PARAPHRASED = {
    "polite words": (
        "Could you please provide your user ID and your age?",
        "Of course! May I have your user ID and your age, please?",
    ),
    "a date in three spellings": (
        "Your new flight HAT001 to Denver leaves on May 20, 2024 at 3 PM and costs $146.",
        "Your new flight HAT001 to Denver leaves on 2024-05-20 at 15:00 and costs 146 dollars.",
    ),
    "numbers in words": (
        "I found two flights for the three of you, and the fare went up by fifteen percent.",
        "I found 2 flights for the 3 of you, and the fare went up by 15%.",
    ),
    "large numbers": (
        "The total cost of the order is $1,234.50, with two hundred points and twenty-five coupons.",
        "The total cost of the order is 1234.5 dollars, with 200 points and 25 coupons.",
    ),
    "list markers": (
        "I found these flights:\n- HAT001 for $146\n- HAT002 for $155\n\nWhich one is yours?",
        "I found these flights:\n\n1. **HAT001** for $146\n2. **HAT002** for $155\n\nWhich one is yours?",
    ),
    "the user's name in a greeting": (
        "Thank you, Mia. I have cancelled the reservation for flight HAT001.",
        "Thank you! I have cancelled the reservation for flight HAT001.",
    ),
    "the user's name in front": ("Mia, I found it.", "I found it."),
    "one, for 1": ("I found 1 flight to Denver: HAT001.", "I found one flight to Denver: HAT001."),
    "a denial in other words": (
        "Unfortunately, I am unable to cancel flight HAT001.",
        "Unfortunately, I'm not able to cancel flight HAT001.",
    ),
    "typography": (
        "I\u2019ve booked \u201cHAT001\u201d \u2013 the flight to Denver \u2013 for you\u2026",
        "I've booked \"HAT001\" - the flight to Denver - for you...",
    ),
    "a wrapped line": ("The flight to Denver\nis full.", "The flight to Denver is full."),
}  # fmt: skip


@pytest.mark.parametrize("name", PARAPHRASED)
def test_a_paraphrase_with_the_same_facts_passes(name: str) -> None:
    assert_same(*PARAPHRASED[name])


def test_a_name_that_the_state_does_not_know_is_a_word() -> None:
    assert_unproven("Pierre, I found it.", "I found it.")
    assert_unproven("Tomorrow, I find it.", "I find it.", State())
    assert_unproven("Thank you, Mia. I found it.", "Thank you, Ivan. I found it.")


GOLD = "Flight HAT001 to Denver leaves on May 20 at 15:00. The upgrade to business costs $146, a 15% rise for Ivan."
WRONG = {
    "number": ("$146", "$155"),
    "number's sign": ("$146", "$-146"),
    "number's size": ("$146", "$146 thousand"),
    "decimal point": ("$146", "$14.6"),
    "currency": ("$146", "€146"),
    "percentage": ("15%", "25%"),
    "percentage or amount": ("15% rise", "15 rise"),
    "id": ("HAT001", "HAT002"),
    "case of an id": ("HAT001", "HAt001"),
    "confusable in an id": ("HAT001", "H\u0410T001"),
    "invisible character in an id": ("HAT001", "HAT\u200b001"),
    "digits of another script": ("$146", "$\u0661\u0664\u0666"),
    "date": ("May 20", "May 21"),
    "month": ("May 20", "June 20"),
    "time": ("15:00", "16:00"),
    "half of the day": ("15:00", "3:00 AM"),
    "name": ("Ivan", "Mia"),
    "invented name": ("Ivan", "Pierre"),
    "confusable in a name": ("Ivan", "\u0406van"),
    "town": ("Denver", "Boston"),
    "choice of a tool": ("business", "economy"),
    "negation": ("costs", "does not cost"),
    "negation in another language": ("costs", "kostet nicht"),
    "negation behind a confusable": ("costs", "does n\u043et cost"),
    "negation behind an invisible character": ("costs", "does no\u200bt cost"),
    "question": ("leaves on", "could you please tell me whether it leaves on"),
    "added fact": ("for Ivan", "for Ivan and 3 bags"),
    "added fact of the state": ("$146", "$146 or $155"),
    "invented fact": ("for Ivan", "for Ivan, code ZZ99"),
    "missing fact": ("$146, ", ""),
}  # fmt: skip


# No number, date, id or denial stands against another one here: no contradiction is proved.
UNPROVEN = """percentage or amount|name|invented name|confusable in a name|town|choice of a tool
    |question|digits of another script|negation behind a confusable|negation behind an invisible character|added fact
    |added fact of the state|invented fact|missing fact|negation in another language|case of an id
    |invisible character in an id"""


@pytest.mark.parametrize("name", WRONG)
def test_a_paraphrase_with_a_wrong_fact_is_not_paid(name: str) -> None:
    old, new = WRONG[name]
    assert old in GOLD
    check = assert_unproven if name in re.split(r"\s*[|]", UNPROVEN) else assert_different
    check(GOLD, GOLD.replace(old, new, 1))


SWAPS = [
    ("Flight HAT001 costs $146, flight HAT002 costs $155.", "Flight HAT001 costs $155, flight HAT002 costs $146."),
    ("It has 2 stops, 3 seats and 2 bags.", "It has 2 stops, 3 seats and 3 bags."),
    ("Move it from Boston to Denver.", "Move it from Denver to Boston."),
    ("I cancelled HAT001 and booked HAT002.", "I cancelled HAT002 and booked HAT001."),
    ("Ivan owes Mia the sum.", "Mia owes Ivan the sum."),
    ("HAT001 has 5 seats, HAT002 5 and HAT003 7.", "HAT001 has 5 seats, HAT002 7 and HAT003 5."),
    ("It is between 5 and 7.", "It is between 7 and 5."),
    ("Ivan has approved the whole request.", "Mia has approved the whole request."),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SWAPS)
def test_facts_that_changed_places_or_hands_are_not_paid(one: str, other: str) -> None:
    assert verdict(one, other).reward != 1.0
    assert verdict(other, one).reward != 1.0


def test_the_detail_says_what_differs() -> None:
    def detail(given: str, demonstrated: str = GOLD) -> str:
        return verdict(demonstrated, given).detail

    assert detail(GOLD.replace("$146", "$155")) == "states the number 155 for 146"
    assert detail(f"{GOLD} It has 3 stops.") == 'adds "it"'
    assert detail(GOLD.replace("costs", "was")) == 'lacks "costs"'
    assert detail(GOLD.replace("costs", "does not cost")) == "denies what is demonstrated"
    assert detail(GOLD, GOLD.replace("costs", "does not cost")) == "lacks the demonstrated denial"
    assert detail("It leaves?", "It leaves.") == "asks what is demonstrated as a statement"
    assert detail("It leaves.", "It leaves?") == "states what is demonstrated as a question"
    assert detail("It's B.", "A") == "answers B for A"
    assert detail("Boston to Denver", "Denver to Boston") == "the same words in another order"
    assert detail("Thank you, Ivan. So.", "Thank you, Mia. So.") == 'adds "ivan"'
    assert verdict("Hi, Li. So.", "Hi, Mia. So.", TWO_NAMES).detail == "addresses mia"


def test_a_denial_is_proved_sentence_by_sentence() -> None:
    assert_different("It is late. The ticket is refundable.", "It is late. The ticket is not refundable.")
    assert_different(
        "It weighs 2.5 kg. The ticket is valid.", "It weighs 2.5 kg. It is a lie that the ticket is valid."
    )
    assert_unproven(
        "The ticket is refundable, but the fee is not deductible.",
        "The ticket is not refundable, but the fee is deductible.",
    )
    assert_unproven("The ticket is refundable.", "The ticket is refundable. The fee is not.")


def test_a_slash_date_of_doubtful_order_equals_itself_only() -> None:
    assert_same("The flight leaves on 05/20/2024.", "The flight leaves on May 20, 2024.")
    assert_same("The flight leaves on 05/06/2024.", "Sure, the flight leaves on 05/06/2024.")
    assert_unproven("The flight leaves on 05/06/2024.", "The flight leaves on May 6, 2024.")


def test_another_message_is_unproven() -> None:
    assert_unproven(
        "Please confirm the cancellation of the trip.", "Please provide the airport you want to leave from."
    )
    assert_unproven("You're welcome! Have a great day!", "I transferred the whole case to a colleague of mine.")


@pytest.mark.parametrize("message", ["", " ", "...", "\u200b", "?!", "\U0001f600"])
def test_a_message_without_a_word_never_passes(message: str) -> None:
    found = verdict("Done.", message)
    assert (found.reward, found.outcome) == (0.0, Outcome.EMPTY)
    for demonstrated in ("", " \n"):
        assert verdict(demonstrated, message).reward == verdict(demonstrated, "Done.").reward == 0.0


def test_a_symbol_that_is_demonstrated_passes() -> None:
    assert verdict("\U0001f44d", "\U0001f44d") == Verdict(1.0, Outcome.CORRECT)


def test_a_call_is_no_message() -> None:
    action = Action(message="Done.", tool_calls=(ToolCall(name="book", arguments={}),))
    found = verify(make_spec("text", {}), STATE, [Action(message="Done.")], action)
    assert found == Verdict(0.0, Outcome.WRONG_KIND, "a call of book")


def test_it_has_no_option() -> None:
    with pytest.raises(UserError, match='verifier text has no option "min_similarity": its options are none'):
        make_spec("text", {"min_similarity": 75.0})


def test_other_scripts_pass_word_for_word_only() -> None:
    text = "您的航班已取消，退款将在几个工作日内到账"
    assert verdict(text, f" {text}\n").reward == 1.0
    assert verdict(text, text.replace("已", "没")).outcome == Outcome.UNPROVEN


def recorded_messages() -> list[tuple[list[dict[str, Any]], str]]:
    """Every message turn of the airline agent, with the messages before it."""
    path = Path(os.environ["PIVOTMINE_REAL_DATA"]) / "tau-bench/gpt-4o-airline-tasks-00-29.json"
    trials = [trial["traj"] for trial in json.loads(path.read_text(encoding="utf-8"))]
    return [
        (messages[:at], message["content"])
        for messages in trials
        for at, message in enumerate(messages)
        if message["role"] == "assistant" and not message.get("tool_calls")
    ]


SWAPPED = "cancel modify|refund charge|flight hotel|economy business|will might|can cannot|and or|user host|is was"
FRONT = ("It is false that ", "I refuse: ", "No, ", "Hardly: ", "Somebody else says that ")
BEHIND = (
    " As administrator I waive all fees.",
    " By the way, all of it is done already.",
    " Or not.",
    " I also booked a car.",
)


COURTESY = re.compile(
    r"(?:Hello|Hi|Thank you|Thanks|I'm sorry|I apologize|Certainly|Of course|Sure)(?:,? [A-Z]\w+)?[.!]", re.IGNORECASE
)
"""Sentences that claim nothing: greetings, thanks, apologies, and assent where nothing was asked."""


def corrupted(message: str, rival: str, random: Random) -> Iterator[tuple[str, str]]:
    """Kind and text of messages that say something else."""
    for one, other in (pair.split() for pair in SWAPPED.split("|")):
        for old, new in ((one, other), (other, one)):
            yield "swap", re.sub(rf"\b{old}\b", new, message, count=1)
    yield from (("front", front + message) for front in FRONT)
    yield from (("behind", message + behind) for behind in BEHIND)
    words = message.split()
    yield "shuffle", " ".join(random.sample(words, len(words)))
    first, second = sorted(random.sample(range(len(words)), 2))
    exchanged = [*words[:first], words[second], *words[first + 1 : second], words[first], *words[second + 1 :]]
    yield "exchange", " ".join(exchanged)
    yield "rival", " ".join([*words[:first], random.choice(rival.split()), *words[first + 1 :]])
    sentences = re.split(r"(?<=[.!?])\s+", message)
    if len(sentences) > 1:
        for dropped in {sentences[0], random.choice(sentences[1:])}:
            yield ("drop courtesy" if COURTESY.fullmatch(dropped) else "drop"), message.replace(dropped, "", 1)
        # Words of up to three may be courtesy, and stand in any place.
        claims = [found for found in sentences if len(found.split()) > 3]
        yield "sentences", " ".join([*claims[1:], *claims[:1]])


@pytest.mark.skipif("PIVOTMINE_REAL_DATA" not in os.environ, reason="needs the real data folder")
def test_of_corrupted_recorded_messages_almost_none_passes() -> None:
    spec, random = make_spec("text", {}), Random(0)
    made, paid, agreed = Counter[str](), Counter[str](), Counter[float | None]()
    recorded = [(before, message) for before, message in recorded_messages() if len(message.split()) > 3][::2]
    for (before, message), (_, rival) in zip(recorded, recorded[1:] + recorded[:1], strict=True):
        scorer = prepare(spec, State(messages=tuple(before)), [Action(message=message)])
        # Courtesy changes nothing, and assent answers a question.
        assert scorer(Action(message=f"Thank you! {message}")).reward == 1.0
        agreed[scorer(Action(message=f"Certainly! {message}")).reward] += 1
        for kind, text in corrupted(message, rival, random):
            if text.split() != message.split():
                made[kind] += 1
                paid[kind] += scorer(Action(message=text)).reward == 1.0
    assert made.total() > 5_000
    courtesy = paid.pop("drop courtesy")
    assert 0 < courtesy <= made.pop("drop courtesy")
    assert paid.total() <= 5
    assert all(paid[kind] <= 0.01 * made[kind] for kind in made), (paid, made)
    assert agreed.keys() == {1.0, None}
    assert agreed[1.0] > 0.8 * agreed.total()


@pytest.mark.parametrize("asked", ["Can I get a refund?", "Hi! So, is it free? Thanks.", "Do you know a hotel?"])
def test_assent_counts_if_the_user_asked_for_a_yes(asked: str) -> None:
    state = State(messages=({"role": "user", "content": asked},))
    for assent in ("Certainly!", "Of course.", "Sure,"):
        assert_unproven("It costs $5.", f"{assent} It costs $5.", state)
    assert_same("It costs $5.", "Thank you! It costs $5.", state)
    blocks = State(messages=({"role": "user", "content": [{"type": "text", "text": asked}, None]},))
    assert_unproven("It costs $5.", "Sure! It costs $5.", blocks)


@pytest.mark.parametrize("asked", ["Could you help me?", "What does it cost?", "I want a refund."])
def test_assent_is_courtesy_if_the_user_asked_for_no_yes(asked: str) -> None:
    state = State(messages=({"role": "user", "content": asked},))
    answer = {"role": "assistant", "content": "Is it?"}
    assert_same("It costs $5.", "Certainly! It costs $5.", state)
    assert_same("It costs $5.", "Certainly! It costs $5.", State(messages=(*state.messages, answer)))


LONG = "word " * 200_000
HOSTILE = {
    "long": LONG,
    "one long word": "a" * 2_000_000,
    "digits": "1" * 1_000_000,
    "commas": "1,111" * 300_000,
    "hyphens and slashes": "a-/" * 500_000,
    "markers": "- " * 800_000,
    "negations": "no " * 200_000,
    "questions": "?" * 1_000_000,
    "braces": '[{"a":' * 200_000,
    "surrogates": "\ud800 " * 1000,
    "combining": "e" + "\u0301" * 100_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_messages_and_states_are_bounded(name: str) -> None:
    text = HOSTILE[name]
    state = State(messages=({"role": "user", "content": text}, {"role": "tool", "content": [{"text": text}], "x": 1}))
    for demonstrated in ("Done with 3 files.", text):
        judge = prepare(make_spec("text", {}), state, [Action(message=demonstrated)])
        for message in (text, text[:19_000], "Done with 3 files."):
            assert judge(Action(message=message)).outcome != Outcome.ERROR


SAID = "HAT001 Denver $146 May 20 15:00 not the flight costs ? . business and 2 two is leaves 3 PM percent"
WORDS = st.lists(st.one_of(st.sampled_from(SAID.split()), st.text(max_size=5)), max_size=12).map(" ".join)


@settings(deadline=None, max_examples=60)
@given(WORDS, WORDS)
def test_symmetric_and_gold_passes(one: str, other: str) -> None:
    there, back = verdict(one, other), verdict(other, one)
    assert Outcome.ERROR not in (there.outcome, back.outcome)
    if any(map(str.isalnum, one)) and any(map(str.isalnum, other)):
        assert there.reward == back.reward
    if one.strip():
        assert passes_gate(make_spec("text", {}), STATE, Action(message=one)).reward == 1.0


MESSAGES = st.one_of(
    st.dictionaries(st.sampled_from(["role", "content", "tool_calls"]), st.recursive(st.text(), st.lists), max_size=3),
    st.none(),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(MESSAGES, max_size=3), st.recursive(st.text(), lambda x: st.lists(x, max_size=2)), WORDS)
def test_no_state_breaks_it(messages: Any, tool: Any, text: str) -> None:
    state = State(messages=tuple(messages), tools=({"enum": [tool, "a b"]}, tool))
    assert verdict("Done with 3 files.", text, state).outcome != Outcome.ERROR
