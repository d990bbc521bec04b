"""The tokenizer without transformers gives transformers' ids or is not used; the same holds for its template."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from policies import tool
from transformers import AutoTokenizer

from pivotmine import policy
from pivotmine_stages.policy.light_tokenizer import LightTokenizer, load_light
from pivotmine_stages.policy.prompts import Renderer

TRL = Path(importlib.util.find_spec("trl").submodule_search_locations[0])  # type: ignore[union-attr]
TEMPLATES = sorted((TRL / "chat_templates").glob("*.jinja"))
TOOLS = [tool("find_order", "order_id"), tool("send", "body", "to")]


def called(name: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }


HISTORIES: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "hello"}],
    [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "gr\u00fc\u00df <|im_end|> \u2603 'x' & <b>"},
    ],
    [
        {"role": "user", "content": "where is A1?"},
        called("find_order", order_id="A1"),
        {"role": "tool", "tool_call_id": "c1", "content": '{"state": "sent"}'},
        {"role": "assistant", "content": "It is sent.", "reasoning_content": "simple"},
        {"role": "user", "content": "thanks\n\n"},
    ],
    [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    [],
]


def rendered(renderer: Renderer, messages: list[dict[str, Any]], tools: Any) -> Any:
    """The prompt's ids, or that the template refuses."""
    try:
        return renderer.render(messages, tools).token_ids
    except Exception:
        return "refused"


class _InProcess(Renderer):
    """Renders by transformers' own `apply_chat_template`."""

    def __init__(self, tokenizer: Any, template_options: dict[str, Any]) -> None:
        super().__init__(tokenizer, template_options)
        assert self._templates is not None
        self._templates = None


def both(folder: Path, options: dict[str, Any]) -> tuple[Renderer, Renderer]:
    """By transformers in this process, and without it in another."""
    loaded: Any = AutoTokenizer.from_pretrained(folder)
    theirs = _InProcess(loaded, options)
    light = load_light(str(folder), policy.hash_tokenizer(loaded), policy.hash_template(theirs.template))
    assert isinstance(light, LightTokenizer)
    return theirs, Renderer(light, options)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_every_public_template_gives_the_same_ids(tiny_policy: Path, tmp_path: Path, path: Path) -> None:
    folder = Path(shutil.copytree(tiny_policy, tmp_path / "policy", ignore=shutil.ignore_patterns("*.safetensors")))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"bos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    for options in ({}, {"enable_thinking": False}):
        theirs, ours = both(folder, options)
        for messages in HISTORIES:
            for tools in (None, TOOLS):
                assert rendered(ours, messages, tools) == rendered(theirs, messages, tools)
                if messages and rendered(theirs, messages, tools) != "refused":
                    prompt = theirs.render(messages, tools)
                    assert ours.plain_text(prompt) == theirs.plain_text(prompt)


def test_a_template_with_what_transformers_adds_to_jinja(tiny_policy: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_policy, tmp_path / "policy", ignore=shutil.ignore_patterns("*.safetensors")))
    template = (
        "{% for m in messages %}{% if loop.index > 3 %}{% break %}{% endif %}{% generation %}{{ m | tojson(indent=1) }}"
        "{% endgeneration %}\n  {% endfor %}{{ strftime_now('%Y') }}{{ eos_token }}"
        "{% if messages | length > 4 %}{{ raise_exception('too many') }}{% endif %}"
    )
    (folder / "chat_template.jinja").write_text(template)
    theirs, ours = both(folder, {})
    for messages in HISTORIES:
        assert rendered(ours, messages, None) == rendered(theirs, messages, None)


def test_what_transformers_would_do_otherwise_is_left_to_it(tiny_policy: Path, tmp_path: Path) -> None:
    loaded: Any = AutoTokenizer.from_pretrained(tiny_policy)
    tokenizer_hash, template_hash = policy.hash_tokenizer(loaded), policy.hash_template(loaded.chat_template)
    assert load_light(str(tiny_policy), tokenizer_hash, template_hash) is not None
    assert load_light(str(tiny_policy), "other", template_hash) is None
    assert load_light(str(tiny_policy), tokenizer_hash, "other") is None
    assert load_light(str(tiny_policy), None, template_hash) is None
    assert load_light("Qwen/Qwen3-0.6B", tokenizer_hash, template_hash) is None
    folder = Path(shutil.copytree(tiny_policy, tmp_path / "policy"))
    (folder / "chat_template.jinja").write_text("{{ sep_token }}{{ messages[0].content }}")
    with_default = policy.hash_template((folder / "chat_template.jinja").read_text())
    assert load_light(str(folder), tokenizer_hash, with_default) is None


@pytest.mark.skipif("PIVOTMINE_REAL_DATA" not in os.environ, reason="real tokenizers are not here")
@pytest.mark.parametrize("name", ["qwen3", "minimind"])
def test_real_tokenizers(name: str) -> None:
    theirs, ours = both(Path(os.environ["PIVOTMINE_REAL_DATA"]) / "tokenizers" / name, {})
    for messages in HISTORIES:
        for tools in (None, TOOLS):
            assert rendered(ours, messages, tools) == rendered(theirs, messages, tools)
