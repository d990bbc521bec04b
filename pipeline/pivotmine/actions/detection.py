"""Detect which convention a chat template teaches, by the markup that it writes around past calls."""

from __future__ import annotations

import re

_QUOTE = r"""\\?["']"""
_NAME_KEY = re.compile(rf"{_QUOTE}name{_QUOTE}\s*:")
_ARGUMENTS_KEY = re.compile(rf"{_QUOTE}arguments{_QUOTE}\s*:")
_PARAMETERS_KEY = re.compile(rf"{_QUOTE}parameters{_QUOTE}\s*:")


def detect_parser(chat_template: str) -> str | None:
    """The name in `PARSERS` of the template's parser; None if no parser here fits.

    `<function=NAME>` alone decides nothing: with `<parameter=` inside, it is qwen3_xml; with JSON inside, it has no
    parser here.
    """
    if "<function=" in chat_template:
        return "qwen3_xml" if "<parameter=" in chat_template else None
    if "[TOOL_CALLS]" in chat_template:
        return "mistral"
    if "<tool_call>" in chat_template and _NAME_KEY.search(chat_template):
        return "hermes" if _ARGUMENTS_KEY.search(chat_template) else None
    if "<|python_tag|>" in chat_template or "<|start_header_id|>" in chat_template:
        return "llama3_json" if _PARAMETERS_KEY.search(chat_template) else None
    return None
