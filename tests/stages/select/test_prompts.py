"""The prompts of a dataset's rows are the sampled ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from runs import (
    TOOLS,
    add_rollouts,
    answered,
    called,
    make_run,
    policy_record,
    remember,
    rows,
    said,
    states_of,
    trajectory,
)
from selecting import MIXED, TEMPLATE, TOOL_CALL, dataset, save_tokenizer
from transformers import AutoTokenizer

from pivotmine import policy
from pivotmine.errors import UserError
from pivotmine_stages.policy.prompts import load_renderer
from pivotmine_stages.score.stage import ScoreConfig, score
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.stage import select


def test_a_changed_tokenizer_or_template_is_refused(run: Path, tokenizer: Path, tmp_path: Path) -> None:
    changed = save_tokenizer(tmp_path / "changed", TEMPLATE.replace("<user>", "<USER>") + " ")
    with pytest.raises(UserError, match=r"the chat template in .* has changed since sampling"):
        select(SelectConfig(tokenizer=str(changed)), run)
    with pytest.raises(UserError, match="no tokenizer under /nowhere/at/all: no such folder"):
        select(SelectConfig(tokenizer="/nowhere/at/all"), run)
    assert not (run / "pivots").exists()
    copied = shutil.copytree(tokenizer, tmp_path / "copied")
    select(SelectConfig(tokenizer=str(copied)), run)
    assert dataset(run)[0]["tokenizer"] == str(copied)


def test_a_prompt_that_is_not_the_sampled_one_is_a_reject(run: Path, tokenizer: Path) -> None:
    states = states_of(run)
    ids = load_renderer(str(tokenizer), {}).render([said("hard")], TOOLS).token_ids
    for part, prompt_hash in ((0, policy.hash_token_ids(ids)), (1, "another")):
        stored = [{**row, "prompt_hash": prompt_hash} for row in MIXED]
        add_rollouts(run, {states["user: hard"]: stored}, part=part, first=4 * part)
        shutil.rmtree(run / "scores")
        score(ScoreConfig(verifier=TOOL_CALL), run)
        summary = select(SelectConfig(), run)
        assert summary.rejects.get("prompt_changed", 0) == part
        assert summary.train + summary.validation == 1 - part


def test_long_prompts_are_rejects_whether_rollout_counted_them_or_not(run: Path) -> None:
    length = len(select(SelectConfig(strategy="all"), run) and dataset(run)[0]["prompt_ids"])
    for name, num_prompt_tokens in (("counted", length), ("not-counted", None)):
        stored = [{**row, "num_prompt_tokens": num_prompt_tokens} for row in MIXED]
        add_rollouts(run, {states_of(run)["user: hard"]: stored})
        shutil.rmtree(run / "scores")
        score(ScoreConfig(verifier=TOOL_CALL), run)
        fits = SelectConfig(name=name, max_prompt_tokens=length)
        cut = SelectConfig(name=f"{name}-cut", max_prompt_tokens=length - 1)
        assert "prompt_too_long" not in select(fits, run).rejects
        assert select(cut, run).rejects["prompt_too_long"] == 1


def test_a_state_that_the_template_refuses_is_a_reject(tmp_path: Path) -> None:
    refusing = TEMPLATE + "{% if messages | length > 1 %}{{ raise_exception('one message only') }}{% endif %}"
    run = make_run(
        tmp_path,
        trajectory(said("x"), called("find", id="A"), answered("ok"), {"role": "assistant", "content": "Done."}),
    )
    remember(run, policy_record(tokenizer=str(save_tokenizer(tmp_path / "policy", refusing))))
    summary = select(SelectConfig(strategy="all"), run)
    assert (summary.train + summary.validation, summary.rejects) == (1, {"template_error": 1})
    (reject,) = [row for row in rows(run, "rejects") if row["stage"] == "select"]
    assert reject["detail"] == "TemplateError: one message only"


def test_a_chat_servers_policy_needs_a_tokenizer(tmp_path: Path, tokenizer: Path) -> None:
    run = make_run(tmp_path, trajectory(said("x"), called("find", id="A"), answered("ok")))
    remember(run, policy_record(tokenizer=None, weights_hash=None))
    with pytest.raises(UserError, match="name their tokenizer with --tokenizer"):
        select(SelectConfig(strategy="all"), run)
    select(SelectConfig(strategy="all", tokenizer=str(tokenizer)), run)
    loaded = AutoTokenizer.from_pretrained(str(tokenizer))
    (row,) = dataset(run)
    assert (row["tokenizer"], row["tokenizer_hash"]) == (str(tokenizer), policy.hash_tokenizer(loaded))
    assert row["template_hash"] == policy.hash_template(TEMPLATE)
