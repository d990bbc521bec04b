"""The plain form of a message: its words in order, without courtesy and spelling variants.

Two messages with the same plain form say the same. Every rule below removes or rewrites a closed set of English words.
All other words stay as they are. Nothing is compared by similarity.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pivotmine.verifiers.texts.lines import FENCE, lines_of
from pivotmine.verifiers.texts.text_tokens import START, tokens_of, unmarked


class PlainForm(NamedTuple):
    tokens: tuple[str, ...]
    """Tokens with their letter case (`text_tokens`)."""
    names: frozenset[str]
    """Names that address the user, in lower case; they are not among the tokens."""
    blocks: tuple[str, ...]
    """Code blocks as they are."""

    @property
    def words(self) -> str:
        """Tokens in lower case, a space between them."""
        return " ".join(map(unmarked, self.tokens))


def _rule(pattern: str, replacement: str) -> tuple[re.Pattern[str], str]:
    """A rule for whole tokens. If the first one begins a sentence, its replacement does, too."""
    return re.compile(rf"(?<![^\s{START}])(?:{pattern})(?!\S)", re.IGNORECASE), replacement


# "He'd put it" may stand for "had" or for "would".
_EITHER = "put|cut|let|read|quit|set|hit|bet|come|become|run|cost|hurt|shut|spread|split|bid|cast"
# "He's left" may mean "has" or "is"; before these words it means "is".
_IS = r"not|a|an|the|in|at|on|my|your|our|their|here|there|very|too|\S+ing"
_SPELLINGS = [
    # Backquotes around a fact do not count; but "type `please`" is not "type please".
    _rule(r"` ([a-z]+:\S+) `", r"\1"),
    # Contractions.
    _rule(r"(?:can't|cannot)(?! (?:only|just|merely|simply))", "can not"),
    _rule(r"won't", "will not"),
    _rule(r"shan't", "shall not"),
    _rule(r"([a-z]+)n't(?<!can't)", r"\1 not"),
    _rule(r"let's", "let us"),
    _rule(r"(it|he|she|that|there|what|where|who|here|how|everything)'s(?= been| got)", r"\1 has"),
    _rule(rf"(he|she|who|everything)'s(?= (?:{_IS})(?!\S))", r"\1 is"),
    _rule(r"(it|that|there|what|where|here|how)'s", r"\1 is"),
    _rule(r"(i)'m", r"\1 am"),
    _rule(r"(you|we|they)'re", r"\1 are"),
    _rule(r"(i|you|we|they)'ve", r"\1 have"),
    _rule(r"(i|you|he|she|it|we|they|that|there)'ll", r"\1 will"),
    _rule(r"(i|you|he|she|it|we|they)'d(?= been| better)", r"\1 had"),
    _rule(rf"(i|you|he|she|it|we|they)'d(?! (?:{_EITHER})(?!\S))", r"\1 would"),
    # Other ways to write the same words.
    _rule(r"e - mail", "email"),
    _rule(r"(?<!am )(?<!is )(?<!are )(?<!was )(?<!were )(?<!be )in order to", "to"),
    _rule(r"(am|is|are|was|were|be) unable", r"\1 not able"),
    _rule(r"(?:am|is|are) not able to", "can not"),
    _rule(r"would like to", "want to"),
    _rule(r"(?:am|is|are) going to", "will"),
    _rule(r"(currency:\S+) (number:\S+)(?! currency:)", r"\2 \1"),
    # A line's end after a sentence's end adds nothing, and neither does a period before an item or a paragraph.
    _rule(r"(?<=[.?] )↵", ""),
    _rule(r"[.](?= [¶•])", ""),
]
_COURTESIES = r"""hello|hi|hey|dear|thanks|sorry|i am sorry|i apologize|thank you(?: (?:so|very) much)?
    |good (?:morning|afternoon|evening)"""
_COURTESY = re.sub(r"\s*\n\s*", "", _COURTESIES)
SENTENCE_ENDS = frozenset(".?!…:;↵")
# Words that mean yes after a question, and nothing otherwise.
_ASSENT = "sure|certainly|of course|absolutely|okay|ok|with pleasure"
_ENDS = r"(?: [,.↵])+ "
_OPENING = re.compile(rf"\A(?:[.] )*+(?:{START}?(?:{_COURTESY}){_ENDS})+", re.IGNORECASE)
_OPENING_WITH_ASSENT = re.compile(rf"\A(?:[.] )*+(?:{START}?(?:{_COURTESY}|{_ASSENT}){_ENDS})+", re.IGNORECASE)
# "Could you help me?" asks for help, not for a yes.
_YES_NO = re.compile(
    r"(?:(?:so|and|but|then|also|now|okay|ok) )*"
    r"(?:am|is|are|was|were|do|does|did|has|have|had"
    r"|(?:can|could|will|would|may|might|must|shall|should)(?! you\b)) .*",
    re.DOTALL,
)
_QUESTION = re.compile(r"(?:\A|(?<=[.!?,\n] )|(?<=\n))([^.!?,\n]*)\?")
_CLOSING = re.compile(
    rf"(?: ,| [↵¶]|(?<=[.?])(?: [↵¶])?) {START}?(?:thank you|thanks)(?: (?:so|very) much)?(?: in advance)?(?: [.])*\Z",
    re.IGNORECASE,
)
# "Please the crowd" is no courtesy.
_PLEASED = "a|an|the|me|us|him|her|them|my|our|his|their|its|everyone|everybody|yourself|or|and"
_PLEASE = [
    _rule(r", please(?= [.?]|\Z)", ""),
    (
        re.compile(
            rf"(\A|(?<=[.?!…] )|(?<=[¶•↵] ))(?:{START}?please)(?: ,)? (?!(?:{_PLEASED})(?!\S)|[.,])", re.IGNORECASE
        ),
        "",
    ),
    _rule(r"((?:could|can|would|will) you) (?:please|kindly)", r"\1"),
]
# The user is asked to give, share or say something of theirs. A noun must follow: "need your help to ..." asks for an
# action, and "tell your doctor" names who is told.
_YOURS = r"(your (?:[^.?!…\s]\S* )*?[^.?!…\s]\S*)"
_CAN_YOU = rf"{START}?(?:could|can|would|will) you"
_MAY_I = rf"{START}?(?:may|can|could|might) (?:i|we)"
_ASKED = [
    (re.compile(pattern, re.IGNORECASE), act)
    for verb, act in (
        (r"(?:provide|give)(?: (?:me|us))?(?: with)?", "(give)"),
        (r"share", "(share)"),
        (r"(?:tell (?:me|us)|let (?:me|us) know|state)", "(say)"),
    )
    for pattern in (rf"{_CAN_YOU} {verb} {_YOURS} [?]", rf"{START}?{verb} {_YOURS} [.]")
] + [
    (re.compile(pattern, re.IGNORECASE), act)
    for pattern, act in (
        (rf"{_MAY_I} (?:have|get) {_YOURS} [?]", "(give)"),
        (rf"{START}?(?:i|we)(?: will)? need {_YOURS} [.]", "(give)"),
        (rf"{_MAY_I} know {_YOURS} [?]", "(say)"),
        (rf"{START}?what (?:is|are) {_YOURS} [?]", "(say)"),
    )
]
# "It is open." is not "Open.", which may be a command: only a thing or a fact may follow.
_ANSWER = re.compile(
    rf"{START}?(?:(?:it is|that is) (?=(?:a|an|the|[a-z]+:\S+) |(?-i:[A-Z]))"
    r"|(?:the )?(?:final |correct )?answer(?: is(?: :)?| :)(?: that)? )(?=(?:[^.?!…↵¶•\s]\S* )+[.?]\Z)",
    re.IGNORECASE,
)

_NAME = r"[A-Z][\w'-]+(?: [A-Z][\w'-]+)?"
_GREETED = re.compile(
    rf"((?:^|(?<=[.!?] ))(?:hello|hi|hey|dear|thanks|thank you|sure|certainly|of course|great|okay|sorry)),? "
    rf"(?-i:({_NAME}))(?=[,.!])",
    re.IGNORECASE | re.MULTILINE,
)
_PRONOUNS = r"(?:i|we|you|it)(?:'\w+)?|your|may|could|can|would|what|which|please|here|the"
_CALLED = re.compile(rf"\A\s*({_NAME}), (?=(?i:{_PRONOUNS})\b)")
_NO_NAME = """Yes No Not Never Nope Nah None Nothing Wrong False True Right Correct However Otherwise Therefore Instead
    Also Then Thus Hence Still Yet Now Soon Later Today Tomorrow Tonight Yesterday Maybe Perhaps Sometimes Often Once
    Twice Next First Second Third Last Again Besides Meanwhile Moreover Furthermore Nevertheless Sunday Monday Tuesday
    Wednesday Thursday Friday Saturday January February March April May June July August September October November
    December Sure Okay Great Well So But And Or If Unless Until Because Since While Here There Anyway Indeed Alas
    Please Sorry Thanks Hello Hi Hey Dear"""
_NO_NAMES = frozenset(_NO_NAME.split())


def asks_yes_or_no(text: str) -> bool:
    """Whether a user's message asks something that is answered by yes or no."""
    return any(_YES_NO.fullmatch(found[1].strip().casefold()) for found in _QUESTION.finditer(text))


def plain_form(text: str, is_user: Callable[[str], bool], *, answers: bool = False) -> PlainForm:
    """The plain form of a message.

    is_user: says whether a name is the user's. answers: whether the message answers a question, so that assent counts.
    """
    text, called = _without_names(text, is_user)
    lines, blocks = lines_of(text)
    words = " ".join(tokens_of(lines)) + " ."
    for pattern, replacement in _SPELLINGS:
        words = pattern.sub(replacement, words)
    opening = _OPENING if answers else _OPENING_WITH_ASSENT
    bare = _CLOSING.sub(" .", opening.sub("", _one_end(words)))
    for pattern, replacement in _PLEASE:
        bare = pattern.sub(replacement, bare)
    bare = _one_end(bare)
    # If a message is only courtesy, the courtesy is what it says.
    words = bare if bare not in ("", ".") else _one_end(words)
    words = " ".join(_asked(sentence) for sentence in sentences_of(words))
    if answer := _ANSWER.match(words):
        words = words[answer.end() :]
    return PlainForm(tuple(words.split()), called, blocks)


def sentences_of(form: str) -> Iterator[str]:
    """The sentences of a plain form, each with the mark that ends it."""
    sentence: list[str] = []
    for word in form.split():
        sentence.append(word)
        if word in SENTENCE_ENDS or word[0] in "¶•":
            yield " ".join(sentence)
            sentence = []
    if sentence:
        yield " ".join(sentence)


def _one_end(words: str) -> str:
    """Reduce consecutive sentence ends to one, and drop those that begin the message."""
    kept: list[str] = []
    for word in words.split():
        before = kept[-1] if kept else "."
        if word == "?" and before == "." and kept:
            kept[-1] = "?"
        elif not (word == "." and before in (".", "?", "!", "…")) and not word == before == "?":
            kept.append(word)
    return " ".join(kept)


def _asked(sentence: str) -> str:
    """A request for something of the user's in one wording; any other sentence as it is."""
    for pattern, act in _ASKED:
        if found := pattern.fullmatch(sentence):
            return f"{act} {found[1]} ?"
    return sentence


def _without_names(text: str, is_user: Callable[[str], bool]) -> tuple[str, frozenset[str]]:
    """The text without names that address the user, and these names in lower case."""
    called = set[str]()

    def is_name(name: str) -> bool:
        usable = not _NO_NAMES & set(name.split()) and not name.endswith("ly") and is_user(name)
        if usable:
            called.add(name.casefold())
        return usable

    code = FENCE.search(text)
    prose, rest = (text[: code.start()], text[code.start() :]) if code else (text, "")
    prose = _GREETED.sub(lambda found: found[1] if is_name(found[2]) else found[0], prose)
    if (found := _CALLED.match(prose)) and is_name(found[1]):
        prose = prose[found.end() :]
    return prose + rest, frozenset(called)
