"""Servers are not trusted: every field is checked for type and range, and a bad reply costs only its state."""

from __future__ import annotations

import copy
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from dripping import dripping_server
from engine_fixtures import OddServer
from hostile import JUNK, nodes
from hypothesis import given
from hypothesis import strategies as st
from trajectories import order_trajectory, write_jsonl

from pivotmine.errors import UserError
from pivotmine.run.rundir import scan
from pivotmine.run.tables import ROLLOUTS
from pivotmine_stages.cli.options import extract, rollout, score
from pivotmine_stages.engines.openai import engine as engine_module
from pivotmine_stages.engines.openai.engine import _retry_after_s  # pyright: ignore[reportPrivateUsage]
from pivotmine_stages.engines.openai.replies import Trouble, read_models, read_reply
from pivotmine_stages.engines.protocol import Reply, Request, Sample
from pivotmine_stages.rollout.stage import sound

REQUEST = Request(state_id="s", prompt_ids=[1, 2], sample_indices=(4, 5))
COMPLETION: dict[str, Any] = {
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "text": "a",
            "token_ids": [7, 2],
            "logprobs": {"token_logprobs": [-0.5, -0.25]},
        }
    ],
    "usage": {"completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 16}},
}
CALL = {"id": "1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
CHAT: dict[str, Any] = {
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "a", "reasoning": "r", "refusal": None, "tool_calls": [CALL]},
            "token_ids": [7, 2],
            "logprobs": {"content": [{"token": "a", "logprob": -0.5}, {"token": "", "logprob": -0.25}]},
        }
    ],
    "usage": {"completion_tokens": 2},
}
MODELS: dict[str, Any] = {
    "data": [{"id": "m", "owned_by": "vllm", "max_model_len": 1024, "parent": None}, {"id": "a", "parent": "m"}]
}
ODD = [*JUNK, 2**40, 10**400, -1, 1.5, math.nan, math.inf, "\ud800", ["\ud800"], {"name": 3}, {"function": "f"}]


def _with(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    found = copy.deepcopy(body)
    *above, key = path
    parent = found
    for step in above:
        parent = parent[step]
    parent[key] = value
    return found


BAD: list[tuple[dict[str, Any], tuple[Any, ...], Any]] = [
    (COMPLETION, ("choices", 0, "token_ids"), [2**40]),
    (COMPLETION, ("choices", 0, "token_ids"), ["a", 2]),
    (COMPLETION, ("choices", 0, "token_ids"), [-1, 2]),
    (COMPLETION, ("choices", 0, "token_ids"), [True, 2]),
    (COMPLETION, ("choices", 0, "token_ids"), "ab"),
    (COMPLETION, ("choices", 0, "logprobs", "token_logprobs"), ["x", "y"]),
    (COMPLETION, ("choices", 0, "logprobs", "token_logprobs"), [17.5, 3.0]),
    (COMPLETION, ("choices", 0, "logprobs"), [-0.5]),
    (COMPLETION, ("choices", 0, "text"), ["a"]),
    (COMPLETION, ("choices", 0, "text"), None),
    (COMPLETION, ("choices", 0, "finish_reason"), ["stop"]),
    (COMPLETION, ("choices", 0, "index"), "first"),
    (COMPLETION, ("choices", 0), "a"),
    (COMPLETION, ("choices",), {"0": {}}),
    (COMPLETION, ("usage", "prompt_tokens_details", "cached_tokens"), "many"),
    (COMPLETION, ("usage", "prompt_tokens_details", "cached_tokens"), 2**40),
    (COMPLETION, ("usage", "prompt_tokens_details"), 3),
    (COMPLETION, ("usage", "completion_tokens"), "some"),
    (COMPLETION, ("usage",), [1]),
    (CHAT, ("choices", 0, "message"), "a"),
    (CHAT, ("choices", 0, "message", "content"), [{"type": "text", "text": "a"}]),
    (CHAT, ("choices", 0, "message", "reasoning"), 3),
    (CHAT, ("choices", 0, "message", "tool_calls"), "find"),
    (CHAT, ("choices", 0, "message", "tool_calls", 0), "find"),
    (CHAT, ("choices", 0, "message", "tool_calls", 0, "function"), "find"),
    (CHAT, ("choices", 0, "message", "tool_calls", 0, "function", "name"), 3),
    (CHAT, ("choices", 0, "logprobs", "content"), [{"logprob": "x"}, {"logprob": -1.0}]),
    (CHAT, ("choices", 0, "logprobs", "content"), [-0.5, -0.25]),
]


@pytest.mark.parametrize(("body", "path", "value"), BAD)
def test_a_field_of_another_type_or_range_makes_the_reply_unreadable(
    body: dict[str, Any], path: tuple[Any, ...], value: Any
) -> None:
    assert read_reply(REQUEST, body).samples[0].token_ids == [7, 2]
    with pytest.raises(ValueError, match=r"^[\w.]+: ") as refused:
        read_reply(REQUEST, _with(body, path, value))
    assert str(refused.value).isprintable()


def _rows(reply: Reply) -> pa.Table:
    names = [name for name in Sample.__slots__ if name in ROLLOUTS.names]
    rows = [{name: getattr(sample, name) for name in names} for sample in sound(reply).samples]
    return pa.Table.from_pylist(
        [{**row, "num_cached_tokens": reply.num_cached_tokens, "policy_id": "p", "state_id": "s"} for row in rows],
        schema=ROLLOUTS,
    )


@given(st.sampled_from([COMPLETION, CHAT]), st.data())
def test_whatever_a_reply_holds_it_is_read_into_rows_or_refused(body: dict[str, Any], data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(list(nodes(body))))
        body = _with(body, path, data.draw(st.sampled_from(ODD)))
    try:
        reply = read_reply(REQUEST, json.loads(json.dumps(body)))
    except (ValueError, Trouble) as refused:
        str(refused).encode()
        return
    _rows(reply)


@given(st.data())
def test_whatever_a_model_list_holds_it_is_read_or_refused(data: st.DataObject) -> None:
    body = _with(MODELS, data.draw(st.sampled_from(list(nodes(MODELS)))), data.draw(st.sampled_from(ODD)))
    try:
        models = read_models(body)
    except ValueError as refused:
        str(refused).encode()
        return
    for name, model in models.items():
        assert (type(name), type(model.max_model_len)) in [(str, int), (str, type(None))]


@pytest.mark.parametrize("told", ["lots", -3, 2**40, [4096], True])
def test_a_context_that_is_none_is_one_line_at_the_start(
    told: Any, opened: Callable[..., Any], odd_server: OddServer
) -> None:
    odd_server.models = _with(MODELS, ("data", 0, "max_model_len"), told)
    with pytest.raises(UserError, match=r"^server http\S+: /models .*\(data\.0\.max_model_len: Input should be "):
        opened("openai", base_urls=(odd_server.address,), served_model="m")


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        *((None, 0), ("", 0), ("2.5", 2.5), ("-3", 0), ("nan", 0), ("inf", 3600), ("1e300", 3600), ("soon", 0)),
        ("Mon, 09 Jan 99999999 10:10:10 GMT", 0),
        ("1 Jan 2026 99999999999:00:00", 3600),
    ],
)
def test_a_time_to_wait_is_read_or_left(header: str | None, wait_s: float) -> None:
    assert _retry_after_s(header) == wait_s


def test_log_probabilities_that_overflow_a_sum_are_a_reject_like_others() -> None:
    for odd in ([math.inf, -math.inf], [-1.7e308, -1.7e308, math.nan]):
        sample = Sample(
            sample_index=0, text="", token_ids=[1] * len(odd), logprobs=odd, finish_reason="stop", num_tokens=len(odd)
        )
        assert sound(Reply(request=REQUEST, samples=(sample,))).failure == "engine_error"


def test_a_reply_that_drips_is_waited_for_no_longer_than_the_whole_request_may_take(
    opened: Callable[..., Any], ask: Callable[..., Request], odd_server: OddServer
) -> None:
    with (
        dripping_server(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n") as address,
        opened("openai", base_urls=(odd_server.address,), timeout_s=0.5, max_retries=0) as engine,
    ):
        (server,) = engine._fleet.servers
        server.client = server.client.with_options(base_url=address)
        (reply,) = engine.sample([ask("s")])
    assert (reply.failure, reply.detail) == ("engine_error", "no whole answer within 0.5 s")


def test_a_model_list_that_drips_is_no_answer(opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "START_TIMEOUT_S", 0.5)
    with (
        dripping_server(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n") as address,
        pytest.raises(UserError, match=r"^server http\S+: no answer; start it"),
    ):
        opened("openai", base_urls=(address,))


def test_a_reply_without_end_is_not_read_to_its_end(
    opened: Callable[..., Any], ask: Callable[..., Request], odd_server: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "FREE_BYTES", 1 << 10)
    odd_server.answers = [(200, {"choices": [], "padding": "x" * (1 << 20)})]
    with opened("openai", base_urls=(odd_server.address,), max_retries=0) as engine:
        (reply,) = engine.sample([ask("s")])
    assert (reply.failure, reply.detail) == ("engine_error", f"an answer of more than {(1 << 10) + 64 * 1024:,} bytes")


def test_what_a_server_says_steers_no_terminal(odd_server: OddServer, tmp_path: Path) -> None:
    run = tmp_path / "run"
    source = write_jsonl(tmp_path / "s.jsonl", [order_trajectory("B")])
    extract({}, sources=[source], run=run)
    odd_server.answers = [(400, {"error": {"message": "\x1b[2J\x1b]0;gone\x07 \u202e \u009b2J"}})]
    flags = ["--engine", "openai", "--policy-name", "p", "--api", "chat", "--base-url", odd_server.address]
    for model in ("m", "\x1b[2J\u009b2J"):
        odd_server.models = {"data": [{"id": model}, {"id": "other"}]}
        command = [sys.executable, "-m", "pivotmine_stages", "rollout", run, "--model", "m", *flags]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1
        said = done.stdout + done.stderr
        assert "gone" in said or "it serves" in said
        assert not re.search(r"[^\n -~]", said), said


def test_one_bad_reply_is_a_reject_of_its_state_and_the_rest_is_written(odd_server: OddServer, tmp_path: Path) -> None:
    run = tmp_path / "run"
    source = write_jsonl(tmp_path / "s.jsonl", [order_trajectory(f"B{i}", task_id=i) for i in range(3)])
    extract({}, sources=[source], run=run)
    good = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Done."}}
    bad = [{**good, "token_ids": [2**40]}, {**good, "token_ids": ["a"]}, {**good, "logprobs": {"content": ["x"]}}]
    bad += [{**good, "message": {"content": {"\x1b[2J": 1}}}]
    odd_server.answers = [(200, {"choices": [choice]}) for choice in [*bad, good]]
    odd_server.answers.insert(
        0, (200, {"choices": [good], "usage": {"prompt_tokens_details": {"cached_tokens": "many"}}})
    )
    options: dict[str, Any] = {"engine": "openai", "model": "m", "policy_name": "p", "api": "chat", "max_retries": 0}
    options |= {"base_url": [odd_server.address], "concurrency": 1, "num_samples": 1}
    summary = rollout({}, run=run, **options)
    assert summary.rejects == {"engine_error": 5}
    assert len(odd_server.asked) == summary.wanted_states == 9
    rejects = scan(run, "rejects").collect()
    assert all(words.startswith("the server's reply cannot be read: ") for words in rejects["detail"])
    assert summary.stored.samples == len(scan(run, "rollouts").collect()) == 4
    assert score({}, run=run).samples == 4
