"""Prompts: states as the policy's own chat template renders them, with their tools and its options.

The template is as untrusted as the model that it comes with, so it runs in a process that can be killed (`templates`).

Templates have different needs. Some need the arguments of past calls as an object, others as JSON text: a test
rendering tells which. Some accept only call ids of nine characters. Some have no `developer` role. Call ids are
rendered by position, so a state gives the same prompt from every source. Reasoning in the history is passed to the
template, which keeps or drops it.

The text is tokenised as it is. If a message contains a special token's text, such as `<|im_start|>`, the prompt
contains the control token, and the message may seem to end there. vLLM's chat server and TRL do the same.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pivotmine.errors import UserError
from pivotmine.escape import one_line
from pivotmine.messages import argument_value, reasoning_of, text_of
from pivotmine_stages.policy.light_tokenizer import LightTokenizer, load_light
from pivotmine_stages.policy.prompt_tokens import NUM_CHECKED, PromptTokenizer
from pivotmine_stages.policy.templates import TemplateFailed, Templates

REASONING_OPENERS = ("<think>", "[THINK]", "<thinking>", "<reasoning>")
RENDERING = 2
"""Version of how messages are passed to the template (`PolicyRecord.rendering`); a policy keeps that of its samples."""
_PROBE = "pivotmine_probe"


class Prompt(NamedTuple):
    text: str
    """The rendered prompt, generation prompt included."""
    token_ids: list[int]
    """The engine's input."""
    opened_reasoning: bool
    """Whether the prompt ends inside a reasoning block."""


class Renderer:
    """A tokenizer with its chat template and options."""

    def __init__(self, tokenizer: Any, template_options: Mapping[str, Any]) -> None:
        if not tokenizer.chat_template:
            raise UserError(
                f"the tokenizer {tokenizer.name_or_path} has no chat template: name one that has it with --tokenizer"
            )
        self.tokenizer = tokenizer
        self.options = dict(template_options)
        self._templates = Templates(tokenizer.name_or_path) if _is_plain(tokenizer, self.options) else None
        self._prompts = PromptTokenizer(tokenizer)
        self._around, self._unchecked = _around(tokenizer), NUM_CHECKED
        self.template: str = tokenizer.get_chat_template(tools=[{}])
        """The template in use; if the tokenizer has several by name, the one for tools."""
        self._as_text = _wants_text(self, _COMPLETE)
        self._developer = "developer" in self.template

    def render_as_before(self) -> None:
        """Render like older versions, which probed templates with a tool without properties.

        The samples of their policies answer those prompts.
        """
        self._as_text = _wants_text(self, {"type": "object"})

    def render(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> Prompt:
        """The prompt of a state. TemplateFailed if the template refuses its messages or exceeds its limits."""
        text = self._apply(self._prepared(messages, as_text=self._as_text), tools)
        token_ids = self._prompts.ids(text)
        return Prompt(text, token_ids, text.rstrip().endswith(REASONING_OPENERS))

    def render_turn(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> list[int]:
        """The token ids of a conversation that ends with an assistant's turn; raises what the template raises."""
        text = self._apply(self._prepared(messages, as_text=self._as_text), tools, add_generation_prompt=False)
        return self._prompts.ids(text)

    def plain_text(self, prompt: Prompt) -> str | None:
        """The prompt as a text that, tokenised with the tokenizer's own special tokens, gives the same ids.

        A trainer tokenises prompts this way. If the template writes the beginning-of-sequence token and the tokenizer
        also adds it, the text comes without it. None if no such text exists.
        """
        bos = self.tokenizer.bos_token
        for text in dict.fromkeys((prompt.text, prompt.text.removeprefix(bos) if bos else prompt.text)):
            if self._trainer_ids(text, prompt) == prompt.token_ids:
                return text
        return None

    def _trainer_ids(self, text: str, prompt: Prompt) -> list[int]:
        """The ids of a text with the special tokens that its tokenizer adds; known ids of the prompt are reused.

        A fast tokenizer puts the same tokens around every text. The first texts are tokenised both ways to check this.
        """
        if self._around is None:
            return self.tokenizer(text)["input_ids"]
        before, after = self._around
        ids = [*before, *(prompt.token_ids if text == prompt.text else self._prompts.ids(text)), *after]
        if self._unchecked:
            self._unchecked -= 1
            whole = self.tokenizer(text)["input_ids"]
            self._around = self._around if ids == whole else None
            return whole
        return ids

    def _apply(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        *,
        add_generation_prompt: bool = True,
    ) -> str:
        if self._templates is None:
            return self.tokenizer.apply_chat_template(
                messages, tools=tools, add_generation_prompt=add_generation_prompt, tokenize=False, **self.options
            )
        if not messages:
            raise TemplateFailed("a chat template needs at least one message")
        special = {name: str(token) for name, token in self.tokenizer.special_tokens_map.items()}
        given = {
            "messages": messages,
            "tools": tools,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        return self._templates.render(
            self.tokenizer.get_chat_template(tools=tools), {**special, **self.options, **given}
        )

    def _prepared(self, messages: list[dict[str, Any]], *, as_text: bool) -> list[dict[str, Any]]:
        ids = _CallIds()
        return [self._message(message, ids, as_text=as_text) for message in messages]

    def _message(self, message: dict[str, Any], ids: _CallIds, *, as_text: bool) -> dict[str, Any]:
        ready = {**message, "content": text_of(message.get("content"))}
        if ready["role"] == "developer" and not self._developer:
            ready["role"] = "system"
        if ready["role"] == "function":
            ready["role"] = "tool"
        if reasoning := reasoning_of(message):
            ready["reasoning_content"] = reasoning
        calls = message.get("tool_calls") or _legacy_call(message)
        ready.pop("function_call", None)
        ready.pop("tool_calls", None)
        if calls:
            ready["tool_calls"] = [_call(call, ids, as_text=as_text) for call in calls]
        if "tool_call_id" in message:
            ready["tool_call_id"] = ids.of_result(message["tool_call_id"])
        return ready


def refusal_words(error: Exception) -> str:
    """Why a state has no prompt, as a reject's detail."""
    words = str(error) if isinstance(error, TemplateFailed) else f"{type(error).__name__}: {error}"
    return one_line(words)[:300]


def _is_plain(tokenizer: Any, options: Mapping[str, Any]) -> bool:
    """Whether transformers' own method renders the template; some model families render with code of their own."""
    if isinstance(tokenizer, LightTokenizer):
        return True
    from transformers import PreTrainedTokenizerBase

    own = PreTrainedTokenizerBase.apply_chat_template
    # Options that the method takes for itself never reach the template.
    return type(tokenizer).apply_chat_template is own and not options.keys() & inspect.signature(own).parameters.keys()


def _legacy_call(message: dict[str, Any]) -> list[dict[str, Any]]:
    call = message.get("function_call")
    return [{"function": call}] if isinstance(call, dict) else []


class _CallIds:
    """Call ids by position in the state. If a source repeats an id, a result belongs to the last call that has it."""

    def __init__(self) -> None:
        self._number, self._by_source = 0, dict[str, str]()

    def of_call(self, source_id: Any) -> str:
        identity, self._number = _position_id(self._number), self._number + 1
        self._by_source[str(source_id)] = identity
        return identity

    def of_result(self, source_id: Any) -> str:
        """The call's id; for a result without a call, an id that no call has so far."""
        return self._by_source.get(str(source_id)) or _position_id(self._number)


def _call(call: dict[str, Any], ids: _CallIds, *, as_text: bool) -> dict[str, Any]:
    identity = ids.of_call(call.get("id"))
    function = call["function"]
    value = argument_value(function.get("arguments") or {})
    if as_text and not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False)
    return {"id": identity, "type": "function", "function": {"name": function["name"], "arguments": value}}


def _position_id(number: int) -> str:
    """Nine letters and digits: what the strictest template accepts."""
    return f"call{number:05d}"


def _around(tokenizer: Any) -> tuple[list[int], list[int]] | None:
    """The special tokens that a tokenizer puts before and after every text; None if that is not certain."""
    bare, whole = tokenizer(_PROBE, add_special_tokens=False)["input_ids"], tokenizer(_PROBE)["input_ids"]
    for start in range(len(whole) - len(bare) + 1):
        if tokenizer.is_fast and bare and whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    return None


# Complete, as real tools are: a template that writes them in its own words reads properties and required.
_COMPLETE = {"type": "object", "properties": {_PROBE: {"type": "string"}}, "required": [_PROBE]}


def _wants_text(renderer: Renderer, parameters: dict[str, Any]) -> bool:
    """Whether past arguments must be JSON text: the template fails on an object, or prints it as Python does.

    parameters: those of the tool that the template is probed with.
    """
    call = {"id": "x", "type": "function", "function": {"name": "probe", "arguments": {_PROBE: "x"}}}
    messages = [
        {"role": "user", "content": "probe"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "probe", "tool_call_id": "x"},
    ]
    tool = {
        "type": "function",
        "function": {"name": "probe", "description": "", "parameters": parameters},
    }
    try:
        text = renderer._apply(renderer._prepared(messages, as_text=False), [tool])  # pyright: ignore[reportPrivateUsage]
    except UserError:
        raise
    except Exception:
        return True  # a foreign template may raise anything; the other form is the only one left
    return f"'{_PROBE}'" in text


def load_renderer(
    tokenizer: str, template_options: Mapping[str, Any], hashes: tuple[str | None, str | None] = (None, None)
) -> Renderer:
    """The renderer for a tokenizer's folder or hub id; UserError if it cannot be loaded.

    hashes: those of the tokenizer and of its template, if known. A tokenizer that has them is loaded without
    transformers, in a tenth of the time.
    """
    if (light := load_light(tokenizer, *hashes)) is not None:
        return Renderer(light, template_options)
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise UserError(
            "prompts need the package transformers: in the project's folder, "
            "`pip install -c constraints.txt '.[transformers]'`"
        ) from None
    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer)
    except Exception as error:  # broken files raise a dozen kinds of errors
        is_path = tokenizer.startswith(("/", ".", "~")) and not Path(tokenizer).exists()
        reason = "no such folder" if is_path else one_line(f"{type(error).__name__}: {error}")[:300]
        raise UserError(
            f"no tokenizer under {tokenizer}: {reason}; name its folder or hub id with --tokenizer"
        ) from None
    # Silences the library's warning about long prompts; rollout rejects those itself.
    loaded.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    return Renderer(loaded, template_options)
