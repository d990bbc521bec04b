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
    """The declaration of an engine; UserError for a name that no engine has."""
    if name not in ENGINES:
        raise UserError(f"no engine is called {name!r}; choose one of {', '.join(ENGINES)}{nearest(name, ENGINES)}")
    return ENGINES[name]


def open_engine(name: str, options: EngineOptions) -> Engine:
    """The engine, ready to sample; UserError for a missing package, model, adapter or server."""
    check_engine(name, options)
    return ENGINES[name].open(options)


def check_engine(name: str, options: EngineOptions) -> None:
    """UserError for what can be told before anything heavy is loaded: packages, the model's and adapter's folders."""
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
    """UserError where the engine needs a package that is not installed."""
    if missing := missing_packages(name, with_adapter=options.adapter is not None):
        raise UserError(f"engine {name} needs the package {missing[0]}: {install_words(name)}")


def default_engine() -> str:
    """`vllm` where it is installed and a GPU is there, else `transformers`; imports neither."""
    return "vllm" if importlib.util.find_spec("vllm") is not None and has_gpu() else "transformers"


def has_gpu() -> bool:
    """Whether a GPU is visible to this process; nothing is imported to find out."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"))
