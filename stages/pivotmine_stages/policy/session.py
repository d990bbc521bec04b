"""A policy ready to be sampled: who it is, how prompts are rendered for it, and its engine, opened at first need.

Several rounds of sampling share one: weights are hashed and loaded once, and vLLM starts once.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pivotmine.actions import PARSERS, detect_parser, require_parser
from pivotmine.errors import UserError
from pivotmine_stages.engines import default_engine, open_engine, require_packages
from pivotmine_stages.engines.options import EngineOptions, adapter_config, require_model
from pivotmine_stages.engines.protocol import Engine
from pivotmine_stages.policy.prompts import Renderer, load_renderer
from pivotmine_stages.policy.record import PolicyRecord, describe_policy, require_name

if TYPE_CHECKING:
    from pivotmine_stages.rollout.stage import RolloutConfig


@dataclass(slots=True, kw_only=True)
class PolicySession:
    engine_name: str
    options: EngineOptions
    renderer: Renderer | None
    """None where a chat server renders and no tokenizer was given."""
    record: PolicyRecord
    _engine: Engine | None = None

    def engine(self, num_stored: int) -> Engine:
        """The engine; opened with the samples stored so far, which an engine seeded as a whole must not repeat."""
        if self._engine is None:
            self._engine = open_engine(self.engine_name, replace(self.options, num_stored=num_stored))
        return self._engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()


def check_policy(config: RolloutConfig) -> str:
    """The engine's name; UserError for what can be told of the policy before anything is loaded."""
    engine = config.engine_name or default_engine()
    require_packages(engine, config.engine)
    require_name(engine, config.policy_name)
    if config.parser is not None:
        require_parser(config.parser)
    if engine != "openai":
        require_model(config.engine.model)
        if config.engine.adapter is not None:
            adapter_config(config.engine.adapter)
    return engine


@contextmanager
def open_policy(config: RolloutConfig) -> Generator[PolicySession]:
    """Check and describe the policy; its engine is closed at the end. UserError for what cannot be had."""
    engine = check_policy(config)
    if engine == "transformers":
        # Read where torch is first imported: threads that wait sleep. Where they spin, on cores that other work uses
        # too, sampling took 3 to 5 times as long.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    renderer = _renderer(config, engine)
    record = describe_policy(
        config.engine,
        config.engine.replica_engine if engine == "ray" else engine,  # Ray is only where it runs
        renderer,
        parser=_parser(config, renderer),
        policy_name=config.policy_name,
    )
    policy = PolicySession(engine_name=engine, options=config.engine, renderer=renderer, record=record)
    try:
        yield policy
    finally:
        policy.close()


def _renderer(config: RolloutConfig, engine: str) -> Renderer | None:
    if engine == "openai" and config.engine.api == "chat" and config.tokenizer is None:
        return None
    return load_renderer(config.tokenizer or config.engine.model, config.engine.template_options)


def _parser(config: RolloutConfig, renderer: Renderer | None) -> str:
    name = config.parser or (detect_parser(renderer.template) if renderer else "hermes")
    if name is None:
        raise UserError(
            f"the chat template's tool-call convention is not known: name it by --parser {'|'.join(PARSERS)}"
        )
    return name
