"""rollout: prompt tokens that each engine computes against the least possible, and what our loops take next to bare ones.

Parts: `prefill` (exact counts), `throughput` (against `LLM.generate`, in turns), `decoding` (the transformers engine's
loop against `model.generate`). Those with vLLM are skipped where it is not installed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util

PARTS = ("prefill", "throughput", "decoding")


def main() -> None:
    """Print the ratios."""
    options = _options()
    for part in options.parts or PARTS:
        importlib.import_module(f"benchmarks.rollout_{part}").main(options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks rollout", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="by default all")
    parser.add_argument(
        "--states", type=int, default=200, help="of each data set, the first in the order of the sources"
    )
    parser.add_argument("--num-samples", type=int, default=8, help="a state")
    parser.add_argument("--cache-prompts", type=int, default=3, help="longest prompts that the small cache holds")
    parser.add_argument("--pairs", type=int, default=21, help="of runs, ours and bare vLLM's in turns")
    parser.add_argument(
        "--pair-trajectories", type=int, default=20, help="of the desk, all states in each run of a pair"
    )
    options, _ = parser.parse_known_args()
    options.vllm = importlib.util.find_spec("vllm") is not None
    return options
