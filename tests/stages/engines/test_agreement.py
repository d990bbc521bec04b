"""One policy behind every engine: the same distribution, the same log-probabilities, the same greedy answer."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from pivotmine.sampling.settings import Sampling
from pivotmine_stages.engines.protocol import Engine, Reply, Request

Ask = Callable[..., Request]
NUM_SAMPLES = 480
CRITICAL = {3: 11.345, 4: 13.277}
"""Chi-square above which chance goes once in a hundred, by degrees of freedom."""


def _is_right(sample: Any, right_call: str) -> bool:
    return sample.text == right_call or '"name":"cancel_order"' in (sample.message or "")


def _draw(engine: Engine, ask: Ask, batch: str) -> list[Any]:
    requests = [ask(f"{batch}{number}", tuple(range(16))) for number in range(NUM_SAMPLES // 16)]
    replies: list[Reply] = list(engine.sample(requests))
    assert [reply.failure for reply in replies] == [None] * len(requests)
    samples = [sample for reply in replies for sample in reply.samples]
    assert len(samples) == NUM_SAMPLES
    return samples


def _forced_logprobs(model: Any, prompt: list[int], token_ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + token_ids])).logits[0].float()
    rows = torch.arange(len(token_ids))
    return logits.log_softmax(-1)[len(prompt) - 1 + rows, torch.tensor(token_ids)]


@pytest.fixture(scope="module")
def engines(opened: Any, vllm_server: str, vllm_engine: Engine, transformers_engine: Engine) -> Any:
    server: dict[str, Any] = {"base_urls": (vllm_server,), "served_model": "coin"}
    with opened("openai", **server) as completions, opened("openai", **server, api="chat") as chat:
        yield {"transformers": transformers_engine, "vllm": vllm_engine, "completions": completions, "chat": chat}


def test_the_engines_agree_on_the_success_rate(
    engines: dict[str, Engine], ask: Ask, policies: ModuleType, coin_policy: Path, coin_prompt: list[int]
) -> None:
    """Chance alone fails one draw in a hundred, and vLLM's draws differ from run to run: a second draw decides."""
    answer = policies.token_ids(coin_policy, f"{policies.RIGHT_CALL}<|im_end|>")
    model = AutoModelForCausalLM.from_pretrained(coin_policy)
    expected = _forced_logprobs(model, coin_prompt, answer).sum().exp().item()
    assert 0.5 < expected < 0.7
    assert _all_fit(engines, ask, policies.RIGHT_CALL, expected, "a") or _all_fit(
        engines, ask, policies.RIGHT_CALL, expected, "b"
    )


def _all_fit(engines: dict[str, Engine], ask: Ask, right_call: str, expected: float, batch: str) -> bool:
    hits = [sum(_is_right(s, right_call) for s in _draw(engine, ask, batch)) for engine in engines.values()]
    pooled = sum(hits) / (NUM_SAMPLES * len(hits))
    print(f"expected {expected:.3f}, hits {dict(zip(engines, hits, strict=True))} of {NUM_SAMPLES}")  # noqa: T201
    with_each_other = _chi_square(hits, pooled) < CRITICAL[len(hits) - 1]
    return with_each_other and _chi_square(hits, expected) < CRITICAL[len(hits)]


def _chi_square(hits: list[int], rate: float) -> float:
    return sum((count - NUM_SAMPLES * rate) ** 2 / (NUM_SAMPLES * rate * (1 - rate)) for count in hits)


@pytest.mark.parametrize("name", ["transformers", "vllm", "completions", "chat"])
def test_log_probabilities_are_the_models_own(
    name: str, engines: dict[str, Engine], ask: Ask, coin_policy: Path, coin_prompt: list[int]
) -> None:
    model = AutoModelForCausalLM.from_pretrained(coin_policy)
    (reply,) = engines[name].sample([ask("s", tuple(range(8)))])
    assert len({tuple(sample.token_ids or ()) for sample in reply.samples}) > 1
    for sample in reply.samples:
        assert sample.token_ids is not None
        expected = _forced_logprobs(model, coin_prompt, sample.token_ids).tolist()
        assert sample.logprobs == pytest.approx(expected, abs=2e-3)


def test_texts_are_the_same_for_the_same_tokens(
    engines: dict[str, Engine], ask: Ask, policies: ModuleType, coin_policy: Path
) -> None:
    for name in ("transformers", "vllm", "completions"):
        (reply,) = engines[name].sample([ask("s", tuple(range(8)))])
        for sample in reply.samples:
            assert sample.token_ids is not None
            assert sample.text == policies.text(coin_policy, sample.token_ids[:-1])


def test_the_greedy_answer_is_the_same(opened: Any, vllm_server: str, ask: Ask, policies: ModuleType) -> None:
    greedy = Sampling(temperature=0, max_new_tokens=64)
    served = {"base_urls": (vllm_server,), "served_model": "coin"}
    answers: list[Any] = []
    for name, options in (("transformers", {}), ("openai", served)):
        with opened(name, sampling=greedy, **options) as engine:
            (reply,) = engine.sample([ask("s", (2, 5))])
        assert [sample.sample_index for sample in reply.samples] == [2, 5]
        assert {sample.text for sample in reply.samples} == {policies.RIGHT_CALL}
        answers.append([sample.token_ids for sample in reply.samples])
    assert answers[0] == answers[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted:
    replies: dict[str, Reply]
    """What each engine answers with the adapter: greedy, to sample indices 1 and 3."""
    left_over: set[Any]
    """Processes that vLLM left behind after closing."""


@pytest.fixture(scope="module")
def adapted(opened: Any, vllm_server: str, vllm_engine: Engine, ask: Ask, coin_adapter: Path) -> Adapted:
    """vLLM's second and last start in process: what needs one of its own is tested on this one."""
    replies: dict[str, Reply] = {}
    before = set(multiprocessing.active_children())
    for name, options in (
        ("transformers", {"adapter": str(coin_adapter)}),
        ("vllm", {"adapter": str(coin_adapter)}),
        ("openai", {"base_urls": (vllm_server,), "served_model": "adapter"}),
    ):
        with opened(name, sampling=Sampling(temperature=0, max_new_tokens=6), **options) as engine:
            (replies[name],) = engine.sample([ask("s", (1, 3))])
            engine.close()  # and once more at the end of the block
    return Adapted(replies=replies, left_over=set(multiprocessing.active_children()) - before)


def test_an_adapter_changes_every_engine_alike(
    adapted: Adapted, coin_policy: Path, coin_adapter: Path, coin_prompt: list[int]
) -> None:
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(coin_policy)
    model: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(coin_policy), str(coin_adapter))
    for reply in adapted.replies.values():
        (sample, _) = reply.samples
        expected = _forced_logprobs(model, coin_prompt, sample.token_ids or [])
        assert sample.logprobs == pytest.approx(expected.tolist(), abs=2e-3)
        assert (expected - _forced_logprobs(base, coin_prompt, sample.token_ids or [])).abs().max() > 0.5


def test_greedy_samples_of_every_engine_are_the_same_and_stand_for_every_index(adapted: Adapted) -> None:
    first = adapted.replies["transformers"].samples[0].token_ids
    assert first
    for reply in adapted.replies.values():
        assert [(sample.sample_index, sample.token_ids) for sample in reply.samples] == [(1, first), (3, first)]


def test_closing_vllm_ends_its_process(adapted: Adapted, vllm_engine: Engine) -> None:
    assert multiprocessing.active_children() != []
    assert adapted.left_over == set()
