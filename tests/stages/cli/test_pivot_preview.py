"""What a person sees of one pivot."""

from pathlib import Path

from trajectories import coin_trajectory, write_jsonl

from pivotmine_stages.cli.options import extract, rollout, score, select
from pivotmine_stages.cli.pivot_preview import show_pivot


def test_a_pivot_is_shown_with_its_demonstration_and_its_samples(tmp_path: Path, coin_policy: Path) -> None:
    run = tmp_path / "run"
    extract({}, sources=[write_jsonl(tmp_path / "s.jsonl", [coin_trajectory()])], run=run, domain="orders")
    rollout({}, run=run, model=str(coin_policy), engine="transformers", num_samples=32, max_new_tokens=64)
    summary = score({}, run=run)
    select({}, run=run, max_mean=1.0, validation_share=0.0)
    shown = show_pivot(run, "default")
    assert shown is not None
    lines = [line.split() for line in shown.splitlines()]
    right, wrong = summary.outcomes["correct"], summary.outcomes["wrong_tool"]
    assert lines[0][3:] == f"32 samples, mean reward {right / 32:.2f}, domain orders".split()
    assert lines[1] == ["sees", "user:", "Please", "cancel", "my", "order", "A17."]
    assert lines[2] == ["demonstrated", 'cancel_order(order_id="A17")']
    assert lines[3] == [str(right), "x", "1.00", "correct", 'cancel_order(order_id="A17")']
    assert lines[4] == [str(wrong), "x", "0.00", "wrong_tool", 'find_order(order_id="A17")']


def test_hostile_text_is_shown_inert_and_nothing_where_there_is_no_pivot(tmp_path: Path, tiny_policy: Path) -> None:
    record = coin_trajectory()
    record["messages"][0]["content"] = "\x1b]0;owned\x07\n\n| <b>hi</b>" + "x" * 500
    run = tmp_path / "run"
    extract({}, sources=[write_jsonl(tmp_path / "s.jsonl", [record])], run=run)
    rollout({}, run=run, model=str(tiny_policy), engine="transformers", num_samples=2, max_new_tokens=4)
    score({}, run=run)
    select({}, run=run)
    assert show_pivot(run, "default") is None
    select({}, run=run, name="random", strategy="random", validation_share=0.0)
    shown = show_pivot(run, "random")
    assert shown is not None
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert max(map(len, shown.splitlines())) <= 10 + 28 + 2 + 84
    assert "\\x1b]0;owned\\x07 | <b>hi</b>xx" in shown
