"""Engine `transformers`: what it is. This module is light; `engine.py` imports torch."""

from __future__ import annotations

from pivotmine_stages.engines.options import EngineOptions
from pivotmine_stages.engines.protocol import Engine, EngineSpec


def _open(options: EngineOptions) -> Engine:
    from pivotmine_stages.engines.transformers.engine import TransformersEngine

    return TransformersEngine(options)


ENGINE = EngineSpec(
    open=_open,
    summary="the model in this process, with or without a GPU",
    packages=("torch", "transformers"),
    adapter_packages=("peft",),
    can_be_replica=True,
    # torch reads it on import: threads that wait then sleep. If they spin on cores that other work uses too, sampling
    # takes 3 to 5 times as long.
    environment={"OMP_WAIT_POLICY": "passive"},
)
