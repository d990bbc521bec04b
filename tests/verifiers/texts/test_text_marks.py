"""Characters that carry meaning: marks, list numbers, layout, case. A message without one is not the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine.actions.action import Action
from pivotmine.verifiers import Outcome, State, Verdict, make_spec, verify

MIA = State(messages=({"role": "user", "content": "Hi, I am Mia Li. Where is my kayak?"},))


def verdict(demonstrated: str, message: str, state: State = MIA) -> Verdict:
    return verify(make_spec("text", {}), state, [Action(message=demonstrated)], Action(message=message))


LIST_NUMBERS = [
    ("Choose option 2.\n1. Kayak\n2. Canoe", "Choose option 2.\n2. Kayak\n1. Canoe"),
    ("Choose option 2.\n1. Kayak\n2. Canoe", "Choose option 2.\n- Kayak\n- Canoe"),
    ("1. Rinse\n2. Dry it as in 1.", "2. Rinse\n1. Dry it as in 1."),
    ("Skip step 3.\n1. Rinse\n2. Dry\n3. Oil", "Skip step 3.\n1. Rinse\n3. Dry\n2. Oil"),
    ("Reply 1 or 2.\n1. Kayak\n2. Canoe", "Reply 1 or 2.\n* Kayak\n* Canoe"),
    ("1. gold\n2. silver\n3. bronze", "3. gold\n2. silver\n1. bronze"),
    ("1. gold\n2. silver", "1. silver\n2. gold"),
    ("- gold\n- silver", "- silver\n- gold"),
    ("1. Rinse\n2. Dry", "4. Rinse\n5. Dry"),
    ("Tell me the number.\n1. Kayak\n2. Canoe", "Tell me the number.\n- Kayak\n- Canoe"),
    ("Choose 1-2.\n1. Kayak\n2. Canoe", "Choose 1-2.\n- Kayak\n- Canoe"),
    ("Choose 1/2.\n1. Kayak\n2. Canoe", "Choose 1/2.\n- Kayak\n- Canoe"),
    ("1) Ann\n2) Bob\n\nThe second wins.", "2) Ann\n1) Bob\n\nThe second wins."),
    ("A. Kayak\nB. Canoe", "B. Kayak\nA. Canoe"),
    ("1. 5", "5"),
    ("- 5", "5"),
    ("- 5", "* 5"),
    ("+ light\n- heavy", "- light\n+ heavy"),
    ("* a\n  * b\n* c", "* a\n* b\n  * c"),
    ("* a\n  * b\n* c", "* a\n* b\n* c"),
    ("- Bring:\n  - a\n  - b\n- Leave:\n  - c", "- Bring:\n  - a\n- Leave:\n  - b\n  - c"),
    ("1. a\n2. b\n\nOr:\n1. c", "1. a\n2. b\n3. c\n\nOr:"),
    ("1. a\n1. b", "1. a\n2. b"),
    ("- flour\n- yeast", "flour\nyeast"),
    ("- flour\nyeast", "- flour\n- yeast"),
    ("- flour.\n\nAll is in stock.", "- flour. All is in stock."),
    ("- [x] flour", "- [ ] flour"),
    ("[ ] flour", "flour"),
    ("# Bring\nflour\n## Leave\nyeast", "# Bring\nflour\n# Leave\nyeast"),
    ("# Bring\nflour\n# Leave\nyeast", "Bring\nflour\nLeave\nyeast"),
    ("> You may leave.", "You may leave."),
]

PUNCTUATION = [
    ("Bob, says Ann, owes 5.", "Bob says Ann owes 5."),
    ("The doctor, says the nurse, lied.", "The doctor says the nurse lied."),
    ("Let's eat, Grandma.", "Let's eat Grandma."),
    ("I'll pay, John.", "I'll pay John."),
    ("Call me, Anna.", "Call me Anna."),
    ("Delete the account, manager.", "Delete the account manager."),
    ("Please charge, Peter.", "Please charge Peter."),
    ("Stop clubbing, baby seals.", "Stop clubbing baby seals."),
    ("We sell cheese, cake.", "We sell cheese cake."),
    ("I won't cancel, because you asked.", "I won't cancel because you asked."),
    ("Ann 5, Bob 6", "Ann, 5 Bob 6"),
    ('Ann said "Bob owes 5".', '"Ann", said Bob, "owes 5".'),
    ('Ann said "Bob owes 5".', "Ann said Bob owes 5."),
    ('She said "you lied".', "She said you lied."),
    ('Your "refund" is ready.', "Your refund is ready."),
    ("'not' used", "not used"),
    ("Type `please`.", "Type please."),
    ("Run `rm -r a`.", "Run `rm -r` a."),
    ("(no) refund", "no refund"),
    ("It is (un)paid.", "It is un paid."),
    ("The kayak (not the canoe) is red.", "The kayak not the canoe is red."),
    ("He (Bob) owes her.", "He Bob owes her."),
    ("[x] done", "x done"),
    ("{x}", "x"),
    ("No: later.", "No. Later."),
    ("Paid; not sent.", "Paid, not sent."),
    ("Done...", "Done."),
    ("The man-eating fish is here.", "The man eating fish is here."),
    ("The dogs' bowl is red.", "The dogs bowl is red."),
    ("It is yours/hers.", "It is yours hers."),
    ("and/or", "and or"),
    ("The guests. Ate well.", "The guests ate well."),
    ("Say please.", "Say."),
    ("Please the crowd.", "The crowd."),
    ("Kindly people help.", "People help."),
    ("Tell your doctor.", "What is your doctor?"),
    ("I need your car.", "What is your car?"),
    ("It is open.", "Open."),
    ("Tell me your age.", "Tell me your age?"),
    ("Could you tell me your age?", "Could you tell me your age."),
    ("No one pays.", "No 1 pays."),
    ("You cannot only watch.", "You can not only watch."),
    ("He's finished.", "He is finished."),
    ("She's left.", "She is left."),
    ("One pays.", "1 pays."),
    ("Red\nblue.", "Red blue."),
    ("He'd put it there.", "He would put it there."),
    ("The boxes are in order to ship.", "The boxes are to ship."),
    ("Okay, Denver.", "Okay."),
    ("Thank you, Ivan. It is sent.", "Thank you. It is sent."),
]

FACTS = [
    ("6'", '6"'),
    ("6' 2\"", "6\" 2'"),
    ("The plank is 6' long.", 'The plank is 6" long.'),
    ("12° 30' N", '12° 30" N'),
    ("> 18", "< 18"),
    ("> 18", "18"),
    ("≥ 18", "18"),
    ("+5", "-5"),
    ("+5", "5"),
    ("~5", "5"),
    ("±5", "5"),
    ("5%", "5"),
    ("#5", "5"),
    ("$5", "5"),
    ("5°", "5"),
    ("@ann", "ann"),
    ("5!", "5"),
    ("Price: 5*", "Price: 5"),
    ("5*2*3", "523"),
    ("2 *3* 4", "2 3 4"),
    ("2^3", "23"),
    ("x²", "x2"),
    ("10⁵", "105"),
    ("3-5", "3 to 5"),
    ("3-5", "5-3"),
    ("Section 3-5 applies.", "Section 3 to 5 applies."),
    ("1/2", "1 2"),
    ("12 km/h", "12 km h"),
    ("Python 3.10", "Python 3.1"),
    ("Room 007", "Room 7"),
    ("1:30:00", "1:30"),
    ("15:00 am", "3 AM"),
    ("150 pm", "6 PM"),
    ("5K", "5000"),
    ("It costs ¥5.", "It costs 5 JPY."),
    ("I like dollars.", "I like $."),
    ("AT&T", "AT and T"),
    ("a & b", "a and b"),
    ("Ask Polish people.", "Ask polish people."),
    ("Pay by AIDS.", "Pay by aids."),
    ("AIDS is here.", "Aids is here."),
    ("It was Bill.", "It was bill."),
    ("Maße", "Masse"),
    ("a\tb c", "a b\tc"),
    ("go north\ntake lamp", "go north take lamp"),
    ("if x:\n    a\n    b", "if x:\n    a\nb"),
    ("```\na  b\n```", "```\na b\n```"),
    ("```py\na\n```", "```sh\na\n```"),
    ("```\nHi, Mia.\n```", "```\nHi.\n```"),
    ("↑ship it", "Ship it"),
]


@pytest.mark.parametrize(("one", "other"), [*LIST_NUMBERS, *PUNCTUATION, *FACTS])
def test_a_message_that_lacks_a_mark_is_not_paid(one: str, other: str) -> None:
    for there in (verdict(one, other), verdict(other, one)):
        assert (there.reward, there.outcome) in ((None, Outcome.UNPROVEN), (0.0, Outcome.WRONG_TEXT))
    assert verdict(one, one) == verdict(other, other) == Verdict(1.0, Outcome.CORRECT)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("> 18", "< 18"),
        ("+5", "-5"),
        ("It leaves at 3 PM.", "It leaves at 3 AM."),
        ("Section 3-5 applies.", "Section 3-6 applies."),
        ("It costs 5 USD.", "It costs €5."),
        ("The number is 5.", "The number is 6."),
        ("The number 5 is free.", "The number 6 is free."),
    ],
)
def test_another_fact_is_different(one: str, other: str) -> None:
    assert verdict(one, other).outcome == verdict(other, one).outcome == Outcome.WRONG_TEXT


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Python 3.10", "Python 3.1"),
        ("It has 2.50 points.", "It has 2.5 points."),
        ("It costs $5.", "It costs 5 USD."),
        ("It costs ¥5.", "It costs 5 JPY."),
        ("See a.com/", "See a.com"),
        ("Ask ann@a.com.", "Ask Ann@a.com."),
        ("Drink H₂O.", "Drink H2O."),
        ("He said: no.", "He said no."),
        ("It is 5°C.", "It is 5C."),
        ("+5", "5"),
        ("It ends on 05/06/2031.", "It ends on 06/05/2031."),
        ("1. b\n2. a", "1. a\n2. b"),
        ("- HAT001 for $5\n- HAT002 for $6", "- HAT002 for $6\n- HAT001 for $5"),
    ],
)
def test_what_may_be_one_fact_is_unproven(one: str, other: str) -> None:
    assert verdict(one, other).outcome == verdict(other, one).outcome == Outcome.UNPROVEN


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("I have:\n1. a kayak\n2. a canoe", "I have:\n- a kayak\n- a canoe"),
        ("1. red\n2. blue", "1) red\n2) blue"),
        ("Choose option 2.\n1. red\n2. blue", "Choose option 2.\n1) red\n2) blue"),
        ("- a\n  - b\n- c", "* a\n    * b\n* c"),
        ("- a.\n- b.", "- a\n- b"),
        ("**Bring** it, *please*.", "Bring it."),
        ("It is late.\n\nCome on Friday.", "It is late. Come on Friday."),
        ("The kayak is\nin the shed.", "The kayak is in the shed."),
        ("# Kayaks\n- red", "Kayaks\n- red"),
        ("Mia, your kayak is red.", "Your kayak is red."),
        ("Thank you, Mia! It is sent.", "Thanks. It's sent."),
        ("The code is `X9`.", "The code is X9."),
        ("It takes 3-4 days.", "It takes three to four days."),
        ("It costs $1,250.50.", "It costs 1250.5 dollars."),
        ("It's Paris!", "Paris"),
        ("He's not here.", "He is not here."),
        ("I saw one hundred kayaks.", "I saw 100 kayaks."),
        ("The kayak is here, thanks.", "The kayak is here."),
        ("I can't, sorry.\nThank you!", "I cannot, sorry."),
        ("  - a\n  - b", "- a\n- b  \n"),
        ("```\na  b\n```\n", "```\na  b\n```"),
    ],
)
def test_what_carries_no_meaning_may_differ(one: str, other: str) -> None:
    assert verdict(one, other) == verdict(other, one) == Verdict(1.0, Outcome.CORRECT)


def test_the_detail_names_what_differs() -> None:
    assert verdict("It was Bill.", "It was bill.").detail == 'writes "bill" for "Bill"'
    assert verdict("Bob, says Ann, owes.", "Bob says Ann owes.").detail == "the same words, written or asked otherwise"
    assert verdict("```\na\n```", "```\nb\n```").detail == "another code block"


SAID = "The kayak costs 5 dollars . , ; : Mia 12 or not -"
MARKS = "\"'()[]{}<>#$%&*+-/=@^_`|~€£°²§¿¡✓"


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from(SAID.split()), min_size=2, max_size=9),
    st.sampled_from(MARKS),
    st.data(),
)
def test_a_mark_more_is_never_the_same(words: list[str], mark: str, data: st.DataObject) -> None:
    """At any place of any sentence, but where it is emphasis, a bullet, a heading or a quote."""
    text = " ".join(["It", *words, "x"])
    at = data.draw(st.integers(3, len(text)))
    other = f"{text[:at]}{mark}{text[at:]}"
    assert verdict(text, other, State()).reward != 1.0
    assert verdict(other, text, State()).reward != 1.0
