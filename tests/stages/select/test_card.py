"""The card of a dataset."""

from __future__ import annotations

from pathlib import Path

from runs import (
    answered,
    called,
    make_run,
    policy_record,
    remember,
    rows,
    said,
    trajectory,
)
from selecting import card, card_table

from pivotmine.run import rundir
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.stage import select


def test_the_card_counts_what_the_rejects_hold(run: Path) -> None:
    select(SelectConfig(), run)
    counted = {(stage, reason): (int(n), int(turns)) for stage, reason, n, turns in card_table(card(run), "stage")}
    expected: dict[tuple[str, str], tuple[int, int]] = {}
    for row in rows(run, "rejects"):
        key = row["stage"], row["reason"].replace("_", "\\_")
        n, turns = expected.get(key, (0, 0))
        expected[key] = n + 1, turns + row["num_turns"]
    assert counted == expected == {("select", "always"): (1, 1), ("select", "not\\_profiled"): (2, 2)}
    assert card_table(card(run), "domain") == [["none", "tool\\_call", "1", "0", "0.25"]]
    assert ["policy\\_id", "policy-1"] in card_table(card(run), "what")
    header = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train.parquet\n"
    header += "  - split: demonstrations\n    path: demonstrations.parquet\n---\n"
    assert card(run).startswith(f"{header}\n# Pivots: default\n")


def test_foreign_text_is_inert_in_the_card(tmp_path: Path, tokenizer: Path) -> None:
    hostile = "a|b\n# `x` <img src=x> [y](http://z) @you *b* &lt; www.z.org \x1b[2J\\|" + "long " * 400
    run = make_run(
        tmp_path,
        trajectory(said("x"), called("find", id="A"), answered("ok"), domain=hostile, task_id="t"),
        name="ev|il `<b>`\n.jsonl",
    )
    remember(run, policy_record(tokenizer=str(tokenizer), model=hostile, template_options={"x": hostile}))
    select(SelectConfig(strategy="all", validation_share=0.0), run)
    text = card(run)
    ((domain, kind, *numbers),) = card_table(text, "domain")
    assert domain.startswith(
        "a\\|b \\# \\`x\\` &lt;img src=x&gt; \\[y\\](http&colon;//z) "
        "&commat;you \\*b\\* &amp;lt; www&period;z.org \\[2J\\\\\\|"
    )
    assert domain.endswith("...")
    assert (kind, numbers) == ("tool\\_call", ["1", "0", "none"])
    ((source, *_),) = card_table(text, "source")
    assert source.endswith("ev\\|il \\`&lt;b&gt;\\` .jsonl")
    for raw in ("<img", "<b>", "\x1b", "http://", "@you"):
        assert raw not in text


def test_rejects_of_every_verifier_that_a_policy_was_sampled_under_are_on_the_card(run: Path) -> None:
    """rollout may have been run with another verifier than the scores are of."""
    reject = {"stage": "rollout", "reason": "no_verifier", "state_id": "s", "num_turns": 1}
    for verifier_id in ("exact-1", "tool_call-1"):
        identity = {"policy_id": "policy-1", "verifier_id": verifier_id}
        rundir.write_rows(rundir.rejects_dir(run, "rollout", identity) / "r.parquet", "rejects", [reject])
        rundir.write_manifest(run, "rollout", identity, {"summary": {}})
    other = {"policy_id": "policy-2", "verifier_id": "exact-1"}
    rundir.write_rows(rundir.rejects_dir(run, "rollout", other) / "r.parquet", "rejects", [reject] * 5)
    rundir.write_manifest(run, "rollout", other, {"summary": {}})
    select(SelectConfig(), run)
    assert card_table(card(run), "stage")[0] == ["rollout", "no\\_verifier", "1", "1"]
