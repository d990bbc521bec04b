"""The program `pivotmine`, and `python -m pivotmine_stages`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Ctrl-C gives one line even while it is still being imported."""
    try:
        from pivotmine_stages.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("pivotmine: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
