"""What any policy can do, in and outside of the domain.

Episodes and skills are of the split `test`, whose names and ids no policy has read. The KL is that of the policy to the
base policy, a mean over the tokens that an assistant wrote in pre-training text, each with the text before it.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, Literal

import torch

from pivotmine_claims.scale import Scale
from pivotmine_desk.conversation import encode, render
from pivotmine_desk.data import Batch, Reader
from pivotmine_desk.evaluate import (
    TeacherState,
    class_shares,
    episode_success,
    profile,
    prompt_ids,
    skill_scores,
    teacher_states,
)
from pivotmine_desk.sampling import Policy, load_policy
from pivotmine_desk.tasks import tool_definitions
from pivotmine_desk.world import dumps

WORLD_STATES, WORLD_SAMPLES = 1_200, 16
DEMONSTRATION_STATES = 300
KL_SEED = 1
"""Not the seed that pre-training read with."""
FIRST_BLOCK = 80
"""Blocks before it hold look-ups alone."""

How = Literal["try", "curve", "final"]


def measure(policy: Path, base: Path, scale: Scale, how: How, *, seed: int) -> dict[str, Any]:
    """Shares and scores in [0, 1], the KL in nats a token.

    try: greedy episodes of the split `validation`. curve: greedy test episodes. final: greedy and sampled test
    episodes, general skills (greedy; mean, worst and each), and the KL.
    """
    loaded = load_policy(policy)
    if how == "try":
        return {"greedy": _success(loaded, "validation", scale.try_tasks, 0.0, seed)}
    if how == "curve":
        return {"greedy": _success(loaded, "test", scale.curve_tasks, 0.0, seed)}
    skills = skill_scores(loaded, count=scale.questions, temperature=0.0, seed=0)
    worst = min(skills, key=lambda skill: skills[skill])
    return {
        "greedy": _success(loaded, "test", scale.final_tasks, 0.0, seed),
        "sampled": _success(loaded, "test", scale.final_tasks, 1.0, seed),
        "skills_mean": sum(skills.values()) / len(skills),
        "skills_worst": skills[worst],
        "worst_skill": worst,
        "skills": skills,
        "kl_to_base": kl(loaded, load_policy(base), batches=scale.kl_batches),
    }


def _success(policy: Policy, split: Any, tasks: int, temperature: float, seed: int) -> float:
    return episode_success(policy, split, range(tasks), temperature=temperature, seed=seed)["all"]


@torch.no_grad()
def kl(policy: Policy, base: Policy, *, batches: int) -> float:
    """KL(policy || base) a token, over the whole vocabulary."""
    reader = Reader(base.tokenizer, seed=KL_SEED, num_desk=12, num_skills=32)
    summed, count = 0.0, 0
    for number in range(batches):
        for batch in reader.batch(16 * FIRST_BLOCK + number):
            ours, theirs = (_logprobs(one, batch) for one in (policy, base))
            summed += (ours.exp() * (ours - theirs)).sum().item()
            count += len(ours)
    return summed / count


def _logprobs(policy: Policy, batch: Batch) -> torch.Tensor:
    """[tokens that an assistant wrote, vocabulary]"""
    ids, mask = torch.from_numpy(batch.ids), torch.from_numpy(batch.mask)
    hidden = policy.model.model(input_ids=ids, use_cache=False)[0]  # padding is on the right: causal masks suffice
    return policy.model.lm_head(hidden[:, :-1][mask[:, 1:]]).float().log_softmax(-1)


def world_classes(policy: Path) -> dict[str, float]:
    """Shares of test states that the policy never, sometimes and always solves in 16 samples."""
    states = teacher_states("test", WORLD_STATES)
    shares = class_shares(profile(load_policy(policy), states, num_samples=WORLD_SAMPLES, seed=0))
    return {name: shares[name] for name in ("never", "mixed", "always", "functional", "strict")}


def demonstration_probabilities(policy: Path) -> dict[str, float]:
    """Median probability that the policy says the demonstration word by word, of test states by their class."""
    loaded, by_class = load_policy(policy), dict[str, list[float]]()
    for row in profile(loaded, teacher_states("test", DEMONSTRATION_STATES), num_samples=WORLD_SAMPLES, seed=0):
        by_class.setdefault(row.kind, []).append(_probability(loaded, row.state))
    return {kind: statistics.median(found) for kind, found in sorted(by_class.items())}


@torch.no_grad()
def _probability(policy: Policy, state: TeacherState) -> float:
    (call,) = state.demonstration.tool_calls
    function = {"name": call.name, "arguments": dumps(call.arguments)}
    said = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}
    tools = tool_definitions(state.domain)
    start = len(prompt_ids(policy, state.messages, tools))
    ids = torch.tensor([encode(policy.tokenizer, render(policy.tokenizer, [*state.messages, said], tools))])
    logprobs = policy.model(input_ids=ids, use_cache=False).logits[0, start - 1 : -1].float().log_softmax(-1)
    return logprobs.gather(-1, ids[0, start:, None]).sum().exp().item()
