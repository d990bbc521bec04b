"""The taskset, task and harness of the `verifiers` library from 0.4 on (`verifiers.v1`), as prime-rl runs them.

The harness calls the policy once, with the messages and tools of the state. The trainer renders the prompt from them,
and the metric `prompt_as_mined` tells whether its tokens are those of the mined prompt. Only the package that
`export --to verifiers` writes imports this module.
"""

# The library is not in the environment that checks types.
# pyright: reportMissingImports=false, reportUntypedBaseClass=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import verifiers.v1 as vf

from pivotmine.actions import action_from_message, is_text
from pivotmine.messages import for_chat_server
from pivotmine.verifiers.dataset_rows import judge_action, read_completion, tools_of
from pivotmine_stages.export.verifiers.package import read_rows


class PivotConfig(vf.TasksetConfig):
    split: Literal["train", "validation"] = "train"
    """The split to run."""
    verifier: str | None = None
    """A verifier for all rows, instead of each row's own."""


class PivotData(vf.TaskData):
    row: dict[str, Any]
    """The row of the pivot dataset."""
    verifier: str | None = None
    """As in `PivotConfig`."""


class PivotTask(vf.Task[PivotData]):
    @property
    def key(self) -> str:
        """The state's id."""
        return self.data.row["state_id"]

    @vf.reward(weight=1.0)
    async def pivot_reward(self, trace: Any) -> float:
        """The verifier's reward; ValueError if it cannot judge the action, and the trainer drops the sample."""
        row, message = self.data.row, trace.assistant_messages[-1]
        truncated = trace.is_truncated
        if is_text(row.get("action_format")):
            action = read_completion(row, message.content or "", truncated=truncated)
        else:
            action = action_from_message(as_chat(message), truncated=truncated)
        verdict = judge_action(row, action, self.data.verifier)
        if verdict.reward is None:
            raise ValueError(f"state {row['state_id']}: not judged ({verdict.outcome}) {verdict.detail}")
        return verdict.reward

    @vf.metric
    async def prompt_as_mined(self, trace: Any) -> dict[str, float]:
        """1 if the prompt's tokens are those of the mined prompt, else 0; empty if the client keeps no tokens."""
        tokens = [pair for node in trace.nodes for pair in zip(node.token_ids, node.mask, strict=True)]
        ids = [token for token, is_action in tokens if not is_action]
        return {"prompt_as_mined": float(ids == self.data.row["prompt_ids"])} if ids else {}


class PivotTaskset(vf.Taskset[PivotTask, PivotConfig]):
    """The exported package has a subclass that says where its rows are."""

    folder: Path

    def load(self) -> Iterator[PivotTask]:
        """A task for each row of the split."""
        for row in read_rows(self.folder, self.config.split):
            data = PivotData(
                id=row["state_id"], name=row["state_id"], prompt=row["prompt"], row=row, verifier=self.config.verifier
            )
            yield PivotTask(data, self.config.task)


class PivotHarness(vf.Harness[vf.HarnessConfig]):
    """One request to the policy; nothing is executed."""

    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self,
        ctx: Any,
        trace: Any,
        runtime: Any,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: PivotData,
    ) -> Any:
        """Call the policy through the endpoint, which records its answer."""
        messages = for_chat_server(json.loads(data.row["prompt_messages"]))
        body: dict[str, Any] = {"model": ctx.model, "messages": messages}
        if tools := tools_of(data.row):
            body["tools"] = tools
        async with httpx.AsyncClient(timeout=None) as client:
            reply = await client.post(
                f"{endpoint.rstrip('/')}/chat/completions", json=body, headers={"Authorization": f"Bearer {secret}"}
            )
        failed = reply.is_error
        return vf.ProgramResult(exit_code=int(failed), stdout="", stderr=reply.text if failed else "")


def as_chat(message: Any) -> dict[str, Any]:
    """An assistant message of the library in OpenAI form."""
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls or ()
    ]
    chat = {"role": "assistant", "content": message.content, "reasoning_content": message.reasoning_content}
    return {**chat, "tool_calls": calls or None}
