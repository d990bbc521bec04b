"""`python -m benchmarks [NAME ...]`: run all benchmarks, or those named, each a ratio measured in one run."""

import importlib
import sys

NAMES = ("extract", "rollout", "score", "adaptive")

if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        importlib.import_module(f"benchmarks.{name}").main()
