"""Samples under a smaller token budget, by complete enumeration of a policy with three tokens."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from runs import (
    add_rollouts,
    answered,
    call_text,
    called,
    make_run,
    policy_record,
    remember,
    said,
    sample,
    states_of,
    trajectory,
)
from runs import rows as table_rows

from pivotmine.verifiers import make_spec
from pivotmine_stages.profiles import budgets
from pivotmine_stages.profiles.budgets import (
    LONGER,
    PENDING,
    REPLACED,
    ROW,
    TOLD,
    count_samples,
    counts_of,
    exceptions,
    sample_blocks,
    samples_under,
    under,
)
from pivotmine_stages.score.stage import ScoreConfig, score

END = 2
CHANCES: dict[tuple[int, ...], tuple[Fraction, ...]] = {
    (): (Fraction(1, 2), Fraction(1, 4), Fraction(1, 4)),
    (0,): (Fraction(1, 8), Fraction(3, 8), Fraction(1, 2)),
    (1,): (Fraction(3, 4), Fraction(1, 8), Fraction(1, 8)),
}
"""By the token before, the chances of tokens 0, 1 and 2, which ends the turn."""
BUDGETS = (1, 2, 3)
Reply = tuple[int, ...]
Row = tuple[str, int, int, int | None, bool, bool]
"""state_id, sample_index, budget, num_tokens, cut, has_tokens."""


def replies(budget: int) -> dict[Reply, Fraction]:
    """Every reply under a budget with its probability."""
    found: dict[Reply, Fraction] = {(): Fraction(1)}
    for _ in range(budget):
        grown: dict[Reply, Fraction] = {}
        for reply, chance in found.items():
            if reply[-1:] == (END,):
                grown[reply] = grown.get(reply, Fraction(0)) + chance
                continue
            for token, share in enumerate(CHANCES[reply[-1:]]):
                grown[(*reply, token)] = chance * share
        found = grown
    return found


def reward(reply: Reply) -> int:
    """Long replies are right here: only those that reach their end earn something."""
    return int(reply == (0, 1, END) or reply == (1, END))


def rows(reply: Reply, budgets: tuple[int, ...]) -> list[Row]:
    """The rows of one sample that was continued from budget to budget."""
    found: list[Row] = []
    for budget in budgets:
        said = reply[:budget]
        found.append(("s", 0, budget, len(said), said[-1] != END, True))
        if said[-1] == END:
            break
    return found


def table(found: Sequence[Row]) -> pl.DataFrame:
    types = {"state_id": pl.String, "sample_index": pl.Int32, "budget": pl.Int32, "num_tokens": pl.Int32}
    return pl.DataFrame(found, {**types, "cut": pl.Boolean, "has_tokens": pl.Boolean}, orient="row")


def earned(reply: Reply, budgets: tuple[int, ...], budget: int) -> int | None:
    """The reward of a stored sample under a budget; None: it is pending."""
    (row,) = under(table(rows(reply, budgets)), budget).iter_rows(named=True)
    told = reply[: row["budget"]]
    worth = {TOLD: 0 if told[-1] != END else reward(told), LONGER: 0, PENDING: None}
    return worth[row["status"]]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("budgets", [b for n in (1, 2, 3) for b in itertools.combinations(BUDGETS, n)])
def test_whatever_the_budgets_before_the_mean_is_that_of_samples_drawn_at_the_budget(
    budgets: tuple[int, ...], budget: int
) -> None:
    """Growing continues samples and shrinking cuts them: neither changes the distribution by a hair."""
    truth = sum(chance * reward(reply) for reply, chance in replies(budget).items())
    found = [(chance, earned(reply, budgets, budget)) for reply, chance in replies(max(budgets)).items()]
    pending = sum(chance for chance, worth in found if worth is None)
    if max(budgets) >= budget:
        assert pending == 0
        assert sum(chance * (worth or 0) for chance, worth in found) == truth
    else:  # exactly those that the largest budget so far cut are pending, and nothing is counted as 0 for it
        assert pending == sum(chance for reply, chance in replies(max(budgets)).items() if reply[-1] != END) > 0


def test_drawing_cut_samples_again_favours_short_replies() -> None:
    """Why they are continued: of a sample of budget 1 that is cut, a second draw at budget 3 may be a short one."""
    short, whole = replies(1), replies(3)
    cut = sum(chance for reply, chance in short.items() if reply[-1] != END)
    continued: dict[Reply, Fraction] = {}
    again: dict[Reply, Fraction] = {}
    for reply, chance in whole.items():
        continued[reply] = chance
        again[reply] = cut * chance + (short.get(reply, Fraction(0)) if reply[-1] == END else 0)
    assert sum(again.values()) == sum(continued.values()) == 1
    truth = sum(chance * reward(reply) for reply, chance in whole.items())
    assert sum(chance * reward(reply) for reply, chance in again.items()) == truth * cut < truth
    assert again[(END,)] > continued[(END,)]


def status(found: Sequence[Row], budget: int | None) -> dict[tuple[str, int], str]:
    return {(state, index): kind for state, index, _, kind in under(table(found), budget).iter_rows()}


def test_without_token_ids_all_samples_of_a_state_with_a_cut_one_are_replaced() -> None:
    stored: list[Row] = [
        *[("a", 0, 64, None, False, False), ("a", 1, 64, None, True, False)],
        *[("b", 0, 64, None, False, False), ("b", 1, 64, None, False, False)],
        # Samples with tokens, from another server, are continued: they are a fair set of their own.
        *[("c", 0, 64, 20, False, True), ("c", 1, 64, None, True, False), ("c", 2, 64, 64, True, True)],
    ]
    assert status(stored, 64) == dict.fromkeys([(s, i) for s, i, *_ in stored], TOLD)
    assert status(stored, 128) == {
        ("a", 0): REPLACED,
        ("a", 1): REPLACED,
        ("b", 0): TOLD,
        ("b", 1): TOLD,
        ("c", 0): TOLD,
        ("c", 1): REPLACED,
        ("c", 2): PENDING,
    }
    # Drawn at 128 under new indices, they are whole, and at 64 the first ones count again.
    more: list[Row] = [*stored, ("a", 2, 128, None, False, False), ("a", 3, 128, None, True, False)]
    assert {key: kind for key, kind in status(more, 128).items() if key[0] == "a"} == {
        ("a", 0): REPLACED,
        ("a", 1): REPLACED,
        ("a", 2): TOLD,
        ("a", 3): TOLD,
    }
    assert {key: kind for key, kind in status(more, 64).items() if key[0] == "a"} == {
        ("a", 0): TOLD,
        ("a", 1): TOLD,
        ("a", 2): REPLACED,
        ("a", 3): REPLACED,
    }


def test_a_sample_has_one_row_that_counts_under_each_budget() -> None:
    grown: list[Row] = [("a", 0, 64, 64, True, True), ("a", 0, 128, 90, False, True), ("a", 1, 64, 9, False, True)]
    short = ("a", 1, 64, TOLD)
    assert sorted(under(table(grown), 32).rows()) == [("a", 0, 128, LONGER), short]
    assert sorted(under(table(grown), 64).rows()) == [("a", 0, 64, TOLD), short]
    assert sorted(under(table(grown), 256).rows()) == [("a", 0, 128, TOLD), short]
    counts = counts_of(under(table(grown[:1]), 128))
    assert counts.rows(named=True) == [{"state_id": "a", "num_samples": 1, "num_pending": 1}]


def test_recorded_samples_have_no_budget_and_all_count() -> None:
    assert status([("a", 0, 0, None, True, False), ("a", 1, 0, 7, False, False)], None) == {
        ("a", 0): TOLD,
        ("a", 1): TOLD,
    }


def test_a_run_of_any_size_is_read_in_blocks_of_whole_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of any size give the same table, profiles, dataset figures and counts; no block splits a state."""
    run = make_run(tmp_path, *(trajectory(said(f"Find {i}"), called("find", id="A"), answered("")) for i in range(20)))
    record = policy_record(budget=8)
    remember(run, record)
    texts = [call_text("find", id=i) for i in "AB"]
    states = sorted(states_of(run).values())
    for part in range(4):  # each state has samples in several parts
        drawn = {
            one: [_drawn(texts[(i + part) % 2], 4 if i % 5 else 8)] for i, one in enumerate(states) if (i + part) % 3
        }
        add_rollouts(run, drawn, part=part, first=part)
    grown = {one: [_drawn(texts[0], 9, budget=16)] for i, one in enumerate(states) if i % 5 == 0 and i % 3}
    add_rollouts(run, grown, part=4)
    seen: dict[int, tuple[object, ...]] = {}
    for size in (1, 7, 1 << 20):
        monkeypatch.setattr(budgets, "ROWS_PER_BLOCK", size)
        blocks = [block["state_id"].unique().to_list() for block in sample_blocks(run, record)]
        assert sorted(itertools.chain.from_iterable(blocks)) == states
        assert (len(blocks) > 5) == (size < 10)
        summary = score(ScoreConfig(verifier=make_spec("tool_call", {}), max_new_tokens=8), run)
        summary = replace(summary, seconds=0.0)
        under_8 = samples_under(run, record, 8).sort(ROW).rows()
        odd = exceptions(run, record, 8).sort(ROW).rows()
        seen[size] = (summary, under_8, odd, count_samples(run, record, 8), table_rows(run, "profiles"))
    assert seen[1] == seen[7] == seen[1 << 20]


def _drawn(text: str, num_tokens: int, budget: int = 8) -> dict[str, Any]:
    reason = "length" if num_tokens == budget else "stop"
    return sample(text, num_tokens=num_tokens, budget=budget, finish_reason=reason)
