"""The verifier court: our own labelled pairs, and what each shipped reward makes of them."""

from benchmarks.verifiers.court import main

__all__ = ["main"]
