"""How much of everything a cell takes. A cell's key holds all of it."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    seeds: int = 5
    trajectories: int = 400
    """The first ones of data/desk/trajectories.jsonl."""
    mining_samples: int = 8
    """Samples of a state in mining, K."""
    rl_steps: int = 60
    prompts: int = 16
    """Prompts of a step."""
    group: int = 16
    """Samples of a prompt, G; with end-to-end RL, episodes of a task."""
    save_steps: int = 20
    """Steps between two measured checkpoints of turn-level RL, and between two minings."""
    sft_steps: int = 72
    sft_batch: int = 16
    """Sequences of a step of SFT: whole trajectories where the template keeps its history."""
    episode_steps: int = 24
    episode_tasks: int = 8
    """Tasks of a step of end-to-end RL."""
    filter_tasks: int = 200
    filter_episodes: int = 4
    """Episodes of each task with which end-to-end RL filters its tasks."""
    warmup_steps: int = 2
    curve_tasks: int = 200
    """Greedy test episodes at a checkpoint before the last one."""
    final_tasks: int = 1_000
    """Test episodes at the end, greedy and sampled."""
    questions: int = 200
    """Questions of each general skill, greedy."""
    kl_batches: int = 4
    """Batches of 12 episodes and 32 questions of pre-training text, for the KL to base."""
    try_share: float = 1 / 2
    """Length of a try, as a share of the arm's steps."""
    try_tasks: int = 200
    """Greedy validation episodes of a try."""

    def tried(self, steps: str) -> Scale:
        """The scale of a try: fewer of the steps that the field of this name counts."""
        return replace(self, **{steps: max(1, round(getattr(self, steps) * self.try_share))})


FULL = Scale()
SMOKE = Scale(
    seeds=1,
    trajectories=64,
    mining_samples=4,
    rl_steps=4,
    prompts=4,
    group=8,
    save_steps=2,
    sft_steps=27,
    warmup_steps=2,
    curve_tasks=4,
    final_tasks=60,
    questions=4,
    kl_batches=1,
    try_tasks=8,
)
"""Minutes of one core: what `just claims-smoke` takes."""
SCALES = {"full": FULL, "smoke": SMOKE}
