"""`python -m benchmarks [NAME ...] [OPTIONS]`: run all benchmarks, or those named, each a ratio measured in one run.

`extract` and `rollout` have options: `python -m benchmarks extract --help`.
"""

import importlib
import sys

NAMES = ("extract", "rollout", "score", "verifiers", "adaptive", "remine", "train", "scale", "shell_difference")

if __name__ == "__main__":
    named = [argument for argument in sys.argv[1:] if argument in NAMES]
    sys.argv[1:] = [argument for argument in sys.argv[1:] if argument not in NAMES]
    for name in named or NAMES:
        importlib.import_module(f"benchmarks.{name}").main()
