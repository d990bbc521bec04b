"""`python -m pivotmine_trainer`, and `accelerate launch -m pivotmine_trainer`: the command `pivotmine-train`."""

from pivotmine_trainer.cli.app import main

main()
