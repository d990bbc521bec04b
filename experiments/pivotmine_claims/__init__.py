"""PivotRL's claims on the desk: arms x seeds, with a ledger of all costs; see `docs/results.md`."""
