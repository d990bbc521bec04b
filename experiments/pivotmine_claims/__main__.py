"""The claims: `python -m pivotmine_claims run|page|status|measure [OPTION VALUE ...]`; each has --help."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DESK = ROOT / "data" / "desk"


def main() -> None:
    """Run one command; bad input is one line and exit code 1."""
    # Said before torch is imported: threads that wait for work do so asleep.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    from pivotmine.errors import UserError

    try:
        sys.exit(_command(_options()))
    except UserError as error:
        sys.exit(f"error: {error}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--results", type=Path, default=ROOT / "docs" / "results", help="finished cells")
    common.add_argument("--work", type=Path, default=ROOT / "runs" / "claims", help="checkpoints and unfinished cells")
    common.add_argument("--scale", choices=("full", "smoke"), default="full")
    run = commands.add_parser("run", parents=[common], help="make the cells that are missing")
    run.add_argument("--minutes", type=float, help="start no cell after so long")
    run.add_argument("--arms", nargs="+", default=[], help="only these")
    page = commands.add_parser("page", parents=[common], help="write the page of results from the finished cells")
    page.add_argument("--out", type=Path, default=ROOT / "docs" / "results.md")
    page.add_argument("--readme", type=Path, default=ROOT / "README.md", help="the page whose table is renewed")
    commands.add_parser("status", parents=[common], help="which cells are there")
    measure = commands.add_parser("measure", parents=[common], help="measure any policy as the cells are")
    measure.add_argument("--policy", type=Path, required=True)
    measure.add_argument("--seed", type=int, default=0)
    smoke = commands.add_parser("smoke", help="tiny cells whose answer is known; minutes")
    smoke.add_argument("--killed", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _command(options: argparse.Namespace) -> int:
    from pivotmine_claims.mining import World
    from pivotmine_claims.scale import SCALES

    world = World(name="middle", policy=DESK / "policy", trajectories=DESK / "trajectories.jsonl", never=(0.17, 0.23))
    if options.command == "smoke":
        from pivotmine_claims import smoke

        smoke.make_killed(world, options.killed) if options.killed else smoke.check(world)
        return 0
    from pivotmine_claims import measure, page, runner

    scale = SCALES[options.scale]
    if options.command == "run":
        refused = runner.run(
            world, scale, options.work.resolve(), options.results, arms=options.arms, minutes=options.minutes
        )
        return int(refused > 0)
    if options.command == "page":
        page.write(options.out, options.results, world, scale, options.readme)
    elif options.command == "status":
        page.status(options.results, world, scale)
    else:
        found = measure.measure(options.policy, world.policy, scale, "final", seed=options.seed)
        print(json.dumps(found, indent=1))  # noqa: T201
    return 0


if __name__ == "__main__":
    main()
