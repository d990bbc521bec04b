"""The curriculum, the loss on replies, the retrieval diagnostic, and the order of prompts."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine_trainer.cli.app import main
from pivotmine_trainer.extras.curriculum import TEMPERATURE, Curriculum, CurriculumSampler
from pivotmine_trainer.extras.echo import Echo
from pivotmine_trainer.extras.retrieval import log_likelihoods
from pivotmine_trainer.sft.demonstrations import continuations
from pivotmine_trainer.train.prompt_sampler import PromptSampler


def test_weights_are_the_softmax_of_the_upper_confidence_bounds() -> None:
    curriculum = Curriculum(["a", "b", None, "a"], seed=0)
    assert curriculum.weights() == pytest.approx({"": 1 / 3, "a": 1 / 3, "b": 1 / 3})
    curriculum.learn(["a"] * 4 + ["b"] * 4, [1, 0, 0, 1, 1, 1, 1, 1], 4)
    mean_a = 0.5 / (math.sqrt(1 / 3) + 1e-4)
    bound = {name: math.sqrt(2 * math.log(9) / (count + 1)) for name, count in (("a", 4), ("b", 4), ("", 0))}
    scores = {"": bound[""], "a": mean_a + bound["a"], "b": bound["b"]}
    powers = {name: math.exp(score / TEMPERATURE) for name, score in scores.items()}
    assert curriculum.weights() == pytest.approx({name: p / sum(powers.values()) for name, p in powers.items()})


def test_the_mean_is_over_the_last_300_samples() -> None:
    curriculum = Curriculum(["a"], seed=0)
    curriculum.learn(["a"] * 300, [1.0, 0.0] * 150, 2)
    curriculum.learn(["a"] * 300, [0.0] * 300, 2)
    assert sum(curriculum.advantages["a"]) == 0
    assert (len(curriculum.advantages["a"]), curriculum.num_samples["a"]) == (300, 600)


def test_what_could_not_be_scored_has_no_advantage() -> None:
    curriculum = Curriculum(["three", "two"], seed=0)
    curriculum.learn(["three"] * 3, [1.0, math.nan, 0.0], 3)
    curriculum.learn(["two"] * 2, [1.0, math.nan], 2)
    assert curriculum.advantages["three"] == pytest.approx([0.5 / (math.sqrt(0.5) + 1e-4)] * 2)
    assert list(curriculum.advantages["two"]) == [0.0]
    assert curriculum.num_samples == {"three": 2, "two": 1}


def test_a_domain_with_signal_is_drawn_more_often_than_one_without() -> None:
    domains = ["live"] * 40 + ["dead"] * 40
    curriculum = Curriculum(domains, seed=0)
    curriculum.learn(["live"] * 300 + ["dead"] * 300, [1.0, 0.0] * 150 + [0.0] * 300, 2)
    drawn = Counter(domains[row] for place in range(20) for row in curriculum.draw(place, 8))
    assert drawn["live"] > 150
    first = [row for place in range(5) for row in curriculum.draw(place, 8) if row < 40]
    assert len(set(first)) == len(first)  # each comes once before any comes again


def test_a_resumed_curriculum_gives_the_same_batches(tmp_path: Path) -> None:
    """Batches drawn before the kill, and batches after it."""
    domains = ["a", "b"] * 10

    def batches(curriculum: Curriculum, places: range) -> list[list[int]]:
        found: list[list[int]] = []
        for place in places:
            found.append(curriculum.draw(place, 4))
            if place >= len(curriculum.drawn) - 1:
                curriculum.learn(["a"] * 2, [1.0, 0.0], 2)
        return found

    undisturbed = batches(Curriculum(domains, seed=3), range(12))
    killed = Curriculum(domains, seed=3)
    batches(killed, range(6))
    killed.save(tmp_path / "curriculum.json")
    resumed = Curriculum(domains, seed=3)
    resumed.load(tmp_path / "curriculum.json")
    assert [resumed.draw(place, 4) for place in range(6)] == undisturbed[:6]
    assert batches(resumed, range(6, 12)) == undisturbed[6:]


@given(rows=st.integers(1, 30), group=st.integers(1, 4), batch=st.integers(1, 8), reuse=st.integers(1, 3))
@settings(max_examples=40)
def test_samplers_give_whole_groups_in_whole_batches(rows: int, group: int, batch: int, reuse: int) -> None:
    data: Any = list(range(rows))
    plain = PromptSampler(data, group, batch, reuse, seed=1)
    drawn = CurriculumSampler.of(plain, Curriculum([str(row % 3) for row in data], seed=1))
    for sampler in (plain, drawn):
        sampler.set_epoch(0)
        indices = list(sampler)
        assert len(indices) == len(sampler) == rows // batch * batch * group * reuse
        for start in range(0, len(indices), batch * group * reuse):
            parts = [indices[start + i * batch * group : start + (i + 1) * batch * group] for i in range(reuse)]
            assert all(part == parts[0] for part in parts)
            assert parts[0] == [row for row in parts[0][::group] for _ in range(group)]


def test_an_epoch_s_order_depends_on_the_seed_and_the_epoch_alone() -> None:
    data: Any = list(range(20))
    one, other = PromptSampler(data, 1, 4, 1, seed=1), PromptSampler(data, 1, 4, 1, seed=1)
    one.set_epoch(0)
    first = list(one)
    for sampler in (one, other):
        sampler.set_epoch(1)
    second = list(one)
    assert second == list(other) != first


def test_the_curriculum_trains_and_its_state_is_saved(policy: Path, dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    main(tiny.command(policy, dataset, out, curriculum="true", eval_strategy="no", save_steps=2))
    state = json.loads((out / "checkpoint-2/curriculum.json").read_text())
    assert sum(state["num_samples"].values()) == 2 * 32
    logged = pq.read_table(out / "completions/train_00002.parquet").to_pydict()["state_id"]
    assert logged[::8] == [f"state{row}" for row in state["drawn"][1]]


def test_a_demonstration_is_written_as_the_template_writes_it(policy: Path) -> None:
    tokenizer = tiny.load_tokenizer(policy)
    (found,) = continuations(tokenizer, tiny.pivot_rows(policy)[1], with_reply=True)
    assert tokenizer.decode(found.action_ids) == f"{tiny.STATES[1].right}<|im_end|>"
    assert tokenizer.decode(found.reply_ids) == "\n<|im_start|>user\nresult: A1 done<|im_end|>\n<|im_start|>assistant\n"


def test_what_the_template_cannot_write_is_left_out(policy: Path) -> None:
    tokenizer = tiny.load_tokenizer(policy)
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    assert list(continuations(tokenizer, tiny.pivot_rows(policy)[1])) == []
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    assert list(continuations(tokenizer, tiny.pivot_rows(policy)[1])) == []


def test_templates_that_want_json_text(policy: Path) -> None:
    tokenizer = tiny.load_tokenizer(policy)
    tokenizer.chat_template = tiny.CHAT_TEMPLATE.replace(
        "(call.function.arguments | tojson)", "call.function.arguments"
    )
    (found,) = continuations(tokenizer, tiny.pivot_rows(policy)[1])
    assert tokenizer.decode(found.action_ids) == f"{tiny.STATES[1].right}<|im_end|>"


def test_rows_without_a_reply_are_counted(policy: Path) -> None:
    rows = tiny.pivot_rows(policy)
    entry = json.loads(rows[0]["demonstrations"])[0]
    silent = rows[0] | {"demonstrations": json.dumps([{**entry, "reply": []}])}
    echo = Echo(tiny.load_tokenizer(policy), 0.05, 40)
    assert echo.sequence(silent) is None
    assert echo.sequence(rows[1]) is None
    assert echo.left_out == {"no_reply": 1, "too_long": 1}


def test_echo_and_retrieval_are_logged(policy: Path, dataset: Path, tmp_path: Path) -> None:
    """The policy copies the order's number from its prompt: its completions are found again. One that had collapsed
    to one answer would not be."""
    out = tmp_path / "out"
    more = {"echo_weight": 0.05, "retrieval_prompts": 4, "eval_strategy": "no", "learning_rate": 1e-5}
    main(tiny.command(policy, dataset, out, **more))
    history = json.loads((out / "checkpoint-2/trainer_state.json").read_text())["log_history"]
    assert history[0]["retrieval/chance"] == 0.25
    assert history[0]["retrieval/accuracy"] == 1.0
    assert history[0]["echo_loss"] > 1  # it has never seen a reply


def test_likelihoods_are_those_of_each_completion_after_each_prompt() -> None:
    """Against one forward pass per pair, without padding."""
    model = tiny.make_model()
    prompts, completions = [[7, 8, 9], [20, 21]], [[30, 31], [40, 41, 42]]
    output = {
        "prompt_ids": torch.tensor([[7, 8, 9], [0, 20, 21]]),
        "prompt_mask": torch.tensor([[1, 1, 1], [0, 1, 1]]),
        "completion_ids": torch.tensor([[30, 31, 0], [40, 41, 42]]),
        "completion_mask": torch.tensor([[1, 1, 0], [1, 1, 1]]),
    }
    found = log_likelihoods(Scorer(model), output, [0, 1])
    for i, completion in enumerate(completions):
        for j, prompt in enumerate(prompts):
            with torch.no_grad():
                logprobs = model(torch.tensor([prompt + completion])).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
            expected = logprobs.gather(-1, torch.tensor(completion)[:, None]).sum()
            torch.testing.assert_close(found[i, j], expected, rtol=1e-4, atol=1e-4)


class Scorer:
    """The part of TRL's trainer that the diagnostic needs, in plain transformers."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def _get_per_token_logps_and_entropies(self, model: Any, ids: Any, mask: Any, keep: int) -> tuple[Any, None, None]:
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, :-1]
        return logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0][:, -keep:], None, None
