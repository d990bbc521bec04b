"""pivotmine_trainer: turn-level GRPO on mined pivots, with TRL."""

__version__ = "0.1.0"
