"""The misbehaving server against the real engine: each fault becomes a reject with its reason."""

import random

import pytest
from benchmarks.chaos.server import FAULTS, serving

from pivotmine_stages.engines import open_engine
from pivotmine_stages.engines.options import EngineOptions
from pivotmine_stages.engines.protocol import Request

TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {}}}]


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ("slow", "drip")])
def test_every_fault_of_the_server_is_a_sample_or_a_failure(fault: str) -> None:
    with serving() as server:
        server.share = 1.0
        options = EngineOptions(
            model="chaos", base_urls=(server.address,), api="chat", max_retries=1, timeout_s=1, concurrency=1
        )
        engine = open_engine("openai", options)
        try:
            server.disturb(fault, random.Random(0))
            said = [{"role": "user", "content": "Find order 7."}]
            request = Request(state_id="s", prompt_ids=[], sample_indices=(0, 1), messages=said, tools=TOOLS)
            (reply,) = engine.sample([request])
        finally:
            engine.close()
    assert reply.failure == "engine_error" or len(reply.samples) == 2
    if fault == "half":
        assert reply.detail is not None
        assert "the answer broke off: " in reply.detail
