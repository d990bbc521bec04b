"""What a person reads while training: once, from the first process, with everything that it quotes escaped."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from pivotmine.escape import inert

GRACE_S = 20.0
"""How long the other processes of a machine let its first one speak; by then their launcher has ended them."""


def is_first_process() -> bool:
    """Whether this process speaks and writes for all of them (`accelerate launch` and `torchrun` set RANK)."""
    return int(os.environ.get("RANK", "0")) == 0


def silence_other_ranks() -> None:
    """Before an error: return at once in the first process of a machine, in the others not before the grace is over.

    A wrong option is wrong in all of them, and one line is enough. A process that ended at once could make the launcher
    end the first before its line; a process that still runs after the grace has another error, and prints it.
    """
    if int(os.environ.get("LOCAL_RANK", "0")) != 0:
        time.sleep(GRACE_S)


def say(text: str) -> None:
    """Print lines, from the first process only."""
    if is_first_process():
        print("\n".join(inert(line) for line in text.split("\n")), flush=True)


def say_rows(split: str, what: str, left_out: Counter[str]) -> None:
    """Print what a split gives to train on, and how much was left out, by reason."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(left_out.items()) if count)
    label = "train" if split == "train" else "held out"
    say(f"{label:<10}{what}; left out: {reasons or 'none'}")


def warn(text: str) -> None:
    """Print one line to standard error, from the first process only."""
    if is_first_process():
        print(f"warning: {inert(text)}", file=sys.stderr, flush=True)


@contextmanager
def quiet_unscorable() -> Generator[None]:
    """Keep TRL from printing a sample that could not be scored, raw model text and all; `warn` says it instead."""
    logger = logging.getLogger("trl.trainer.grpo_trainer")

    def is_other(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("All reward functions returned None")

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)
