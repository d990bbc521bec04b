"""One record of each format of traces, logs and data sets, as small as it can be."""

from __future__ import annotations

import json
from typing import Any

FUNCTION = {"name": "find", "description": "x", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}
USER = {"role": "user", "content": "Find order 7."}
CALL = {"id": "c", "type": "function", "function": {"name": "find", "arguments": '{"id": 7}'}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "It is open."}
SAID = {"role": "assistant", "content": "It is open."}
TEXT = {"type": "text", "text": "It is open."}

TRACE_SAMPLES: dict[str, list[Any]] = {
    "tau2": [
        {
            "id": "s",
            "task_id": "t",
            "termination_reason": "user_stop",
            "reward_info": {"reward": 1.0},
            "messages": [
                {"role": "assistant", "content": "Hello.", "tool_calls": None},
                USER,
                {"role": "assistant", "tool_calls": [{"id": "c", "name": "find", "arguments": {"id": 7}}]},
                {"role": "tool", "id": "c", "content": "It is open.", "requestor": "assistant"},
                {"role": "user", "tool_calls": [{"id": "u", "name": "look", "arguments": {}, "requestor": "user"}]},
                {"role": "tool", "id": "u", "content": "dark", "requestor": "user"},
                {"role": "user", "content": "And?"},
                SAID,
            ],
        },
        {"simulations": [{"task_id": 1, "termination_reason": "x", "reward_info": None, "messages": [USER, SAID]}]},
    ],
    "sessions": [
        {"timestamp": "t", "type": "response_item", "payload": {"type": "message", "role": "user", "content": "x"}},
        {"type": "message", "id": "a", "parentId": None, "timestamp": "t", "message": USER},
        {
            "session_lines": [
                {"type": "session", "version": 3, "id": "s", "cwd": "/x"},
                {"type": "message", "id": "a", "parentId": None, "message": USER},
                {"type": "message", "id": "b", "parentId": "a", "message": {"role": "assistant", "content": [TEXT]}},
            ]
        },
    ],
    "spans": [
        {
            "context": {"trace_id": "t", "span_id": "s"},
            "start_time": "2026-01-01T00:00:00Z",
            "attributes": {
                "llm": {"input_messages": [{"message": USER}], "output_messages": [{"message": SAID}]},
            },
        },
        {
            "traceId": "t",
            "attributes": {
                "gen_ai.input.messages": json.dumps(
                    [{"role": "user", "parts": [{"type": "text", "content": "Find order 7."}]}]
                ),
                "gen_ai.output.messages": [
                    {"role": "assistant", "parts": [{"type": "text", "content": "It is open."}]}
                ],
            },
        },
    ],
    "agent_data_protocol": [
        {
            "schema_version": "1.2.0",
            "id": "t",
            "content": [
                {"class_": "text_observation", "content": "Find order 7.", "source": "user"},
                {"class_": "api_action", "function": "find", "kwargs": {"id": 7}, "description": "I look."},
                {"class_": "text_observation", "content": "It is open.", "source": "environment"},
                {"class_": "message_action", "content": "It is open."},
            ],
            "details": {"reward": 1},
        }
    ],
    "verifiers_trace": [
        {
            "task": {"type": "T", "data": {}},
            "nodes": [
                {"parent": None, "message": USER, "sampled": False, "tools": [FUNCTION]},
                {
                    **{"parent": 0, "message": SAID, "sampled": True},
                    **{"token_ids": [5, 6], "mask": [False, True], "logprobs": [-0.5]},
                },
            ],
            "rewards": {"a": {"score": 1.0, "weight": 0.5}},
        }
    ],
    "prompt_completion": [
        {"prompt": [USER], "completion": [CALLED, RESULT, SAID], "tools": [TOOL], "label": True},
        {"prompt": json.dumps([USER]), "completion": [SAID], "example_id": 3, "info": {"oai_tools": [TOOL]}},
    ],
    "trajectory_column": [
        {"trajectory": [USER, CALLED, RESULT, SAID], "resolved": 1, "instance_id": "i"},
        {
            "target": True,
            "trajectory": [
                {"role": "system", "system_prompt": "Be kind.", "text": None, "mask": False},
                {"role": "user", "text": "Find order 7.", "mask": False},
                {"role": "ai", "text": "It is open.", "mask": False},
            ],
        },
    ],
    "swift": [
        {
            "messages": [
                USER,
                {"role": "tool_call", "content": '{"name": "find", "arguments": {"id": 7}}'},
                {"role": "tool_response", "content": "It is open."},
                {"role": "assistant", "content": "It is open.", "loss": True},
            ],
            "tools": json.dumps([TOOL]),
        }
    ],
    "langchain": [
        {
            "messages": [
                {"type": "human", "content": "Find order 7.", "id": "1"},
                {"type": "ai", "content": "", "tool_calls": [{"name": "find", "args": {"id": 7}, "id": "c"}]},
                {"type": "tool", "content": "It is open.", "tool_call_id": "c", "status": "success"},
            ]
        },
        [{"type": "human", "data": {"content": "x"}}, {"type": "ai", "data": {"content": "y"}}],
        [
            {"lc": 1, "type": "constructor", "id": ["langchain", "HumanMessage"], "kwargs": {"content": "x"}},
            {"lc": 1, "type": "constructor", "id": ["langchain", "AIMessage"], "kwargs": {"content": "y"}},
        ],
    ],
    "response_list": [
        [
            {"role": "user", "content": "Find order 7."},
            {"type": "function_call", "call_id": "c", "name": "find", "arguments": '{"id": 7}'},
            {"type": "function_call_output", "call_id": "c", "output": "It is open."},
        ],
        {"messages": [USER, {"type": "reasoning", "id": "r", "summary": []}, SAID], "reward": 1},
    ],
    "anthropic_messages": [
        {
            "system": "Be kind.",
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                        {"type": "tool_use", "id": "c", "name": "find", "input": {"id": 7}},
                    ],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [TEXT]}]},
            ],
            "tools": [{"name": "find", "input_schema": {"type": "object"}}],
        }
    ],
}
"""Name of a reader -> records that it must read."""
