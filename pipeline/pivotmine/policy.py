"""What a policy is, as hashes: weights, adapter, tokenizer, chat template and its options, sampling, engine.

The number of samples, their token budget and the seed are not part of it. It imports only the standard library, because
the trainer uses it too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pivotmine import strict_json
from pivotmine.errors import UserError

WEIGHT_PATTERNS = ("*.safetensors", "*.bin", "*.gguf")


def hash_weights(folder: Path) -> str:
    """Hash over names and contents of a model's (or an adapter's) weight files; UserError if there are none."""
    files = sorted({path for pattern in WEIGHT_PATTERNS for path in folder.glob(pattern)})
    if not files:
        raise UserError(f"{folder} holds no weights ({', '.join(WEIGHT_PATTERNS)})")
    config = [path for name in ("config.json", "adapter_config.json") if (path := folder / name).is_file()]
    return _hash_files([*config, *files])


def hash_tokenizer(tokenizer: Any) -> str:
    """Hash of what a loaded Hugging Face tokenizer does, without its chat template and its location."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return hash_text(strict_json.canonical(tokenizer.get_vocab()))
    return hash_tokenizer_state(json.loads(backend.to_str()))


def hash_tokenizer_state(state: Mapping[str, Any]) -> str:
    """Hash of the JSON form of a `tokenizers.Tokenizer`."""
    # Padding and truncation are settings of a caller, not of the tokenizer.
    return hash_text(strict_json.canonical({**state, "padding": None, "truncation": None}))


def hash_template(template: str) -> str:
    """Hash of a chat template's text."""
    return hash_text(template)


def hash_text(text: str) -> str:
    """128-bit hash of a text, in hexadecimal."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def hash_token_ids(token_ids: Iterable[int]) -> str:
    """Hash of a prompt, token for token."""
    return hash_text(",".join(map(str, token_ids)))


def policy_id(name: str, fields: Mapping[str, Any]) -> str:
    """`<name>-<12 hex>`: a folder name that a person recognises and that no other policy has."""
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[:40] or "policy"
    return f"{readable}-{hash_text(strict_json.canonical(fields))[:12]}"


def _hash_files(files: list[Path]) -> str:
    with ThreadPoolExecutor() as pool:
        digests = pool.map(_hash_file, files)
    return hash_text("\n".join(f"{path.name} {digest}" for path, digest in zip(files, digests, strict=True)))


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
