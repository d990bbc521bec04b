"""`python -m benchmarks.chaos`: random faults, and afterwards the tables of an undisturbed run.

`world` has the small run that is disturbed, `server` the server that misbehaves, `faults` what is done to them, and
`engines` the kills of real engines (Ray workers and nodes, vLLM servers), which take hours and not minutes.
"""
