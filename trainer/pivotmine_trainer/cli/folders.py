"""Folders that a command line names: is there one, or is the name a hub's?"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from pivotmine.errors import UserError

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def is_missing_folder(name: str) -> bool:
    """Whether a name can only be a folder's, and there is none.

    A hub's names are `owner/name`; one whose first part is a folder here is a path with a slip in it.
    """
    if Path(name).exists():
        return False
    return not _HUB_NAME.fullmatch(name) or name.startswith(".") or Path(name).parent.is_dir()


def check_dataset_folder(args: list[str]) -> None:
    """UserError where `--dataset` names a folder that is not there."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--dataset", nargs="?")
    name = parser.parse_known_args(args)[0].dataset
    if name is not None and is_missing_folder(name):
        raise UserError(f"--dataset {name}: no such folder; name one that `pivotmine select` wrote, RUN/pivots/NAME")
