"""The process that asks math-verify whether two answers are equal: run as a script, one JSON line in, one out.

    {"demonstrated": "\\frac{1}{2}", "given": "0.5", "cpu_s": 5}   ->   {"same": true}

Hostile answers make a computer algebra system think for ever or fill the memory, inside of one C call that no signal
interrupts. Here the kernel ends it: the process dies of its CPU or memory limit, and whoever asked starts another.
Answers are read by the LaTeX grammar only; nothing of them is evaluated as Python.
"""

from __future__ import annotations

import json
import logging
import math
import resource
import sys
from typing import Any

MAX_MEMORY_BYTES = 2 << 30


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable()
    # Loaded before the first question, whose time it must not take.
    _parsed("1")
    _answer({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        _limit_cpu(request["cpu_s"])
        _answer({"same": _same(request["demonstrated"], request["given"])})


def _answer(value: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


def _limit_cpu(cpu_s: float) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(usage.ru_utime + usage.ru_stime + cpu_s)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _same(demonstrated: str, given: str) -> bool:
    """Whether math-verify takes each for the other; False for what cannot be read or compared."""
    from math_verify import verify

    try:
        one, other = _parsed(demonstrated), _parsed(given)
        # Both ways: by itself it forgives an answer more than a reference.
        return bool(
            one and other and verify(one, other, timeout_seconds=None) and verify(other, one, timeout_seconds=None)
        )
    except Exception:
        return False


def _parsed(answer: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    # 0: without its own clock, which works by signals.
    return parse(f"${answer}$", extraction_config=[LatexExtractionConfig()], parsing_timeout=0)


if __name__ == "__main__":
    main()
