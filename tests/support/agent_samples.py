"""One record of each format that agents' harnesses write; `format_samples` has the other formats."""

from __future__ import annotations

from typing import Any

USER = {"role": "user", "content": "Find order 7."}
SAID = {"role": "assistant", "content": "It is open."}
CALL = {"id": "c", "type": "function", "function": {"name": "find", "arguments": '{"id": 7}'}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "open"}
_RESPONSE = {"id": "r", "choices": [{"message": {**CALLED, "function_call": None}}]}
_EVENTS: list[Any] = [
    {"id": 0, "source": "agent", "action": "system", "args": {"content": "Rules.", "tools": []}},
    {"id": 1, "source": "user", "action": "message", "args": {"content": "Find order 7."}},
    {
        "id": 2,
        "source": "agent",
        "action": "run",
        "args": {"command": "ls"},
        "tool_call_metadata": {"tool_call_id": "c", "function_name": "find", "model_response": _RESPONSE},
    },
    {
        "id": 3,
        "source": "agent",
        "observation": "run",
        "content": "open",
        "extras": {"metadata": {"exit_code": 0}},
        "tool_call_metadata": {"tool_call_id": "c", "function_name": "find"},
    },
]
_SDK_EVENTS: list[Any] = [
    {
        "id": "s",
        "source": "agent",
        "kind": "SystemPromptEvent",
        "system_prompt": {"type": "text", "text": "x"},
        "tools": [],
    },
    {"id": "u", "source": "user", "kind": "MessageEvent", "llm_message": {"role": "user", "content": []}},
    {
        "id": "a",
        "source": "agent",
        "kind": "ActionEvent",
        "thought": [],
        "tool_call": {"id": "c", "name": "find", "arguments": "{}"},
        "llm_response_id": "r",
        "action": {"kind": "FindAction"},
    },
]
_LINE = {"sessionId": "s", "type": "user", "uuid": "1", "parentUuid": None, "message": USER}

AGENT_SAMPLES: dict[str, list[Any]] = {
    "swe_agent": [
        {
            "environment": "main",
            "trajectory": [{"action": "ls", "observation": "a.py", "query": [USER]}],
            "history": [{**USER, "agent": "main"}, {**SAID, "agent": "main", "thought": "x", "action": "ls"}],
            "info": {"exit_status": "submitted"},
            "replay_config": '{"agent": {"history_processors": [{"type": "cache_control"}]}}',
        }
    ],
    "mini_swe_agent": [
        {
            "messages": [USER, SAID, {"role": "exit", "content": "", "extra": {}}],
            "info": {"exit_status": "Submitted", "mini_version": "2.0.0"},
            "trajectory_format": "mini-swe-agent-1.1",
        }
    ],
    "openhands": [
        {"instance_id": "i", "history": _EVENTS, "test_result": {"git_patch": "x"}, "metadata": {}, "error": None},
        *_EVENTS[1:3],
    ],
    "openhands_sdk": [{"instance_id": "i", "history": _SDK_EVENTS}, _SDK_EVENTS[2]],
    "atif": [
        {
            "schema_version": "ATIF-v1.6",
            "session_id": "s",
            "agent": {"name": "a", "version": "1"},
            "steps": [
                {"step_id": 1, "source": "user", "message": "Find order 7."},
                {
                    "step_id": 2,
                    "source": "agent",
                    "message": "",
                    "tool_calls": [{"tool_call_id": "c", "function_name": "find", "arguments": {"id": 7}}],
                    "observation": {"results": [{"source_call_id": "c", "content": "open"}]},
                },
            ],
        }
    ],
    "inspect": [
        {
            "version": 2,
            "status": "success",
            "eval": {"task": "t"},
            "samples": [{"id": 1, "epoch": 1, "target": "x", "messages": [USER, SAID], "scores": {}}],
        },
        {"id": 1, "epoch": 1, "input": "x", "target": "x", "messages": [USER, SAID], "scores": {"a": {"value": "C"}}},
    ],
    "claude_code": [
        {**_LINE, "uuid": "2", "parentUuid": None, "type": "assistant", "message": {"id": "m", "content": "Hello."}},
    ],
}
