"""`pivotmine-train`: parse, train, and print bad input as one line, once a machine.

Exit codes: 0 done, 1 bad input or configuration, 2 usage.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pivotmine.errors import UserError
from pivotmine.inert import one_line
from pivotmine_trainer.console import let_the_first_speak


def main(args: Sequence[str] | None = None) -> None:
    """Run the command; `args` are those of the process by default."""
    try:
        _run(list(sys.argv[1:] if args is None else args))
    except UserError as error:
        let_the_first_speak()
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        raise SystemExit(1) from None


def _run(args: list[str]) -> None:
    from pivotmine_trainer import grpo, sft
    from pivotmine_trainer.arguments import SFTSettings, parse

    arguments, settings, model = parse(args)
    if isinstance(settings, SFTSettings):
        sft.train(arguments, settings, model)
    else:
        grpo.train(arguments, settings, model)
