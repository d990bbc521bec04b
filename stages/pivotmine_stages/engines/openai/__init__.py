"""Engine `openai`, described. Light: `engine.py` imports the client."""

from __future__ import annotations

from pivotmine_stages.engines.options import EngineOptions
from pivotmine_stages.engines.protocol import Engine, EngineSpec


def _open(options: EngineOptions) -> Engine:
    from pivotmine_stages.engines.openai.engine import OpenAIEngine

    return OpenAIEngine(options)


def _renders(options: EngineOptions) -> bool:
    return options.api == "chat"


ENGINE = EngineSpec(
    open=_open,
    summary="any OpenAI-compatible server, named by --base-url",
    packages=("openai",),
    is_remote=True,
    renders=_renders,
    can_prefill=False,
)
