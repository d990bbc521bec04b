"""Stored replies computed as a tree: the same numbers as each reply alone, with each shared token computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from pivotmine.sampling import token_tree
from pivotmine.sampling.prefix_tree import sortable, tree_tokens
from pivotmine.sampling.settings import TokenTree
from pivotmine.sampling.token_tree import TreeReader


@pytest.fixture(scope="module")
def model(tiny_policy: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32).eval()


def alone(model: Any, prompt: list[int], branch: list[int]) -> list[float]:
    """The branch's log-probabilities from one pass over it alone, without any of our code."""
    with torch.inference_mode():
        logprobs = model(torch.tensor([prompt + branch])).logits[0].log_softmax(-1)
    return [float(logprobs[len(prompt) - 1 + i, token]) for i, token in enumerate(branch)]


def nodes(tree: TokenTree) -> int:
    """Tokens that must be read: the prompt once, and the distinct tokens that predict another one."""
    return tree_tokens(sortable([*tree.prompt, *branch[:-1]]) for branch in tree.branches)


TOKENS = st.lists(st.integers(0, 4), min_size=1, max_size=6)
TREES = st.builds(TokenTree, prompt=TOKENS, branches=st.lists(st.lists(st.integers(0, 2), max_size=5), max_size=6))


@settings(max_examples=25, deadline=None)
@given(trees=st.lists(TREES, min_size=1, max_size=3))
def test_every_branch_has_the_numbers_that_it_has_alone(model: Any, trees: list[TokenTree]) -> None:
    reader = TreeReader(model)
    for tree in trees:
        read = reader.read(tree)
        assert [len(one) for one in read.logprobs] == [len(branch) for branch in tree.branches]
        for branch, logprobs in zip(tree.branches, read.logprobs, strict=True):
            assert logprobs == pytest.approx(alone(model, tree.prompt, branch), abs=1e-4)


def test_shared_tokens_are_read_once_and_a_prompt_keeps_what_it_shares(model: Any) -> None:
    reader = TreeReader(model)
    first = TokenTree([1, 2, 3], [[4, 5, 6, 7], [4, 5, 8], [9, 4], [4, 5, 6, 7]])
    assert reader.read(first).num_computed == nodes(first) == 3 + 4
    longer = TokenTree([1, 2, 3, 4, 5], [[6, 6]])
    assert reader.read(longer).num_computed == 2 + 1
    # Its last token is read again, for the logits behind it.
    assert reader.read(TokenTree([1, 2], [[3]])).num_computed == 1


@pytest.mark.parametrize("piece", [1, 2, 512])
@pytest.mark.parametrize("most", [1, 3, 2048])
def test_long_prompts_and_large_trees_are_read_in_pieces(
    model: Any, monkeypatch: pytest.MonkeyPatch, piece: int, most: int
) -> None:
    monkeypatch.setattr(token_tree, "PIECE_TOKENS", piece)
    monkeypatch.setattr(token_tree, "TREE_TOKENS", most)
    reader = TreeReader(model)
    for tree in (TokenTree([1, 2, 3, 4], [[5, 6, 7], [5, 6], [8], [5, 6, 7], []]), TokenTree([1, 2], [[3, 4], [3]])):
        read = reader.read(tree)
        for branch, logprobs in zip(tree.branches, read.logprobs, strict=True):
            assert logprobs == pytest.approx(alone(model, tree.prompt, branch), abs=1e-4)


def test_a_model_whose_layers_forget_tokens_reads_each_reply_with_its_prompt(tiny_policy: Path) -> None:
    forgetful: Any = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32).eval()
    forgetful.config.rope_parameters = {"rope_type": "dynamic"}
    tree = TokenTree([1, 2, 3], [[4, 5], [4, 6], [4, 5]])
    read = TreeReader(forgetful).read(tree)
    assert read.num_computed == 5 + 5
    for branch, logprobs in zip(tree.branches, read.logprobs, strict=True):
        assert logprobs == pytest.approx(alone(forgetful, tree.prompt, branch), abs=1e-4)
