"""The process that asks math-verify whether two answers are equal: run as a script, one JSON line in, one out.

    {"demonstrated": "\\frac{1}{2}", "given": "0.5", "cpu_s": 5}   ->   {"same": true}

A hostile answer can keep a computer algebra system busy for ever or fill the memory, inside one C call that no signal
interrupts. Therefore the kernel ends the process at its CPU or memory limit, and its parent starts another one.
Answers are read by the LaTeX grammar only. They are never evaluated as Python.
"""

from __future__ import annotations

import json
import logging
import math
import resource
import sys
from typing import Any

MAX_MEMORY_BYTES = 1 << 30
MAX_RELATIVE_ERROR = 2e-6
"""Maximum relative difference of equal numbers. math-verify rounds to 6 decimals, which makes all tiny ones equal."""


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable()
    # Load math-verify now, so that its import takes no CPU time from the first request.
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
    """Whether math-verify accepts each answer for the other; False if one cannot be read or compared."""
    from math_verify import verify

    try:
        one, other = _parsed(demonstrated), _parsed(given)
        # Both ways, because math-verify is more lenient with an answer than with a reference.
        return bool(
            one
            and other
            and verify(one, other, timeout_seconds=None)
            and verify(other, one, timeout_seconds=None)
            and _close(one[0], other[0])
        )
    except Exception:
        return False


def _close(one: Any, other: Any) -> bool:
    """Whether two numbers are close relative to their size; True for everything else."""
    if not (getattr(one, "is_number", False) and getattr(other, "is_number", False)):
        return True
    left, right = complex(one.evalf(15)), complex(other.evalf(15))
    return abs(left - right) <= MAX_RELATIVE_ERROR * max(abs(left), abs(right))


def _parsed(answer: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    # 0 turns off math-verify's own timeout, which works by signals.
    return parse(f"${answer}$", extraction_config=[LatexExtractionConfig()], parsing_timeout=0)


if __name__ == "__main__":
    main()
