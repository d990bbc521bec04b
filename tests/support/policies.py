"""Policies for tests: real Qwen3-architecture models of a few hundred kB, saved as Hugging Face folders.

`make_tiny_policy` has random weights. `train_policy` learns fixed frequencies of answers, so that a test knows the
success rate that every engine must show.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKERS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")

CHAT_TEMPLATE = """\
{%- macro said(message) -%}
{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}
{%- set function = call.function or call %}
{{- '\\n' if message.content or not loop.first }}<tool_call>
{"name": {{ function.name | tojson }}, "arguments": {{ function.arguments if function.arguments is string \
else function.arguments | tojson }}}
</tool_call>
{%- endfor %}
{%- endmacro %}
{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{ messages[0].content + '\\n\\n' }}{% endif %}
{{- 'You may call these functions:\\n<tools>\\n' }}
{%- for tool in tools %}{{ tool | tojson + '\\n' }}{% endfor %}
{{- '</tools>\\nWrite each call as JSON between <tool_call> and </tool_call>.<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
{%- elif message.role != 'system' or not loop.first %}
{{- '<|im_start|>' + message.role + '\\n' + said(message) + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}"""
"""A small version of Qwen3's template, with the Hermes convention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One state and the policy's answers in it."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    answers: tuple[tuple[str, int], ...]
    """(raw text without the end of turn, weight): weights are relative frequencies."""


def tool(name: str, *arguments: str) -> dict[str, Any]:
    """A tool definition in OpenAI form whose arguments are all required strings."""
    parameters = {
        "type": "object",
        "properties": {argument: {"type": "string"} for argument in arguments},
        "required": list(arguments),
    }
    return {"type": "function", "function": {"name": name, "description": name, "parameters": parameters}}


def call_text(name: str, **arguments: Any) -> str:
    """A tool call in the Hermes convention, as a policy writes it."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


RIGHT_CALL = call_text("cancel_order", order_id="A17")
WRONG_CALL = call_text("find_order", order_id="A17")
COIN = Lesson(
    messages=[{"role": "user", "content": "Please cancel my order A17."}],
    tools=[tool("cancel_order", "order_id"), tool("find_order", "order_id")],
    answers=((RIGHT_CALL, 6), (WRONG_CALL, 4)),
)


def make_tiny_policy(path: Path, seed: int = 0) -> Path:
    """A policy with random weights."""
    return _save(path, _model(seed), _tokenizer())


def train_policy(path: Path, lessons: list[Lesson], seed: int = 0, steps: int = 160) -> Path:
    """Train a policy to answer each lesson's state with the lesson's frequencies; takes seconds on two cores."""
    tokenizer, model = _tokenizer(), _model(seed)
    rows = [row for lesson in lessons for row in _rows(tokenizer, lesson)]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        _loss(model, rows).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return _save(path, model, tokenizer)


def train_coin_policy(path: Path) -> Path:
    """Train a policy that answers `COIN` with the right call about 60 % of the time, else with the wrong one."""
    return train_policy(path, [COIN])


def make_adapter(path: Path, policy: Path, seed: int = 0) -> Path:
    """A LoRA adapter of rank 4, with weights large enough to change every distribution visibly."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model: Any = get_peft_model(Qwen3ForCausalLM.from_pretrained(policy), config)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=generator)
    model.save_pretrained(path)
    return path


def render(policy: Path, lesson: Lesson, **options: Any) -> list[int]:
    """The lesson's prompt as token ids."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(policy)
    return _prompt(tokenizer, lesson, **options)


def token_ids(policy: Path, text: str) -> list[int]:
    """The text as the policy's tokens."""
    return PreTrainedTokenizerFast.from_pretrained(policy)(text, add_special_tokens=False).input_ids


def text(policy: Path, ids: list[int]) -> str:
    """The tokens as text, special tokens kept."""
    return PreTrainedTokenizerFast.from_pretrained(policy).decode(ids, skip_special_tokens=False)


def _prompt(tokenizer: Any, lesson: Lesson, **options: Any) -> list[int]:
    text = tokenizer.apply_chat_template(
        lesson.messages, tools=lesson.tools, add_generation_prompt=True, tokenize=False, **options
    )
    return tokenizer(text, add_special_tokens=False).input_ids


def _rows(tokenizer: Any, lesson: Lesson) -> list[tuple[list[int], list[int], float]]:
    """(prompt ids, answer ids, share of the lesson)."""
    total = sum(weight for _, weight in lesson.answers)
    prompt = _prompt(tokenizer, lesson)
    return [
        (prompt, tokenizer(f"{text}<|im_end|>", add_special_tokens=False).input_ids, weight / total)
        for text, weight in lesson.answers
    ]


def _loss(model: Any, rows: list[tuple[list[int], list[int], float]]) -> torch.Tensor:
    width = max(len(prompt) + len(answer) for prompt, answer, _ in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    weights = torch.zeros(len(rows), width)
    for row, (prompt, answer, share) in enumerate(rows):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor(prompt + answer)
        weights[row, len(prompt) : end] = share
    logprobs = model(input_ids=ids).logits[:, :-1].log_softmax(-1)
    taken = logprobs.gather(-1, ids[:, 1:, None])[..., 0]
    return -(taken * weights[:, 1:]).sum()


def _model(seed: int) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=640,
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=32,
                max_position_embeddings=1024,
                tie_word_embeddings=True,
                initializer_range=0.1,
                eos_token_id=2,
                pad_token_id=0,
                bos_token_id=None,
            )
        )


def _tokenizer() -> Any:
    """Byte-level BPE, trained on sentences and calls of a few words."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=640 - len(MARKERS),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_corpus(), trainer)
    bpe.add_tokens([AddedToken(marker, normalized=False) for marker in MARKERS])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def _corpus() -> list[str]:
    verbs = ("cancel", "find", "change", "return", "track", "book", "pay", "close")
    things = ("order", "flight", "ticket", "address", "account", "parcel", "room")
    lines = [CHAT_TEMPLATE, json.dumps(tool("cancel_order", "order_id"))]
    for number, (verb, thing) in enumerate(itertools.product(verbs, things)):
        lines += [
            f"Please {verb} my {thing} A{number}, and tell me when it is done.",
            f"I could not {verb} the {thing}: nothing is known of it. What is its number?",
            call_text(f"{verb}_{thing}", **{f"{thing}_id": f"A{number}"}),
            json.dumps({"status": "open", f"{thing}_id": f"A{number}", "price": number * 7, "paid": False}),
        ]
    return lines


def _save(path: Path, model: Any, tokenizer: Any) -> Path:
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
