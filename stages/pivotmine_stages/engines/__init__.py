"""The rollout engines. This module is light: an engine's packages are imported when it is opened.

To add an engine, write a module or package here that ends with its `ENGINE`, and add its line to `ENGINES`.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from pivotmine.errors import UserError
from pivotmine.options import nearest, not_one_of
from pivotmine_stages.engines import openai, ray, transformers, vllm
from pivotmine_stages.engines.options import EngineOptions, adapter_config, require_model
from pivotmine_stages.engines.protocol import Engine, EngineSpec

ENGINES: dict[str, EngineSpec] = {
    "vllm": vllm.ENGINE,
    "openai": openai.ENGINE,
    "transformers": transformers.ENGINE,
    "ray": ray.ENGINE,
}


def engine_spec(name: str) -> EngineSpec:
    """The description of an engine; UserError if no engine has this name."""
    if name not in ENGINES:
        raise UserError(f"no engine is called {name!r}; choose one of {', '.join(ENGINES)}{nearest(name, ENGINES)}")
    return ENGINES[name]


def open_engine(name: str, options: EngineOptions) -> Engine:
    """Open an engine for sampling; UserError if a package, the model, the adapter or a server is missing."""
    check_engine(name, options)
    return ENGINES[name].open(options)


def check_engine(name: str, options: EngineOptions) -> None:
    """Raise UserError if a package, --replica-engine or a file of model or adapter is wrong; loads nothing heavy."""
    spec = engine_spec(name)
    require_packages(name, options)
    if spec.hosts_replicas and not engine_spec(options.replica_engine).can_be_replica:
        known = [other for other, one in ENGINES.items() if one.can_be_replica]
        raise UserError(not_one_of("--replica-engine", options.replica_engine, known))
    if not spec.is_remote:
        require_model(options.model)
        if options.adapter is not None:
            adapter_config(options.adapter)


def missing_packages(name: str, *, with_adapter: bool = False) -> list[str]:
    """Packages that the engine needs and that are not installed."""
    spec = engine_spec(name)
    packages = (*spec.packages, *(spec.adapter_packages if with_adapter else ()))
    return [package for package in packages if importlib.util.find_spec(package) is None]


def install_words(name: str) -> str:
    """How to install what an engine needs."""
    words = f"in the project's folder, `pip install -c constraints.txt '.[{name}]'`"
    return f"{words}; {ENGINES[name].install}" if ENGINES[name].install else words


def require_packages(name: str, options: EngineOptions) -> None:
    """Raise UserError if the engine needs a package that is not installed."""
    if missing := missing_packages(name, with_adapter=options.adapter is not None):
        raise UserError(f"engine {name} needs the package {missing[0]}: {install_words(name)}")


def default_engine() -> str:
    """`vllm` if it is installed and a GPU is visible, else `transformers`; imports neither."""
    return "vllm" if importlib.util.find_spec("vllm") is not None and has_gpu() else "transformers"


def has_gpu() -> bool:
    """Whether a GPU is visible to this process; imports nothing."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    # Device files of NVIDIA, of AMD, and of both under WSL.
    return any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"))
