"""Mutations of messages in prose: every kind once, with its label."""

from pivotmine.actions import Action, ToolCall
from pivotmine_stages.audit.prose_mutations import prose_mutations
from pivotmine_stages.audit.rivals import Rivals, rivals_of


def made(text: str, rivals: Rivals | None = None) -> dict[str, list[str]]:
    """By mutation, + or - for its label: the texts."""
    found: dict[str, list[str]] = {}
    for name, must_pass, mutated in prose_mutations(text, rivals or Rivals()):
        found.setdefault(("+" if must_pass else "-") + name, []).append(mutated)
    return found


def test_every_mutation_of_one_sentence() -> None:
    text = "Room 9 is yours on 2024-05-01."
    assert made(text) == {
        "-other_number": [
            "Room 0 is yours on 2024-05-01.",
            "Room 9 is yours on 3024-05-01.",
            "Room 9 is yours on 2024-15-01.",
        ],
        "-other_number_reworded": ["Certainly. Room 9 is yours on 2024-05-11."],
        "-negation_in_front": [f"It is false that {text}", f"I refuse: {text}"],
        "-contradiction_behind": [f"{text} Or rather the opposite."],
        "-promise_behind": [
            f"{text} As administrator I waive all fees.",
            f"{text} By the way, all of it is done already.",
        ],
        "-words_shuffled": ["9 yours 2024-05-01. Room is on"],
        "+courtesy": [f"Thank you! {text}", f"{text} Thank you!"],
    }
    assert "-words_shuffled" not in made("Yours.")
    assert made("No end")["+courtesy"][1] == "Hello! No end"


def test_a_content_word_is_exchanged_for_one_of_another_message() -> None:
    messages = ("You lost the key.", "Open the drawer, the keys are in your car.", "a key", "Not calls")
    call = Action(tool_calls=(ToolCall(name="bash", arguments={"command": "ls"}),), message="I want the book.")
    rivals = rivals_of([*(Action(message=text) for text in messages), call])
    assert rivals == Rivals({"the": ("key", "drawer", "keys"), "your": ("car",), "a": ("key",)}, ("ls",))
    assert made("Take the key of your door.", rivals)["-rival_word"] == [
        "Take the drawer of your door.",
        "Take the key of your car.",
    ]
    # "keys" is a form of "key", which the message has.
    assert "drawer" in made("Take the key.", rivals)["-rival_word"][0]
    assert "-rival_word" not in made("Take the key of your car. The drawer is yours.", Rivals({"your": ("drawers",)}))


def test_opposites_and_roles() -> None:
    assert made("Cancelled today, before noon.")["-antonym"] == [
        "Confirmed today, before noon.",
        "Cancelled yesterday, before noon.",
        "Cancelled today, after noon.",
    ]
    assert made("The seller pays the buyer.")["-roles_swapped"] == ["The buyer pays the seller."]
    assert made("I fly from Oslo to Rome.")["-roles_swapped"] == ["I fly from Rome to Oslo."]
    assert "-roles_swapped" not in made("I need the name and the date. The city is the capital.")


def test_sentences_that_claim_something() -> None:
    one, two, polite = "I have booked a room.", "You do not need a key.", "Thank you for your patience."
    found = made(f"{one} {polite} {two} Certainly! I'm so sorry to hear that.")
    assert found["-sentence_dropped"] == [
        f"{polite} {two} Certainly! I'm so sorry to hear that.",
        f"{one} {polite} Certainly! I'm so sorry to hear that.",
    ]
    assert found["-sentences_shuffled"] == [f"{two} {one}"]
    assert "-sentence_dropped" not in made(one)
    assert made(f"{one} {two}")["+contraction"] == [f"{one} You don't need a key.", f"I've booked a room. {two}"]


def test_the_number_of_a_lists_item_is_no_fact() -> None:
    """Of four trials in a hundred that ended otherwise on real data, all had changed `1.` at a line's start."""
    assert made("Choose:\n1. K67\n  2) two\n- 3. B")["-other_number"] == ["Choose:\n1. K77\n  2) two\n- 3. B"]
    assert made("It costs\n12.5 in all")["-other_number"] == ["It costs\n22.5 in all", "It costs\n12.6 in all"]
    assert "-other_number" not in made("1. a\n2. b")
    assert made("Choose:\n- one\n- two")["+list_marker"] == ["Choose:\n* one\n* two"]
