"""Conversations as tokens: the template's text, its token ids, and the mask of the assistant's tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

END_OF_TURN = "<|im_end|>"


def render(tokenizer: Any, messages: list[dict[str, Any]], tools: Any, *, prompt: bool = False) -> str:
    """Render the chat template; with `prompt`, up to the start of the assistant's next turn."""
    return tokenizer.apply_chat_template(
        messages, tools=list(tools) or None, tokenize=False, add_generation_prompt=prompt
    )


def encode(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def encode_turns(tokenizer: Any, messages: list[dict[str, Any]], tools: Any) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation, and for each whether the assistant wrote it (end-of-turn tokens included)."""
    ids = encode(tokenizer, render(tokenizer, messages, tools))
    start = encode(tokenizer, "<|im_start|>assistant\n")
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    mask, writing = [], False
    for position, token in enumerate(ids):
        mask.append(writing)
        opened = ids[max(0, position + 1 - len(start)) : position + 1] == start
        writing = token != end if writing else opened
    return ids, mask


def load_tokenizer(directory: Path | str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(directory)
