"""End-to-end RL: whole episodes, rewarded by their outcome, trained with the trainer's loss and shared prefixes.

A group is several episodes of one task. An episode is one sequence behind the task's prompt: the tokens that the policy
sampled, and between them the environment's replies, which carry no loss. Tasks are filtered first, as pivots are: a few
episodes of the base policy, and the tasks that it sometimes solves are kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from pivotmine.actions import parse_action
from pivotmine.errors import UserError
from pivotmine.sampling.decoding import Draw, decode
from pivotmine.sampling.settings import Sampling
from pivotmine_claims.arms import Settings
from pivotmine_claims.ledger import Cost, total, write_json
from pivotmine_desk.conversation import END_OF_TURN, encode, load_tokenizer, render
from pivotmine_desk.evaluate import EpisodeRun, act
from pivotmine_desk.sampling import MAX_NEW_TOKENS, Policy, load_policy
from pivotmine_desk.tasks import make_task, numbered_task, open_desk, opening, succeeded, tool_definitions
from pivotmine_desk.world import MAX_TURNS, Task

EPISODES_AT_ONCE = 64


@dataclass(slots=True, kw_only=True)
class Episode:
    """One sampled episode, as tokens."""

    task: Task
    run: EpisodeRun
    prompt: list[int]
    """Tokens before the first turn."""
    said: list[int] = field(default_factory=list[int])
    """What follows the prompt: turns, and the environment's replies between them."""
    is_own: list[bool] = field(default_factory=list[bool])
    """Of each token, whether the policy sampled it."""
    turns: int = 0
    prefilled: int = 0

    @property
    def reward(self) -> float:
        return float(succeeded(self.task, self.run.desk))

    @property
    def cost(self) -> Cost:
        return Cost(turns=self.turns, generated=sum(self.is_own), prefilled=self.prefilled)


def sample_episodes(policy: Policy, tasks: Sequence[Task]) -> list[Episode]:
    """One episode of each task, at temperature 1; random numbers come from torch's generator."""
    episodes = [_started(policy.tokenizer, task) for task in tasks]
    active = episodes
    for _ in range(MAX_TURNS):
        for start in range(0, len(active), EPISODES_AT_ONCE):
            _sample_turn(policy, active[start : start + EPISODES_AT_ONCE])
        active = [episode for episode in active if _goes_on(policy.tokenizer, episode)]
        if not active:
            break
    return episodes


def _started(tokenizer: Any, task: Task) -> Episode:
    run = EpisodeRun(task=task, desk=open_desk(task), messages=opening(task))
    prompt = encode(tokenizer, render(tokenizer, run.messages, tool_definitions(task.domain), prompt=True))
    return Episode(task=task, run=run, prompt=prompt)


def _sample_turn(policy: Policy, episodes: Sequence[Episode]) -> None:
    """Append a turn's tokens to each episode; equal histories are prefilled once."""
    places: dict[tuple[int, ...], int] = {}
    draws: list[Draw] = []
    for episode, seed in zip(episodes, torch.randint(0, 2**62, (len(episodes),)).tolist(), strict=True):
        history = (*episode.prompt, *episode.said)
        episode.prefilled += 0 if history in places else len(history)
        draws.append(
            Draw(prompt=places.setdefault(history, len(places)), max_new_tokens=MAX_NEW_TOKENS, seed=seed)
        )  # fmt: skip
    end = policy.tokenizer.convert_tokens_to_ids(END_OF_TURN)
    sampling = Sampling(max_new_tokens=MAX_NEW_TOKENS)
    drawn = decode(policy.model, [list(one) for one in places], draws, sampling=sampling, eos_ids=frozenset({end}))
    for episode, one in zip(episodes, drawn, strict=True):
        episode.turns += 1
        episode.said += one.token_ids
        episode.is_own += [True] * len(one.token_ids)


def _goes_on(tokenizer: Any, episode: Episode) -> bool:
    """Execute the turn that was sampled last, and append the environment's reply; whether the episode goes on."""
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    last = len(episode.is_own) - next(
        (i for i, own in enumerate(reversed(episode.is_own)) if not own), len(episode.is_own)
    )
    turn = episode.said[last:]
    text = tokenizer.decode(turn[:-1] if turn[-1] == end else turn)
    run = episode.run
    if not act(run, text) or turn[-1] != end:
        return False
    num_replies = len(parse_action(text, parser="hermes").tool_calls)
    tools = tool_definitions(episode.task.domain)
    before = render(tokenizer, run.messages[:-num_replies], tools)
    reply = encode(tokenizer, render(tokenizer, run.messages, tools, prompt=True).removeprefix(before))
    episode.said += reply
    episode.is_own += [False] * len(reply)
    return True


def filter_tasks(policy_folder: Path, *, tasks: int, episodes: int, seed: int) -> dict[str, Any]:
    """The train tasks that the policy sometimes solves, and what it cost to find them."""
    torch.manual_seed(seed)
    asked = [numbered_task("train", number) for number in range(tasks)]
    sampled = sample_episodes(load_policy(policy_folder), [task for task in asked for _ in range(episodes)])
    wins = Counter(episode.task.task_id for episode in sampled if episode.reward)
    kept = [task.task_id for task in asked if 0 < wins[task.task_id] < episodes]
    cost = asdict(total(episode.cost for episode in sampled))
    del cost["cpu_s"]
    shares = Counter(
        "never" if not wins[t.task_id] else "always" if wins[t.task_id] == episodes else "sometimes" for t in asked
    )
    return {"cost": cost, "profile": dict(shares), "tasks": kept}


def train_episodes(
    folder: Path, policy_folder: Path, task_ids: Sequence[str], settings: Settings, *, tasks_per_step: int
) -> dict[str, Any]:
    """GRPO on whole episodes to `max_steps`; goes on from the last checkpoint."""
    # TRL takes seconds to import, and sampling episodes does not need it.
    from datasets import Dataset

    from pivotmine_claims.training import COMMON
    from pivotmine_trainer.cli.arguments import GRPOSettings
    from pivotmine_trainer.train.resume import last_checkpoint
    from pivotmine_trainer.train.trainer import Additions, PivotTrainer

    if len(task_ids) < tasks_per_step:
        raise UserError(f"{len(task_ids)} tasks passed the filter, and a step takes {tasks_per_step}: filter more")
    out = folder / "out"
    args = GRPOSettings(
        output_dir=str(out),
        prompts_per_step=tasks_per_step,
        per_device_train_batch_size=settings["num_generations"],
        max_completion_length=MAX_NEW_TOKENS,
        mask_truncated_completions=False,  # an episode that is cut off has an outcome all the same
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        eval_strategy="no",
        eval_on_start=False,
        save_total_limit=1000,
        log_completions=False,
        **{name: value for name, value in COMMON.items() if name != "resume_from_checkpoint"},
        **settings,
    )
    tasks = {task_id: _task(task_id) for task_id in task_ids}
    rows = [{"prompt": task_id, "state_id": task_id, "domain": task.domain} for task_id, task in tasks.items()]
    rewards: list[float] = []

    def roll_out(prompts: list[str], trainer: Any) -> dict[str, Any]:
        policy = Policy(model=trainer.accelerator.unwrap_model(trainer.model), tokenizer=tokenizer)
        policy.model.eval()
        episodes = sample_episodes(policy, [tasks[prompt] for prompt in prompts])
        policy.model.train()
        rewards[:] = [episode.reward for episode in episodes]
        _note(folder, trainer.state.global_step + 1, episodes, int(settings["num_generations"]))
        return {
            "prompt_ids": [episode.prompt for episode in episodes],
            "completion_ids": [episode.said for episode in episodes],
            "logprobs": None,
            "env_mask": [[int(own) for own in episode.is_own] for episode in episodes],
        }

    def outcome(completions: list[Any], **columns: Any) -> list[float]:
        return list(rewards)

    tokenizer = load_tokenizer(policy_folder)
    with (folder / "log.txt").open("a") as log, redirect_stdout(log), redirect_stderr(log):
        trainer = PivotTrainer(
            model=str(policy_folder),
            reward_funcs=outcome,
            args=args,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            rollout_func=roll_out,
            additions=Additions(shared_prefix="cached"),
        )
        last = last_checkpoint(out) if out.is_dir() else None
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    return {}


def _task(task_id: str) -> Task:
    domain, _, number = task_id.split("-")
    return make_task(domain, "train", int(number))


def _note(folder: Path, step: int, episodes: Sequence[Episode], group: int) -> None:
    """What a step's episodes were; a resumed training replaces the note of a step that it repeats."""
    groups = [[e.reward for e in episodes[start : start + group]] for start in range(0, len(episodes), group)]
    cost = total(episode.cost for episode in episodes)
    prompts = sum(len(episodes[start].prompt) for start in range(0, len(episodes), group))
    note = {
        "turns": cost.turns,
        "generated": cost.generated,
        "prefilled": cost.prefilled,
        "trained": prompts + sum(len(episode.said) for episode in episodes),
        "groups": len(groups),
        "dead_groups": sum(len(set(one)) == 1 for one in groups),
    }
    write_json(folder / "episodes" / f"step-{step:05d}.json", note)


def cost_of_episodes(folder: Path, *, up_to: int) -> Cost:
    """Of end-to-end RL to a step."""
    notes: Iterable[Path] = sorted((folder / "episodes").glob("step-*.json"))
    kept = [path for path in notes if int(path.stem.removeprefix("step-")) <= up_to]
    return total(Cost(**json.loads(path.read_text(encoding="utf-8"))) for path in kept)
