"""Tokenise prompts, each stretch of text once while the prompts of a segment grow.

A tokenizer cuts a text at its added tokens before anything else. So a prompt consists of chunks: an added token and the
text up to the next one. Their ids do not depend on each other: ids(prompt) = ids(chunk 1) + ids(chunk 2) + ... The next
prompt of the segment repeats nearly all chunks. If its template rewrites a past turn, only that chunk is new. Chunks
begin with their token because some tokenizers treat the very first text differently.

Every prompt is tokenised whole if this is not certain: the tokenizer is written in Python, an added token swallows the
white space next to it or is looked for in normalised text, or whole and chunked ids differ in one of the first prompts.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

NUM_CHECKED = 16
"""This many prompts are tokenised both ways before the chunks are trusted."""


class PromptTokenizer:
    """Tokenises prompts without adding special tokens; keeps only the chunks of the last prompt."""

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
    """A pattern for added tokens as the tokenizer finds them: leftmost, then longest. None if chunks are not safe."""
    if not tokenizer.is_fast:
        return None
    added = list(tokenizer.added_tokens_decoder.values())
    if any(token.lstrip or token.rstrip or token.single_word or token.normalized for token in added):
        return None
    contents = sorted((token.content for token in added if token.content), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, contents))) if contents else None
