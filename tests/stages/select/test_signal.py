"""Training signal of a selection: band, weights, quotas, the columns that explain a choice, and the random twin."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from runs import add_rollouts, answered, called, make_run, policy_record, remember, rows, said, states_of, trajectory
from selecting import MIXED, RIGHT, TEMPLATE, TOOL_CALL, WRONG, card, dataset, mine, save_tokenizer

from pivotmine.errors import UserError
from pivotmine_stages.cli.options import select as select_by_options
from pivotmine_stages.policy.record import choose_policy
from pivotmine_stages.score.stage import ScoreConfig, score
from pivotmine_stages.select.options import PreviewOptions, SelectConfig
from pivotmine_stages.select.preview import select_or_preview
from pivotmine_stages.select.samples import entropies
from pivotmine_stages.select.stage import select
from pivotmine_stages.select.summary import SelectPreview, TwinSummary
from pivotmine_stages.verify.options import VerifyConfig
from pivotmine_stages.verify.stage import verify

DOMAINS = ("travel", "orders", None)
LENGTHS = range(5)
NUM_TASKS = 45


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tokenizer(tmp_path_factory.mktemp("policy") / "policy")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tokenizer: Path) -> Path:
    """States of three domains with 0 to 4 right samples of 4, as many without a sample, and some without a gate."""
    folder = tmp_path_factory.mktemp("signal")
    records: list[dict[str, Any]] = []
    for i in range(NUM_TASKS):
        domain = DOMAINS[i % 3]
        labels = {"task_id": f"t{i}", "outcome": 1.0} | ({"domain": domain} if domain else {})
        calls = [called("find", id="A"), answered(f"new {i}"), called("find", id="A"), answered("ok")]
        records.append(trajectory(said(f"ask {i}"), *calls, **labels))
        records.append(trajectory(said(f"no gate {i}"), called("dance"), answered("no"), **labels))
    run = make_run(folder, *records)
    mine(
        run,
        tokenizer,
        {f"user: ask {i}": [RIGHT] * right + [WRONG] * (4 - right) for i in range(NUM_TASKS) for right in [i // 3 % 5]},
    )
    return run


def choose(run: Path, **options: Any) -> list[dict[str, Any]]:
    """The rows of a selection under a new name."""
    name = f"s{len(list(run.glob('pivots/*')))}"
    settings: dict[str, Any] = {"num_demonstrations": 0, **options}
    select(SelectConfig(name=name, **settings), run)
    return dataset(run, name)


def test_a_band_of_mean_rewards(run: Path) -> None:
    for low, high, means in ((0.5, 0.6, {0.5}), (0.25, 0.75, {0.25, 0.5}), (0.3, 1.0, {0.5, 0.75})):
        found = choose(run, min_mean=low, max_mean=high)
        assert {row["mean"] for row in found} == means
        assert len(found) == 9 * len(means)
    rejects = select(SelectConfig(name="band", min_mean=0.5), run).rejects
    assert (rejects["mean_too_low"], rejects["mean_too_high"]) == (9, 9)
    assert Counter(row["pivot_probability"] for row in choose(run, min_mean=0.5)).keys() != Counter(
        row["pivot_probability"] for row in choose(run, min_mean=0.49, max_mean=0.8) if row["mean"] == 0.5
    )


def test_a_target_writes_weights_instead_of_cutting(run: Path) -> None:
    summary = select_by_options({}, run=run, name="weighted", target_mean=0.5, target_width=0.2, num_demonstrations=0)
    found = dataset(run, "weighted")
    assert summary.train + summary.validation == 27  # rewards differ; no mean is too high
    assert {row["mean"]: row["weight"] for row in found} == {
        0.5: 1.0,
        0.25: pytest.approx(math.exp(-(1.25**2) / 2)),
        0.75: pytest.approx(math.exp(-(1.25**2) / 2)),
    }
    assert "Rows have weights: a trainer draws them by `weight`" in card(run, "weighted")
    # States that GRPO has nothing to learn from come along where they are asked for, at their weight.
    everything = choose(run, strategy="random", target_mean=0.25, target_width=0.5)
    assert {row["mean"]: round(row["weight"], 4) for row in everything} == {
        **{0.0: 0.8825, 0.25: 1.0, 0.5: 0.8825, 0.75: 0.6065, 1.0: 0.3247},
    }
    assert {row["weight"] for row in choose(run)} == {None}
    near = choose(run, strategy="mixed", target_mean=0.75, target_width=0.1, limit=9)
    assert {row["mean"] for row in near} == {0.75}
    with pytest.raises(UserError, match="--target-mean needs profiles, and --strategy all takes states without"):
        choose(run, strategy="all", target_mean=0.5)
    narrow = select(SelectConfig(name="narrow", strategy="mixed", target_mean=0.5, target_width=1e-3), run)
    assert (narrow.rejects["weight_zero"], narrow.train + narrow.validation) == (18, 9)


def test_domain_quotas(run: Path) -> None:
    found = choose(run, domain_quota=("travel=2", "=4"))
    assert Counter(row["domain"] for row in found) == {"travel": 2, "orders": 6, None: 4}
    found = choose(run, domain_quota=("travel=0",), max_per_domain=3)
    assert Counter(row["domain"] for row in found) == {"orders": 3, None: 3}
    best = choose(run, domain_quota=("orders=3",), target_mean=0.5, strategy="mixed")
    assert {row["mean"] for row in best if row["domain"] == "orders"} == {0.5}
    for quota, words in {
        "travel": "write DOMAIN=ROWS, for example travel=50",
        "travel=-1": "write DOMAIN=ROWS, for example travel=50",
        "travels=1": "no candidate has this domain; there are , orders, travel; did you mean travel?",
    }.items():
        with pytest.raises(UserError, match=f"--domain-quota {quota}: {words}".replace("?", r"\?")):
            choose(run, domain_quota=(quota,))
    with pytest.raises(UserError, match="travel already has the quota 1"):
        choose(run, domain_quota=("travel=1", "travel=2"))
    # The same settings again are the same selection, though a manifest holds a list where the options hold a tuple.
    config = SelectConfig(name="again", domain_quota=("travel=2",))
    assert select(config, run).train == select(config, run).train


def test_settings_that_say_nothing_together_are_refused(run: Path) -> None:
    for options, words in (
        ({"min_mean": 0.5, "strategy": "mixed"}, "--min-mean goes with --strategy pivots, not mixed"),
        ({"min_mean": 0.6}, "--min-mean 0.6: must be below --max-mean 0.6"),
        ({"max_mean": 0.7, "strategy": "mixed"}, "--max-mean goes with --strategy pivots, not mixed"),
        ({"max_mean": 0.7, "strategy": "entropy"}, "--max-mean goes with --strategy pivots, not entropy"),
        ({"target_width": 0.1}, "--target-width goes with --target-mean"),
        ({"twin": "random", "strategy": "all"}, "--twin needs profiles, and --strategy all takes states without"),
    ):
        with pytest.raises(UserError, match=words):
            choose(run, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"min_mean": 0.3, "max_mean": 0.7},
        {"strategy": "mixed", "target_mean": 0.5, "limit": 7},
        {"strategy": "random", "target_mean": 0.2, "max_per_domain": 5},
        {"domain_quota": ("travel=2", "=4"), "max_mean": 0.9},
        {"validation_share": 0.5, "max_per_trajectory": 1, "domain_quota": ("orders=1",)},
        {"strategy": "all", "limit": 31},
        {"strategy": "mixed", "holdout": "half"},
        {"strategy": "entropy", "limit": 20, "domain_quota": ("travel=2",)},
    ],
)
def test_a_dry_run_counts_what_select_writes(run: Path, options: dict[str, Any]) -> None:
    config = SelectConfig(name=f"dry{len(list(run.glob('pivots/*')))}", **options)
    before = sorted(run.rglob("*"))
    found = select_or_preview(config, PreviewOptions(dry_run=True), run)
    assert isinstance(found, SelectPreview)
    assert sorted(path for path in run.rglob("*") if "gates" not in path.parts) == [
        path for path in before if "gates" not in path.parts
    ]
    most = max(row["num_samples"] for row in found.rows)
    (row,) = [row for row in found.rows if (row["num_samples"], row["max_mean"]) == (most, config.max_mean)]
    summary = select(config, run)
    assert (row["train"], row["validation"]) == (summary.train, summary.validation)


def test_rows_tell_what_they_were_chosen_by(tmp_path: Path, tokenizer: Path) -> None:
    """Samples are in the order of their indices, whichever part they lie in; a null reward is one in the list."""
    run = make_run(
        tmp_path,
        trajectory(
            said("x"), called("find", id="A"), answered("A"), called("find", id="A"), answered("B"), outcome=1.0
        ),
    )
    mine(run, tokenizer, {"tool: A": [{**RIGHT, "num_tokens": 7}, {**WRONG, "num_tokens": None}]})
    add_rollouts(
        run, {states_of(run)["tool: A"]: [{**WRONG, "num_tokens": 9}, {**RIGHT, "num_tokens": 8}]}, part=1, first=2
    )
    score(ScoreConfig(verifier=TOOL_CALL), run)
    select(SelectConfig(validation_share=0.0), run)
    (row,) = dataset(run)
    told = ("turn_index", "outcome", "rewards", "lengths", "num_distinct_actions", "weight")
    assert {name: row[name] for name in told} == {
        "turn_index": 1,
        "outcome": 1.0,
        "rewards": [1.0, 0.0, 0.0, 1.0],
        "lengths": [7, None, 9, 8],
        "num_distinct_actions": 2,
        "weight": None,
    }
    unknown = next(row for row in rows(run, "demonstrations") if row["turn_index"] == 0)
    assert (unknown["rewards"], unknown["lengths"], unknown["num_distinct_actions"]) == ([], [], 0)
    assert (row["entropy"], unknown["entropy"]) == (None, None), "no log-probabilities are stored"


def test_the_entropy_of_actions_chooses_states_and_stands_in_their_rows(tmp_path: Path, tokenizer: Path) -> None:
    """Worked by hand; a sample without log-probabilities is left out of the mean, and rewards do not count."""
    run = make_run(
        tmp_path, trajectory(said("x"), *(m for a in "ABCD" for m in (called("find", id=a), answered(a))), outcome=1.0)
    )
    surest, sure, half = [-0.125], [-0.25, -0.25], [-1.5, -0.5]
    mine(
        run,
        tokenizer,
        {
            "tool: A": [{**RIGHT, "logprobs": half}, {**RIGHT, "logprobs": sure}],
            "tool: B": [{**RIGHT, "logprobs": surest}, {**WRONG, "logprobs": surest}],
            "tool: C": [{**WRONG, "logprobs": None}, {**WRONG, "logprobs": None}],
            "user: x": [{**RIGHT, "logprobs": half}, {**WRONG, "logprobs": None}],
        },
    )
    config = SelectConfig(strategy="entropy", min_entropy=0.5, validation_share=0.0)
    summary = select(config, run)
    found = states_of(run)
    told = {row["state_id"]: row["entropy"] for row in dataset(run)}
    assert told == {found["user: x"]: 2.0, found["tool: A"]: 1.25}
    assert summary.rejects == {"low_entropy": 1, "no_logprobs": 1}
    select(SelectConfig(name="first", strategy="entropy", validation_share=0.0, limit=1), run)
    assert [row["state_id"] for row in dataset(run, "first")] == [found["user: x"]]
    # Chosen by the samples of even index alone.
    config = SelectConfig(name="half", strategy="entropy", min_entropy=1.5, validation_share=0.0, min_scored=1)
    select(replace(config, holdout="half"), run)
    assert {row["state_id"] for row in dataset(run, "half")} == {found["user: x"], found["tool: A"]}


def test_log_probabilities_of_other_samples_than_the_model_s_own_are_no_entropy(
    tmp_path: Path, tokenizer: Path
) -> None:
    """They are stored as they are at temperature 1, and a hotter policy takes other actions."""
    run = make_run(tmp_path, trajectory(said("x"), called("find", id="A"), answered("A"), outcome=1.0))
    mine(run, tokenizer, {"user: x": [{**RIGHT, "logprobs": [-1.0]}, {**WRONG, "logprobs": [-1.0]}]})
    record = choose_policy(run, None)
    for sampling in ({"temperature": 0.7}, {"top_p": 0.9}, {"top_k": 20}):
        remember(run, replace(record, sampling={**record.sampling, **sampling}))
        with pytest.raises(UserError, match="--strategy entropy needs samples of the model's own distribution"):
            select(SelectConfig(name="none", strategy="entropy"), run)
        name = next(iter(sampling))
        select(SelectConfig(name=name, validation_share=0.0), run)
        assert [row["entropy"] for row in dataset(run, name)] == [None]


def test_entropy_counts_the_tokens_within_the_budget(tmp_path: Path, tokenizer: Path) -> None:
    """Of a sample with rows of several budgets, the longest one, cut at the policy's budget."""
    run = make_run(tmp_path, trajectory(said("x"), called("find", id="A"), answered("A"), outcome=1.0))
    mine(run, tokenizer, {"user: x": [{**RIGHT, "logprobs": [-1.0, -2.0, -4.0]}]})
    record = choose_policy(run, None)
    assert entropies(run, record)["entropy"].to_list() == [7.0]
    assert entropies(run, replace(record, budget=2))["entropy"].to_list() == [3.0]
    assert entropies(run, record, pl.Series("state_id", ["other"], pl.String))["entropy"].to_list() == []


def sizes(run: Path, name: str) -> Counter[tuple[str, str | None]]:
    return Counter(
        (split, domain)
        for split in ("train", "validation")
        for domain in pl.read_parquet(run / "pivots" / name / f"{split}.parquet")["domain"]
    )


@pytest.mark.parametrize("options", [{}, {"strategy": "mixed", "target_mean": 0.3, "domain_quota": ("travel=2",)}])
def test_the_twin_has_the_same_sizes_and_domains_in_each_split(run: Path, options: dict[str, Any]) -> None:
    name = f"twin{len(options)}"
    summary = select(SelectConfig(name=name, twin="random", validation_share=0.4, **options), run)
    assert summary.twin is not None
    assert (summary.twin.name, summary.twin.train, summary.twin.validation) == (
        *(f"{name}-random", summary.train, summary.validation),
    )
    assert sizes(run, name) == sizes(run, f"{name}-random")
    assert len(sizes(run, name)) == 6
    twin = dataset(run, f"{name}-random")
    assert len({row["state_id"] for row in twin}) == len(twin)
    # Any state that the verifier can judge, sampled or not; none was chosen by its rewards.
    assert {row["verifier"] for row in twin} == {"tool_call"}
    assert None in {row["reward_class"] for row in twin}
    assert {row["weight"] for row in twin} == {None}
    assert {row["num_samples"] for row in twin} == {None, 4}
    # Neither has a task that the other holds out.
    for split, path in itertools.product(("train", "validation"), (name, f"{name}-random")):
        tasks = set(pl.read_parquet(run / "pivots" / path / f"{split}.parquet")["task_id"])
        other = "validation" if split == "train" else "train"
        assert not tasks & set(pl.read_parquet(run / "pivots" / name / f"{other}.parquet")["task_id"])
    text = card(run, f"{name}-random")
    assert text.split("---\n")[2].startswith(f"\n# Control of pivots: {name}\n")
    assert (
        f"Drawing them took no samples. Choosing the rows of {name} took 180 samples in 45 states (180 sampled" in text
    )
    assert f"`{name}-random` is its control: as many rows, drawn at random." in card(run, name)
    folder = run / "pivots"
    assert (folder / name / "demonstrations.parquet").read_bytes() == (
        folder / f"{name}-random" / "demonstrations.parquet"
    ).read_bytes()
    assert verify(VerifyConfig(), run).broken == []


def test_the_twin_is_a_fair_draw_and_the_same_again(run: Path) -> None:
    config = SelectConfig(name="fair", twin="random", num_demonstrations=0, validation_share=0.0)
    first, before = select(config, run), dataset(run, "fair-random")
    assert select(config, run).twin == first.twin
    assert dataset(run, "fair-random") == before
    for salt in range(12):
        select(SelectConfig(name=f"salt{salt}", twin="random", seed=salt, num_demonstrations=0), run)
    drawn = [row for salt in range(12) for row in dataset(run, f"salt{salt}-random")]
    kinds = Counter("ask" if row["turn_index"] == 0 else "after" for row in drawn)
    assert kinds["ask"] / len(drawn) == pytest.approx(0.5, abs=0.12)
    classes = Counter(row["reward_class"] for row in drawn if row["turn_index"] == 0)
    assert classes["sometimes"] / kinds["ask"] == pytest.approx(0.6, abs=0.17)


def test_the_twin_replaces_what_it_cannot_write(tmp_path: Path) -> None:
    refusing = TEMPLATE + "{% if 'bad' in messages[0].content %}{{ raise_exception('no') }}{% endif %}"
    names = [*(f"bad {i}" for i in range(30)), *(f"good {i}" for i in range(10))]
    run = make_run(tmp_path, *[trajectory(said(name), called("find", id="A"), answered("ok")) for name in names])
    mine(run, save_tokenizer(tmp_path / "policy", refusing), {f"user: good {i}": MIXED for i in range(10)})
    summary = select(SelectConfig(twin="random", validation_share=0.0), run)
    # Only the good ones can be written, so the twin has to be the dataset itself.
    assert summary.twin == TwinSummary(name="default-random", train=10, validation=0, left_out={"template_error": 30})
    assert {row["state_id"] for row in dataset(run)} == {row["state_id"] for row in dataset(run, "default-random")}
    assert "Drawn, left out and replaced by others: template\\_error 30." in card(run, "default-random")


def test_the_twin_s_name_is_taken_by_one_selection(run: Path) -> None:
    select(SelectConfig(name="one", twin="random", num_demonstrations=0), run)
    with pytest.raises(UserError, match=r"pivots/one-random was selected with other options \(.*twin_of"):
        select(SelectConfig(name="one-random", strategy="random", num_demonstrations=0), run)
    select(SelectConfig(name="two-random", num_demonstrations=0), run)
    with pytest.raises(UserError, match=r"pivots/two-random was selected with other options"):
        select(SelectConfig(name="two", twin="random", num_demonstrations=0), run)
    assert not (run / "pivots" / "two").exists()


def test_without_a_twin_nothing_is_written_next_to_it(tmp_path: Path, tokenizer: Path) -> None:
    run = make_run(tmp_path, trajectory(said("x"), called("find", id="A"), answered("ok")))
    remember(run, policy_record(tokenizer=str(tokenizer)))
    assert select(SelectConfig(strategy="all"), run).twin is None
    assert [path.name for path in run.glob("pivots/*")] == ["default"]
    assert json.loads(next((run / "manifests").glob("select-*")).read_text())["summary"]["twin"] is None
