"""pivotmine: mine the turns worth training on from recorded agent trajectories."""

__version__ = "0.1.0"
