"""Prompt tokens computed for K samples of every state, against the least possible; exact counts, no times.

1.0 is the prefix tree of all prompts. `paged` is what vLLM's block size permits (`paged_cache`). Peers
send K separate requests a state, in the order in which states arrive when all trajectories run side by side: turn by
turn. On tau-bench, with its long prompts, each way is run again with a cache that holds but few of them.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from benchmarks.paged_cache import paged_tokens
from transformers import Qwen3Config, Qwen3ForCausalLM

from pivotmine.run.states import demonstrated_turns, state_messages
from pivotmine.sampling.prefix_tree import sortable, tree_tokens
from pivotmine.sampling.settings import Sampling
from pivotmine_stages.cli.options import extract
from pivotmine_stages.engines import open_engine
from pivotmine_stages.engines.options import EngineOptions
from pivotmine_stages.engines.protocol import Request
from pivotmine_stages.policy.prompts import load_renderer
from pivotmine_stages.rollout.missing import in_prefix_order

DESK = Path(__file__).parents[1] / "data" / "desk"
NEW_TOKENS = 2


class States(NamedTuple):
    """The prompts of a data set, in the order in which rollout gives them to an engine."""

    model: Path
    requests: list[Request]
    positions: list[int]
    """The place of each state's turn in its segment."""
    tree: int
    """Tokens of the tree of all prompts."""


def main(options: argparse.Namespace) -> None:
    """Print the counts of the desk and, where it is, of tau-bench."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _report("desk", _states(DESK / "trajectories.jsonl", DESK / "policy", folder / "desk", options), options)
        if not os.environ.get("PIVOTMINE_REAL_DATA"):
            print("rollout  tau-bench skipped: PIVOTMINE_REAL_DATA names no folder")
            return
        real = Path(os.environ["PIVOTMINE_REAL_DATA"])
        model = _random_qwen3(real / "tokenizers" / "qwen3", folder / "model")
        tools = _tools(real / "tau-bench", folder / "tools.json")
        states = _states(real / "tau-bench", model, folder / "tau", options, tools)
        _report("tau-bench", states, options, (None, options.cache_prompts))


def _states(source: Path, model: Path, run: Path, options: argparse.Namespace, tools: Path | None = None) -> States:
    extract({}, sources=[source], run=run, tools=tools)
    turns = demonstrated_turns(run).unique("state_id", keep="first", maintain_order=True).head(options.states)
    renderer = load_renderer(str(model), {})
    requests, positions = list[Request](), list[int]()
    for state in state_messages(run, in_prefix_order(run, turns)):
        ids, samples = renderer.render(state.messages, state.tools).token_ids, tuple(range(options.num_samples))
        requests.append(Request(state_id=state.turn["state_id"], prompt_ids=ids, sample_indices=samples))
        positions.append(state.turn["position"])
    return States(model, requests, positions, tree_tokens(sortable(request.prompt_ids) for request in requests))


def _report(name: str, states: States, options: argparse.Namespace, caches: tuple[int | None, ...] = (None,)) -> None:
    total, count = sum(len(request.prompt_ids) for request in states.requests), options.num_samples
    print(f"rollout  {name}: {len(states.requests)} states x {count} samples, {total:,} prompt tokens")
    print(f"rollout  {name}: the prefix tree has {states.tree:,} tokens; no cache, a request a sample: ", end="")
    print(f"{count * total / states.tree:.1f} times that; no cache, a prefill a state: {total / states.tree:.2f}")
    with _opened("transformers", states) as engine:
        computed = sum(reply.num_prefill_tokens for reply in engine.sample(states.requests))
        print(f"rollout  {name}: transformers computes {computed:,}, {computed / states.tree:.3f} of the tree")
    for prompts in caches if options.vllm else ():
        with _opened("vllm", states, prompts) as engine:
            _report_vllm(name, states, engine, prompts)


def _report_vllm(name: str, states: States, engine: Any, prompts: int | None) -> None:
    limit = paged_tokens(((r.prompt_ids, len(r.sample_indices)) for r in states.requests), engine.block_size)
    cache = "cache that holds all" if prompts is None else f"cache of {prompts} longest prompts"
    at = f"rollout  {name}: vllm, blocks of {engine.block_size}, {cache}"
    print(f"{at}: permits {limit:,}, {limit / states.tree:.2f} of the tree")
    for way, requests in (("ours", states.requests), ("peers' way", list(_arriving(states)))):
        engine._llm.reset_prefix_cache()
        before = _counters(engine)
        replied = sum(reply.num_prefill_tokens for reply in engine.sample(requests))
        after = _counters(engine)
        queried, hit, preempted = (after[key] - before[key] for key in _COUNTERS)
        assert replied == queried - hit, (replied, queried, hit)
        print(f"{at}: {way} {replied:,}, {replied / limit:.3f} of what it permits, {preempted:.0f} preemptions")


def _arriving(states: States) -> Iterator[Request]:
    """A request a sample, the first turns of all trajectories first."""
    for _, request in sorted(zip(states.positions, states.requests, strict=True), key=lambda pair: pair[0]):
        for index in request.sample_indices:
            name = f"{request.state_id}-{index}"
            yield Request(state_id=name, prompt_ids=request.prompt_ids, sample_indices=(index,))


_COUNTERS = ("vllm:prefix_cache_queries", "vllm:prefix_cache_hits", "vllm:num_preemptions")


def _counters(engine: Any) -> dict[str, float]:
    """vLLM's own; tokens asked for and found by first prefills, and requests that lost their place."""
    return {metric.name: metric.value for metric in engine._llm.get_metrics() if metric.name in _COUNTERS}


@contextlib.contextmanager
def _opened(name: str, states: States, cache_prompts: int | None = None) -> Generator[Any]:
    longest = max(len(request.prompt_ids) for request in states.requests)
    options = EngineOptions(
        model=str(states.model), sampling=Sampling(max_new_tokens=NEW_TOKENS), max_model_len=longest + NEW_TOKENS
    )
    if name == "vllm":
        from vllm import LLM

        from pivotmine_stages.engines.vllm import engine

        blocks: dict[str, Any] = {}
        if cache_prompts is not None:
            # vLLM keeps a block to itself, and takes no cache that does not hold the longest request next to it.
            per_prompt = -(-(longest + NEW_TOKENS) // BLOCK_TOKENS_CPU)
            blocks = {"num_gpu_blocks_override": 1 + cache_prompts * per_prompt}
        engine.LLM = functools.partial(LLM, disable_log_stats=False, **blocks)  # type: ignore[misc]
    engine = open_engine(name, options)
    try:
        yield engine
    finally:
        engine.close()


BLOCK_TOKENS_CPU = 128


def _random_qwen3(tokenizer: Path, folder: Path) -> Path:
    """Qwen3's architecture and vocabulary, two layers of width 16: what is counted does not depend on the weights."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 32}
    heads: dict[str, Any] = {"num_attention_heads": 1, "num_key_value_heads": 1, "tie_word_embeddings": True}
    config = Qwen3Config(vocab_size=151936, max_position_embeddings=32768, eos_token_id=151645, **sizes, **heads)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, folder / name)
    return folder


def _tools(source: Path, path: Path) -> Path:
    """tau-bench's files carry no tools: these are made from the calls in them, every argument optional."""
    found: dict[str, set[str]] = {}
    for file in source.glob("*.json"):
        for trajectory in json.loads(file.read_text(encoding="utf-8")):
            for message in trajectory["traj"]:
                for call in message.get("tool_calls") or []:
                    names = json.loads(call["function"]["arguments"])
                    found.setdefault(call["function"]["name"], set()).update(names)
    path.write_text(json.dumps([_tool(name, sorted(keys)) for name, keys in sorted(found.items())]), encoding="utf-8")
    return path


def _tool(name: str, arguments: list[str]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {argument: {} for argument in arguments}}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}
