"""All stages with every engine, and a policy that answers one call right part of the time."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from policies import COIN, RIGHT_CALL, render
from trajectories import coin_trajectory, write_jsonl

from pivotmine.run import rundir
from pivotmine_stages.cli.options import extract, rollout, score, select

NUM_SAMPLES = 120


@pytest.fixture(params=["transformers", "vllm", "completions", "chat"])
def engine_options(request: pytest.FixtureRequest, coin_policy: Path) -> dict[str, Any]:
    """Options of `rollout` that lead to the coin policy."""
    if request.param in ("transformers", "vllm"):
        return {"engine": request.param, "model": str(coin_policy)}
    server: str = request.getfixturevalue("vllm_server")
    options = {"engine": "openai", "model": "coin", "base_url": [server], "policy_name": "coin", "api": request.param}
    return {**options, "tokenizer": str(coin_policy)}


def test_from_trajectories_to_a_pivot(engine_options: dict[str, Any], tmp_path: Path, coin_policy: Path) -> None:
    run = tmp_path / "run"
    extract({}, sources=[write_jsonl(tmp_path / "s.jsonl", [coin_trajectory()])], run=run)
    half = NUM_SAMPLES // 2
    for num_samples, num_new in ((half, half), (NUM_SAMPLES, NUM_SAMPLES - half), (NUM_SAMPLES, 0)):
        sampled = rollout({}, run=run, num_samples=num_samples, max_new_tokens=64, **engine_options)
        assert (sampled.sampled.samples or 0, sampled.missing_samples) == (num_new, 0)
    score({}, run=run)

    rows = rundir.scan(run, "rollouts").collect()
    prompt_ids = render(coin_policy, COIN)
    drawn = rows.sort("sample_index")["token_ids"].to_list()
    assert sorted(rows["sample_index"]) == list(range(NUM_SAMPLES))
    # A second start draws samples of its own, even if the engine can be seeded.
    assert drawn[:half] != drawn[half:]
    assert rows["num_prompt_tokens"].unique().to_list() == [len(prompt_ids)]
    rewards = [float(_is_right(row)) for row in rows.iter_rows(named=True)]
    mean = sum(rewards) / NUM_SAMPLES
    profile = rundir.scan(run, "profiles").collect().row(0, named=True)
    assert (profile["num_samples"], profile["num_scored"], profile["reward_class"]) == (
        NUM_SAMPLES,
        NUM_SAMPLES,
        "sometimes",
    )
    assert profile["mean"] == pytest.approx(mean)
    assert profile["variance"] == pytest.approx(mean * (1 - mean))
    assert profile["num_correct"] == sum(rewards)
    assert 0.4 < mean < 0.8

    assert select({}, run=run, max_mean=mean, name="not_below_its_own_mean").train == 0
    select({}, run=run, max_mean=mean + 1e-3)
    pivot = _pivots(run, "default").row(0, named=True)
    assert pivot["prompt_ids"] == prompt_ids
    assert pivot["reward_class"] == "sometimes"
    assert json.loads(pivot["demonstrations"])[0]["reply"] == [coin_trajectory()["messages"][2]]


def _is_right(row: dict[str, Any]) -> bool:
    """Told without our parser: from the raw text, or from the message that the server's parser made."""
    if row["message"] is None:
        return row["text"] == RIGHT_CALL
    calls = json.loads(row["message"]).get("tool_calls") or []
    names = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]
    return names == [("cancel_order", {"order_id": "A17"})]


def _pivots(run: Path, name: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((run / "pivots" / name).glob("*.parquet"))])


def test_a_server_that_goes_away_leaves_rejects_and_no_samples(
    tmp_path: Path, coin_policy: Path, vllm_server: str
) -> None:
    """The second start, with the server back, samples what the first could not."""
    import socket
    import threading

    run = tmp_path / "run"
    extract({}, sources=[write_jsonl(tmp_path / "s.jsonl", [coin_trajectory()])], run=run)
    options: dict[str, Any] = {
        "engine": "openai",
        "model": "coin",
        "policy_name": "coin",
        "tokenizer": str(coin_policy),
    }

    with socket.create_server(("127.0.0.1", 0)) as broken:
        served = json.dumps({"data": [{"id": "coin", "object": "model"}]}).encode()

        def answer_models_then_hang_up() -> None:
            for number in range(20):
                connection, _ = broken.accept()
                with connection:
                    connection.recv(65536)
                    if number == 0:
                        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(served)}\r\n\r\n"
                        connection.sendall(head.encode() + served)

        threading.Thread(target=answer_models_then_hang_up, daemon=True).start()
        address = f"http://127.0.0.1:{broken.getsockname()[1]}/v1"
        summary = rollout({}, run=run, num_samples=4, base_url=[address], timeout_s=5.0, **options)
    assert summary.rejects == {"engine_error": 1}
    assert summary.missing_samples == 4
    assert rundir.scan(run, "rollouts").collect().is_empty()
    summary = rollout({}, run=run, num_samples=4, max_new_tokens=64, base_url=[vllm_server], **options)
    assert (summary.missing_samples, summary.rejects) == (0, {})
