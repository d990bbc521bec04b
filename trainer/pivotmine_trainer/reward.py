"""The reward: each row's verifier judges the action that the completion's tokens encode.

With TRL's own script:

    trl grpo --reward_funcs pivotmine_trainer.reward.pivot_reward ...

There the tokenizer is the one in the row's column `tokenizer`. If its folder has moved, set the environment variable
PIVOTMINE_TOKENIZER to the new one. `pivotmine-train` calls `make_reward` with the model's tokenizer.

Completions are decoded from token ids with special tokens kept: TRL's text lacks them, and tool-call markers may be
special tokens. A completion without an end-of-turn token at its end was truncated. The reward is None if the machinery
failed, or if the verdict is unproven and the verifier's option `unproven` is null. TRL leaves such a sample out of its
group's mean and gives it no advantage.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import Any

from pivotmine.actions import Action
from pivotmine.errors import UserError
from pivotmine.verifiers import Outcome, Scorer, Verdict
from pivotmine.verifiers.concurrent import JudgeCall, judge_all
from pivotmine.verifiers.dataset_rows import COLUMNS, make_judge, read_completion, row_spec

LOGGED_OUTCOMES = (
    *(Outcome.CORRECT, Outcome.UNPROVEN, Outcome.INVALID_CALL, Outcome.TRUNCATED, Outcome.EMPTY, Outcome.ERROR),
)
"""Outcomes whose shares are logged as metrics. The table of completions has every sample's outcome."""

RewardFunction = Callable[..., list[float | None]]


def make_reward(
    tokenizer: Any,
    end_ids: Collection[int],
    *,
    verifier: str | None = None,
    watch_verifier: str | None = None,
) -> RewardFunction:
    """Make a reward function for TRL.

    end_ids: the end-of-turn tokens. verifier: one for all rows, instead of each row's own. watch_verifier: a second one
    whose verdicts are only logged.
    """

    def reward(*, completion_ids: list[list[int]], **columns: Any) -> list[float | None]:
        verdicts = _verdicts(tokenizer, frozenset(end_ids), verifier, completion_ids, columns)
        _log(verdicts, columns)
        if watch_verifier is not None:
            _log_watch(
                _verdicts(tokenizer, frozenset(end_ids), watch_verifier, completion_ids, columns), verdicts, columns
            )
        return [verdict.reward for verdict in verdicts]

    reward.__name__ = "pivot_reward"
    return reward


def pivot_reward(*, completion_ids: list[list[int]], tokenizer: list[str | None], **columns: Any) -> list[float | None]:
    """The reward function for TRL's own script; UserError if the tokenizer cannot be loaded."""
    folder = os.environ.get("PIVOTMINE_TOKENIZER") or tokenizer[0]
    loaded, end_ids = _load_tokenizer(folder)
    return make_reward(loaded, end_ids)(completion_ids=completion_ids, **columns)


def read_action(tokenizer: Any, end_ids: Collection[int], completion_ids: Sequence[int], row: dict[str, Any]) -> Action:
    """Decode the tokens and parse the action by the row's parser and action format."""
    truncated = not completion_ids or completion_ids[-1] not in end_ids
    said = completion_ids if truncated else completion_ids[:-1]
    text = tokenizer.decode(said, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return read_completion(row, text, truncated=truncated)


def end_of_turn_ids(*holders: Any) -> frozenset[int]:
    """Collect the end-of-turn tokens of a tokenizer, a model config and a generation config."""
    named = [getattr(holder, "eos_token_id", None) for holder in holders]
    lists = [ids if isinstance(ids, list | tuple) else [ids] for ids in named]
    return frozenset(token for ids in lists for token in ids if token is not None)


def _verdicts(
    tokenizer: Any,
    end_ids: frozenset[int],
    verifier: str | None,
    completion_ids: list[list[int]],
    columns: dict[str, Any],
) -> list[Verdict]:
    """Judge each completion. Calls to a server run concurrently, as in `score`."""
    # The samples of a state share one prepared judge.
    judges: dict[tuple[Any, ...], tuple[Scorer, int]] = {}
    calls: list[JudgeCall] = []
    for index, ids in enumerate(completion_ids):
        row = {name: columns[name][index] for name in COLUMNS if name in columns}
        key = tuple(row.values())
        if key not in judges:
            spec = row_spec(row, f"state {row['state_id']}", verifier)
            judges[key] = (make_judge(row, spec), spec.num_waiting) if spec else (_unjudged, 0)
        judge, num_waiting = judges[key]
        calls.append(JudgeCall(judge, read_action(tokenizer, end_ids, ids, row), num_waiting))
    return list(judge_all(calls))


def _unjudged(action: Action) -> Verdict:
    return Verdict(None, Outcome.ERROR, "the row names no verifier")


def _log(verdicts: list[Verdict], columns: dict[str, Any]) -> None:
    """Add the verdicts to TRL's table of completions and to its metrics."""
    log_extra, log_metric = columns.get("log_extra"), columns.get("log_metric")
    if log_extra is not None:
        log_extra("state_id", list(columns["state_id"]))
        log_extra("outcome", [str(verdict.outcome) for verdict in verdicts])
        log_extra("detail", [verdict.detail for verdict in verdicts])
    if log_metric is not None:
        counts = Counter(verdict.outcome for verdict in verdicts)
        for outcome in LOGGED_OUTCOMES:
            log_metric(f"outcomes/{outcome}", counts[outcome] / len(verdicts))
        for name, bound in reward_bounds(verdicts).items():
            log_metric(name, bound)


def reward_bounds(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Mean reward with unproven samples counted as 0 (`reward_low`) and as 1 (`reward_high`).

    Samples on which the machinery failed do not count; empty if there are no others. Unproven actions may have no
    reward and no loss, so a policy can drift towards them. Then the mean reward rises while `reward_low` falls.
    """
    judged = [v for v in verdicts if v.reward is not None or v.outcome == Outcome.UNPROVEN]
    if not judged:
        return {}
    decided = sum(v.reward or 0.0 for v in judged)  # an unproven sample's reward is 0 or None
    num_unproven = sum(v.outcome == Outcome.UNPROVEN for v in judged)
    return {"reward_low": decided / len(judged), "reward_high": (decided + num_unproven) / len(judged)}


def _log_watch(watched: list[Verdict], verdicts: list[Verdict], columns: dict[str, Any]) -> None:
    """Add the second verifier's verdicts to the table of completions and to the metrics."""
    log_extra, log_metric = columns.get("log_extra"), columns.get("log_metric")
    if log_extra is not None:
        log_extra("watch_reward", [verdict.reward for verdict in watched])
        log_extra("watch_outcome", [str(verdict.outcome) for verdict in watched])
    both = [(w.reward, v.reward) for w, v in zip(watched, verdicts, strict=True)]
    pairs = [(w, v) for w, v in both if w is not None and v is not None]
    if log_metric is not None and pairs:
        log_metric("watch/reward", sum(w for w, _ in pairs) / len(pairs))
        log_metric("watch/apart", sum(v - w for w, v in pairs) / len(pairs))


@lru_cache(maxsize=1)
def _load_tokenizer(folder: str | None) -> tuple[Any, frozenset[int]]:
    from transformers import AutoTokenizer, GenerationConfig

    if folder is None:
        raise UserError("the dataset names no tokenizer: set PIVOTMINE_TOKENIZER to its folder")
    try:
        loaded = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"no tokenizer under {folder}: set PIVOTMINE_TOKENIZER to its folder ({error})") from None
    try:
        generation = GenerationConfig.from_pretrained(folder)
    except (OSError, ValueError):  # a folder with a tokenizer and no model
        generation = None
    return loaded, end_of_turn_ids(loaded, generation)
