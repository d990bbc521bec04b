"""`python -m pivotmine_stages`."""

from pivotmine_stages.cli.app import main

main()
