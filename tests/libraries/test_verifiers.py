"""The `verifiers` library from 0.4 on, itself: the exported package is installed and plays an episode.

The server that answers is a double (`conftest.Server`).
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import verifiers.v1 as vf
from conftest import RIGHT, WRONG, Server
from verifiers.v1.utils.loaders import load_environment, resolve_env_config

from pivotmine_stages.export.verifiers.taskset import PivotTask


def chat(message: dict[str, Any], finish_reason: str = "stop") -> dict[str, Any]:
    """A chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}


def call(text: str) -> dict[str, Any]:
    """The message that a server makes of a call."""
    said = json.loads(text.split("\n")[1])
    function = {"name": said["name"], "arguments": json.dumps(said["arguments"])}
    return {"content": None, "tool_calls": [{"id": "c0", "type": "function", "function": function}]}


async def played(server: Server, **taskset: Any) -> Any:
    """One episode of the only task."""
    config = resolve_env_config(
        {"taskset": {"id": "pivots-default", **taskset}, "agent": {"runtime": {"type": "subprocess"}}}
    )
    environment = load_environment(config)
    (task,) = environment.taskset
    client = vf.EvalClientConfig(base_url=server.url, api_key_var="NO_KEY")
    async with environment.serving():
        return await environment.run_episode(task, vf.ModelContext(model="m", client=client))


@pytest.mark.parametrize(
    ("message", "finish_reason", "reward"),
    [
        (call(RIGHT), "tool_calls", 1.0),
        (call(WRONG), "tool_calls", 0.0),
        (call(RIGHT), "length", 0.0),
        ({"content": "Done."}, "stop", 0.0),
    ],
)
def test_an_episode_is_one_action_and_its_reward(
    server: Server, row: dict[str, Any], message: dict[str, Any], finish_reason: str, reward: float
) -> None:
    server.replies.append(chat(message, finish_reason))
    episode = asyncio.run(played(server))
    assert episode.ok, episode.errors or episode.traces[0].errors
    (trace,) = episode.traces
    assert (trace.reward, len(trace.assistant_messages)) == (reward, 1)
    assert trace.task.key == row["state_id"]
    ((path, asked),) = server.asked
    assert path == "/v1/chat/completions"
    assert asked["messages"] == [{"role": "user", "content": "go"}]
    assert asked["tools"] == json.loads(row["tools"])


def test_another_verifier_for_all_rows(server: Server) -> None:
    longer = RIGHT.replace('"7"', '"7", "deep": false')
    rewards = []
    for options in ({}, {"verifier": "exact"}):
        server.replies.append(chat(call(longer), "tool_calls"))
        rewards.append(asyncio.run(played(server, **options)).traces[0].reward)
    assert rewards == [1.0, 0.0]


def test_an_action_that_nobody_judges_is_an_error(server: Server) -> None:
    server.replies.append(chat(call(RIGHT), "tool_calls"))
    episode = asyncio.run(played(server, verifier="text"))
    assert not episode.ok
    assert "not judged (error)" in str(episode.traces[0].errors)


def test_the_prompt_s_tokens_are_compared_with_the_mined_ones(row: dict[str, Any]) -> None:
    task = next(iter(load_environment(resolve_env_config({"taskset": {"id": "pivots-default"}})).taskset))
    assert isinstance(task, PivotTask)
    mined = row["prompt_ids"]
    data = vf.TraceTask(type="PivotTask", data=task.data)

    def metric(ids: list[int]) -> dict[str, float]:
        nodes = [
            vf.MessageNode(message=vf.UserMessage(content="go"), token_ids=ids[:-2], mask=[False] * len(ids[:-2])),
            vf.MessageNode(
                parent=0,
                message=vf.AssistantMessage(content="x"),
                sampled=True,
                token_ids=[*ids[-2:], 5],
                mask=[False, False, True],
                logprobs=[-0.5],
            ),
        ]
        return asyncio.run(task.prompt_as_mined(vf.Trace.model_construct(task=data, nodes=nodes if ids else [])))

    assert metric(mined) == {"prompt_as_mined": 1.0}
    assert metric([*mined[:-1], mined[-1] + 1]) == {"prompt_as_mined": 0.0}
    assert metric([]) == {}
