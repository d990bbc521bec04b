"""The plain form of a message: its words in order, with courtesy and spelling variants taken out.

Two messages with one plain form say the same. Every rule below removes or rewrites a closed set of English words; any
word that no rule names stays where it is. Nothing is compared by similarity.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pivotmine.verifiers.texts.text_tokens import count_markers, plain, tokens_of


class PlainForm(NamedTuple):
    words: str
    """Tokens, a space between them."""
    names: frozenset[str]
    """Names that address the user, in lower case; they are not among the words."""
    num_markers: int
    """Lines that begin with a list marker."""


def _rule(pattern: str, replacement: str) -> tuple[re.Pattern[str], str]:
    return re.compile(rf"(?<!\S)(?:{pattern})(?!\S)"), replacement


_SPELLINGS = [
    # Contractions.
    _rule(r"can't|cannot", "can not"),
    _rule(r"won't", "will not"),
    _rule(r"shan't", "shall not"),
    _rule(r"([a-z]+)n't", r"\1 not"),
    _rule(r"let's", "let us"),
    _rule(r"(it|he|she|that|there|what|where|who|here|how|everything)'s(?= been| got)", r"\1 has"),
    _rule(r"(it|he|she|that|there|what|where|who|here|how|everything)'s", r"\1 is"),
    _rule(r"i'm", "i am"),
    _rule(r"(you|we|they)'re", r"\1 are"),
    _rule(r"(i|you|we|they)'ve", r"\1 have"),
    _rule(r"(i|you|he|she|it|we|they|that|there)'ll", r"\1 will"),
    _rule(r"(i|you|he|she|it|we|they)'d(?= been| better)", r"\1 had"),
    _rule(r"(i|you|he|she|it|we|they)'d", r"\1 would"),
    # Other ways to write the same words.
    _rule(r"e mail", "email"),
    _rule(r"in order to", "to"),
    _rule(r"(am|is|are|was|were|be) unable", r"\1 not able"),
    _rule(r"(?:am|is|are) not able to", "can not"),
    _rule(r"would like to", "want to"),
    _rule(r"(?:am|is|are) going to", "will"),
    _rule(r"(currency:\S+) (number:\S+)(?! currency:)", r"\2 \1"),
]
_COURTESIES = r"""hello|hi|hey|dear|thanks|sorry|i am sorry|i apologize|thank you(?: (?:so|very) much)?
    |good (?:morning|afternoon|evening)"""
_COURTESY = re.sub(r"\s*\n\s*", "", _COURTESIES)
# Words that say yes to a question, and nothing where no question was asked.
_ASSENT = "sure|certainly|of course|absolutely|okay|ok|with pleasure"
_OPENING = re.compile(rf"\A(?:[.] )*+(?:(?:{_COURTESY})(?: ,| [.])+ )+")
_OPENING_WITH_ASSENT = re.compile(rf"\A(?:[.] )*+(?:(?:{_COURTESY}|{_ASSENT})(?: ,| [.])+ )+")
# "Could you help me?" asks for help, not for a yes.
_YES_NO = re.compile(
    r"(?:(?:so|and|but|then|also|now|okay|ok) )*"
    r"(?:am|is|are|was|were|do|does|did|has|have|had"
    r"|(?:can|could|will|would|may|might|must|shall|should)(?! you\b)) .*",
    re.DOTALL,
)
_QUESTION = re.compile(r"(?:\A|(?<=[.!?,\n] )|(?<=\n))([^.!?,\n]*)\?")
_CLOSING = re.compile(r"(?<=[,.?] )(?:thank you|thanks)(?: (?:so|very) much)?(?: in advance)?(?: [.])*\Z")
_PLEASE = [
    _rule(r"(?:, )?(?:please|kindly)(?= [.?,]|\Z)", ""),
    _rule(r"(\A|[.?] )(?:please|kindly)", r"\1"),
    _rule(r"((?:could|can|would|will) you) (?:please|kindly)", r"\1"),
    # A comma separates only behind a word that the rest would change: "No, you can".
    _rule(r"(yes|no|not|never|nor|none|without) ,", r"\1 ."),
    _rule(r",", ""),
]
# The user is asked for something of his own. A noun must follow: "need your help to ..." asks for an action.
_ASKED = re.compile(
    r"(?:(?:could|can|would|will) you )?(?:provide|share|tell|give|state)(?: me| us)?(?: with)? (your .+?) [.?]"
    r"|(?:(?:could|can|would|will) you )?let (?:me|us) know (your .+?) [.?]"
    r"|(?:may|can|could|might) (?:i|we) (?:have|get|know) (your .+?) [?]"
    r"|(?:i|we)(?: will| would)? need (your .+?) [.]"
    r"|what (?:is|are) (your .+?) [?]"
)
_ANSWER = re.compile(
    r"(?:it is|that is|(?:the )?(?:final |correct )?answer(?: is(?: [.])?| [.]))(?: that)? (?=[^.?]+ [.?]\Z)"
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

    is_user: whether a name may be the user's; answers: whether the message answers a question, so that assent counts.
    """
    text, called = _without_names(plain(text), is_user)
    words = " ".join(tokens_of(text)) + " ."
    for pattern, replacement in _SPELLINGS:
        words = pattern.sub(replacement, words)
    opening = _OPENING if answers else _OPENING_WITH_ASSENT
    bare = _CLOSING.sub(".", opening.sub("", words))
    for pattern, replacement in _PLEASE:
        bare = pattern.sub(replacement, bare)
    bare = _one_end(bare)
    # A message of courtesy alone says just that.
    words = bare if bare not in ("", ".") else _one_end(words)
    words = " ".join(_asked(sentence) for sentence in sentences_of(words))
    return PlainForm(_ANSWER.sub("", words, count=1) if _ANSWER.match(words) else words, called, count_markers(text))


def sentences_of(form: str) -> Iterator[str]:
    """The sentences of a plain form, each with its `.` or `?`."""
    sentence: list[str] = []
    for word in form.split():
        sentence.append(word)
        if word in (".", "?"):
            yield " ".join(sentence)
            sentence = []
    if sentence:
        yield " ".join(sentence)


def _one_end(words: str) -> str:
    """Sentence ends that follow each other are one; none begins the message."""
    kept: list[str] = []
    for word in words.split():
        if word not in (".", "?") or not kept or kept[-1] not in (".", "?"):
            kept.append(word)
        elif word == "?":
            kept[-1] = "?"
    return " ".join(kept[1:] if kept[:1] == ["."] else kept)


def _asked(sentence: str) -> str:
    found = _ASKED.fullmatch(sentence)
    return f"ask: {next(filter(None, found.groups()))} ?" if found else sentence


def _without_names(text: str, is_user: Callable[[str], bool]) -> tuple[str, frozenset[str]]:
    called = set[str]()

    def is_name(name: str) -> bool:
        usable = not _NO_NAMES & set(name.split()) and not name.endswith("ly") and is_user(name)
        if usable:
            called.add(name.casefold())
        return usable

    text = _GREETED.sub(lambda found: found[1] if is_name(found[2]) else found[0], text)
    if (found := _CALLED.match(text)) and is_name(found[1]):
        text = text[found.end() :]
    return text, frozenset(called)
