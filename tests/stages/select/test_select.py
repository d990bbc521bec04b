"""select: whole rows of the dataset, rows left out with reasons, and the card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from runs import (
    TOOLS,
    add_rollouts,
    answered,
    called,
    make_run,
    policy_record,
    reject_counts,
    remember,
    rows,
    said,
    states_of,
    trajectory,
)
from selecting import MIXED, TEMPLATE, TOOL_CALL, WRONG, card, card_table, dataset, many_tasks, mine
from transformers import AutoTokenizer

from pivotmine import policy
from pivotmine.actions import Action
from pivotmine.errors import UserError
from pivotmine.run.tables import PIVOTS
from pivotmine.stats.success_prior import replication_probability
from pivotmine.verifiers import make_spec, resolve
from pivotmine.verifiers.composed.third_party import TRUSTED
from pivotmine_stages.cli.config_file import verifier as configured
from pivotmine_stages.cli.pivot_preview import show_pivot
from pivotmine_stages.score.stage import ScoreConfig, score
from pivotmine_stages.select import dataset as rows_of
from pivotmine_stages.select.draw import Drawn
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.rule import is_validation
from pivotmine_stages.select.samples import SampleCost
from pivotmine_stages.select.stage import select
from pivotmine_stages.select.summary import SelectSummary


def test_a_whole_row(run: Path, tokenizer: Path) -> None:
    summary = select(SelectConfig(validation_share=0.0), run)
    state_id = states_of(run)["user: hard"]
    turn = next(row for row in rows(run, "turns") if row["state_id"] == state_id)
    (believed,) = (row for row in rows(run, "profiles") if row["state_id"] == state_id)
    a, b = believed["posterior_alpha"], believed["posterior_beta"]
    loaded = AutoTokenizer.from_pretrained(str(tokenizer))
    prompt = "[find stop ]<user>hard<assistant>"
    (row,) = dataset(run)
    assert list(row) == PIVOTS.names
    assert row == {
        "prompt": prompt,
        "prompt_ids": loaded(prompt)["input_ids"],
        "prompt_messages": '[{"role":"user","content":"hard"}]',
        "tools": json.dumps(TOOLS, separators=(",", ":")),
        "demonstrations": json.dumps(
            [
                {
                    "action": {"tool_calls": [{"name": "find", "arguments": {"id": "A"}}]},
                    "reply": [answered("found")],
                    "turn_id": turn["turn_id"],
                }
            ],
            separators=(",", ":"),
        ),
        "state_id": state_id,
        "trajectory_id": turn["trajectory_id"],
        "turn_id": turn["turn_id"],
        "task_id": None,
        "domain": None,
        "kind": "tool_call",
        "verifier": "tool_call",
        "verifier_options": TOOL_CALL.options_json,
        "verifier_id": TOOL_CALL.verifier_id,
        "scores_verifier_id": TOOL_CALL.verifier_id,
        "parser": "hermes",
        "action_format": "native",
        "action_tools": "[]",
        "opened_reasoning": False,
        "turn_index": 0,
        "outcome": None,
        "weight": None,
        "rewards": [1.0, 0.0, 0.0, 0.0],
        "lengths": [1, 1, 1, 1],
        "num_distinct_actions": 2,
        "entropy": None,
        "num_samples": 4,
        "num_scored": 4,
        "mean": 0.25,
        "variance": 0.1875,
        "reward_class": "sometimes",
        "posterior_mean": pytest.approx(a / (a + b)),
        "pivot_probability": pytest.approx(replication_probability(a, b, 4, 0.6)),
        "policy_id": "policy-1",
        "sampling": '{"temperature":1.0,"top_p":1.0,"top_k":0,"max_new_tokens":64}',
        "tokenizer": str(tokenizer),
        "template_options": "{}",
        "weights_hash": "w",
        "tokenizer_hash": policy.hash_tokenizer(loaded),
        "template_hash": policy.hash_template(TEMPLATE),
        "source": str(run.parent / "source.jsonl"),
        "source_index": 0,
    }
    assert row["prompt_ids"].count(loaded.bos_token_id) == 1
    assert rows(run, "demonstrations")[0] == row
    assert summary == SelectSummary(
        name="default",
        policy_id="policy-1",
        verifier_id=TOOL_CALL.verifier_id,
        candidates=4,
        train=1,
        validation=0,
        demonstrations=Drawn(states=4, rows=4),
        twin=None,
        cost=SampleCost(states=2, samples=8, tokens=8),
        deferred=None,
        suspects=[],
        rejects={"always": 1, "not_profiled": 2},
        seconds=summary.seconds,
    )


def test_every_candidate_is_a_row_or_a_reject(run: Path) -> None:
    for config in (
        SelectConfig(name="a"),
        SelectConfig(name="b", strategy="random"),
        SelectConfig(name="c", strategy="all", limit=2),
    ):
        summary = select(config, run)
        assert summary.candidates == summary.train + summary.validation + sum(summary.rejects.values())
        assert summary.train + summary.validation == len(dataset(run, config.name))
    assert reject_counts(run, "select") == {"always": 1, "limit": 2, "not_profiled": 4}


def test_a_state_of_several_trajectories_has_all_usable_demonstrations(tmp_path: Path, tokenizer: Path) -> None:
    """Each with the reply of its own environment; the row is of the first that passes the gate."""
    run = make_run(
        tmp_path,
        trajectory(said("x"), {"role": "assistant", "content": "Hm."}, said("well?"), called("stop"), answered("")),
        trajectory(said("x"), called("dance"), answered("no such tool"), domain="bad"),
        trajectory(said("x"), called("find", id="A"), answered("one"), answered("more"), domain="first"),
        trajectory(said("x"), called("find", id="A", deep=True), answered("two")),
        trajectory(said("x"), called("find", id="A"), answered("three"), said("thanks")),
    )
    mine(run, tokenizer, {"user: x": MIXED})
    select(SelectConfig(), run)
    (row,) = dataset(run)
    found = json.loads(row["demonstrations"])
    calls = [(d["action"]["tool_calls"][0]["arguments"], [m["content"] for m in d["reply"]]) for d in found]
    assert calls == [
        ({"id": "A"}, ["one", "more"]),
        ({"id": "A", "deep": True}, ["two"]),
        ({"id": "A"}, ["three", "thanks"]),
    ]
    assert (row["kind"], row["domain"], row["turn_id"]) == ("tool_call", "first", found[0]["turn_id"])
    assert row["source_index"] == 2
    everything = SelectConfig(name="all", strategy="all")
    select(everything, run)
    listed = [json.loads(row["demonstrations"]) for row in dataset(run, "all")]
    assert sorted(len(found) for found in listed) == [1] * 6
    assert {row["turn_id"] for row in dataset(run, "all")} == {row["turn_id"] for row in rows(run, "turns")}


def test_all_works_before_any_score(tmp_path: Path, tokenizer: Path) -> None:
    run = make_run(
        tmp_path,
        trajectory(said("x"), called("find", id="A"), answered("ok"), {"role": "assistant", "content": "Done."}),
    )
    remember(run, policy_record(tokenizer=str(tokenizer)))
    with pytest.raises(UserError, match=r"no verifier of policy-1 in .*: run `pivotmine score .*` first"):
        select(SelectConfig(), run)
    summary = select(SelectConfig(strategy="all", validation_share=0.0), run)
    assert (summary.candidates, summary.train, summary.rejects) == (2, 2, {})
    nothing = ("verifier", "verifier_options", "verifier_id", "num_samples", "num_scored", "mean", "variance")
    assert [(row["kind"], {row[name] for name in nothing}) for row in dataset(run)] == [
        ("tool_call", {None}),
        ("message", {None}),
    ]
    prompt_messages = json.loads(dataset(run)[1]["prompt_messages"])
    assert prompt_messages[1] == {**called("find", id="A"), "content": ""}
    assert "None: no row was scored." in card(run)


def test_each_row_names_the_one_verifier_that_the_rules_choose_for_it(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the domain of the state's first turn, whichever turn the row is of."""
    run = make_run(
        tmp_path,
        trajectory(said("x"), called("dance"), answered("no such tool"), domain="shop"),
        trajectory(said("x"), called("find", id="A"), answered("A"), domain="bank"),
        trajectory(said("y"), called("find", id="A"), answered("A"), domain="bank"),
        trajectory(said("z"), called("find", id="A"), answered("A"), domain="bank"),
        trajectory(said("z"), {"role": "assistant", "content": "z it is"}),
    )
    monkeypatch.setenv(TRUSTED, "own_verifiers:asked_for")
    choice = configured(
        {
            "choose": [
                {"domain": "shop", "verifier": "exact"},
                {"kind": "message", "verifier": "own_verifiers:asked_for"},
            ]
        },
        "auto",
    )
    mine(run, tokenizer, {f"user: {name}": MIXED for name in "xyz"}, choice)
    select(SelectConfig(), run)
    chosen: dict[str, Any] = {}
    for row in dataset(run):
        spec = make_spec(row["verifier"], json.loads(row["verifier_options"]))
        assert (row["verifier_id"], row["scores_verifier_id"]) == (spec.verifier_id, choice.verifier_id)
        chosen[json.loads(row["prompt_messages"])[-1]["content"]] = spec
    assert (chosen["x"], chosen["y"]) == (make_spec("exact", {}), TOOL_CALL)
    assert resolve(chosen["z"], None, [Action(message="hm")]) == make_spec("own_verifiers:asked_for", {})
    assert card_table(card(run), "domain")[0] != []
    assert "| shop |  |  | exact-" in card(run)
    assert show_pivot(run, "default") is not None
    select(SelectConfig(name="all", strategy="all"), run)
    assert len({row["verifier_id"] for row in dataset(run, "all")}) == 3


def test_all_has_verifier_and_profile_where_there_are_any(run: Path) -> None:
    select(SelectConfig(strategy="all", validation_share=0.0), run)
    assert [(r["kind"], r["verifier"], r["mean"], r["reward_class"]) for r in dataset(run)] == [
        ("tool_call", "tool_call", 0.25, "sometimes"),
        ("message", None, None, None),
        ("tool_call", "tool_call", 1.0, "always"),
        ("tool_call", "tool_call", None, None),
    ]


def split_by_task(folder: Path, tokenizer: Path, records: list[dict[str, Any]]) -> dict[str, set[str]]:
    run = make_run(folder, *records)
    remember(run, policy_record(tokenizer=str(tokenizer)))
    select(SelectConfig(strategy="all", validation_share=0.4), run)
    tasks: dict[str, set[str]] = {}
    for split in ("train", "validation"):
        for row in pl.read_parquet(run / "pivots" / "default" / f"{split}.parquet").to_dicts():
            task = row["task_id"] or json.loads(row["prompt_messages"])[0]["content"]
            tasks.setdefault(task, set()).add(split)
    return tasks


def test_split_is_by_task_and_stays_when_data_is_added(tmp_path: Path, tokenizer: Path) -> None:
    few = split_by_task(tmp_path / "few", tokenizer, many_tasks(20))
    assert all(len(splits) == 1 for splits in few.values())
    assert {split for splits in few.values() for split in splits} == {"train", "validation"}
    config = SelectConfig(validation_share=0.4)
    assert {task for task, splits in few.items() if "validation" in splits} == {
        f"t{i}" for i in range(20) if is_validation(f"task/t{i}", config)
    }
    more = split_by_task(tmp_path / "more", tokenizer, many_tasks(30)[::-1])
    assert {task: more[task] for task in few} == few


def test_without_a_task_id_the_first_state_decides(tmp_path: Path, tokenizer: Path) -> None:
    records = [{k: v for k, v in record.items() if k != "task_id"} for record in many_tasks(20)]
    few = split_by_task(tmp_path / "few", tokenizer, records)
    assert all(len(splits) == 1 for splits in few.values())
    assert {split for splits in few.values() for split in splits} == {"train", "validation"}
    assert split_by_task(tmp_path / "same", tokenizer, records[::-1]) == few


def test_same_settings_again_give_the_same_bytes(run: Path) -> None:
    select(SelectConfig(), run)
    before = {path.name: path.read_bytes() for path in (run / "pivots" / "default").iterdir()}
    assert before.keys() == {"train.parquet", "validation.parquet", "demonstrations.parquet", "README.md"}
    select(SelectConfig(), run)
    assert {path.name: path.read_bytes() for path in (run / "pivots" / "default").iterdir()} == before


def test_other_settings_under_the_same_name_are_refused(run: Path) -> None:
    select(SelectConfig(), run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"pivots/default was selected with other options \(max_mean: 0.6 -> 0.5\)"):
        select(SelectConfig(max_mean=0.5), run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    # The policy is the same whether it is named or the only one.
    select(SelectConfig(policy="policy-1", verifier="tool_call"), run)


def test_a_name_whose_folder_was_removed_is_free(run: Path) -> None:
    select(SelectConfig(), run)
    shutil.rmtree(run / "pivots" / "default")
    select(SelectConfig(max_mean=0.5), run)
    assert reject_counts(run, "select") == {"always": 1, "not_profiled": 2}
    with pytest.raises(UserError, match=r"max_mean: 0.5 -> 0.6"):
        select(SelectConfig(), run)


def test_more_scores_under_the_same_name_give_new_rows(run: Path) -> None:
    select(SelectConfig(), run)
    add_rollouts(run, {states_of(run)["user: hard"]: [WRONG] * 4}, part=1, first=4)
    with pytest.raises(UserError, match=r"are of fewer samples than there are: run `pivotmine score .*` first"):
        select(SelectConfig(), run)
    score(ScoreConfig(verifier=TOOL_CALL), run)
    select(SelectConfig(), run)
    assert [(row["num_samples"], row["mean"]) for row in dataset(run)] == [(8, 0.125)]


def test_nothing_selected_writes_no_dataset(run: Path) -> None:
    summary = select(SelectConfig(max_mean=0.1), run)
    assert (summary.train, summary.validation, summary.candidates) == (0, 0, 4)
    assert not (run / "pivots").exists()
    assert sum(reject_counts(run, "select").values()) == 4
    assert select(SelectConfig(), run).train == 1  # the name is free


def test_profiles_of_an_older_verifier_are_refused(run: Path) -> None:
    (folder,) = run.glob("scores/*/*")
    folder.rename(folder.with_name("tool_call-00000000"))
    with pytest.raises(UserError, match=r"are of an older version of the verifier: run `pivotmine score"):
        select(SelectConfig(), run)


def test_bad_settings_and_places_are_one_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--max-mean 2.0: in \(0, 1\]"):
        select(SelectConfig(max_mean=2), run)
    with pytest.raises(UserError, match="is not a run"):
        select(SelectConfig(), tmp_path / "nothing")
    with pytest.raises(UserError, match="no policy matches 'other'"):
        select(SelectConfig(policy="other"), run)
    with pytest.raises(UserError, match="no verifier matches 'exact'"):
        select(SelectConfig(verifier="exact"), run)
    assert not (run / "pivots").exists()


@pytest.mark.parametrize(
    ("validation_share", "splits"),
    [(0.0, {"train": 24, "demonstrations": 24}), (0.4, {"train": 16, "validation": 8, "demonstrations": 16})],
)
def test_datasets_loads_the_folder_and_no_column_is_reserved(
    tmp_path: Path,
    tokenizer: Path,
    monkeypatch: pytest.MonkeyPatch,
    validation_share: float,
    splits: dict[str, int],
) -> None:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import datasets

    datasets.disable_progress_bars()
    run = make_run(tmp_path, *many_tasks(12, domain="orders"))
    remember(run, policy_record(tokenizer=str(tokenizer)))
    select(SelectConfig(strategy="all", validation_share=validation_share), run)
    folder, cache = run / "pivots" / "default", str(tmp_path / "cache")
    loaded = datasets.load_dataset(str(folder), cache_dir=cache)
    assert {split: len(loaded[split]) for split in loaded} == splits
    assert [dict(row) for split in splits if split != "demonstrations" for row in loaded[split]] == dataset(run)
    assert sorted(loaded["demonstrations"]["turn_id"]) == sorted(loaded["train"]["turn_id"])
    # By name, too, the training rows are there whether or not any are held out.
    files = {split: str(folder / f"{split}.parquet") for split in ("train", "validation")}
    train = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=cache)
    assert train.column_names == PIVOTS.names
    assert len(train) == splits["train"]
    # What TRL's GRPOTrainer hands to a reward function besides the columns, or reads from a row for its own ends.
    reserved = {
        *("prompts", "completions", "completion", "completion_ids", "image", "images", "environment", "environments"),
        *(
            "trainer_state",
            "log_extra",
            "log_metric",
            "prompt_mask",
            "completion_mask",
            "advantages",
            "chat_template_kwargs",
        ),
    }
    assert not reserved & set(PIVOTS.names)


def test_the_rows_are_the_same_from_one_process_and_from_all_cores(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, *many_tasks(8))
    mine(run, tokenizer, {f"user: task {i}": MIXED for i in range(8)})
    written: list[bytes] = []
    monkeypatch.setattr(rows_of, "STATES_PER_BATCH", 3)
    for number, worth in enumerate((10**9, 1)):
        monkeypatch.setattr(rows_of, "ROWS_WORTH_PROCESSES", worth)
        select(SelectConfig(name=f"n{number}", strategy="random", validation_share=0.0), run)
        written.append((run / "pivots" / f"n{number}" / "train.parquet").read_bytes())
    assert len(dataset(run, "n0")) > 3
    assert written[0] == written[1]
