"""Split off what surrounds an answer: a reasoning block before it, end-of-turn tokens behind it.

Every convention accepts both `<think>` and Mistral's `[THINK]`, because models are tuned across conventions. Only a
block at the very start is reasoning; later tags are text. A tool call inside a reasoning block is not a call.
"""

from __future__ import annotations

import re

from pivotmine.actions.pieces import Piece

END_TOKENS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "</s>",
    "<|end|>",
    "<|eot|>",
    "<eos>",
    "<end_of_turn>",
)
"""Tokens that end or pad a turn. Engines that keep special tokens may leave them in the text."""

_OPENING = re.compile(r"\s*+(<think>|\[THINK\])")
_CLOSINGS = {"<think>": re.compile("</think>"), "[THINK]": re.compile(r"\[/THINK\]")}
_ANY_CLOSING = re.compile(r"</think>|\[/THINK\]")


def opens_reasoning(text: str) -> bool:
    """Whether a text begins with a reasoning block."""
    return _OPENING.match(text) is not None


def split_reasoning(text: str, *, opened: bool = False) -> tuple[list[Piece], str]:
    """Split a text into the pieces of its reasoning block and the rest. A block that never closes extends to the end.

    opened: whether the prompt ends inside the block, so that the text starts with reasoning without a tag.
    """
    opening = _OPENING.match(text)
    if opening is None and not opened:
        return [], text
    begin = opening.end() if opening else 0
    closing = (_CLOSINGS[opening[1]] if opening else _ANY_CLOSING).search(text, begin)
    end, behind = closing.span() if closing else (len(text), len(text))
    pieces = [
        Piece(kind="mark", text=text[:begin]),
        Piece(kind="reasoning", text=text[begin:end]),
        Piece(kind="mark", text=text[end:behind]),
    ]
    return [piece for piece in pieces if piece.text], text[behind:]


def split_end_tokens(text: str) -> tuple[str, str]:
    """The text without end-of-turn tokens at its end, and those tokens with the white space around them."""
    end = len(text)
    while True:
        bare = end
        while bare and text[bare - 1].isspace():
            bare -= 1
        if not text.endswith(END_TOKENS, 0, bare):
            return text[:end], text[end:]
        end = bare - len(next(token for token in END_TOKENS if text.endswith(token, 0, bare)))
