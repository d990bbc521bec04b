"""Check that each prompt has the tokens that were mined, and that it fits the context."""

from __future__ import annotations

from typing import Any

from datasets import Dataset

from pivotmine.errors import UserError
from pivotmine_trainer.cli.console import counted
from pivotmine_trainer.data.rows import where

ROWS_AT_ONCE = 256


def check_prompts(data: Dataset, source: str, tokenizer: Any, model: str) -> None:
    """Raise UserError for the first row whose prompt, tokenised as TRL does, gives other tokens than were mined.

    TRL lets the tokenizer add its special tokens, which doubles a beginning-of-sequence token from the template. This
    also finds a changed tokenizer or template.
    """
    for start in range(0, len(data), ROWS_AT_ONCE):
        rows: dict[str, list[Any]] = data[start : start + ROWS_AT_ONCE]  # pyright: ignore[reportAssignmentType]
        tokenised = tokenizer(text=rows["prompt"])["input_ids"]
        for index, (ours, mined) in enumerate(zip(tokenised, rows["prompt_ids"], strict=True)):
            if ours != mined:
                row = {name: rows[name][index] for name in ("row", "state_id")}
                raise UserError(
                    f"{where(row, source)}: prompt_ids: the tokenizer of {model} gives other tokens than were mined: "
                    + _first(tokenizer, ours, mined)
                )


def _first(tokenizer: Any, ours: list[int], mined: list[int]) -> str:
    place = next((i for i, (a, b) in enumerate(zip(ours, mined, strict=False)) if a != b), min(len(ours), len(mined)))
    return f"at token {place} {_token(tokenizer, ours, place)} instead of {_token(tokenizer, mined, place)}"


def _token(tokenizer: Any, ids: list[int], place: int) -> str:
    if place >= len(ids):
        return "nothing"
    is_known = 0 <= ids[place] < len(tokenizer)
    return f"{ids[place]} {tokenizer.decode([ids[place]])!r}" if is_known else f"{ids[place]}, which it does not have"


def check_context(data: Dataset, source: str, max_completion_length: int, limits: dict[str, int | None]) -> None:
    """Raise UserError if a prompt and its token budget exceed a limit.

    limits: name of each limit -> tokens, or None for no limit. TRL neither cuts nor filters long prompts: vLLM stops
    the training at the first one, transformers continues past the model's positions.
    """
    for number, state_id, ids in zip(data["row"], data["state_id"], data["prompt_ids"], strict=True):
        for name, limit in limits.items():
            if limit is not None and len(ids) + max_completion_length > limit:
                place, left = where({"row": number, "state_id": state_id}, source), limit - max_completion_length
                instead = (
                    f"select again with --max-prompt-tokens {left}"
                    if left > 0
                    else "give a smaller --max_completion_length"
                )
                raise UserError(
                    f"{place}: {counted(len(ids), 'prompt token')} and {max_completion_length} for the action are more "
                    f"than {name} {limit}; {instead}"
                )
