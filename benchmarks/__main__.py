"""`python -m benchmarks [NAME ...] [OPTIONS]`: run all benchmarks, or those named, each a ratio measured in one run.

`extract` and `rollout` have options: `python -m benchmarks extract --help`.
"""

import importlib
import sys
from itertools import takewhile

NAMES = ("extract", "rollout", "score", "verifiers", "adaptive", "remine", "train", "scale", "shell_difference")

if __name__ == "__main__":
    named = list(takewhile(NAMES.__contains__, sys.argv[1:]))  # an option's value may be called like a benchmark
    del sys.argv[1 : 1 + len(named)]
    for name in named or NAMES:
        importlib.import_module(f"benchmarks.{name}").main()
