"""Engine `ray`, described. Light: `engine.py` imports Ray."""

from __future__ import annotations

from pivotmine_stages.engines.options import EngineOptions
from pivotmine_stages.engines.protocol import Engine, EngineSpec


def _open(options: EngineOptions) -> Engine:
    from pivotmine_stages.engines.ray.engine import RayEngine

    return RayEngine(options)


ENGINE = EngineSpec(
    open=_open,
    summary="many workers on one machine or a Ray cluster, each with an engine of its own",
    packages=("ray",),
    hosts_replicas=True,
)
