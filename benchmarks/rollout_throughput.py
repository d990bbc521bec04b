"""`pivotmine rollout` against bare `LLM.generate`: one vLLM, the same token ids, the same sampling, in turns.

On the desk with its own policy: a model so small that everything but the model weighs most. Both sides return token
ids, log-probabilities and text; ours also renders the prompts, reads the tables, judges every demonstration and writes
the samples (and on a GPU seeds each state). The run holds just what is sampled, as a user's does: with `--limit` a few
states would bear the gate of all. Rates are generated tokens a second; both start with an empty prefix cache. Next to the
seconds that pass stand those that the processors work, vLLM's processes included: a machine that others use too makes
the first longer, the second hardly.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import statistics
import tempfile
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measuring import median_interval
from benchmarks.rollout_prefill import DESK

from pivotmine.run.states import state_messages
from pivotmine_stages.cli.options import extract, rollout_config
from pivotmine_stages.policy.session import PolicySession, open_policy
from pivotmine_stages.rollout.missing import eligible_states, in_prefix_order, wanted_samples
from pivotmine_stages.rollout.options import RolloutConfig
from pivotmine_stages.rollout.stage import rollout

NEW_TOKENS = 64


class Rates(NamedTuple):
    """Tokens a second."""

    sampling: float
    whole: float
    """With the gate, the tables and the manifest, once a command."""
    whole_work: float
    """The same, a second of all processors' work."""
    bare: float
    bare_work: float


def main(options: argparse.Namespace) -> None:
    """Print the paired ratios."""
    if not options.vllm:
        print("rollout  throughput skipped: vLLM is not installed")
        return
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        extract({}, sources=[_first_trajectories(Path(name), options.pair_trajectories)], run=run)
        settings: dict[str, Any] = {"num_samples": options.num_samples, "max_new_tokens": NEW_TOKENS}
        config = rollout_config({}, model=str(DESK / "policy"), engine="vllm", **settings)
        with open_policy(config.policy) as policy:
            prompts = _prompts(run, config, policy)
            rates = _measure(run, config, policy, prompts, options.pairs)
    for name, ratios in (
        ("sampling", [pair.sampling / pair.bare for pair in rates]),
        ("the whole command", [pair.whole / pair.bare for pair in rates]),
        ("the whole command's work", [pair.whole_work / pair.bare_work for pair in rates]),
    ):
        low, high = median_interval(ratios)
        print(f"rollout  {name} against LLM.generate: {statistics.median(ratios):.3f} of its rate", end="")
        print(f" (median of {len(rates)} pairs, 95 % interval {low:.3f} to {high:.3f})")
    bare = statistics.median(pair.bare for pair in rates)
    print(f"rollout  LLM.generate {bare:,.0f} tokens/s, {len(prompts)} states x {options.num_samples} a run")


def _first_trajectories(folder: Path, number: int) -> Path:
    with (DESK / "trajectories.jsonl").open(encoding="utf-8") as lines:
        (folder / "desk.jsonl").write_text("".join(islice(lines, number)), encoding="utf-8")
    return folder / "desk.jsonl"


def _measure(
    run: Path, config: RolloutConfig, policy: PolicySession, prompts: list[list[int]], num_pairs: int
) -> list[Rates]:
    """Pairs after one that is not counted, each side first in every other one."""
    rates: list[Rates] = []
    for number in range(num_pairs + 1):
        if number % 2:
            bare, ours = _bare(prompts, config, policy), _ours(run, config, policy)
        else:
            ours, bare = _ours(run, config, policy), _bare(prompts, config, policy)
        rates.append(Rates(*ours, *bare))
    return rates[1:]


def _prompts(run: Path, config: RolloutConfig, policy: PolicySession) -> list[list[int]]:
    assert policy.renderer is not None
    eligible, _ = eligible_states(run, config.verifier, config.shard)
    wanted = wanted_samples(eligible, num_samples=config.num_samples, plan=None, limit=None, shard=(0, 1))
    states = state_messages(run, in_prefix_order(run, wanted))
    return [policy.renderer.render(state.messages, state.tools).token_ids for state in states]


def _ours(run: Path, config: RolloutConfig, policy: PolicySession) -> tuple[float, float, float]:
    """`Rates.sampling`, `whole` and `whole_work`."""
    shutil.rmtree(run / "rollouts", ignore_errors=True)
    engine: Any = policy.engine(0)
    engine._llm.reset_prefix_cache()
    started, worked = time.perf_counter(), _worked(os.getpid())
    summary = rollout(config, run, policy)
    seconds, work = time.perf_counter() - started, _worked(os.getpid()) - worked
    assert summary.missing_samples == 0, summary
    tokens = summary.sampled.tokens
    return tokens / summary.sampling_s, tokens / seconds, tokens / work


def _bare(prompts: list[list[int]], config: RolloutConfig, policy: PolicySession) -> tuple[float, float]:
    """`Rates.bare` and `bare_work`."""
    from vllm import SamplingParams

    engine: Any = policy.engine(0)
    engine._llm.reset_prefix_cache()
    sampling = dataclasses.asdict(config.policy.engine.sampling)
    params = SamplingParams(n=config.num_samples, max_tokens=sampling.pop("max_new_tokens"), logprobs=0, **sampling)
    started, worked = time.perf_counter(), _worked(os.getpid())
    outputs = engine._llm.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
    seconds, work = time.perf_counter() - started, _worked(os.getpid()) - worked
    tokens = sum(len(one.token_ids) for output in outputs for one in output.outputs)
    return tokens / seconds, tokens / work


def _worked(process: int) -> float:
    """Seconds of processor time that a process and all its living descendants have had."""
    with suppress(OSError):  # a child that ended meanwhile
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        children = {int(c) for task in Path(f"/proc/{process}/task").iterdir() for c in _children(task)}
        return ticks / os.sysconf("SC_CLK_TCK") + sum(map(_worked, children))
    return 0.0


def _children(task: Path) -> list[str]:
    return (task / "children").read_text().split()
