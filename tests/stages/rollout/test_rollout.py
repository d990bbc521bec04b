"""rollout with the real transformers engine: what it samples, what it skips, what it survives."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from order_samples import NUM_ORDERS, calling_states, keys, rows, sample
from summaries import ROLLED
from trajectories import TOOLS, call, order_trajectory, write_jsonl

import pivotmine_stages.rollout.stage as stage
from pivotmine.errors import UserError
from pivotmine.policy import hash_token_ids
from pivotmine.run.rundir import scan
from pivotmine.run.states import demonstrated_turns, state_messages
from pivotmine.sampling.prefix_tree import sortable, tree_tokens
from pivotmine_stages.cli.options import extract
from pivotmine_stages.command import to_json
from pivotmine_stages.engines.options import failed
from pivotmine_stages.engines.protocol import Reply, Request, Sample
from pivotmine_stages.engines.transformers.engine import TransformersEngine
from pivotmine_stages.policy.prompts import load_renderer
from pivotmine_stages.rollout.missing import in_prefix_order


def reject_counts(run: Path) -> dict[str, int]:
    rejects = scan(run, "rejects").filter(pl.col("stage") == "rollout").collect()
    return dict(rejects.group_by("reason").len().sort("reason").iter_rows())


def test_every_state_that_the_verifier_can_judge_gets_its_samples(run: Path, tiny_policy: Path) -> None:
    summary = sample(run, tiny_policy)
    states = calling_states(run)
    assert len(states) == 2 * NUM_ORDERS
    assert keys(run) == [(state, index) for state in sorted(states) for index in range(3)]
    assert reject_counts(run) == {"no_verifier": NUM_ORDERS}
    assert summary.missing_samples == 0
    found = rows(run)
    assert found["num_tokens"].to_list() == found["token_ids"].list.len().to_list()
    assert found["logprobs"].list.len().to_list() == found["token_ids"].list.len().to_list()
    assert found["finish_reason"].is_in(["stop", "length"]).all()
    assert found["policy_id"].unique().to_list() == [summary.policy_id]


def test_started_again_it_samples_nothing_and_more_samples_add_only_the_new_ones(run: Path, tiny_policy: Path) -> None:
    sample(run, tiny_policy)
    before, parts = rows(run), sorted(run.glob("rollouts/*/*.parquet"))
    assert not sample(run, tiny_policy).sampled
    assert sorted(run.glob("rollouts/*/*.parquet")) == parts
    summary = sample(run, tiny_policy, num_samples=5)
    assert summary.sampled.samples == 2 * 2 * NUM_ORDERS
    after = rows(run)
    assert after.filter(pl.col("sample_index") < 3).equals(before)
    assert after["sample_index"].max() == 4


def test_limit_takes_the_first_states_and_shards_share_out_whole_trajectories(run: Path, tiny_policy: Path) -> None:
    sample(run, tiny_policy, limit=5)
    assert len({state for state, _ in keys(run)}) == 5
    for i in range(3):
        sample(run, tiny_policy, shard=f"{i}/3")
    assert sorted(set(keys(run))) == keys(run)
    assert {state for state, _ in keys(run)} == calling_states(run)
    turns = scan(run, "turns").select("state_id", "trajectory_id").collect()
    for i in range(3):
        part = pl.concat([pl.read_parquet(p) for p in run.glob(f"rollouts/*/part-{i}of3-*.parquet")])
        elsewhere = [p for p in run.glob("rollouts/*/part-*of3-*.parquet") if f"part-{i}of3" not in p.name]
        others = pl.concat([pl.read_parquet(path) for path in elsewhere])
        mine = part.join(turns, on="state_id")["trajectory_id"].unique()
        assert not set(mine) & set(others.join(turns, on="state_id")["trajectory_id"])


def test_shards_share_out_the_rejects_too(run: Path, tiny_policy: Path) -> None:
    sample(run, tiny_policy)
    for i in range(2):
        sample(run, tiny_policy, shard=f"{i}/2")
    assert reject_counts(run) == {"no_verifier": NUM_ORDERS}


def test_a_policy_that_was_never_sampled_is_none(run: Path, tiny_policy: Path) -> None:
    """A start that fails, for want of a server here, leaves nothing that a later stage would have to choose from."""
    with pytest.raises(UserError, match="no answer"):
        sample(run, tiny_policy, engine="openai", base_url=["http://127.0.0.1:9/v1"], policy_name="nobody")
    assert not (run / "rollouts").exists()
    sample(run, tiny_policy, max_model_len=7)
    assert not (run / "rollouts").exists()
    sample(run, tiny_policy, limit=1)
    assert len(list((run / "rollouts").iterdir())) == 1


def test_a_plan_gives_each_state_its_count(run: Path, tiny_policy: Path, tmp_path: Path) -> None:
    first, second, third = sorted(calling_states(run))[:3]
    plan = tmp_path / "plan.csv"
    plan.write_text(f"state_id,num_samples\n{first},2\n{second},1\n{third},0\n")
    sample(run, tiny_policy, plan=plan)
    assert keys(run) == [(first, 0), (first, 1), (second, 0)]
    plan.write_text(f"state_id,num_samples\n{first},2\nnobody,1\n")
    with pytest.raises(UserError, match="1 state is not eligible in this run, nobody"):
        sample(run, tiny_policy, plan=plan)
    plan.write_text("state,n\n1,2\n")
    with pytest.raises(UserError, match="cannot be read"):
        sample(run, tiny_policy, plan=plan)


def test_long_prompts_and_unverifiable_demonstrations_are_rejects(tmp_path: Path, tiny_policy: Path) -> None:
    long = order_trajectory("C1")
    long["messages"][0]["content"] += " please" * 2000
    unknown = order_trajectory("C2")
    unknown["messages"][1]["tool_calls"] = [call("delete_order", {"order_id": "C2"})]
    source = write_jsonl(tmp_path / "s.jsonl", [long, unknown])
    extract({}, sources=[source], run=tmp_path / "run")
    sample(tmp_path / "run", tiny_policy)
    assert reject_counts(tmp_path / "run") == {"no_verifier": 2, "prompt_too_long": 2, "unverifiable": 1}
    details = scan(tmp_path / "run", "rejects").filter(pl.col("reason") == "prompt_too_long").collect()["detail"]
    assert all(detail.endswith("and 6 new ones exceed 1024") for detail in details)
    assert len(keys(tmp_path / "run")) == 3


def test_what_the_template_refuses_is_a_reject(tmp_path: Path, tiny_policy: Path) -> None:
    picky = tmp_path / "picky"
    picky.mkdir()
    for file in tiny_policy.iterdir():
        os.link(file, picky / file.name)
    refusing = "{% if messages | length > 1 %}{{ raise_exception('one message only') }}{% endif %}"
    template = picky / "chat_template.jinja"
    text = template.read_text()
    template.unlink()
    template.write_text(refusing + text)
    source = write_jsonl(tmp_path / "s.jsonl", [order_trajectory("D1")])
    extract({}, sources=[source], run=tmp_path / "run")
    sample(tmp_path / "run", picky, parser="hermes")
    rejects = scan(tmp_path / "run", "rejects").filter(pl.col("reason") == "template_error").collect()
    assert rejects["detail"].to_list() == ["TemplateError: one message only"]
    assert len(keys(tmp_path / "run")) == 3


def test_another_temperature_is_another_policy_and_another_seed_is_an_error(run: Path, tiny_policy: Path) -> None:
    one = sample(run, tiny_policy, limit=1)
    two = sample(run, tiny_policy, limit=1, temperature=0.5)
    assert one.policy_id != two.policy_id
    assert len(rows(run)) == 6
    with pytest.raises(UserError, match="was sampled with --seed 0, not 1"):
        sample(run, tiny_policy, limit=1, seed=1)


def test_bad_settings_are_one_clear_line(run: Path, tiny_policy: Path, tmp_path: Path) -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"model": tmp_path / "none"}, "no such folder"),
        ({"engine": "sglang"}, "--engine sglang: choose from vllm, openai, transformers"),
        ({"engine": "transformer"}, "did you mean transformers"),
        ({"engine": "ray", "replica_engine": "openai"}, "--replica-engine openai: choose from vllm, transformers"),
        ({"parser": "yaml"}, "--parser yaml: choose from hermes, llama3_json"),
        ({"verifier": "vibes"}, "no verifier"),
        ({"top_p": 0}, r"--top-p 0.0: in \(0, 1\]"),
        ({"temperature": float("inf")}, "--temperature inf: at least 0"),
        ({"temperature": float("nan")}, "--temperature nan: at least 0"),
        ({"temperature": 1e-30}, "--temperature 1e-30: 0 \\(greedy\\), or a number from 0.01"),
        ({"num_samples": 2**31}, r"--num-samples 2147483648: in \[1, 16384\]"),
        ({"num_samples": 0}, r"--num-samples 0: in \[1, 16384\]"),
        (
            {"max_new_tokens": 64, "max_model_len": 64},
            "--max-new-tokens 64 leaves no room .* --max-model-len of 64",
        ),
        (
            {"max_new_tokens": 1024},
            "--max-new-tokens 1024 leaves no room for a prompt in the model.s context of 1024",
        ),
        ({"policy_name": " "}, "--policy-name ' ': letters, digits, dots, - and _$"),
        ({"policy_name": "a\nb"}, r"--policy-name 'a\\nb': letters, digits, dots, - and _, for example a-b"),
        ({"timeout_s": float("nan")}, "--timeout-s nan: a number above 0"),
        ({"timeout_s": 0}, "--timeout-s 0.0: a number above 0"),
        ({"base_url": ["http://127.0.0.1:9/v1"]}, "--base-url names a server, and --engine transformers uses none"),
        ({"adapter": "nowhere"}, "adapter nowhere: no readable adapter_config.json"),
        ({"shard": "3/3"}, "--shard 3/3"),
        ({"template_options": "[1]"}, "a JSON object"),
        ({"engine": "openai", "base_url": ["http://127.0.0.1:9/v1"]}, "--policy-name"),
    )
    for options, words in cases:
        with pytest.raises(UserError, match=words):
            sample(run, **{"model": tiny_policy, **options})
    assert rows(run).is_empty()
    with pytest.raises(UserError, match="is not a run"):
        sample(tmp_path / "nowhere", tiny_policy)
    assert not (tmp_path / "nowhere").exists()


def test_two_processes_never_sample_one_policy_at_once(run: Path, tiny_policy: Path) -> None:
    from pivotmine.run.rundir import stage_lock

    policy_id = sample(run, tiny_policy, limit=1).policy_id
    with stage_lock(run, f"rollout-{policy_id}-0of1"), pytest.raises(UserError, match="another process is at work"):
        sample(run, tiny_policy, limit=2)
    assert len(keys(run)) == 3


def test_the_manifest_and_the_policy_record_say_what_was_done(run: Path, tiny_policy: Path) -> None:
    summary = sample(run, tiny_policy, limit=2)
    (manifest,) = [json.loads(path.read_text()) for path in run.glob("manifests/rollout-*.json")]
    assert manifest["summary"] == to_json(summary)
    record = json.loads((run / "rollouts" / summary.policy_id / "policy.json").read_text())
    assert record["sampling"] == {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
    assert (record["budget"], record["first_budget"]) == (6, None)
    assert (record["engine"], record["parser"], record["seed"]) == ("transformers", "hermes", 0)


def test_tools_without_a_schema_for_the_call_are_unverifiable_not_wrong(tmp_path: Path, tiny_policy: Path) -> None:
    record = order_trajectory("E1")
    record["tools"] = TOOLS[:1]
    extract({}, sources=[write_jsonl(tmp_path / "s.jsonl", [record])], run=tmp_path / "run")
    sample(tmp_path / "run", tiny_policy)
    assert reject_counts(tmp_path / "run") == {"no_verifier": 1, "unverifiable": 1}


def test_trajectories_that_begin_alike_are_sampled_next_to_each_other(tmp_path: Path) -> None:
    """And each stays whole and in order; nothing is lost on the way."""
    records = [order_trajectory(f"F{i}") for i in range(8)]
    for i, record in enumerate(records):
        record["messages"].insert(0, {"role": "system", "content": f"You work at desk {i % 2}."})
        record["tools"] = TOOLS[: 2 - i // 4]
    extract({}, sources=[write_jsonl(tmp_path / "s.jsonl", records)], run=tmp_path / "run")
    turns = demonstrated_turns(tmp_path / "run")
    ordered = in_prefix_order(tmp_path / "run", turns)
    assert ordered.sort("turn_id").equals(turns.sort("turn_id"))
    assert len(ordered["trajectory_id"].rle()) == 8
    assert all(group["position"].is_sorted() for _, group in ordered.group_by("trajectory_id"))
    begins = [
        (json.dumps(state.tools), state.messages[0]["content"]) for state in state_messages(tmp_path / "run", ordered)
    ]
    assert len(list(groupby(begins))) == len(set(begins)) == 4


def test_what_was_prefilled_is_told(run: Path, tiny_policy: Path) -> None:
    """One batch of all states, in the order of their prefixes: nearly the tree of their prompts."""
    done = sample(run, tiny_policy, batch_size=1000).sampled
    renderer = load_renderer(str(tiny_policy), {})
    turns = demonstrated_turns(run).filter(pl.col("kind") == "tool_call")
    prompts = [sortable(renderer.render(s.messages, s.tools).token_ids) for s in state_messages(run, turns)]
    assert done.prompt_tokens == sum(map(len, prompts)) // 4
    assert done.prefill_tokens is not None
    assert tree_tokens(prompts) <= done.prefill_tokens <= 1.1 * tree_tokens(prompts)
    assert done.prefill_tokens + done.cached_tokens == done.prompt_tokens


def test_the_engine_is_asked_for_whole_states_and_its_words_are_stored(
    run: Path, tiny_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []
    told: list[Reply] = []
    draw = TransformersEngine.sample

    def watched(engine: TransformersEngine, requests: Iterable[Request]) -> Iterator[Reply]:
        for reply in draw(engine, (asked.append(request) or request for request in requests)):
            told.append(reply)
            yield reply

    monkeypatch.setattr(TransformersEngine, "sample", watched)
    sample(run, tiny_policy)
    renderer = load_renderer(str(tiny_policy), {})
    turns = demonstrated_turns(run).filter(pl.col("kind") == "tool_call")
    assert asked == [
        Request(
            state_id=state.turn["state_id"],
            prompt_ids=renderer.render(state.messages, state.tools).token_ids,
            sample_indices=(0, 1, 2),
            trajectory_id=state.turn["trajectory_id"],
            messages=state.messages,
            tools=state.tools,
        )
        for state in state_messages(run, in_prefix_order(run, turns))
    ]
    of_prompt = {
        reply.request.state_id: {
            "num_prompt_tokens": len(reply.request.prompt_ids),
            "num_cached_tokens": reply.num_cached_tokens,
            "opened_reasoning": False,
            "prompt_hash": hash_token_ids(reply.request.prompt_ids),
        }
        for reply in told
    }
    for row in rows(run).iter_rows(named=True):
        assert {name: row[name] for name in of_prompt[row["state_id"]]} == of_prompt[row["state_id"]]


def test_what_the_engine_fails_at_is_a_reject_in_whole_or_in_part_and_missing(
    run: Path, tiny_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As servers do: the first state fails, of the second one a single sample comes, the second one."""
    draw = TransformersEngine.sample

    def failing(engine: TransformersEngine, requests: Iterable[Request]) -> Iterator[Reply]:
        for number, reply in enumerate(draw(engine, requests)):
            if number == 0:
                yield failed(reply.request, "engine_error", "on fire")
            else:
                half = replace(reply, samples=reply.samples[1:2], failure="engine_error", detail="smoke")
                yield half if number == 1 else reply

    with monkeypatch.context() as patch:
        patch.setattr(TransformersEngine, "sample", failing)
        summary = sample(run, tiny_policy, limit=4)
    found = rows(run)
    kept = found.group_by("state_id").agg(pl.col("sample_index").sort(), pl.col("num_prompt_tokens").first())
    assert sorted(kept["sample_index"].to_list()) == [[0, 1, 2], [0, 1, 2], [1]]
    done = summary.sampled
    assert (done.states, done.samples, done.tokens) == (3, 7, found["num_tokens"].sum())
    assert (summary.wanted_states, summary.wanted_samples, summary.missing_samples) == (4, 12, 3 + 2)
    stored = (summary.stored.samples, summary.stored.tokens, summary.stored.prompt_tokens)
    assert stored == (7, found["num_tokens"].sum(), kept["num_prompt_tokens"].sum())
    assert summary.rejects == {"engine_error": 2, "no_verifier": 1}
    assert summary.causes["engine_error"] == "on fire"
    rejects = scan(run, "rejects").filter(pl.col("reason") == "engine_error").collect()
    assert rejects["detail"].to_list() == ["on fire", "smoke"]
    assert [state in set(kept["state_id"]) for state in rejects["state_id"]] == [False, True]
    again = sample(run, tiny_policy, limit=4)
    assert (again.sampled.samples, again.missing_samples, again.stored.samples) == (5, 0, 12)
    assert again.rejects == {"no_verifier": 1}
    assert len(set(keys(run))) == len(keys(run)) == 12


def test_a_prompt_that_fits_exactly_is_sampled(run: Path, tiny_policy: Path) -> None:
    renderer = load_renderer(str(tiny_policy), {})
    turns = demonstrated_turns(run).filter(pl.col("kind") == "tool_call")
    lengths = [len(renderer.render(s.messages, s.tools).token_ids) for s in state_messages(run, turns)]
    fits = sample(run, tiny_policy, num_samples=1, max_model_len=max(lengths) + 6)
    assert (fits.sampled.states, fits.rejects) == (2 * NUM_ORDERS, {"no_verifier": NUM_ORDERS})
    cut = sample(run, tiny_policy, num_samples=2, max_model_len=max(lengths) + 5)
    assert cut.rejects["prompt_too_long"] == lengths.count(max(lengths))
    assert cut.sampled.states == 2 * NUM_ORDERS - lengths.count(max(lengths))


@pytest.mark.parametrize("logprob", [float("nan"), float("-inf")])
def test_samples_of_a_model_that_answers_with_no_numbers_are_none(logprob: float) -> None:
    request = Request(state_id="s", prompt_ids=[1], sample_indices=(0, 1))
    one = Sample(sample_index=0, text="a", token_ids=[1, 2], logprobs=[-0.5, -1.0], finish_reason="stop", num_tokens=2)
    untold = replace(one, sample_index=1, logprobs=None)
    whole = Reply(request=request, samples=(one, untold))
    assert stage.sound(whole) is whole
    broken = replace(whole, samples=(one, replace(one, sample_index=1, logprobs=[-0.5, logprob])))
    detail = "log-probabilities that are not numbers: the weights may be broken"
    assert stage.sound(broken) == failed(request, "engine_error", detail)


def test_without_a_sample_the_stages_after_rollout_are_told_why() -> None:
    stage.require_samples(ROLLED)
    nothing = replace(ROLLED, stored=stage.Stored(0, 0, 0), rejects={}, causes={})
    with pytest.raises(UserError, match=r"^nothing was sampled: no turn in the sources is a demonstration"):
        stage.require_samples(nothing)
    words = "^nothing was sampled: no_verifier 2, engine_error 1; the first engine_error: status 500: no$"
    rejects, causes = {"no_verifier": 2, "engine_error": 1}, {"engine_error": "status 500:\n no"}
    with pytest.raises(UserError, match=words):
        stage.require_samples(replace(nothing, rejects=rejects, causes=causes))
