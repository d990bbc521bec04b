"""Which part of a message is JSON."""

import pytest

from pivotmine.verifiers.texts.json_texts import json_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        (" \n[1, 2]\n", [1, 2]),
        ('```json\n{"a": "```"}\n```', {"a": "```"}),
        ("```\n[]\n```\n", []),
        ("{}", {}),
        ("", None),
        ("3", None),
        ('"{}"', None),
        ("null", None),
        ("[1] and more", None),
        ("so: [1]", None),
        ("```python\n[1]\n```", None),
        ('{"a": 1, "a": 2}', None),
        ("[NaN]", None),
        ("[" * 5000, None),
        ("[" * 5000 + "]" * 5000, None),
    ],
)
def test_the_value_of_a_whole_message(text: str, value: object) -> None:
    assert json_of(text) == value
