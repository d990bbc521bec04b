"""Real trajectories, a real tokenizer, real engines; only the weights are random, so every sample fails."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from pivotmine_stages.cli.options import extract, rollout, score, select
from pivotmine_stages.cli.reports import closing
from pivotmine_stages.cli.run_all import RunSummary

pytestmark = pytest.mark.skipif("PIVOTMINE_REAL_DATA" not in os.environ, reason="real trajectories are not here")
NUM_STATES, NUM_SAMPLES = 6, 2


@pytest.fixture(scope="module")
def real_data() -> Path:
    return Path(os.environ["PIVOTMINE_REAL_DATA"])


@pytest.fixture(scope="module")
def random_qwen3(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen3's architecture and tokenizer with random weights, two layers of width 16."""
    folder = tmp_path_factory.mktemp("policy") / "qwen3"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 32}
        heads: dict[str, Any] = {"num_attention_heads": 1, "num_key_value_heads": 1, "tie_word_embeddings": True}
        config = Qwen3Config(vocab_size=151936, max_position_embeddings=16384, eos_token_id=151645, **sizes, **heads)
        Qwen3ForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(real_data / "tokenizers" / "qwen3" / name, folder / name)
    return folder


@pytest.mark.parametrize("engine", ["transformers", "vllm", "openai"])
def test_a_policy_that_always_fails_is_reported_plainly(
    engine: str,
    real_data: Path,
    random_qwen3: Path,
    tmp_path: Path,
    serve: Callable[..., AbstractContextManager[str]],
) -> None:
    run, tools = tmp_path / "run", tmp_path / "tools.json"
    tools.write_text(json.dumps(_tools(real_data)))
    with contextlib.ExitStack() as stack:
        options: dict[str, Any] = {"engine": engine, "model": str(random_qwen3)}
        if engine == "openai":
            address = stack.enter_context(serve(random_qwen3, "--served-model-name", "random"))
            options |= {
                "model": "random",
                "tokenizer": str(random_qwen3),
                "base_url": [address],
                "policy_name": "random",
            }
        extracted = extract({}, sources=[real_data / "tau-bench"], run=run, tools=tools)
        limits = {"num_samples": NUM_SAMPLES, "max_new_tokens": 8, "limit": NUM_STATES, "verifier": "tool_call"}
        sampled = rollout({}, run=run, **limits, **options)
    profiles = score({}, run=run, verifier="tool_call")
    selected = select({}, run=run)
    assert sampled.sampled.samples == NUM_STATES * NUM_SAMPLES
    assert set(sampled.rejects) == {"no_verifier"}
    assert profiles.classes == {"never": NUM_STATES}
    assert (selected.train, selected.validation) == (0, 0)
    summaries = RunSummary(extract=extracted, rollout=sampled, score=profiles, select=selected)
    assert "no pivot: the policy fails in every state (all samples have reward 0)" in closing(run, summaries)


def _tools(real_data: Path) -> list[dict[str, Any]]:
    """tau-bench's files carry no tools: these are made from the calls in them, every argument optional text."""
    found: dict[str, set[str]] = {}
    for path in (real_data / "tau-bench").glob("*.json"):
        for trajectory in json.loads(path.read_text()):
            for message in trajectory["traj"]:
                for call in message.get("tool_calls") or []:
                    names = json.loads(call["function"]["arguments"])
                    found.setdefault(call["function"]["name"], set()).update(names)
    return [_tool(name, sorted(keys)) for name, keys in sorted(found.items())]


def _tool(name: str, arguments: list[str]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {argument: {} for argument in arguments}}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}
