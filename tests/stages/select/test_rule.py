"""Which states are selected: each rule against its description, by examples and by search."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import accumulate
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.rule import check, choose_states, is_validation

SCHEMA = {
    "state_id": pl.String,
    "turn_id": pl.String,
    "trajectory_id": pl.String,
    "domain": pl.String,
    "kind": pl.String,
    "num_prompt_tokens": pl.Int32,
    "num_scored": pl.Int32,
    "mean": pl.Float64,
    "variance": pl.Float64,
    "reward_class": pl.String,
    "gate": pl.String,
    "pivot_probability": pl.Float64,
}


def state(state_id: str, mean: float | None = 0.5, **columns: Any) -> dict[str, Any]:
    """A candidate whose eight rewards are 0 and 1 with this mean; None: not profiled."""
    profiled = mean is not None
    named = {0.0: "never", 1.0: "always"}
    row: dict[str, Any] = {
        "state_id": state_id,
        "turn_id": f"{state_id}:0",
        "trajectory_id": f"trajectory of {state_id}",
        "domain": None,
        "kind": "tool_call",
        "num_prompt_tokens": 100,
        "num_scored": 8 if profiled else None,
        "mean": mean,
        "variance": mean * (1 - mean) if profiled else None,
        "reward_class": named.get(mean, "sometimes") if profiled else None,
        "gate": "correct" if profiled else None,
        "pivot_probability": 0.9 if profiled else None,
    }
    return row | columns | ({"mean": None} if columns.get("num_scored") == 0 else {})


def choose(candidates: list[dict[str, Any]], **settings: Any) -> dict[str, str | None]:
    """State (in the order of the choice) -> reason, None where it is kept."""
    chosen = choose_states(pl.DataFrame(candidates, SCHEMA, orient="row"), SelectConfig(**settings))
    return dict(chosen.select("state_id", "reject_reason").iter_rows())


def kept(candidates: list[dict[str, Any]], **settings: Any) -> list[str]:
    return [state_id for state_id, reason in choose(candidates, **settings).items() if reason is None]


UNSCORED: dict[str, Any] = {"num_scored": 0, "variance": None, "reward_class": None}
EVERY_CASE = [
    state("below", 0.5),
    state("at", 0.6),
    state("above", 0.75),
    state("never", 0.0),
    state("always", 1.0),
    state("constant", 0.5, variance=0.0, reward_class="constant"),
    state("one sample", 0.5, num_scored=1, reward_class="constant"),
    state("nothing scored", 0.5, **UNSCORED),
    state("message", 0.5, kind="message", **UNSCORED, gate="no_verifier"),
    state("gated", 0.5, **UNSCORED, gate="unknown_arguments"),
    state("unsampled", None),
]
GATED = {"message": "no_verifier", "gated": "unverifiable", "unsampled": "not_profiled"}
FEW = {"one sample": "too_few_scored", "nothing scored": "too_few_scored"}
SAME = {"never": "never", "always": "always", "constant": "constant"}


@pytest.mark.parametrize(
    ("settings", "rejected"),
    [
        ({}, {"at": "mean_too_high", "above": "mean_too_high", **SAME, **FEW, **GATED}),
        ({"max_mean": 0.75}, {"above": "mean_too_high", **SAME, **FEW, **GATED}),
        ({"max_mean": 1.0}, {**SAME, **FEW, **GATED}),
        (
            {"min_scored": 1},
            {"at": "mean_too_high", "above": "mean_too_high", **SAME, **GATED}
            | {"one sample": "constant", "nothing scored": "too_few_scored"},
        ),
        (
            {"min_scored": 9},
            dict.fromkeys(("below", "at", "above", *SAME, *FEW), "too_few_scored") | GATED,
        ),
        ({"strategy": "mixed"}, {**SAME, **FEW, **GATED}),
        ({"strategy": "random"}, {**FEW, **GATED}),
        ({"strategy": "all"}, {}),
    ],
)
def test_each_strategy_gives_every_other_state_one_reason(settings: dict[str, Any], rejected: dict[str, str]) -> None:
    chosen = choose(EVERY_CASE, **settings)
    assert {name: reason for name, reason in chosen.items() if reason is not None} == rejected
    assert chosen.keys() == {row["state_id"] for row in EVERY_CASE}


def test_rewards_that_differ_by_a_rounding_make_no_pivot() -> None:
    """`reward_class` alone decides: it knows what differs by more than 1e-6."""
    assert choose([state("s", 0.5, variance=1e-14, reward_class="constant")]) == {"s": "constant"}


def test_order_is_variance_then_mean_then_state_with_unknown_ones_last() -> None:
    rows = [
        state("e", None),
        state("a", 0.25),
        state("d", 0.5),
        state("c", 0.75),  # the variance of "a"
        state("b", 0.25),
    ]
    assert list(choose(rows, strategy="all")) == ["d", "a", "b", "c", "e"]
    assert kept(rows, strategy="mixed", limit=3) == ["d", "a", "b"]


def test_turns_of_one_state_keep_a_stable_order() -> None:
    rows = [state("s", None, turn_id=f"t:{i}") for i in range(3)]
    frame = choose_states(pl.DataFrame(rows[::-1], SCHEMA, orient="row"), SelectConfig(strategy="all"))
    assert frame["turn_id"].to_list() == ["t:0", "t:1", "t:2"]


names = st.text("abcdefgh", min_size=1, max_size=3)
means = st.none() | st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]) | st.floats(0.001, 0.999)


@st.composite
def candidate_lists(draw: st.DrawFn) -> list[dict[str, Any]]:
    return [
        state(
            state_id,
            draw(means),
            trajectory_id=draw(st.sampled_from("TUV")),
            domain=draw(st.sampled_from(["x", "y", None])),
            kind=draw(st.sampled_from(["tool_call", "message"])),
        )
        for state_id in draw(st.lists(names, unique=True, max_size=25))
    ]


shares = st.none() | st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0])
counts = st.none() | st.integers(1, 10)
configs = st.builds(
    SelectConfig,
    strategy=st.sampled_from(["pivots", "mixed", "random", "all"]),
    variance_share=st.none() | st.sampled_from([0.1, 0.5, 0.9, 1.0]),
    max_per_trajectory=counts,
    max_per_domain=counts,
    max_message_share=shares,
    limit=counts,
    seed=st.integers(0, 3),
)


@given(candidate_lists(), configs, st.integers())
def test_the_choice_does_not_depend_on_the_order_of_the_candidates(
    rows: list[dict[str, Any]], config: SelectConfig, seed: int
) -> None:
    shuffled = random.Random(seed).sample(rows, len(rows))
    ours, theirs = (choose_states(pl.DataFrame(r, SCHEMA, orient="row"), config) for r in (rows, shuffled))
    assert ours.rows() == theirs.rows()
    assert sorted(ours["state_id"]) == sorted(row["state_id"] for row in rows)


@given(candidate_lists(), configs)
def test_no_cap_is_ever_exceeded(rows: list[dict[str, Any]], config: SelectConfig) -> None:
    chosen = choose_states(pl.DataFrame(rows, SCHEMA, orient="row"), config)
    left = chosen.filter(pl.col("reject_reason").is_null())
    most = {"trajectory_id": config.max_per_trajectory, "domain": config.max_per_domain}
    for column, cap in most.items():
        assert cap is None or all(n <= cap for n in left[column].value_counts()["count"])
    assert config.limit is None or len(left) <= config.limit
    if config.max_message_share is not None:
        messages = left.filter(pl.col("kind") == "message").height
        assert messages <= Fraction(str(config.max_message_share)) * len(left)


def carry_share(variances: list[float], share: Fraction) -> int:
    """How many of the greatest variances reach the share, in exact arithmetic."""
    ranked = sorted((Fraction(v) for v in variances if v > 0), reverse=True)
    sums = list(accumulate(ranked, initial=Fraction()))
    return next(n for n, total in enumerate(sums) if total >= share * sums[-1])


@given(st.lists(st.sampled_from([0.0, 0.0625, 0.125, 0.25]), min_size=1, max_size=40), st.integers(1, 20))
def test_variance_share_keeps_as_few_as_reach_it(variances: list[float], twentieths: int) -> None:
    rows = [state(f"{i:02}", 0.5, variance=v) for i, v in enumerate(variances)]
    chosen = kept(rows, strategy="mixed", variance_share=twentieths / 20)
    # Sums of these floats are exact: ties may not hide an error by one.
    expected = sorted(rows, key=lambda row: (-row["variance"], row["state_id"]))
    assert chosen == [row["state_id"] for row in expected][: carry_share(variances, Fraction(twentieths, 20))]


@given(st.lists(st.floats(0, 0.25), min_size=1, max_size=40))
def test_a_variance_share_of_one_loses_only_states_without_variance(variances: list[float]) -> None:
    rows = [state(f"{i:02}", 0.5, variance=v) for i, v in enumerate(variances)]
    expected = {row["state_id"] for row in rows if row["variance"] > 0}
    assert set(kept(rows, strategy="mixed", variance_share=1.0)) == expected


def test_nine_of_ten_equal_variances_carry_nine_tenths() -> None:
    for mean in (0.1, 0.3, 0.37, 0.5):
        rows = [state(str(i), mean) for i in range(10)]
        chosen = choose(rows, strategy="mixed", variance_share=0.9)
        assert list(chosen.values()) == [None] * 9 + ["low_variance"]


def test_variance_share_is_of_the_states_that_satisfy_the_rule() -> None:
    rows = [state("easy", 0.65), state("a", 0.5), state("b", 0.125)]
    # 0.25 of 0.359375 is 70 %; were the easy state counted, "a" alone would carry 42 %.
    assert kept(rows, variance_share=0.6) == ["a"]
    assert kept(rows, variance_share=0.7) == ["a", "b"]


def test_caps_take_the_first_states_in_the_order_and_one_after_the_other() -> None:
    rows = [
        state("a", 0.5, trajectory_id="T", domain="x"),
        state("b", 0.4, trajectory_id="T", domain="x"),
        state("c", 0.3, trajectory_id="U", domain="x"),
        state("d", 0.25, trajectory_id="U", domain=None),
        state("e", 0.2, trajectory_id="V", domain=None),
        state("f", 0.125, trajectory_id="V", domain="y"),
    ]
    assert choose(rows, max_per_trajectory=1, max_per_domain=1, limit=1) == {
        "a": None,
        "b": "trajectory_cap",
        "c": "domain_cap",
        "d": "trajectory_cap",
        "e": "limit",
        "f": "trajectory_cap",
    }
    # What the trajectory cap took is not counted against the domain.
    assert kept(rows, max_per_trajectory=1, max_per_domain=2) == ["a", "c", "e"]
    # States without a domain are one domain.
    assert kept(rows, max_per_domain=1) == ["a", "d", "f"]


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, "ccccccc"),
        (0.3, "mmmccccccc"),  # 3 of 10, where floats say 2.9999999999999996
        (0.5, "mmmmmmmccccccc"),
        (1.0, "mmmmmmmmccccccc"),
    ],
)
def test_message_share_is_met_exactly(share: float, expected: str) -> None:
    messages = [state(f"m{i}", 0.5, kind="message") for i in range(8)]
    calls = [state(f"c{i}", 0.25) for i in range(7)]
    assert [name[0] for name in kept([*calls, *messages], max_message_share=share)] == list(expected)


def test_message_share_still_holds_after_the_limit() -> None:
    messages = [state(f"m{i}", 0.5, kind="message") for i in range(8)]
    calls = [state(f"c{i}", 0.25) for i in range(20)]
    assert kept([*calls, *messages], max_message_share=0.25, limit=9) == [
        "m0",
        "m1",
        *(f"c{i}" for i in (0, 1, 10, 11, 12, 13, 14)),
    ]


@given(candidate_lists(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), counts)
def test_message_share_takes_no_more_than_it_must(rows: list[dict[str, Any]], share: float, limit: int | None) -> None:
    """No message turn more would fit, unless the limit is what keeps it out."""
    without = choose(rows, strategy="all")
    chosen = [
        row for row in rows if row["state_id"] in kept(rows, strategy="all", max_message_share=share, limit=limit)
    ]
    messages = sum(row["kind"] == "message" for row in chosen)
    available = sum(row["kind"] == "message" for row in rows)
    assert len(without) == len(rows)
    if messages < available and len(chosen) != limit:
        assert messages + 1 > Fraction(str(share)) * (len(chosen) + 1)


def test_long_prompts_leave_before_the_caps_count() -> None:
    rows = [state("long", 0.5, num_prompt_tokens=101), state("b", 0.4), state("unknown", 0.3, num_prompt_tokens=None)]
    assert choose(rows, max_prompt_tokens=100, limit=1) == {"long": "prompt_too_long", "b": None, "unknown": "limit"}
    assert kept(rows, max_prompt_tokens=101, strategy="all") == ["long", "b", "unknown"]


@given(candidate_lists(), candidate_lists(), st.integers(0, 5))
def test_random_order_depends_on_seed_and_state_alone(
    rows: list[dict[str, Any]], more: list[dict[str, Any]], seed: int
) -> None:
    ours = list(choose(rows, strategy="random", seed=seed))
    known = {row["state_id"] for row in rows}
    added = [row for row in more if row["state_id"] not in known]
    theirs = list(choose([*added, *({**row, "mean": 0.1} for row in rows)], strategy="random", seed=seed))
    assert [state_id for state_id in theirs if state_id in known] == ours


def test_another_seed_is_another_random_order() -> None:
    rows = [state(f"{i:02}") for i in range(30)]
    orders = {tuple(choose(rows, strategy="random", seed=seed)) for seed in range(5)}
    assert len(orders) == 5
    assert all(order != tuple(sorted(order)) for order in orders)


def test_validation_takes_its_share_of_the_tasks_and_more_of_them_where_it_grows() -> None:
    keys = [f"task/{i}" for i in range(4000)]
    shares = [0.0, 0.1, 0.3]
    held = [{key for key in keys if is_validation(key, SelectConfig(validation_share=share))} for share in shares]
    assert held[0] == set()
    assert held[1] < held[2]
    assert [len(h) / len(keys) for h in held[1:]] == [pytest.approx(0.1, abs=0.02), pytest.approx(0.3, abs=0.03)]
    assert held[1] != {key for key in keys if is_validation(key, SelectConfig(validation_share=0.1, seed=1))}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, None),
        ({"max_mean": 1.0, "variance_share": 1.0, "max_message_share": 0.0, "limit": 0, "validation_share": 0.0}, None),
        ({"strategy": "best"}, "--strategy best: choose from pivots, mixed, entropy, random, all"),
        ({"min_entropy": 0.5}, "--min-entropy goes with --strategy entropy, not pivots"),
        ({"max_mean": 0.0}, "--max-mean 0.0: in (0, 1]"),
        ({"max_mean": float("nan")}, "--max-mean nan: in (0, 1]"),
        ({"variance_share": 0.0}, "--variance-share 0.0: in (0, 1]"),
        ({"variance_share": 1.1}, "--variance-share 1.1: in (0, 1]"),
        ({"max_message_share": -0.1}, "--max-message-share -0.1: in [0, 1]"),
        ({"validation_share": 1.0}, "--validation-share 1.0: in [0, 1)"),
        ({"min_scored": 0}, "--min-scored 0: at least 1"),
        ({"max_per_trajectory": 0}, "--max-per-trajectory 0: at least 1"),
        ({"max_per_domain": -1}, "--max-per-domain -1: at least 1"),
        ({"max_prompt_tokens": 0}, "--max-prompt-tokens 0: at least 1"),
        ({"limit": -1}, "--max-rows -1: at least 0"),
        ({"name": "../x"}, "--name '../x': letters, digits, dots, - and _, for example x"),
        ({"name": ".."}, "--name '..': letters, digits, dots, - and _"),
        ({"name": "a\nb"}, "--name 'a\\nb': letters, digits, dots, - and _, for example a-b"),
        ({"name": ""}, "--name '': letters, digits, dots, - and _"),
        (
            {"name": "a" * 101},
            f"--name '{'a' * 101}': at most 100 letters, digits, dots, - and _, for example {'a' * 100}",
        ),
    ],
)
def test_settings_that_make_no_sense_are_named(settings: dict[str, Any], problem: str | None) -> None:
    assert check(SelectConfig(**settings)) == problem


UNPROVEN_SCHEMA = {**SCHEMA, "num_unproven": pl.Int32, "mean_low": pl.Float64, "mean_high": pl.Float64}


def judged(same: int, different: int, unproven: int, *, worth: str) -> dict[str, Any]:
    """A candidate with this many samples of each answer."""
    scored = same + different + (unproven if worth == "zero" else 0)
    mean = same / scored if scored else None
    differ = bool(same) and scored > same
    missing = worth == "null" and unproven > 0
    alike = "undecided" if missing else "always" if same else "never"
    everything = same + different + unproven
    return state(
        f"{same} {different} {unproven}",
        mean,
        num_scored=scored,
        variance=None if mean is None else mean * (1 - mean),
        reward_class="sometimes" if differ else alike,
        gate="correct",
        num_unproven=unproven,
        mean_low=same / everything,
        mean_high=(same + unproven) / everything,
    )


@pytest.mark.parametrize(
    ("same", "different", "unproven", "null", "zero"),
    [
        (1, 1, 14, "undecided", None),
        (3, 0, 13, "undecided", None),
        (0, 0, 16, "undecided", "never"),
        (0, 3, 13, "undecided", "never"),
        (4, 4, 8, "undecided", None),  # mean_high 0.75
        (2, 10, 4, None, None),
        (1, 7, 8, None, None),  # exactly half is decided, and mean_high 0.5625
        (1, 6, 9, "undecided", None),
        (10, 2, 4, "mean_too_high", "mean_too_high"),  # with any rewards of the four
        (8, 4, 4, "undecided", None),
        (16, 0, 0, "always", "always"),
    ],
)
def test_what_is_unproven_can_make_no_pivot(
    same: int, different: int, unproven: int, null: str | None, zero: str | None
) -> None:
    for worth, expected in (("null", null), ("zero", zero)):
        row = judged(same, different, unproven, worth=worth)
        chosen = choose_states(pl.DataFrame([row], UNPROVEN_SCHEMA, orient="row"), SelectConfig())
        assert chosen["reject_reason"].to_list() == [expected], worth


def test_a_band_leaves_out_what_unproven_samples_may_take_out_of_it() -> None:
    """Below `min_mean` for certain, by what they are worth, and by no means."""
    rows = [judged(*counts, worth="null") for counts in ((2, 10, 2), (4, 8, 4), (5, 8, 3))]
    candidates = pl.DataFrame(rows, UNPROVEN_SCHEMA, orient="row")
    chosen = choose_states(candidates, SelectConfig(min_mean=0.3)).select("state_id", "reject_reason")
    assert dict(chosen.iter_rows()) == {"2 10 2": "mean_too_low", "4 8 4": "undecided", "5 8 3": None}


def test_how_many_samples_have_to_be_decided_is_an_option() -> None:
    row = judged(1, 6, 9, worth="null")
    for min_decided, expected in ((0.4, "undecided"), (0.0, "undecided")):
        # 9 of 16 unproven: mean_high is 0.625.
        chosen = choose_states(
            pl.DataFrame([row], UNPROVEN_SCHEMA, orient="row"), SelectConfig(min_decided=min_decided, max_mean=0.6)
        )
        assert chosen["reject_reason"].to_list() == [expected]
    for min_decided, expected in ((0.5, "undecided"), (0.4, None)):
        chosen = choose_states(
            pl.DataFrame([row], UNPROVEN_SCHEMA, orient="row"), SelectConfig(min_decided=min_decided, max_mean=0.7)
        )
        assert chosen["reject_reason"].to_list() == [expected]
    assert check(SelectConfig(min_decided=1.5)) == "--min-decided 1.5: in [0, 1]"
