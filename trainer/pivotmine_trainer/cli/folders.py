"""Names on the command line: folders, or ids on a hub."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from pivotmine.errors import UserError

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def is_missing_folder(name: str) -> bool:
    """Whether a name can only mean a folder, and that folder does not exist.

    Hub ids are `owner/name`. If `owner` is a folder here, the name is taken for a mistyped path.
    """
    if Path(name).exists():
        return False
    return not _HUB_NAME.fullmatch(name) or name.startswith(".") or Path(name).parent.is_dir()


def check_dataset_folder(args: list[str]) -> None:
    """Raise UserError if `--dataset` names a folder that does not exist."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--dataset", nargs="?")
    name = parser.parse_known_args(args)[0].dataset
    if name is not None and is_missing_folder(name):
        raise UserError(f"--dataset {name}: no such folder; name one that `pivotmine select` wrote, RUN/pivots/NAME")
