"""A policy ready to be sampled: its record, the renderer of its prompts, and its engine, opened on first use.

Several rounds of sampling share one. So weights are hashed and loaded once, and vLLM starts once.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pivotmine.actions import PARSERS, detect_parser, require_parser
from pivotmine.errors import UserError
from pivotmine.sampling.settings import MIN_TEMPERATURE
from pivotmine_stages.engines import check_engine, default_engine, engine_spec, open_engine
from pivotmine_stages.engines.options import EngineOptions, context_length, require_room
from pivotmine_stages.engines.protocol import Engine
from pivotmine_stages.policy.options import PolicyConfig
from pivotmine_stages.policy.prompts import RENDERING, Renderer, load_renderer
from pivotmine_stages.policy.record import (
    PolicyRecord,
    describe_policy,
    is_sampled,
    load_policy,
    require_name,
    require_readable,
)


@dataclass(slots=True, kw_only=True)
class PolicySession:
    engine_name: str
    options: EngineOptions
    renderer: Renderer | None
    """None if a chat server renders and no tokenizer was given."""
    record: PolicyRecord
    _engine: Engine | None = None

    def engine(self, num_stored: int) -> Engine:
        """The engine, opened on first use.

        num_stored: the samples stored so far, which an engine with one seed for all samples must not repeat.
        """
        if self._engine is None:
            self._engine = open_engine(self.engine_name, replace(self.options, num_stored=num_stored))
        return self._engine

    def context_length(self) -> int | None:
        """Maximum tokens of prompt and reply together, without loading a model; None if unknown."""
        if not engine_spec(self.engine_name).is_remote:
            return context_length(self.options)
        try:
            return self.engine(0).max_model_len
        except UserError:  # the server is not up yet: a dry run does not need it
            return self.options.max_model_len

    def close(self) -> None:
        """Close the engine, if it was opened."""
        if self._engine is not None:
            self._engine.close()


def check_policy(config: PolicyConfig) -> str:
    """Check what is possible before anything is loaded. Returns the engine's name; UserError for wrong settings."""
    engine, options = config.engine_name or default_engine(), config.engine
    spec, sampling = engine_spec(engine), config.engine.sampling
    require_readable(config.policy_name)
    require_name(engine, config.policy_name)
    if 0 < sampling.temperature < MIN_TEMPERATURE:
        raise UserError(f"--temperature {sampling.temperature}: 0 (greedy), or a number from {MIN_TEMPERATURE}")
    if options.base_urls and not spec.is_remote:
        raise UserError(f"--base-url names a server, and --engine {engine} uses none: add --engine openai")
    require_room(sampling.max_new_tokens, options.max_model_len, "--max-model-len")
    if config.parser is not None:
        require_parser(config.parser)
    check_engine(engine, options)
    return engine


@contextmanager
def open_policy(config: PolicyConfig, run: Path | None = None) -> Generator[PolicySession]:
    """Check and describe the policy; its engine is closed at the end. UserError for a missing or wrong setting.

    run: an older version may have sampled the policy there under another id.
    """
    engine = check_policy(config)
    spec = engine_spec(engine)
    for name, value in spec.environment.items():
        os.environ.setdefault(name, value)  # read when the engine's packages are imported
    renderer = _renderer(config, engine)
    record = describe_policy(
        config.engine,
        config.engine.replica_engine if spec.hosts_replicas else engine,  # the host is not part of the policy
        renderer,
        parser=_parser(config, renderer),
        policy_name=config.policy_name,
        run=run,
    )
    if run is not None and is_sampled(run, record.policy_id):
        record = replace(record, rendering=load_policy(run, record.policy_id).rendering)
    if renderer is not None and record.rendering < RENDERING:
        renderer.render_as_before()
    policy = PolicySession(engine_name=engine, options=config.engine, renderer=renderer, record=record)
    try:
        yield policy
    finally:
        policy.close()


def _renderer(config: PolicyConfig, engine: str) -> Renderer | None:
    if engine_spec(engine).renders(config.engine) and config.tokenizer is None:
        return None
    return load_renderer(config.tokenizer or config.engine.model, config.engine.template_options)


def _parser(config: PolicyConfig, renderer: Renderer | None) -> str:
    name = config.parser or (detect_parser(renderer.template) if renderer else "hermes")
    if name is None:
        raise UserError(
            f"the chat template's tool-call convention is unknown: name it with --parser {'|'.join(PARSERS)}"
        )
    return name
