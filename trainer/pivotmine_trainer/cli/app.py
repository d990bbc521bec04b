"""`pivotmine-train`: parse the options and train. Bad input is one line, printed by one process per machine.

Exit codes: 0 done, 1 bad input or configuration, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pivotmine.errors import UserError
from pivotmine.escape import one_line
from pivotmine_trainer.cli.console import silence_other_ranks
from pivotmine_trainer.cli.folders import check_dataset_folder


def main(args: Sequence[str] | None = None) -> None:
    """Run the command. args: by default those of the process."""
    try:
        _run(list(sys.argv[1:] if args is None else args))
    except UserError as error:
        silence_other_ranks()
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        silence_other_ranks()
        print(
            "interrupted: add --resume_from_checkpoint true to the same command to continue from the last checkpoint, "
            "if there is one",
            file=sys.stderr,
        )
        raise SystemExit(_INTERRUPTED) from None


_INTERRUPTED = 130
"""128 plus the number of SIGINT, as shells report it."""


def _run(args: list[str]) -> None:
    # torch and TRL take many seconds to import, so a missing folder is reported first.
    check_dataset_folder(args)
    from pivotmine_trainer.cli.arguments import SFTSettings, parse
    from pivotmine_trainer.sft import sft
    from pivotmine_trainer.train import grpo

    arguments, settings, model = parse(args)
    if isinstance(settings, SFTSettings):
        sft.train(arguments, settings, model)
    else:
        grpo.train(arguments, settings, model)
