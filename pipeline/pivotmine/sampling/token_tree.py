"""Log-probabilities of stored replies to one prompt from one forward pass, with each shared token computed once.

A prompt and its replies are a tree of tokens. It becomes one sequence: the prompt, then every distinct token of the
replies, parents first. A mask lets each token see only the prompt, its own ancestors and itself, and its position is
its depth. So each token has the log-probability that it has in its own reply. The prompt's keys and values are kept,
and the next prompt reuses the shared prefix. States in the order of their segments thus cost the nodes of the tree of
all prompts.

If a model's layers forget tokens, or its attention takes no such mask, each reply is prefilled with its whole prompt.

Shapes: N tokens of the replies, Q tokens of a pass, K keys in the cache after it, V vocabulary.
"""

# ruff: noqa: N803, N806 - axis letters are capitals
from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from transformers import DynamicCache

from pivotmine.sampling.attention import use_grouped_attention
from pivotmine.sampling.prefill import PIECE_TOKENS, prefill
from pivotmine.sampling.prefix_cache import keeps_every_token
from pivotmine.sampling.prefix_tree import shared_length
from pivotmine.sampling.settings import TokenTree, TreeLogprobs

Tokens = Sequence[int]
TREE_TOKENS = 2048
"""Maximum number of replies' tokens in one pass: its mask has a row for each, as long as the cache."""


class TreeReader:
    """Computes trees with one model, and keeps the keys and values of the last prompt."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._suits: bool | None = None
        self._token_ids: Tokens = ()
        self._cache: Any = None

    def clear(self) -> None:
        """Free the memory."""
        self._token_ids, self._cache = (), None

    @torch.inference_mode()
    def read(self, tree: TokenTree) -> TreeLogprobs:
        """The log-probabilities of each branch's tokens, in the order of the branches."""
        if self._suits is None:
            self._suits = use_grouped_attention(self._model) and keeps_every_token(self._model, tree.prompt[0])
        most = TREE_TOKENS if self._suits else 0
        found, computed = [list[float]() for _ in tree.branches], 0
        for places in _passes(tree.branches, most):
            branches: list[Tokens] = [tree.branches[place] for place in places]
            read = self._whole if len(branches[0]) > most else self._pass
            logprobs, num_tokens = read(tree.prompt, branches)
            computed += num_tokens
            for place, one in zip(places, logprobs, strict=True):
                found[place] = one
        return TreeLogprobs(found, computed)

    def _whole(self, prompt: Tokens, branches: list[Tokens]) -> tuple[list[list[float]], int]:
        """Prefill one branch, or several equal ones, with the prompt."""
        whole = [*prompt, *branches[0]]
        return [prefill(self._model, whole).logprobs[len(prompt) - 1 :]] * len(branches), len(whole)

    def _pass(self, prompt: Tokens, branches: list[Tokens]) -> tuple[list[list[float]], int]:
        known = min(shared_length(self._token_ids, prompt), len(prompt) - 1)
        start = self._read_front(prompt, known)
        nodes = _Nodes(branches)
        num_nodes, num_prompt = len(nodes.tokens), len(prompt) - start
        sees_QK = torch.ones(num_prompt + num_nodes, len(prompt) + num_nodes, dtype=torch.bool)
        sees_QK[:num_prompt].tril_(start)
        sees_QK[num_prompt:, len(prompt) :] = nodes.ancestors()
        positions = [*range(start, len(prompt)), *(len(prompt) + depth for depth in nodes.depths)]
        device = self._model.device
        output = self._model(
            input_ids=torch.tensor([[*prompt[start:], *nodes.tokens]], device=device),
            position_ids=torch.tensor([positions], device=device),
            attention_mask=sees_QK[None, None].to(device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=torch.arange(num_prompt - 1, num_prompt + num_nodes, device=device),
        )
        self._crop(len(prompt))
        self._token_ids = prompt
        logprobs = _gathered(output.logits[0], [row for path in nodes.paths for row in path], branches)
        return logprobs, len(prompt) - known + num_nodes

    def _read_front(self, prompt: Tokens, start: int) -> int:
        """Prefill a long prompt without a mask, except its last piece; returns where that piece starts."""
        if self._cache is None:
            self._cache = DynamicCache()
        self._crop(start)
        device = self._model.device
        while len(prompt) - start > PIECE_TOKENS:
            end = start + PIECE_TOKENS
            self._model(
                input_ids=torch.tensor([prompt[start:end]], device=device),
                position_ids=torch.arange(start, end, device=device)[None],
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
            start = end
        return start

    def _crop(self, length: int) -> None:
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[:, :, :length], layer.values[:, :, :length]


class _Nodes:
    """The distinct tokens of sorted branches, parents first; the last token of a branch predicts nothing."""

    def __init__(self, branches: list[Tokens]) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        """Index of each node's parent; -1 is the prompt's last token."""
        self.depths: list[int] = []
        self.paths: list[list[int]] = []
        """By branch, the row of logits that predicts each of its tokens: 0 for the prompt's last token, else the node
        plus 1."""
        path, before = list[int](), list[int]()
        for branch in branches:
            inner = list(branch[:-1])
            shared = shared_length(before, inner)
            path, before = path[:shared], inner
            for depth in range(shared, len(inner)):
                self.parents.append(path[-1] if path else -1)
                path.append(len(self.tokens))
                self.tokens.append(inner[depth])
                self.depths.append(depth)
            self.paths.append([0, *(node + 1 for node in path)])

    def ancestors(self) -> torch.Tensor:
        """Whether a node sees another: its ancestors and itself, (N, N)."""
        sees_NN = torch.eye(len(self.tokens), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                sees_NN[node] |= sees_NN[parent]
        return sees_NN


def _passes(branches: Sequence[Tokens], most: int) -> Iterator[list[int]]:
    """Indices of the branches of each pass, in sorted order: at most `most` new tokens, or equal branches."""
    group, size, before = list[int](), 0, list[int]()
    for place in sorted((i for i, branch in enumerate(branches) if branch), key=lambda i: list(branches[i])):
        branch = list(branches[place])
        new = len(branch) - shared_length(before, branch)
        if group and new and size + new > most:
            yield group
            group, size, new = [], 0, len(branch)
        group.append(place)
        size, before = size + new, branch
    if group:
        yield group


def _gathered(logits_NV: torch.Tensor, rows: list[int], branches: list[Tokens]) -> list[list[float]]:
    """The log-probability of each branch's tokens, from the logits in their rows."""
    totals = torch.cat([piece.float().logsumexp(-1) for piece in logits_NV.split(PIECE_TOKENS)])
    places = torch.tensor(rows, device=logits_NV.device)
    tokens = torch.tensor([token for branch in branches for token in branch], device=logits_NV.device)
    logprobs = (logits_NV[places, tokens].float() - totals[places]).tolist()
    ends = [0, *accumulate(len(branch) for branch in branches)]
    return [logprobs[start:end] for start, end in pairwise(ends)]
