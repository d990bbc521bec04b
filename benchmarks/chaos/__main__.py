"""`python -m benchmarks.chaos [--rounds 30] [--seed 0] [--faults NAME ...]`: random faults, and a table of them.

`--engines N` kills real engines N times instead (`engines`). `--write` puts the table into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.chaos.faults import FAULTS, can_mount
from benchmarks.chaos.server import serving
from benchmarks.chaos.world import make_world

PAGE = Path(__file__).parents[2] / "docs/reliability.md"
_MARKED = re.compile(r"(<!-- chaos -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Exit code 1 if a fault changed a table, or was told in other words than one line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="stop after this time even if rounds are left")
    parser.add_argument("--faults", nargs="+", choices=sorted(FAULTS), default=list(FAULTS))
    parser.add_argument("--engines", type=int, metavar="KILLS", help="kill Ray and vLLM instead, this many times")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    options = parser.parse_args()
    if options.engines is not None:
        from benchmarks.chaos import engines

        engines.kill(options.engines, options.seed)
        return
    order = random.Random(options.seed).sample(options.faults, len(options.faults))
    started, done, wrong = time.monotonic(), Counter[str](), list[str]()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, serving() as server:
        Path(folder).chmod(0o755)
        world = make_world(Path(folder), server)
        place = "a small tmpfs" if can_mount(Path(folder)) else "a limit on file sizes (no tmpfs may be mounted)"
        for number in range(options.rounds):
            if options.seconds and time.monotonic() - started > options.seconds:
                break
            # Each round has a seed of its own: a failed one can be tried again alone.
            chance = random.Random(f"{options.seed}/{number}")
            name = order[number % len(order)]
            done[name] += 1
            if found := FAULTS[name](world, chance):
                wrong.append(f"round {number}, {name}: {found}")
                print(f"chaos    {wrong[-1]}", flush=True)
    seconds = time.monotonic() - started
    table = _table(done, wrong, options.seed, seconds, place)
    print(table)
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(_MARKED.sub(lambda found: f"{found[1]}{table}\n{found[2]}", page), encoding="utf-8")
    sys.exit(1 if wrong else 0)


def _table(done: Counter[str], wrong: list[str], seed: int, seconds: float, place: str) -> str:
    failed = {name: sum(f", {name}: " in line for line in wrong) for name in done}
    rows = [f"| {name} | {number} | {number - failed[name]} |" for name, number in sorted(done.items())]
    caption = f"*{done.total()} faults, seed {seed}, {seconds:.0f} s; full disk: {place}.*"
    return "\n".join(["| fault | tried | tables as undisturbed |", "|---|---|---|", *rows, "", caption])


if __name__ == "__main__":
    main()
