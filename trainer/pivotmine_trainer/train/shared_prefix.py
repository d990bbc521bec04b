"""Log-probabilities of a group's actions with the prompt computed once.

TRL computes the prompt once for each of its G actions (the dense way). Two ways avoid that, with the same results:

- `packed` (the default): one sequence, prompt | a_1 | ... | a_G. Each action's positions continue those of the prompt,
  and it sees only the prompt and itself. One forward pass without a cache: it works with gradient checkpointing, DDP
  and FSDP.
- `cached`: the prompt's keys and values are computed once with gradients, and copied for each action. Only without
  gradient checkpointing: with it, transformers drops the cache, and an action would not see its prompt.

Models with layers that ignore the mask, with router losses or with dropout use the dense way.

Shapes: B samples, R rows of a pass (groups), P prompt tokens, C completion tokens, A tokens after a prompt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache

from pivotmine.sampling.attention import use_grouped_attention

PADDED_SHARE = 0.1
"""Groups share a pass while at most this share of its tokens is padding."""
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
TOLERANCE_HALF = 0.02
"""Maximum mean absolute difference in log-probability, by dtype, that counts as rounding."""
_KINDS = {"full_attention", "sliding_attention"}

Logps = tuple[torch.Tensor, torch.Tensor | None]


class Group(NamedTuple):
    """The samples of a batch that follow one prompt."""

    prompt: list[int]
    rows: list[int]
    """Places in the batch, one after another."""
    lengths: list[int]
    """Completion tokens of each, masked ones excluded."""


def groups_of(input_ids: torch.Tensor, attention_mask: torch.Tensor, num_completion: int) -> list[Group]:
    """Split the batch (B, P + C; prompts padded left, completions right) into runs of equal prompts."""
    prompt_ids, prompt_mask = input_ids[:, :-num_completion], attention_mask[:, :-num_completion].bool()
    lengths = attention_mask[:, -num_completion:].sum(1).tolist()
    same = ((prompt_ids == prompt_ids.roll(1, 0)) | ~prompt_mask).all(1) & (prompt_mask == prompt_mask.roll(1, 0)).all(
        1
    )
    groups: list[Group] = []
    for row, is_same in enumerate(same.tolist()):
        if row == 0 or not is_same:
            groups.append(Group(prompt_ids[row][prompt_mask[row]].tolist(), [], []))
        groups[-1].rows.append(row)
        groups[-1].lengths.append(int(lengths[row]))
    return groups


def dense_reason(model: Any, *, aux_loss: bool) -> str | None:
    """Why a model needs the dense way; None if its prompts can be shared."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if aux_loss:
        return "the loss has a router's part, which counts every token"
    if kinds - _KINDS:
        return f"the model has layers of kind {', '.join(sorted(kinds - _KINDS))}"
    if remedies := _dropout_remedies(model):
        return f"dropout is above 0; give {' and '.join(remedies)}"
    if not use_grouped_attention(model):
        return f"attention is {model.config._attn_implementation}; --attn_implementation sdpa shares prompts"
    return None


def _dropout_remedies(model: Any) -> list[str]:
    """Options that turn off all dropout of a model, layer dropout included; empty if it has none.

    TRL's option changes Dropout modules only. Rates that the model's code passes to functions come from its config.
    """
    remedies: list[str] = []
    if any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules()):
        remedies.append("--disable_dropout true")
    handed = {
        name
        for module in model.modules()
        for name, value in vars(module).items()
        if "drop" in name and isinstance(value, float) and value > 0
    }
    if handed:
        named = [name for name, value in model.config.to_dict().items() if "drop" in name and _is_positive(value)]
        remedies.append(f"--model_init_kwargs '{json.dumps(dict.fromkeys(named or sorted(handed), 0.0))}'")
    return remedies


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0


class SharedPrefix:
    """The shared forward pass of one model."""

    def __init__(self, model: Any, way: str) -> None:
        config = model.config.get_text_config()
        self._config, self._way = config, way
        self._window: int | None = getattr(config, "sliding_window", None)
        self._kinds: set[str] = set(getattr(config, "layer_types", None) or ())
        self._places: torch.Tensor | None = None
        model.base_model.register_forward_hook(self._keep_places)
        self.num_computed = 0
        """Tokens computed so far, padding included."""

    def _keep_places(self, module: Any, args: Any, output: Any) -> Any:
        """Keep only the hidden states that predict an action's token, so that the head computes no others."""
        if self._places is not None:
            hidden = output.last_hidden_state
            output.last_hidden_state = hidden.gather(1, self._places[..., None].expand(-1, -1, hidden.shape[-1]))
        return output

    def logps(
        self, trainer: Any, model: Any, input_ids: torch.Tensor, groups: Sequence[Group], num_completion: int
    ) -> Logps:
        """Log-probabilities and entropies, each (B, C), 0 where a completion is masked."""
        completions = input_ids[:, -num_completion:]
        found: list[Logps] = []
        order: list[tuple[int, int]] = []
        for part in self._parts(groups, alone=trainer.accelerator.num_processes == 1):
            run = self._cached if self._way == "cached" else self._packed
            found.append(run(trainer, model, part, completions))
            order += [
                (row, t) for group in part for row, n in zip(group.rows, group.lengths, strict=True) for t in range(n)
            ]
        places = torch.tensor(order, dtype=torch.long, device=input_ids.device).view(-1, 2).unbind(1)
        empty = found[0][0].new_zeros(completions.shape)
        logps = empty.index_put(places, torch.cat([logps for logps, _ in found]))
        entropies = [entropy for _, entropy in found if entropy is not None]
        return logps, empty.index_put(places, torch.cat(entropies)) if entropies else None

    def _parts(self, groups: Sequence[Group], *, alone: bool) -> list[list[Group]]:
        """Split the groups into passes of similar length. Several processes make one pass each, because sharded models
        wait for each other."""
        if not alone:
            return [list(groups)]
        parts: list[list[Group]] = []
        for group in sorted(groups, key=_num_tokens):
            part = [*parts[-1], group] if parts else [group]
            widest = max(len(g.prompt) for g in part) + max(_num_tokens(g) - len(g.prompt) for g in part)
            if not parts or sum(map(_num_tokens, part)) < (1 - PADDED_SHARE) * widest * len(part):
                parts.append([group])
            else:
                parts[-1] = part
        return parts

    def _packed(self, trainer: Any, model: Any, groups: list[Group], completions: torch.Tensor) -> Logps:
        device = completions.device
        wide = max(len(group.prompt) for group in groups)
        behind = max(1, *(_num_tokens(group) - len(group.prompt) for group in groups))
        scored = max(1, *(sum(group.lengths) for group in groups))
        shape = (len(groups), wide + behind)
        ids = torch.zeros(shape, dtype=torch.long)
        positions = torch.arange(wide + behind).repeat(len(groups), 1)
        action = torch.full(shape, -2, dtype=torch.long)  # -2: padding, -1: the prompt, else which action
        places = torch.zeros(len(groups), scored, dtype=torch.long)
        labels = torch.full((len(groups), scored), -100, dtype=torch.long)
        said = completions.cpu()
        for row, group in enumerate(groups):
            length = len(group.prompt)
            ids[row, :length] = torch.tensor(group.prompt)
            action[row, :length] = -1
            start, label = wide, 0
            # An action of n tokens takes n - 1: the prompt's last token predicts its first, its last predicts nothing.
            for number, (sample, n) in enumerate(zip(group.rows, group.lengths, strict=True)):
                if n == 0:
                    continue
                ids[row, start : start + n - 1] = said[sample, : n - 1]
                positions[row, start : start + n - 1] = torch.arange(length, length + n - 1)
                action[row, start : start + n - 1] = number
                places[row, label] = length - 1
                places[row, label + 1 : label + n] = torch.arange(start, start + n - 1)
                labels[row, label : label + n] = said[sample, :n]
                start, label = start + n - 1, label + n
        action, positions = action.to(device), positions.to(device)
        return self._score(
            trainer,
            model,
            places.to(device),
            labels.to(device),
            input_ids=ids.to(device),
            position_ids=positions,
            attention_mask=self._masks(action, positions, wide),
        )

    def _masks(self, action: torch.Tensor, positions: torch.Tensor, wide: int) -> Any:
        """True where a token (query) sees another (key).

        Full attention: (R, 1, A, P + A), the last queries only; `pivotmine.sampling.attention` makes the prompt causal.
        Sliding attention: (R, 1, P + A, P + A), by the distance in positions.
        """
        order = torch.arange(action.shape[1], device=action.device)
        causal = order[:, None] >= order
        sees = (action[:, :, None] == action[:, None, :]) | (action[:, None, :] == -1)
        full = (sees & causal)[:, None]
        if self._window is None or (self._kinds and "sliding_attention" not in self._kinds):
            return full[:, :, wide:]
        near = positions[:, None, :] > positions[:, :, None] - self._window
        sliding = full & (near | torch.eye(len(order), dtype=torch.bool, device=action.device))[:, None]
        return {"full_attention": full[:, :, wide:], "sliding_attention": sliding} if self._kinds else sliding

    def _cached(self, trainer: Any, model: Any, groups: list[Group], completions: torch.Tensor) -> Logps:
        """Compute the prompt up to its last token once. Each action's pass begins with that last token."""
        device, wide = completions.device, max(len(group.prompt) for group in groups) - 1
        samples = [
            (place, sample, n)
            for place, group in enumerate(groups)
            for sample, n in zip(group.rows, group.lengths, strict=True)
        ]
        longest = max(1, *(n for _, _, n in samples))
        prompts, mask = torch.zeros(len(groups), wide, dtype=torch.long), torch.zeros(len(groups), wide)
        for row, group in enumerate(groups):
            prompts[row, wide + 1 - len(group.prompt) :] = torch.tensor(group.prompt[:-1])
            mask[row, wide + 1 - len(group.prompt) :] = 1
        ids = torch.zeros(len(samples), longest, dtype=torch.long)
        labels, behind = torch.full_like(ids, -100), torch.zeros(ids.shape)
        said, positions = completions.cpu(), torch.zeros_like(ids)
        for row, (place, sample, n) in enumerate(samples):
            prompt = groups[place].prompt
            ids[row, 0], ids[row, 1:n] = prompt[-1], said[sample, : max(n - 1, 0)]
            labels[row, :n], behind[row, : max(n, 1)] = said[sample, :n], 1
            positions[row] = torch.arange(len(prompt) - 1, len(prompt) - 1 + longest)
        cache, ready = DynamicCache(config=self._config), mask.to(device)
        nothing = torch.zeros(len(groups), 1, dtype=torch.long, device=device)
        self._score(
            trainer,
            model,
            nothing,
            nothing - 100,
            input_ids=prompts.to(device),
            attention_mask=ready,
            position_ids=(ready.cumsum(1) - 1).clamp(min=0).long(),
            past_key_values=cache,
        )
        parents = torch.tensor([place for place, _, _ in samples], device=device)
        cache.batch_select_indices(parents)
        every = torch.arange(longest, device=device).expand(len(samples), -1)
        return self._score(
            trainer,
            model,
            every,
            labels.to(device),
            input_ids=ids.to(device),
            attention_mask=torch.cat([ready[parents], behind.to(device)], 1),
            position_ids=positions.to(device),
            past_key_values=cache,
        )

    def _score(self, trainer: Any, model: Any, places: torch.Tensor, labels: torch.Tensor, **inputs: Any) -> Logps:
        """Make one pass. Returns log-probabilities and entropies of the labels that are not -100, in order."""
        self._places = places
        self.num_computed += inputs["input_ids"].numel()
        try:
            with trainer.accelerator.autocast():
                output = model(**inputs, shift_labels=labels, fused_lm_head=True)
        finally:
            self._places = None
        chosen = labels != -100
        return output.log_probs[chosen], None if output.entropy is None else output.entropy[chosen]


def _num_tokens(group: Group) -> int:
    """Tokens that a packed group takes: the last token of an action predicts nothing."""
    return len(group.prompt) + sum(max(n - 1, 0) for n in group.lengths)
