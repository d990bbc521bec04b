"""What a person reads while training. Only the first process prints, and foreign text is escaped."""

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
"""Seconds that the other processes of a machine wait for its first one to print; their launcher ends them meanwhile."""


def is_first_process() -> bool:
    """Whether this process speaks and writes for all of them (`accelerate launch` and `torchrun` set RANK)."""
    return int(os.environ.get("RANK", "0")) == 0


def silence_other_ranks() -> None:
    """Before printing an error: return at once in the first process of a machine, after GRACE_S in the others.

    A wrong option is wrong in all processes, and one line is enough. If another process ended at once, the launcher
    could end the first one before it prints. A process that still runs after GRACE_S has its own error and prints it.
    """
    if int(os.environ.get("LOCAL_RANK", "0")) != 0:
        time.sleep(GRACE_S)


def counted(number: int, one: str, several: str = "") -> str:
    """The number with its noun: `one` for 1, else `several`, by default `one` with an s."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def say(text: str) -> None:
    """Print lines, from the first process only."""
    if is_first_process():
        print("\n".join(inert(line) for line in text.split("\n")), flush=True)


def say_rows(split: str, what: str, left_out: Counter[str]) -> None:
    """Print what is used of a split, and how much was left out, by reason."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(left_out.items()) if count)
    label = "train" if split == "train" else "held out"
    say(f"{label:<10}{what}; left out: {reasons or 'none'}")


def warn(text: str) -> None:
    """Print one line to standard error, from the first process only."""
    if is_first_process():
        print(f"warning: {inert(text)}", file=sys.stderr, flush=True)


@contextmanager
def quiet_unscorable() -> Generator[None]:
    """Keep TRL from printing unscored samples: they are raw model text, and the trainer warns about them itself."""
    logger = logging.getLogger("trl.trainer.grpo_trainer")

    def is_other(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("All reward functions returned None")

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)
