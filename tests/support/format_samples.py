"""One record of each format, as small as possible, with everything that the format has."""

from __future__ import annotations

import json
from typing import Any

from agent_samples import AGENT_SAMPLES
from trace_samples import TRACE_SAMPLES

USER = {"role": "user", "content": "Find order 7."}
CALL = {"id": "c", "type": "function", "function": {"name": "find", "arguments": '{"id": 7}'}}
OPENAI = [
    {"role": "system", "content": "Be kind."},
    USER,
    {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c", "content": "It is open."},
    {"role": "assistant", "content": "", "function_call": {"name": "find", "arguments": "{}"}},
    {"role": "function", "name": "find", "content": "Which?"},
    {"role": "assistant", "content": [{"type": "text", "text": "It is open."}], "weight": 1},
]
FUNCTION = {"name": "find", "description": "x", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}
OPENAI_LEGACY = [
    USER,
    {"role": "assistant", "content": None, "function_call": {"name": "find", "arguments": "{}"}},
    {"role": "function", "name": "find", "content": "none"},
    {"role": "assistant", "content": "I say so."},
    {"role": "assistant", "content": None, "function_call": {"name": "find", "arguments": '{"id": 7}'}},
]
REQUEST = {
    "input": [
        {"type": "message", "role": "user", "content": "Find order 7."},
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "function_call", "call_id": "c", "name": "find", "arguments": '{"id": 7}'},
        {"type": "function_call_output", "call_id": "c", "output": "It is open."},
    ],
    "tools": [{"type": "function", **FUNCTION}],
    "tool_choice": "auto",
}
OUTPUT = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It is open."}]}]

SAMPLES: dict[str, list[Any]] = {
    "tau_bench": [{"task_id": 1, "trial": 0, "reward": 1.0, "info": {}, "traj": OPENAI}],
    "intercode": [
        {
            "0": {
                "environment": "ic_bash",
                "query": "Count the files.",
                "task_id": 0,
                "turn_history": {
                    "actions": ["ls", "ls | wc -l"],
                    "observations": ["a b", "2"],
                    "rewards": [0.5, 1],
                    "valid_action": [True, False],
                },
                "summary": {"max_reward": 1},
            }
        },
        {
            "query": "Say hello.",
            "turn_history": {"actions": [], "observations": [], "rewards": [], "valid_action": []},
        },
    ],
    "nemo_gym": [
        {
            "responses_create_params": REQUEST,
            "expected_action": {"type": "function_call", "name": "find", "arguments": "{}"},
            "agent_ref": {"type": "responses_api_agents", "name": "a"},
        },
        {
            "responses_create_params": REQUEST,
            "expected_action": {"type": "message", "content": "x"},
            "response": {"output": OUTPUT},
            "reward": 0.0,
        },
        {"responses_create_params": REQUEST, "expected_answer": '{"keystrokes": "ls"}', "uuid": "u"},
    ],
    "responses": [
        {"responses_create_params": REQUEST, "response": {"output": OUTPUT}, "reward": 1.0, "_ng_task_index": 0},
        {"input": REQUEST["input"], "output": OUTPUT, "tools": REQUEST["tools"]},
    ],
    "sharegpt": [
        {
            "conversations": [
                {"from": "human", "value": "Find order 7."},
                {"from": "function_call", "value": '{"name": "find", "arguments": {"id": 7}}'},
                {"from": "observation", "value": "It is open."},
                {"from": "gpt", "value": "It is open."},
            ],
            "tools": json.dumps([FUNCTION]),
            "system": "Be kind.",
        },
        [{"from": "human", "value": "Hello."}, {"from": "gpt", "value": "Hello."}],
    ],
    "toolbench": [
        {
            "win": True,
            "tree": {"size": 3, "tree": {"node_type": "Action Input", "children": []}},
            "answer_generation": {
                "valid_data": True,
                "query": "Find order 7.",
                "function": [FUNCTION],
                "train_messages": [OPENAI_LEGACY[:2], OPENAI_LEGACY[:4], OPENAI_LEGACY],
                "finish_type": "give_answer",
            },
        },
        {
            "win": False,
            "tree": {
                "tree": {
                    "node_type": "Action Input",
                    "children": [
                        {
                            "node_type": "Thought",
                            "description": "Hm.",
                            "children": [
                                {
                                    "node_type": "Action",
                                    "description": "find",
                                    "children": [
                                        {
                                            "node_type": "Action Input",
                                            "description": "{}",
                                            "observation": "none",
                                            "children": [],
                                        }
                                    ],
                                }
                            ],
                        },
                    ],
                }
            },
            "answer_generation": {"query": "Find order 7.", "function": [FUNCTION], "train_messages": []},
        },
    ],
    "request_log": [
        {
            "request": {"messages": OPENAI[:2], "tools": [TOOL], "model": "m"},
            "response": {"choices": [{"index": 0, "message": OPENAI[2], "finish_reason": "tool_calls"}]},
            "session_id": "s",
        },
        {"messages": OPENAI[:2], "response": {"choices": [{"message": OPENAI[2]}]}, "metadata": {"trace_id": 1}},
    ],
    "text_calls": [
        {
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": '<think>Hm.</think>I look.\n<tool_call>{"name": "find", "arguments": {}}</tool_call>',
                },
                {"role": "user", "content": "<tool_response>\nIt is open.\n</tool_response>"},
                {"role": "assistant", "content": "<tool_call><function=find></function></tool_call>"},
            ]
        },
        {
            "conversations": [
                {"from": "system", "value": f"<tools>{json.dumps([FUNCTION])}</tools>"},
                {"from": "gpt", "value": '<tool_call>{"name": "find", "arguments": {"id": 7}}</tool_call>'},
                {"from": "tool", "value": "<tool_response>none</tool_response>"},
            ]
        },
    ],
    "message_list": [USER, OPENAI[2], {"from": "human", "value": "Hello."}],
    "typed_content": [
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "value": "Find order 7."}], "loss_weight": 0.0},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "reasoning", "value": "Hm."},
                        {"type": "tool_call", "value": '{"name": "find", "arguments": "{}"}'},
                    ],
                },
                {"role": "tool", "content": [{"type": "text", "value": "It is open."}]},
            ],
            "tools": json.dumps([FUNCTION]),
        }
    ],
    **AGENT_SAMPLES,
    **TRACE_SAMPLES,
    "openai": [
        {"messages": OPENAI, "tools": [TOOL], "reward": True, "task_id": "t", "domain": "orders"},
        OPENAI,
        {"messages": json.dumps(OPENAI), "functions": [FUNCTION], "score": 0.5},
    ],
}
"""Name of a reader -> records that it must read."""
EVERY = [(name, record) for name, records in SAMPLES.items() for record in records]
