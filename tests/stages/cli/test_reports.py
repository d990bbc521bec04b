import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mined_runs import mined_run
from summaries import EXTRACTED, ROLLED, SCORED, SELECTED

from pivotmine_stages.adaptive.summary import CostEstimate
from pivotmine_stages.cli.fitting import fitted
from pivotmine_stages.cli.reports import closing, extract_report, rollout_report, score_report, select_report
from pivotmine_stages.cli.run_all import RunSummary
from pivotmine_stages.rollout.stage import Sampled
from pivotmine_stages.select.summary import TwinSummary


def test_extract_says_what_became_of_every_turn() -> None:
    assert extract_report(EXTRACTED).splitlines() == [
        "extract   1,200 trajectories, 1,201 segments, 9,000 distinct messages",
        "          5,000 turns in 4,000 states",
        "          outcomes 0.0: 800, 1.0: 300, unlabelled: 100; label 1.0 or better makes a demonstration",
        "          labels found under reward (1,000), tau_bench reader (100)",
        "          1,500 of 5,000 turns are demonstrations (1,200 calls, 300 messages), of 1,400 states",
        "          read by openai (1,000), tau_bench (200)",
        "          rejects: low_outcome 3,500, bad_json 3, image 2 (7 turns)",
        "            low_outcome, first: a.jsonl, line 2: outcome 0.0",
        "            bad_json, first: a.jsonl, line 1: x",
        "            image, first: b.json, record 4: message 2",
        "          1.5 s",
    ]


@pytest.mark.parametrize("unit", ["tokens", "characters"])
def test_a_dry_run_says_what_prompts_would_cost(unit: str) -> None:
    sizes = {f"prompt_{unit}": 9_500_000, f"distinct_prefix_{unit}": 1_000_000, f"longest_prompt_{unit}": 9000}
    lines = extract_report(replace(EXTRACTED, dry_run=True, **sizes)).splitlines()
    assert lines[-3:-1] == [
        f"          prompts of 9,500,000 {unit}, 1,000,000 in distinct prefixes, 9,000 in the longest, "
        "without what a chat template adds",
        "          dry run: nothing was written",
    ]
    short = extract_report(replace(EXTRACTED, dry_run=True, **sizes, max_model_len=4096, too_long=1)).splitlines()
    assert short[-3].strip() == (
        "1 prompt leaves no room for a reply in this policy's context of 4,096 tokens: take a policy with a longer one"
    )


NONE_FOUND = "outcomes: none found, all trajectories count as good; --outcome-column KEY names another place"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"outcomes": {"None": 5}, "min_outcome": None}, NONE_FOUND),
        ({"outcomes": {"None": 5}, "min_outcome": 2.0}, NONE_FOUND),
        (
            {"calls_without_tools": 1720},
            "1,720 call demonstrations are offered no tools, so the policy cannot know them: "
            "give the definitions with --tools FILE",
        ),
        ({"states_without_user": 3}, "3 states hold no user message"),
        ({"states_without_user": 1}, "1 state holds no user message"),
        (
            {"kinds": {"message": 1500}},
            "all demonstrations are messages, and the default verifier proves few messages: with a judge, give "
            "--verifier judge to `run`, or to `rollout` and `score`; without one, perhaps no state is selected",
        ),
        ({"kinds": {}}, "1,500 of 5,000 turns are demonstrations, of 1,400 states"),
        (
            {"turns": 1, "demonstrations": 1, "demonstrated_states": 1, "kinds": {"tool_call": 1}},
            "1 of 1 turn is a demonstration (1 call), of 1 state",
        ),
        ({"undocumented_masks": 2}, "2 turns have `mask: false`, which has no documented meaning: it excludes nothing"),
        (
            {"outcomes": {"0.0": 5}, "min_outcome": None, "all_failed": True},
            "outcomes 0.0: 5; no label makes a demonstration",
        ),
        ({"rejects": {}}, "rejects: none"),
    ],
)
def test_extract_says_plainly_what_is_odd(change: dict[str, Any], line: str) -> None:
    assert f"          {line}" in extract_report(replace(EXTRACTED, **change)).splitlines()


def test_rollout_says_what_it_cost() -> None:
    assert rollout_report(ROLLED).splitlines() == [
        "rollout   policy tiny-0123456789ab",
        "          10 states, 80 samples wanted, 80 missing now",
        "          sampled 80 actions in 10 states: 4,000 tokens, 2.5 states/s, 1,000 tokens/s",
        "          9,000 prompt tokens, 3,000 of them from the prefix cache",
        "          rejects: no_verifier 2, engine_error 1",
        "            the first engine_error: status 500: out of \\x1b[2Jmemory",
        "          5.0 s",
    ]
    told = replace(ROLLED, sampled=replace(ROLLED.sampled, prefill_tokens=6500))
    assert rollout_report(told).splitlines()[3] == "          9,000 prompt tokens, 6,500 tokens prefilled"
    nothing = replace(ROLLED, missing_samples=0, sampled=Sampled(), sampling_s=0.0, rejects={}, causes={})
    assert rollout_report(nothing).splitlines()[2:4] == [
        "          sampled 0 actions in 0 states",
        "          rejects: none",
    ]


DRY = CostEstimate(
    policy_id="tiny-0123456789ab",
    verifier_id="tool_call-1",
    states=1,
    samples=8,
    continued=0,
    prompt_tokens=90,
    distinct_prefix_tokens=90,
    unrendered=0,
    max_model_len=1024,
    too_long=1,
    longest=1044,
    tokens_per_sample=None,
    generated_tokens=512,
    adaptive_share=None,
    gpu_hours=0.25,
    price=0.5,
)


def test_a_dry_run_bounds_what_no_sample_tells() -> None:
    assert rollout_report(DRY).splitlines() == [
        "rollout   dry run of tiny-0123456789ab: 1 state, 8 samples to draw",
        "          90 prompt tokens; 720 with one request per sample, 90 with every prefix shared",
        "          1 state left out: prompt and --max-new-tokens exceed the context of 1,024 tokens; "
        "1,044 would hold all",
        "          at most 512 tokens to generate; --pilot 100 samples some states to learn how long actions are",
        "          at most 0.25 GPU-hours, prompt tokens included",
        "          at most 0.50 at the given price per hour",
    ]
    known = rollout_report(replace(DRY, tokens_per_sample=20.5, generated_tokens=164.0)).splitlines()
    assert known[3:5] == [
        "          164 tokens to generate, 20.5 a sample",
        "          0.25 GPU-hours, prompt tokens included",
    ]
    nothing = rollout_report(replace(DRY, states=0, samples=0, generated_tokens=0, gpu_hours=0.0, price=0.0))
    assert len(nothing.splitlines()) == 3


def test_score_says_how_the_policy_did() -> None:
    assert score_report(SCORED).splitlines() == [
        "score     79 of 80 samples scored by tool_call-1",
        "          10 states: never 4, sometimes 5, always 1; mean reward 0.346",
        "          outcomes correct 30, wrong_tool 50",
        "          rejects: none",
        "          0.1 s",
    ]
    nothing = score_report(replace(SCORED, classes={"constant": 1}, mean=None, outcomes={}))
    assert nothing.splitlines()[1:3] == [
        "          10 states: never 0, sometimes 0, always 0, constant 1",
        "          outcomes none",
    ]


def test_score_says_what_is_unproven_and_what_is_not_installed() -> None:
    outcomes, classes = {"correct": 30, "unproven": 50}, {"undecided": 3, "sometimes": 7}
    unproven = replace(SCORED, outcomes=outcomes, mean_low=0.25, mean_high=0.75, classes=classes)
    report = score_report(replace(unproven, not_installed={"sql": ["sqlglot"]}))
    assert report.splitlines()[1:5] == [
        "          10 states: never 0, sometimes 7, always 0, undecided 3; mean reward 0.346",
        "          mean reward 0.250 if every unproven sample is wrong, 0.750 if every one is right",
        "          outcomes correct 30, unproven 50",
        "          sql is not installed (sqlglot missing), so tool_call compared its calls: "
        'pip install "pivotmine[verifiers]"',
    ]


def test_select_says_what_was_kept() -> None:
    assert select_report(SELECTED).splitlines() == [
        "select    pivots/default: 4 training and 1 validation rows",
        "          of 10 candidates",
        "          7 demonstrations, drawn from the 9 states outside validation (drawn and left out: too_long (2))",
        "          rejects: mean_too_high 5",
        "          0.2 s",
    ]


def test_select_says_what_the_twin_saved() -> None:
    twin = TwinSummary(name="default-random", train=4, validation=1, left_out={})
    assert (
        "          pivots/default-random: 4 training and 1 validation rows, drawn at random; they took no "
        "samples, the choice took 80"
    ) in select_report(replace(SELECTED, twin=twin)).splitlines()


MINED = RunSummary(extract=EXTRACTED, rollout=ROLLED, score=SCORED, select=SELECTED)


def test_the_end_says_what_was_found_and_what_to_type_next() -> None:
    assert closing(Path("my run"), MINED).splitlines() == [
        "run       10 states: never 4, sometimes 5, always 1",
        "          5 pivots in 'my run'/pivots/default",
        "          cost: 160 samples, 8,000 tokens generated, 9,000 prompt tokens",
        "          sampled by this command: 80, in 4.0 s",
        "          next:",
        "            pivotmine report 'my run'",
        "            pivotmine show 'my run' --class never -n 3",
        "            pivotmine audit 'my run'",
    ]


def test_what_to_type_next_names_the_profile_where_there_are_several(tmp_path: Path) -> None:
    run = mined_run(tmp_path)
    (verifier_id,) = {path.name for path in run.glob("scores/*/*")}
    scored = replace(SCORED, verifier_id=verifier_id, classes={"never": 2, "always": 4})
    mined = replace(MINED, rollout=replace(ROLLED, policy_id="policy-2"), score=scored)
    assert [line.strip() for line in closing(run, mined).splitlines()[-3:]] == [
        f"pivotmine report {run} --policy policy-2",
        f"pivotmine show {run} --class never -n 3 --policy policy-2",
        f"pivotmine audit {run} --policy policy-2",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_narrow_terminal_gets_lines_broken_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = "\n".join(
        [
            "score     4 samples of states",
            "            outcomes correct 3,648, wrong_tool 808, wrong_arguments 199",
            "            pivotmine show runs/mine --class never -n 3",
        ]
    )
    assert fitted(text) == text  # a file or a pipe
    monkeypatch.setattr("sys.stdout", Terminal())
    assert fitted(text).splitlines() == [
        "score     4 samples of states",
        "            outcomes correct 3,648,",
        "              wrong_tool 808,",
        "              wrong_arguments 199",
        "            pivotmine show runs/mine --class never -n 3",
    ]


NOTHING = "GRPO has nothing to learn from here"


@pytest.mark.parametrize(
    ("classes", "why"),
    [
        ({}, "no pivot: nothing could be scored; the rejects say why"),
        ({"never": 3}, f"no pivot: the policy fails in every state (all samples have reward 0); {NOTHING}"),
        ({"always": 3}, f"no pivot: the policy succeeds in every state; {NOTHING}"),
        ({"never": 2, "always": 3}, "no pivot: no state has differing rewards and a mean below --max-mean"),
    ],
)
def test_no_pivot_is_explained(classes: dict[str, int], why: str) -> None:
    none = replace(SELECTED, train=0, validation=0)
    mined = replace(MINED, score=replace(SCORED, classes=classes), select=none)
    assert closing(Path("run"), mined).splitlines()[1] == f"          {why}"


def test_foreign_text_in_a_summary_is_inert() -> None:
    report = rollout_report(replace(ROLLED, policy_id="\x1b[2Jevil", rejects={"\x07": 1}))
    assert report.splitlines()[0] == r"rollout   policy \x1b[2Jevil"
    assert r"rejects: \x07 1" in report


def test_select_says_in_one_line_how_states_become_decided() -> None:
    lines = select_report(replace(SELECTED, rejects={"undecided": 1200})).splitlines()
    (advice,) = [line.strip() for line in lines if line.strip().startswith("undecided: ")]
    assert advice.startswith("undecided: the verifier could not prove enough samples of 1,200 states; add a judge")
    assert '[verifiers.NAME] first_decided = ["auto", "judge"]' in advice
    assert not any("add a judge" in line for line in select_report(SELECTED).splitlines())
    judged = select_report(replace(SELECTED, rejects={"undecided": 1}, verifier_id="judge-1"))
    words = "for too many samples of 1 state, the judge gave no answer or changed it when the actions were swapped"
    assert f"          undecided: {words}" in judged.splitlines()
