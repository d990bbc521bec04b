"""Prompts as token ids, each stretch of text tokenised once while the prompts of a segment grow.

A tokenizer cuts a text at its added tokens before it does anything else, so a prompt falls into chunks, each of one
added token and the text up to the next, whose ids do not depend on each other: ids(prompt) = ids(chunk 1) + ids(chunk
2) + ... The next prompt of the segment repeats nearly all of them, also where its template rewrites a past turn: then
that chunk alone is new. Chunks begin with their token because some tokenizers treat the very first text differently.

Where that cannot be relied on (a tokenizer in Python, an added token that swallows the white space next to it or is
looked for in normalised text, or whole and chunked ids that differ on one of the first prompts) every prompt is
tokenised whole.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

NUM_CHECKED = 16
"""So many prompts are tokenised both ways before the chunks are trusted."""


class PromptTokenizer:
    """Tokenises prompts without adding special tokens; remembers the chunks of the last one, no more."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._cut = _cutter(tokenizer)
        self._known: dict[str, list[int]] = {}
        self._unchecked = NUM_CHECKED

    def ids(self, text: str) -> list[int]:
        """The token ids of a text; the tokenizer's own beginning-of-sequence token is not added."""
        if self._cut is None:
            return self._tokenise(text)
        ids = self._chunked(self._cut, text)
        if self._unchecked:
            self._unchecked -= 1
            whole = self._tokenise(text)
            if whole != ids:
                self._cut, self._known = None, {}
                return whole
        return ids

    def _chunked(self, cut: re.Pattern[str], text: str) -> list[int]:
        starts = [0, *(match.start() for match in cut.finditer(text) if match.start()), len(text)]
        chunks = [text[a:b] for a, b in itertools.pairwise(starts)]
        known: dict[str, list[int]] = {}
        ids: list[int] = []
        for chunk in chunks:
            if chunk not in known:
                known[chunk] = self._known[chunk] if chunk in self._known else self._tokenise(chunk)
            ids += known[chunk]
        self._known = known
        return ids

    def _tokenise(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]


def _cutter(tokenizer: Any) -> re.Pattern[str] | None:
    """Finds the added tokens as the tokenizer does, the longest at the leftmost place; None: not to be relied on."""
    if not tokenizer.is_fast:
        return None
    added = list(tokenizer.added_tokens_decoder.values())
    if any(token.lstrip or token.rstrip or token.single_word or token.normalized for token in added):
        return None
    contents = sorted((token.content for token in added if token.content), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, contents))) if contents else None
