"""Rendering adapts to a template's demands; each template here is our own and has one known demand."""

import os
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pivotmine.errors import UserError
from pivotmine_stages.policy.prompt_tokens import NUM_CHECKED
from pivotmine_stages.policy.prompts import Renderer, load_renderer

CALLS = """\
{% for m in messages %}<{{ m.role }}>{{ m.content }}\
{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}\
{% for c in m.tool_calls or [] %}[{{ c.id }} {{ c.function.name }} ARGUMENTS]{% endfor %}\
{% if m.tool_call_id %}={{ m.tool_call_id }}{% endif %}\
{{ '\\n' }}{% endfor %}{% if tools %}#{{ tools | length }}{% endif %}\
{% if add_generation_prompt %}<assistant>{% endif %}"""
WITH_OBJECT = CALLS.replace("ARGUMENTS", "{{ c.function.arguments | tojson }}")
WITH_TEXT = CALLS.replace("ARGUMENTS", "{{ c.function.arguments + '' }}")
OWN_TOOLS = (
    "{% for t in tools or [] %}{{ t.function.parameters.properties.items() | list | length }}{% endfor %}"
    + CALLS.replace("ARGUMENTS", "{{ c.function.arguments | tojson(separators=(',', ':')) }}")
)
PRINTED = CALLS.replace("ARGUMENTS", "{{ c.function.arguments }}")

STATE: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Two "}, {"type": "text", "text": "parts"}]},
    {
        "role": "assistant",
        "content": None,
        "reasoning_content": "hm",
        "tool_calls": [
            {"id": "call_x", "type": "function", "function": {"name": "find", "arguments": '{"id": "é7", "n": 1}'}},
            {"id": "call_y", "type": "function", "function": {"name": "list", "arguments": {}}},
        ],
    },
    {"role": "tool", "tool_call_id": "call_y", "content": "[]"},
    {"role": "tool", "tool_call_id": "call_x", "content": "none"},
]


def tokenizer(template: str, **special: str) -> PreTrainedTokenizerFast:
    """One token a byte, plus the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    backend.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    fast.chat_template = template
    return fast


@pytest.mark.parametrize("template", [WITH_OBJECT, WITH_TEXT, PRINTED])
def test_arguments_in_the_form_that_the_template_wants(template: str) -> None:
    prompt = Renderer(tokenizer(template), {}).render(STATE, None)
    assert prompt.text == (
        "<system>Be brief.\n<user>Two parts\n"
        '<assistant>(hm)[call00000 find {"id": "é7", "n": 1}][call00001 list {}]\n'
        "<tool>[]=call00001\n<tool>none=call00000\n<assistant>"
    )


def test_a_template_that_writes_tools_itself_gets_arguments_as_an_object() -> None:
    prompt = Renderer(tokenizer(OWN_TOOLS), {}).render(STATE, None)
    assert '[call00000 find {"id":"é7","n":1}][call00001 list {}]' in prompt.text


def test_one_state_gives_one_prompt_whatever_its_call_ids() -> None:
    renamed: list[dict[str, Any]] = [dict(message) for message in STATE]
    renamed[2] = {**STATE[2], "tool_calls": [{**c, "id": c["id"] * 2} for c in STATE[2]["tool_calls"]]}
    renamed[3:] = [{**m, "tool_call_id": m["tool_call_id"] * 2} for m in STATE[3:]]
    renderer = Renderer(tokenizer(WITH_OBJECT), {})
    assert renderer.render(renamed, None) == renderer.render(STATE, None)


def test_calls_that_share_an_id_in_the_source_have_their_own() -> None:
    calls = [{"id": "0", "function": {"name": name, "arguments": {}}} for name in ("f", "g", "h")]
    state: list[dict[str, Any]] = []
    for call in calls:
        state += [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "0", "content": "x"}]
    text = Renderer(tokenizer(WITH_OBJECT), {}).render(state, None).text
    assert text == (
        "<assistant>[call00000 f {}]\n<tool>x=call00000\n<assistant>[call00001 g {}]\n<tool>x=call00001\n"
        "<assistant>[call00002 h {}]\n<tool>x=call00002\n<assistant>"
    )


def test_legacy_calls_and_the_function_role_are_rendered() -> None:
    state = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}},
        {"role": "function", "name": "f", "content": "2"},
    ]
    text = Renderer(tokenizer(WITH_OBJECT), {}).render(state, None).text
    assert text == '<user>x\n<assistant>[call00000 f {"a": 1}]\n<tool>2\n<assistant>'


def test_developer_is_system_where_the_template_knows_no_developer() -> None:
    state = [{"role": "developer", "content": "d"}, {"role": "user", "content": "u"}]
    assert Renderer(tokenizer(CALLS), {}).render(state, None).text.startswith("<system>d\n")
    knowing = CALLS + "{# developer #}"
    assert Renderer(tokenizer(knowing), {}).render(state, None).text.startswith("<developer>d\n")


def test_tools_and_template_options_reach_the_template() -> None:
    template = CALLS + "{% if enable_thinking %}<think>{% endif %}"
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    on = Renderer(tokenizer(template), {"enable_thinking": True}).render([{"role": "user", "content": "x"}], tools)
    off = Renderer(tokenizer(template), {}).render([{"role": "user", "content": "x"}], tools)
    assert (on.text, on.opened_reasoning) == ("<user>x\n#1<assistant><think>", True)
    assert (off.text, off.opened_reasoning) == ("<user>x\n#1<assistant>", False)


def test_plain_text_does_not_double_the_first_token() -> None:
    """A template that writes <s> and a tokenizer that adds it: the text of the dataset is without it."""
    from tokenizers.processors import TemplateProcessing

    adding = tokenizer("<s>" + CALLS, bos_token="<s>")
    adding.backend_tokenizer.post_processor = TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="<s> $A", special_tokens=[("<s>", adding.convert_tokens_to_ids("<s>"))]
    )
    prompt = Renderer(adding, {}).render([{"role": "user", "content": "x"}], None)
    text = Renderer(adding, {}).plain_text(prompt)
    assert prompt.text == "<s><user>x\n<assistant>"
    assert text == "<user>x\n<assistant>"
    assert adding(text)["input_ids"] == prompt.token_ids
    assert adding.convert_ids_to_tokens(prompt.token_ids).count("<s>") == 1


def test_no_plain_text_where_the_tokenizer_adds_what_the_template_lacks() -> None:
    from tokenizers.processors import TemplateProcessing

    adding = tokenizer(CALLS, bos_token="<s>")
    adding.backend_tokenizer.post_processor = TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="<s> $A", special_tokens=[("<s>", adding.convert_tokens_to_ids("<s>"))]
    )
    renderer = Renderer(adding, {})
    assert renderer.plain_text(renderer.render([{"role": "user", "content": "x"}], None)) is None


def test_a_tokenizer_without_a_template_or_nowhere_is_one_clear_line(tmp_path: Path) -> None:
    bare = tokenizer(CALLS)
    bare.chat_template = None  # pyright: ignore[reportAttributeAccessIssue]
    bare.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="has no chat template"):
        load_renderer(str(tmp_path), {})
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"no tokenizer under .*: KeyError: 'added_tokens'; name its folder"):
        load_renderer(str(tmp_path), {})
    with pytest.raises(UserError, match="nowhere: no such folder; name its folder or hub id with --tokenizer"):
        load_renderer(str(tmp_path / "nowhere"), {})


@pytest.mark.skipif("PIVOTMINE_REAL_DATA" not in os.environ, reason="real tokenizers are not here")
def test_real_templates_render_ids_and_arguments() -> None:
    folder = Path(os.environ["PIVOTMINE_REAL_DATA"]) / "tokenizers"
    for name in ("qwen3", "minimind"):
        renderer = load_renderer(str(folder / name), {})
        prompt = renderer.render(STATE, [{"type": "function", "function": {"name": "find", "parameters": {}}}])
        assert renderer.tokenizer.decode(prompt.token_ids) == prompt.text
        assert '"id": "é7"' in prompt.text.replace("\\u00e9", "é")
        assert renderer.plain_text(prompt) == prompt.text


def test_the_prompts_of_a_segment_and_their_plain_texts_are_tokenised_once() -> None:
    """Also where the tokenizer adds the first token that the template writes."""
    from tokenizers.processors import TemplateProcessing

    for adds in (False, True):
        counted = tokenizer("<s>" + CALLS if adds else CALLS, bos_token="<s>")
        counted.add_tokens(["<user>", "<assistant>"], special_tokens=True)
        if adds:
            counted.backend_tokenizer.post_processor = TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
                single="<s> $A", special_tokens=[("<s>", counted.convert_tokens_to_ids("<s>"))]
            )
        renderer, tokenised = Renderer(counted, {}), 0

        class Counted(type(counted)):
            def __call__(self, text: Any = None, *args: Any, **options: Any) -> Any:
                nonlocal tokenised
                tokenised += len(text)
                return super().__call__(text, *args, **options)

        counted.__class__ = Counted
        messages: list[dict[str, Any]] = []
        for number in range(NUM_CHECKED + 100):
            if number == NUM_CHECKED:
                tokenised = 0
            messages += [{"role": "user", "content": f"x{number}"}, {"role": "assistant", "content": f"y{number}"}]
            prompt = renderer.render(messages[:-1], None)
            assert renderer.plain_text(prompt) == prompt.text.removeprefix("<s>")
        assert tokenised < 2 * len(renderer.render(messages, None).text)
