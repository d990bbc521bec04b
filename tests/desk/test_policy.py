"""The committed policy and its card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pivotmine_desk.card import about, card, requirements
from pivotmine_desk.evaluate import (
    class_shares,
    episode_success,
    profile,
    prompt_ids,
    skill_scores,
    teacher_states,
)
from pivotmine_desk.sampling import Policy, load_policy, sample
from pivotmine_desk.tasks import tool_definitions

DATA = Path(__file__).parents[2] / "data" / "desk"
FIGURES = json.loads((DATA / "figures.json").read_text())
SFT = json.loads((DATA / "sft.json").read_text())


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(DATA / "policy")


def test_card_is_what_its_command_writes() -> None:
    assert (DATA / "README.md").read_text() == card(FIGURES, SFT, about(DATA))


def test_weights_are_small_and_alone() -> None:
    files = {path.name: path.stat().st_size for path in (DATA / "policy").iterdir()}
    assert files.keys() == {
        "model.safetensors",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert files["model.safetensors"] <= 5_000_000


def test_shares_of_the_card_hold_on_a_sample(policy: Policy) -> None:
    """96 other states than the card's: shares within 16 points, three standard errors of the widest."""
    states = teacher_states("validation", 96)
    found = class_shares(profile(policy, states, num_samples=16, seed=1))
    for key in ("never", "mixed", "always", "functional", "strict"):
        assert found[key] == pytest.approx(FIGURES["classes"][key], abs=0.16), key


def test_success_of_the_card_holds_on_a_sample(policy: Policy) -> None:
    """60 other episodes: within 19 points, three standard errors."""
    found = episode_success(policy, "validation", range(60), temperature=1.0, seed=1)
    assert found["all"] == pytest.approx(FIGURES["success"]["all"], abs=0.19)


def test_skills_of_the_card_hold_on_a_sample(policy: Policy) -> None:
    """40 other questions each: the mean within 5 points."""
    found = skill_scores(policy, count=40, temperature=1.0, seed=1, split="validation")
    means = [sum(scores.values()) / len(scores) for scores in (found, FIGURES["skills"])]
    assert means[0] == pytest.approx(means[1], abs=0.05)


def test_card_says_what_is_missed() -> None:
    figures: dict[str, Any] = {
        "classes": {"mixed": 0.41, "never": 0.14, "always": 0.45, "majority": 0.45, "turn_alone": 0.56},
        "skills": {"add": 0.89, "sort": 1.0},
        "success": {"all": 0.51},
    }
    sft = {"gain": 0.09, "cost": 0.02}
    rows = requirements(figures, sft)
    assert [(measured, met) for _, _, measured, met in rows] == [
        ("41.0 %", False),
        ("14.0 %", False),
        ("45.0 %", True),
        ("+11.0 points", False),
        ("51.0 %", False),
        ("89.0 %", False),
        ("+9.0 points", False),
        ("+2.0 points", False),
    ]


def test_sampling_shared_beginnings_draws_what_the_model_says(policy: Policy) -> None:
    """First tokens of 4,000 samples against the model's probabilities; greedy against transformers' own."""
    state = next(s for s in teacher_states("validation", 200) if s.domain == "travel" and s.turn == 0)
    ids = prompt_ids(policy, state.messages, tool_definitions("travel"))
    generator = torch.Generator().manual_seed(0)
    ((greedy,),) = sample(policy, [ids], temperature=0.0, generator=generator)
    reference = policy.model.generate(torch.tensor([ids]), max_new_tokens=64, do_sample=False)[0, len(ids) :]
    assert greedy == policy.tokenizer.decode(reference).removesuffix("<|im_end|>")
    others = [ids[:20], ids[:-5]]
    (texts, *_) = sample(policy, [ids, *others], num_samples=4000, generator=generator)
    assert len(texts) == 4000
    chosen, start = max(set(texts), key=texts.count), len(ids)
    whole = ids + policy.tokenizer(chosen, add_special_tokens=False)["input_ids"]
    whole.append(policy.tokenizer.convert_tokens_to_ids("<|im_end|>"))
    with torch.inference_mode():
        logprobs = policy.model(torch.tensor([whole])).logits[0, start - 1 : -1].log_softmax(-1)
    expected = logprobs[range(len(whole) - start), whole[start:]].sum().exp().item()
    assert texts.count(chosen) / 4000 == pytest.approx(expected, abs=0.03)
