"""Watch the training with a second verifier: `--watch_verifier exact`.

Training raises the reward, also by exploiting faults of its verifier. The second verifier gives no reward, so it shows
this: the first one's mean rises, the second one's does not, and the two drift apart.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pivotmine_trainer.cli.console import warn

FILE = "watch.json"
"""File in a checkpoint, from which a resumed training continues to count."""

NUM_BATCHES = 10
"""Number of first and of last batches that are compared."""
MIN_SAMPLES = 32
"""Minimum samples in each half of a short training for its shares of unproven verdicts."""
DRIFT = 0.15
"""Growth of the difference in mean reward above which there is a warning."""
UNPROVEN_RISE = 0.10
"""Growth of the share of unproven verdicts from which on there is a warning."""


class _Batch(NamedTuple):
    apart: float | None
    """Mean reward minus the watcher's mean, over samples that both scored."""
    unproven: int
    """Samples whose verdict is unproven."""
    samples: int


class Watch:
    """The batches so far, and the warnings that were given."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._batches: list[_Batch] = []
        self._said: set[str] = set()

    def save(self, checkpoint: Path) -> None:
        """Write the batches so far and the warnings that were given."""
        state = {"name": self._name, "batches": self._batches, "said": sorted(self._said)}
        (checkpoint / FILE).write_text(json.dumps(state), encoding="utf-8")

    def load(self, checkpoint: Path) -> None:
        """Read what `save` wrote; warn if it is missing, or if it is another verifier's."""
        try:
            state: dict[str, Any] = json.loads((checkpoint / FILE).read_text(encoding="utf-8"))
            batches = [_Batch(*batch) for batch in state["batches"]]
            name, said = state["name"], set(state["said"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            warn(
                f"{checkpoint / FILE} is missing or broken ({type(error).__name__}): drift and unproven verdicts are "
                "counted from here on"
            )
            return
        if name != self._name:
            batches = [batch._replace(apart=None) for batch in batches]
            said.discard("apart")
            if self._name is not None:
                warn(f"--watch_verifier {self._name} was {name}: their drift is counted from here on")
        self._batches, self._said = batches, said

    def learn(
        self, rewards: Sequence[float | None], watched: Sequence[float | None], outcomes: Sequence[str]
    ) -> list[str]:
        """Add one batch of training samples. Returns new warnings, each once per training."""
        both = [(r, w) for r, w in zip(rewards, watched, strict=True) if r is not None and w is not None]
        apart = sum(r - w for r, w in both) / len(both) if both else None
        self._batches.append(_Batch(apart, sum(one == "unproven" for one in outcomes), len(outcomes)))
        found: list[str] = []
        apart = self._growth([batch.apart for batch in self._batches if batch.apart is not None])
        if apart is not None and apart[1] - apart[0] > DRIFT:
            words = f"reward minus that of --watch_verifier {self._name} grew from {apart[0]:+.2f} to {apart[1]:+.2f}"
            found += self._once("apart", f"{words}: the policy may have found a fault of the verifier")
        share = self._unproven_shares()
        if share is not None and share[1] - share[0] > UNPROVEN_RISE - 1e-9:  # exactly 10 points count, too
            words = f"the share of unproven verdicts grew from {share[0]:.0%} to {share[1]:.0%}"
            found += self._once("unproven", f"{words}: the policy's actions leave what the verifier can decide")
        return found

    def _growth(self, values: list[float]) -> tuple[float, float] | None:
        if len(values) < 2 * NUM_BATCHES:
            return None
        return sum(values[:NUM_BATCHES]) / NUM_BATCHES, sum(values[-NUM_BATCHES:]) / NUM_BATCHES

    def _unproven_shares(self) -> tuple[float, float] | None:
        """Shares in the first and in the last batches; in the two halves of a short training."""
        size = min(NUM_BATCHES, len(self._batches) // 2)
        parts = self._batches[:size], self._batches[-size:]
        unproven = [sum(batch.unproven for batch in part) for part in parts]
        samples = [sum(batch.samples for batch in part) for part in parts]
        if size < NUM_BATCHES and min(samples) < MIN_SAMPLES:
            return None
        return unproven[0] / samples[0], unproven[1] / samples[1]

    def _once(self, key: str, words: str) -> list[str]:
        is_new = key not in self._said
        self._said.add(key)
        return [words] if is_new else []
