"""Check that the files of a model or an adapter are whole, before anything is loaded.

The libraries that load a file cut short raise errors of any type from deep inside, vLLM even in another process.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pivotmine.errors import UserError

_INDEX = "model.safetensors.index.json"
_JSON = ("config.json", "*_config.json", "tokenizer.json", "special_tokens_map.json", "vocab.json", "*.index.json")


def require_whole_files(what: str, folder: Path) -> None:
    """Raise UserError for the first file that is missing, not JSON or cut short; `what` is its first words."""
    for path in sorted({path for pattern in _JSON for path in folder.glob(pattern)}):
        found = read_object(path)
        if found is None:
            raise UserError(f"{what}: {path.name} is not a JSON object, it may be cut short; {_AGAIN}")
        # Only this index needs its shards: a download of safetensors often has the index of the older files too, but
        # not those files.
        if path.name == _INDEX:
            _require_shards(what, folder, found)
    for path in sorted(folder.glob("*.safetensors")):
        if not _is_whole(path):
            raise UserError(f"{what}: {path.name} is cut short or not a safetensors file; {_AGAIN}")


_AGAIN = "copy or download the model again"


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None if the file cannot be read or holds something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _require_shards(what: str, folder: Path, index: dict[str, Any]) -> None:
    shards = index.get("weight_map")
    names = {str(name) for name in shards.values()} if isinstance(shards, dict) else set[str]()
    if missing := sorted(name for name in names if not (folder / name).is_file()):
        raise UserError(
            f"{what}: {len(missing)} of {len(names)} weight files are missing, such as {missing[0]}; {_AGAIN}"
        )


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file has the length that its header tells."""
    from safetensors import SafetensorError, safe_open  # the engines' packages bring it

    try:
        with safe_open(path, "np"):
            return True
    except (OSError, SafetensorError):
        return False
