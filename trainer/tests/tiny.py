"""A policy of some hundred kB, and pivot datasets as the miner writes them (table `pivots`), with hand-made rows.

Real parts: a Qwen3 architecture, a BPE tokenizer whose tool-call markers are special tokens (TRL's text loses them), a
chat template in the Hermes convention, the miner's schema. The policy is trained by heart on how often to answer what.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from pivotmine import policy as policies
from pivotmine.run.tables import PIVOTS
from pivotmine.verifiers import make_spec

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]

CHAT_TEMPLATE = """\
{%- if tools %}<|im_start|>system
{%- for tool in tools %} {{ tool.function.name }}{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}
{{- '<|im_start|>' + ('user' if message.role == 'tool' else message.role) + '\\n' }}
{{- ('result: ' if message.role == 'tool' else '') + (message.content or '') }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) + '}' }}
{{- '</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def tool(name: str) -> dict[str, Any]:
    """A tool with one required argument, `id`."""
    parameters = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    return {"type": "function", "function": {"name": name, "description": name, "parameters": parameters}}


TOOLS = [tool("cancel"), tool("find")]


class State(NamedTuple):
    asked: str
    argument: str
    domain: str | None

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [{"role": "user", "content": self.asked}]

    @property
    def right(self) -> str:
        return call_text("cancel", self.argument)

    @property
    def wrong(self) -> str:
        return call_text("find", self.argument)


STATES = [
    State(f"{verb} order A{number}", f"A{number}", domain)
    for number, (verb, domain) in enumerate(
        [
            ("stop", "orders"),
            ("drop", "orders"),
            ("quit", "search"),
            ("undo", "search"),
            ("end", None),
            ("call off", None),
        ]
    )
]


def call_text(name: str, argument: str) -> str:
    """The text of a call, as the template writes it."""
    return f'<tool_call>{{"name": "{name}", "arguments": {{"id": "{argument}"}}}}</tool_call>'


def load_tokenizer(policy: Path) -> Any:
    return AutoTokenizer.from_pretrained(policy)


def render(tokenizer: Any, state: State) -> str:
    return tokenizer.apply_chat_template(state.messages, tools=TOOLS, add_generation_prompt=True, tokenize=False)


def train_policy(path: Path, share_right: float = 0.4, steps: int = 120, head_dim: int = 16) -> Path:
    """Train a policy that answers each state rightly with the given chance, else with the wrong call; takes seconds."""
    tokenizer, model = make_tokenizer(), make_model(head_dim=head_dim)
    rows = [
        (tokenizer(render(tokenizer, state)).input_ids, tokenizer(f"{text}<|im_end|>").input_ids, share)
        for state in STATES
        for text, share in ((state.right, share_right), (state.wrong, 1 - share_right))
    ]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=8e-3, total_steps=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        _loss(model, rows).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return save(path, model, tokenizer)


def save(path: Path, model: Any, tokenizer: Any) -> Path:
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def _loss(model: Any, rows: list[tuple[list[int], list[int], float]]) -> torch.Tensor:
    width = max(len(prompt) + len(answer) for prompt, answer, _ in rows)
    ids, weights = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width)
    for row, (prompt, answer, share) in enumerate(rows):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor(prompt + answer)
        weights[row, len(prompt) : end] = share
    logprobs = model(input_ids=ids).logits[:, :-1].log_softmax(-1)
    return -(logprobs.gather(-1, ids[:, 1:, None])[..., 0] * weights[:, 1:]).sum()


def make_model(seed: int = 0, context: int = 256, head_dim: int = 16) -> Any:
    """A model with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = Qwen3Config(
            vocab_size=384,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=head_dim,
            max_position_embeddings=context,
            tie_word_embeddings=True,
            initializer_range=0.1,
            eos_token_id=2,
            pad_token_id=0,
            bos_token_id=None,
        )
        return Qwen3ForCausalLM(config)


def make_tokenizer() -> Any:
    """Byte-level BPE of 384 tokens over the states' own words."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(
        [CHAT_TEMPLATE, *(f"{s.asked} {s.right} {s.wrong} system user assistant" for s in STATES)], trainer
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def pivot_rows(policy: Path, **columns: Any) -> list[dict[str, Any]]:
    """A row for each of STATES, as `pivotmine select` would write it; `columns` replace its own."""
    tokenizer = load_tokenizer(policy)
    return [{**_row(policy, tokenizer, number, state), **columns} for number, state in enumerate(STATES)]


def _row(policy: Path, tokenizer: Any, number: int, state: State) -> dict[str, Any]:
    spec = make_spec("tool_call", {})
    text = render(tokenizer, state)
    action = {"tool_calls": [{"name": "cancel", "arguments": {"id": state.argument}}]}
    reply = [{"role": "tool", "tool_call_id": "x1", "content": f"{state.argument} done"}]
    return {
        "prompt": text,
        "prompt_ids": tokenizer(text).input_ids,
        "prompt_messages": json.dumps(state.messages),
        "tools": json.dumps(TOOLS),
        "demonstrations": json.dumps([{"action": action, "reply": reply, "turn_id": f"t{number}:0"}]),
        "state_id": f"state{number}",
        "trajectory_id": f"t{number}",
        "turn_id": f"t{number}:0",
        "task_id": None,
        "domain": state.domain,
        "kind": "tool_call",
        "verifier": spec.name,
        "verifier_options": spec.options_json,
        "verifier_id": spec.verifier_id,
        "parser": "hermes",
        "opened_reasoning": False,
        "num_samples": 8,
        "num_scored": 8,
        "mean": 0.4,
        "variance": 0.24,
        "reward_class": "sometimes",
        "policy_id": "coin-1",
        "sampling": json.dumps({"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 32}),
        "tokenizer": str(policy),
        "template_options": "{}",
        "weights_hash": policies.hash_weights(policy),
        "tokenizer_hash": policies.hash_tokenizer(tokenizer),
        "template_hash": policies.hash_template(CHAT_TEMPLATE),
        "source": "desk.jsonl",
        "source_index": number,
    }


def write_dataset(folder: Path, train: list[dict[str, Any]], validation: list[dict[str, Any]]) -> Path:
    """Write both splits in the miner's schema; a split without rows has no row group, as in the miner."""
    folder.mkdir(parents=True)
    for split, rows in (("train", train), ("validation", validation)):
        with pq.ParquetWriter(folder / f"{split}.parquet", PIVOTS) as writer:
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema=PIVOTS))
    return folder


def command(policy: Path, dataset: Path, output_dir: Path, **options: Any) -> list[str]:
    """Arguments of a short training: 4 prompts x 8 actions per step. None leaves an option out."""
    short: dict[str, Any] = {
        "model": policy,
        "dataset": dataset,
        "output_dir": output_dir,
        "num_generations": 8,
        "prompts_per_step": 4,
        "per_device_train_batch_size": 32,
        "learning_rate": 3e-3,
        "warmup_steps": 0,
        "max_steps": 2,
        "gradient_checkpointing": "false",
        "dataloader_pin_memory": "false",
        "disable_tqdm": "true",
    }
    given = {**short, **options}
    words = [[f"--{name}", *(value if isinstance(value, list) else [value])] for name, value in given.items()]
    return [str(word) for group in words for word in group if group[1] is not None]
