import json
import os
from pathlib import Path

import pytest
from pivotmine.actions import detect_parser


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        (
            """{{- '<tool_call>\\n{"name": "' + name + '", "arguments": ' + args + '}\\n</tool_call>' }}""",
            "hermes",
        ),
        ('"<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": <args>}\\n</tool_call>"', "hermes"),
        ("{{ '<tool_call>' }}{{ \"{'name': x, 'arguments': y}\" }}", "hermes"),
        ("{{- '<tool_call>\\n<function=' + name + '>\\n<parameter=' + key + '>\\n' }}", "qwen3_xml"),
        ("{{ '[TOOL_CALLS]' + (calls | tojson) }}", "mistral"),
        ("{{ '[TOOL_CALLS]' + name + '[ARGS]' + args }}", "mistral"),
        ("""{{ '<|python_tag|>' }}{{ '"parameters": ' }}""", "llama3_json"),
        (
            """{{ '<|start_header_id|>' }}{{ '{"name": "' + name + '", ' }}{{ '"parameters": ' }}""",
            "llama3_json",
        ),
        ("{{ '<function=' + name + '>' + args + '</function>' }}", None),
        ("{{ '<tool_call>' + name + '<arg_key>' + key + '</arg_key>' }}", None),
        ("{{ '<|start_header_id|>' + role + '<|end_header_id|>' + content }}", None),
        ("{{ '<|im_start|>' + role + content }}", None),
        ("", None),
    ],
)
def test_the_convention_is_told_from_the_template(template: str, parser: str | None) -> None:
    assert detect_parser(template) == parser


@pytest.mark.skipif(
    "PIVOTMINE_REAL_DATA" not in os.environ, reason="PIVOTMINE_REAL_DATA names no folder of real data"
)
def test_real_tokenizers() -> None:
    folder = Path(os.environ["PIVOTMINE_REAL_DATA"]) / "tokenizers"
    configs = sorted(folder.glob("*/tokenizer_config.json"))
    assert {
        path.parent.name: detect_parser(json.loads(path.read_text())["chat_template"]) for path in configs
    } == {
        "minimind": "hermes",
        "qwen3": "hermes",
    }
