"""Ids of chunks equal the whole prompt's ids: on made-up texts, and with real templates on real trajectories."""

import json
import os
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import SPECIAL, make_tiny_policy
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pivotmine_stages.policy.prompt_tokens import NUM_CHECKED, PromptTokenizer
from pivotmine_stages.policy.prompts import Renderer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return AutoTokenizer.from_pretrained(make_tiny_policy(tmp_path_factory.mktemp("policy")))


def whole(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


pieces = st.lists(st.sampled_from([*SPECIAL, "<tool_call>", "<|im_", "im_end|>", "<", " a", "b ", "\n", "é7", "  "]))


@settings(max_examples=60, deadline=None)
@given(st.lists(pieces, max_size=4))
def test_chunked_ids_are_the_whole_ones(tokenizer: Any, prompts: list[list[str]]) -> None:
    chunked = PromptTokenizer(tokenizer)
    for prompt in prompts:
        text = "".join(prompt)
        assert chunked.ids(text) == whole(tokenizer, text)


class Counting:
    """A tokenizer, and how many characters it was given."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer, self.num_characters = tokenizer, 0

    def __call__(self, text: str, **options: Any) -> Any:
        self.num_characters += len(text)
        return self._tokenizer(text, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def test_a_growing_prompt_is_tokenised_once(tokenizer: Any) -> None:
    counting = Counting(tokenizer)
    chunked = PromptTokenizer(counting)
    for number in range(NUM_CHECKED):
        chunked.ids(f"warm up {number}")
    before = counting.num_characters
    text = "".join(f"<|im_start|>user\nnumber {i}<|im_end|>\n" for i in range(50))
    for end in range(40, len(text) + 1, 40):
        assert chunked.ids(text[:end]) == whole(tokenizer, text[:end])
    assert len(text) <= counting.num_characters - before <= 4 * len(text)


def test_only_the_last_prompt_is_remembered(tokenizer: Any) -> None:
    counting = Counting(tokenizer)
    chunked = PromptTokenizer(counting)
    for number in range(NUM_CHECKED):
        chunked.ids(f"warm up {number}")
    before = counting.num_characters
    for text in ("one", "one", "two", "one"):
        chunked.ids(text)
    assert counting.num_characters - before == 9


def test_a_rewritten_past_is_tokenised_anew(tokenizer: Any) -> None:
    chunked = PromptTokenizer(tokenizer)
    past = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>\n"
    for text in (past.format("<think>hm</think>yes"), past.format("yes") + past.format("<think>more</think>no")):
        assert chunked.ids(text) == whole(tokenizer, text)


@pytest.mark.parametrize("trait", ["lstrip", "rstrip", "single_word", "normalized"])
def test_an_added_token_that_looks_around_itself_means_whole_prompts(trait: str) -> None:
    backend = Tokenizer(models.WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    backend.add_tokens([AddedToken("<x>", **{"normalized": False, trait: True})])
    fast = PreTrainedTokenizerFast(tokenizer_object=backend)
    counting = Counting(fast)
    chunked = PromptTokenizer(counting)
    for _ in range(2):
        assert chunked.ids("a <x> b") == whole(fast, "a <x> b")
    assert counting.num_characters == 2 * len("a <x> b")


def test_chunks_that_prove_wrong_are_given_up() -> None:
    """A pre-tokenizer that looks across added tokens is not known to exist: this tokenizer stands in for one."""

    class Crossing:
        is_fast = True
        added_tokens_decoder: ClassVar = {9: AddedToken("<x>", normalized=False)}

        def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
            assert not add_special_tokens
            return {"input_ids": [len(text)]}

    chunked = PromptTokenizer(Crossing())
    texts = [f"a<x>{'b' * number}" for number in range(2 * NUM_CHECKED)]
    assert [chunked.ids(text) for text in texts] == [[len(text)] for text in texts]


def test_a_tokenizer_in_python_or_without_added_tokens_is_given_whole_prompts() -> None:
    """Neither kind is among the real ones here: this one stands in for both."""

    class Plain:
        def __init__(self, *, is_fast: bool, added: list[AddedToken]) -> None:
            self.is_fast = is_fast
            self.added_tokens_decoder = dict(enumerate(added))

        def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
            return {"input_ids": [ord(character) for character in text]}

    for tokenizer in (Plain(is_fast=False, added=[AddedToken("<x>", normalized=False)]), Plain(is_fast=True, added=[])):
        counting = Counting(tokenizer)
        chunked = PromptTokenizer(counting)
        for number in range(2):
            assert chunked.ids("a<x>b") == [ord(character) for character in "a<x>b"]
            assert counting.num_characters == 5 * (number + 1)


@pytest.mark.skipif("PIVOTMINE_REAL_DATA" not in os.environ, reason="real trajectories are not here")
@pytest.mark.parametrize("name", ["qwen3", "minimind"])
def test_real_templates_on_real_trajectories(name: str) -> None:
    folder = Path(os.environ["PIVOTMINE_REAL_DATA"])
    renderer = Renderer(AutoTokenizer.from_pretrained(folder / "tokenizers" / name), {})
    source = sorted((folder / "tau-bench").rglob("*.json"))[0]
    messages = json.loads(source.read_text())[0]["traj"]
    turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    assert len(turns) > 5
    for turn in turns:
        prompt = renderer.render(messages[:turn], None)
        assert prompt.token_ids == whole(renderer.tokenizer, prompt.text)
