"""`python -m pivotmine`."""

from pivotmine.cli import main

main()
