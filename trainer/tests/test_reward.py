"""The reward from token ids, as TRL passes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny

from pivotmine.errors import UserError
from pivotmine.verifiers import make_spec
from pivotmine.verifiers.dataset_rows import COLUMNS
from pivotmine_trainer import reward as rewards
from pivotmine_trainer.reward import end_of_turn_ids, make_reward, pivot_reward

RIGHT, WRONG = tiny.STATES[0].right, tiny.STATES[0].wrong
TEXTS = [f"{RIGHT}<|im_end|>", f"{WRONG}<|im_end|>", RIGHT, "<tool_call>{<|im_end|>", "<|im_end|>", "Done.<|im_end|>"]
OUTCOMES = ["correct", "wrong_tool", "truncated", "invalid_call", "empty", "wrong_kind"]


def columns(policy: Path, count: int, **changed: Any) -> dict[str, list[Any]]:
    row = tiny.pivot_rows(policy)[0] | changed
    return {name: [row[name]] * count for name in (*COLUMNS, "tokenizer") if name in row}


def ids(policy: Path, texts: list[str]) -> list[list[int]]:
    tokenizer = tiny.load_tokenizer(policy)
    return [tokenizer(text).input_ids for text in texts]


def judged(policy: Path, changed: dict[str, Any] | None = None, **options: Any) -> list[float | None]:
    given = columns(policy, len(TEXTS), **(changed or {}))
    reward = make_reward(tiny.load_tokenizer(policy), {2}, **options)
    return reward(prompts=None, completions=None, completion_ids=ids(policy, TEXTS), **given)


def test_each_kind_of_completion(policy: Path) -> None:
    assert judged(policy) == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_the_markers_are_in_the_ids_and_not_in_trl_s_text(policy: Path) -> None:
    """TRL's decoded text lacks the markers, so no call would be recognised in it."""
    tokenizer = tiny.load_tokenizer(policy)
    assert "<tool_call>" not in tokenizer.decode(ids(policy, [RIGHT])[0], skip_special_tokens=True)


def test_the_machinery_s_failure_is_none(policy: Path) -> None:
    """`tool_call` cannot compare messages: if a message was demonstrated, a message is unproven and a call is wrong."""
    changed = {"demonstrations": '[{"action": {"message": "Hi."}, "reply": [], "turn_id": "t"}]'}
    assert judged(policy, changed) == [0.0, 0.0, 0.0, 0.0, 0.0, None]


def test_no_verifier_is_none(policy: Path) -> None:
    changed = {"verifier": None, "verifier_options": None, "verifier_id": None}
    assert judged(policy, changed) == [None] * 6


def test_another_verifier_for_all_rows(policy: Path) -> None:
    call = '{"name": "cancel", "arguments": {"id": "A0", "n": 1}}'
    texts = [
        f"<tool_call>{call}</tool_call><|im_end|>",
        f"<tool_call>{call.replace('1}', '1.0}')}</tool_call><|im_end|>",
    ]
    changed = {
        "demonstrations": f'[{{"action": {{"tool_calls": [{call}]}}, "reply": [], "turn_id": "t"}}]',
        "tools": None,
    }
    given = columns(policy, 2, **changed)
    for verifier, expected in ((None, [1.0, 1.0]), ("exact", [1.0, 0.0])):
        reward = make_reward(tiny.load_tokenizer(policy), {2}, verifier=verifier)
        assert reward(completion_ids=ids(policy, texts), **given) == expected


def test_every_sample_s_outcome_is_logged(policy: Path) -> None:
    table: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    given = columns(policy, len(TEXTS)) | {"log_extra": table.__setitem__, "log_metric": metrics.__setitem__}
    make_reward(tiny.load_tokenizer(policy), {2})(completion_ids=ids(policy, TEXTS), **given)
    assert table["outcome"] == OUTCOMES
    assert table["state_id"] == ["state0"] * 6
    assert metrics["outcomes/truncated"] == metrics["outcomes/correct"] == pytest.approx(1 / 6)
    assert metrics["outcomes/error"] == 0


def logged(policy: Path, texts: list[str], worth: str) -> tuple[float | None, dict[str, float]]:
    """Mean reward and metrics of one batch of programs under the verifier `python`."""
    spec = make_spec("python", {"unproven": worth})
    demonstrated = '[{"action": {"message": "```\\nprint(1)\\n```"}, "reply": [], "turn_id": "t"}]'
    verifier = {"verifier": spec.name, "verifier_options": spec.options_json, "verifier_id": spec.verifier_id}
    metrics: dict[str, float] = {}
    given = columns(policy, len(texts), demonstrations=demonstrated, kind="message", tools=None, **verifier)
    reward = make_reward(tiny.load_tokenizer(policy), {2})
    said = ids(policy, [f"```\n{text}\n```<|im_end|>" for text in texts])
    found = [r for r in reward(completion_ids=said, log_metric=metrics.__setitem__, **given) if r is not None]
    return (sum(found) / len(found) if found else None), metrics


def test_a_policy_that_drifts_into_what_nobody_can_prove_is_seen_in_the_log(policy: Path) -> None:
    """Two toy policies: the second answers vaguely where the first is wrong, and gets no reward and no loss."""
    right, wrong, vague = "print(1)", "print(2)", "!1"
    steps = [[right, wrong, wrong, wrong], [right, wrong, wrong, vague], [right, vague, vague, vague]]
    found = [logged(policy, step, "null") for step in steps]
    assert [mean for mean, _ in found] == [0.25, pytest.approx(1 / 3), 1.0], "the reward alone seems to rise"
    assert [metrics["outcomes/unproven"] for _, metrics in found] == [0.0, 0.25, 0.75]
    assert [metrics["reward_low"] for _, metrics in found] == [0.25, 0.25, 0.25]
    assert [metrics["reward_high"] for _, metrics in found] == [0.25, 0.5, 1.0]
    steady = [logged(policy, step, "null")[1] for step in (steps[0], [right, right, wrong, wrong])]
    assert [(m["outcomes/unproven"], m["reward_low"], m["reward_high"]) for m in steady] == [
        (0.0, 0.25, 0.25),
        (0.0, 0.5, 0.5),
    ]
    assert [logged(policy, step, "zero")[0] for step in steps] == [0.25, 0.25, 0.25]


def test_trl_s_own_script_loads_the_tokenizer_that_the_row_names(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewards._load_tokenizer.cache_clear()  # pyright: ignore[reportPrivateUsage]
    given = columns(policy, len(TEXTS))
    assert pivot_reward(completion_ids=ids(policy, TEXTS), **given) == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    moved: dict[str, Any] = given | {"tokenizer": ["/moved"] * len(TEXTS)}
    with pytest.raises(UserError, match="no tokenizer under /moved: set PIVOTMINE_TOKENIZER to its folder"):
        pivot_reward(completion_ids=ids(policy, TEXTS), **moved)
    monkeypatch.setenv("PIVOTMINE_TOKENIZER", str(policy))
    assert pivot_reward(completion_ids=ids(policy, TEXTS), **moved)[0] == 1.0


def test_every_end_of_turn_counts() -> None:
    class Holder:
        def __init__(self, eos_token_id: Any) -> None:
            self.eos_token_id = eos_token_id

    assert end_of_turn_ids(Holder(2), Holder([3, 4]), Holder(None), None) == {2, 3, 4}


def test_the_rewards_are_those_that_score_gives(policy: Path) -> None:
    """The miner's own parser and verifier on the same texts and the row's state."""
    from pivotmine.actions import action_from_json, parse_action
    from pivotmine.verifiers import State, make_spec, verify

    demonstration = action_from_json('{"tool_calls": [{"name": "cancel", "arguments": {"id": "A0"}}]}')
    verdicts = [
        verify(
            make_spec("tool_call", {}),
            State(tools=tuple(tiny.TOOLS)),
            [demonstration],
            parse_action(text.removesuffix("<|im_end|>"), parser="hermes", truncated="<|im_end|>" not in text),
        )
        for text in TEXTS
    ]
    assert [str(verdict.outcome) for verdict in verdicts] == OUTCOMES
    assert [verdict.reward for verdict in verdicts] == judged(policy)
