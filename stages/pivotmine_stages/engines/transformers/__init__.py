"""Engine `transformers`, described. Light: `engine.py` imports torch."""

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
    # torch reads it on import: waiting threads then sleep instead of spin. Spinning on cores that other work uses too
    # makes sampling 3 to 5 times slower.
    environment={"OMP_WAIT_POLICY": "passive"},
)
