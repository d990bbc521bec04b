"""The `verifiers` library 0.1.9, itself, as Tinker's cookbook 0.6.1 calls it (`load_environment`, `run_group`).

The server that answers is a double (`conftest.Server`).
"""

from __future__ import annotations

import asyncio
from typing import Any

import verifiers as vf
from conftest import RIGHT, WRONG, Server
from openai import AsyncOpenAI
from verifiers.utils.async_utils import maybe_semaphore


def completion(text: str, finish_reason: str = "stop") -> dict[str, Any]:
    """A text completion."""
    choice = {"index": 0, "text": text, "finish_reason": finish_reason, "logprobs": None}
    return {"id": "c", "object": "text_completion", "created": 0, "model": "m", "choices": [choice]}


async def group(environment: Any, server: Server, count: int) -> list[Any]:
    """A group on the first row, with the arguments that the cookbook gives."""
    example = environment.get_dataset()[0]
    inputs = [
        vf.RolloutInput(
            prompt=example["prompt"],
            answer=example["answer"],
            task=example["task"],
            info=example["info"],
            example_id=example["example_id"],
        )
        for _ in range(count)
    ]
    return await environment.run_group(
        group_inputs=inputs,
        client=AsyncOpenAI(base_url=server.url, api_key="none"),
        model="m",
        gen_sampling_args={"max_tokens": 64, "temperature": 1.0},
        gen_sem=await maybe_semaphore(1),
        score_sem=await maybe_semaphore(1),
    )


def test_a_group_continues_the_mined_text_and_is_rewarded(server: Server, row: dict[str, Any]) -> None:
    environment = vf.load_environment("pivots-default")
    assert isinstance(environment, vf.SingleTurnEnv)
    server.replies += [
        completion(f"{RIGHT}<|im_end|>"),
        completion(WRONG),
        completion(RIGHT, "length"),
        completion("Done."),
    ]
    states = asyncio.run(group(environment, server, 4))
    assert [state["error"] for state in states] == [None] * 4
    by_text = {state["completion"]: state["reward"] for state in states}
    assert by_text == {f"{RIGHT}<|im_end|>": 1.0, WRONG: 0.0, RIGHT: 0.0, "Done.": 0.0}
    assert {path for path, _ in server.asked} == {"/v1/completions"}
    assert {asked["prompt"] for _, asked in server.asked} == {row["prompt"]}


def test_another_verifier_for_all_rows(server: Server) -> None:
    longer = RIGHT.replace('"7"', '"7", "deep": false')
    rewards = []
    for options in ({}, {"verifier": "exact"}):
        server.replies.append(completion(longer))
        (state,) = asyncio.run(group(vf.load_environment("pivots-default", **options), server, 1))
        rewards.append(state["reward"])
    assert rewards == [1.0, 0.0]


def test_a_server_is_told_to_keep_special_tokens() -> None:
    assert vf.load_environment("pivots-default").sampling_args["extra_body"] == {"skip_special_tokens": False}
