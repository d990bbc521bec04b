"""`run` refuses at once what its last stage would refuse after hours of sampling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trajectories import order_trajectory, write_jsonl

from pivotmine.errors import UserError
from pivotmine_stages.cli.config_file import read_config
from pivotmine_stages.cli.run_all import RunSummary, mine


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "orders.jsonl", [order_trajectory(f"B{i}", reward=1, task_id=i) for i in range(3)])


def run_it(source: Path, model: object, text: str = "", /, **flags: Any) -> RunSummary:
    """`pivotmine run` into the folder next to the source, with a configuration file of this text."""
    file = source.parent / "run.toml"
    file.write_text(text)
    given = {"model": str(model), "verifier": "tool_call"}
    given |= {"engine": "transformers", "num_samples": 2, "max_new_tokens": 2, "limit": 2, **flags}
    return mine(given, read_config(file), sources=[source], run=source.parent / "run")


@pytest.mark.parametrize("goal", [{}, {"adaptive": "exact"}])
@pytest.mark.parametrize(
    ("text", "flags", "words"),
    [
        ("", {"verifier": "tool_cal"}, 'no verifier "tool_cal"'),
        ("[verifiers.tool_call]\nfree = 1\n", {}, 'verifier tool_call has no option "free"'),
        ("[[choose]]\nverifier = 'no_such:thing'\n", {"verifier": "auto"}, "code of another package, 'no_such:thing'"),
        ("", {"verifier": "no_such:thing"}, "no_such cannot be imported"),
        ("[score]\nparser = 'yaml'\n", {}, r"run.toml: \[score\] parser = yaml: choose from hermes, "),
        ("", {"parser": "yaml"}, "--parser yaml: choose from hermes, "),
        ("", {"name": "../up"}, "--name '../up': letters"),
        ("", {"max_mean": 2.0}, r"--max-mean 2.0: in \(0, 1\]"),
        ("[select]\nvalidation_share = 1.5\n", {}, r"\[select\] validation_share = 1.5: in \[0, 1\)"),
        (
            "[select]\nstrategy = 'entropy'\n",
            {"temperature": 0.7},
            "--strategy entropy needs samples of the model's own",
        ),
        ("[select]\nstrategy = 'best'\n", {}, r"\[select\] strategy = best"),
        ("[rollout]\ntop_p = 0.0\n", {}, r"\[rollout\] top_p = 0.0: in \(0, 1\]"),
        ("[rollout]\ndry_run = true\n", {}, r"\[rollout\] dry_run is for a dry run of `pivotmine rollout`"),
        ("[extract]\ndry_run = true\n", {}, r"\[extract\] dry_run is for a dry run of `pivotmine extract`"),
        ("", {"engine": "openai"}, "--policy-name NAME"),
        (
            "",
            {"engine": "openai", "policy_name": "p", "api": "chat"},
            "select needs their tokens: give --tokenizer NAME",
        ),
        ("", {"model": "/no/such"}, "model /no/such: no such folder"),
        ("", {"adapter": "/no/such"}, "adapter /no/such: no readable adapter_config.json"),
    ],
)
def test_what_a_later_stage_refuses_is_refused_before_the_first(
    source: Path, tiny_policy: Path, text: str, flags: dict[str, Any], words: str, goal: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=words):
        run_it(source, tiny_policy, text, **flags, **goal)
    assert not (source.parent / "run").exists()


@pytest.mark.parametrize(
    ("text", "flags", "words"),
    [
        ("", {"adaptive": "best"}, "--adaptive best: choose from exact, probabilistic"),
        ("", {"adaptive": "probabilistic", "target_recall": 2.0}, "--target-recall 2.0"),
        ("", {"adaptive": "exact", "num_samples": 1}, "--adaptive needs --num-samples of at least 2"),
        ("[select]\nholdout = 'half'\n", {"adaptive": "exact"}, "--holdout half needs samples that no rule has looked"),
        ("[select]\nmax_rows = 3\n", {"adaptive": "exact"}, "--max-rows needs the variance of all samples"),
        ("[score]\nverifier = 'exact'\n", {"adaptive": "exact", "verifier": "tool_call"}, None),
    ],
)
def test_of_adaptive_sampling_too(
    source: Path, tiny_policy: Path, text: str, flags: dict[str, Any], words: str | None
) -> None:
    if words is None:  # the flag wins over the file for both stages
        run_it(source, tiny_policy, text, **flags)
        return
    with pytest.raises(UserError, match=words):
        run_it(source, tiny_policy, text, **flags)
    assert not (source.parent / "run").exists()


def test_adaptive_sampling_has_one_verifier(source: Path, tiny_policy: Path) -> None:
    text = "[rollout]\nverifier = 'exact'\n[score]\nverifier = 'tool_call'\n"
    given = {"model": str(tiny_policy), "adaptive": "exact"}
    file = source.parent / "run.toml"
    file.write_text(text)
    with pytest.raises(UserError, match="--adaptive scores with rollout's verifier"):
        mine(given, read_config(file), sources=[source], run=source.parent / "run")


def test_a_name_that_is_taken_is_told_before_sampling(source: Path, tiny_policy: Path) -> None:
    text = "[select]\nstrategy = 'random'\n"
    first = run_it(source, tiny_policy, text)
    assert run_it(source, tiny_policy, text).select.policy_id == first.select.policy_id
    policies = list((source.parent / "run" / "rollouts").iterdir())
    for flags, words in (
        ({"temperature": 0.5}, "policy: "),
        ({"max_mean": 0.5}, "max_mean: "),
        ({"verifier": "exact"}, "verifier: "),
    ):
        with pytest.raises(
            UserError, match=f"pivots/default was selected with other options .*{words}.*choose another --name"
        ):
            run_it(source, tiny_policy, text, **flags)
        assert list((source.parent / "run" / "rollouts").iterdir()) == policies
    with pytest.raises(UserError, match=r"pivots/default was selected with other options .*strategy: "):
        run_it(source, tiny_policy, adaptive="exact")
    scores = {path.name for path in (source.parent / "run" / "scores").glob("*/*")}
    assert scores == {first.score.verifier_id}
