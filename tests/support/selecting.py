"""A policy without weights, with samples from the test, and what `select` makes of them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import polars as pl
from runs import add_rollouts, answered, call_text, called, policy_record, remember, said, sample, states_of, trajectory
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from pivotmine import policy
from pivotmine.verifiers import VerifierSpec, make_spec
from pivotmine_stages.policy.prompts import load_renderer
from pivotmine_stages.score.stage import ScoreConfig, score

TOOL_CALL = make_spec("tool_call", {})
TEMPLATE = """\
<s>{% if tools %}[{% for t in tools %}{{ t.function.name }} {% endfor %}]{% endif %}\
{% for m in messages %}<{{ m.role }}>{{ m.content }}\
{% for c in m.tool_calls or [] %}({{ c.function.name }} {{ c.function.arguments | tojson }}){% endfor %}\
{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"""
"""Writes the first token, which the tokenizer also adds."""


def save_tokenizer(folder: Path, template: str = TEMPLATE) -> Path:
    """A tokenizer with one token per byte, and <s> first in each text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    backend.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    backend.add_special_tokens([AddedToken("<s>", special=True)])
    backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", len(alphabet))])  # pyright: ignore[reportAttributeAccessIssue]
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")
    fast.chat_template = template
    fast.save_pretrained(folder)
    return folder


def mine(
    run: Path, tokenizer: Path, samples: dict[str, list[dict[str, Any]]], verifier: VerifierSpec = TOOL_CALL
) -> None:
    """Write rollouts with `samples` for a policy with this tokenizer, and score them."""
    renderer = load_renderer(str(tokenizer), {})
    hashes = {
        "tokenizer_hash": policy.hash_tokenizer(renderer.tokenizer),
        "template_hash": policy.hash_template(renderer.template),
    }
    remember(run, policy_record(tokenizer=str(tokenizer), **hashes))
    states = states_of(run)
    add_rollouts(run, {states[name]: found for name, found in samples.items()})
    score(ScoreConfig(verifier=verifier), run)


RIGHT, WRONG = sample(call_text("find", id="A")), sample(call_text("find", id="B"))
MIXED = [RIGHT, WRONG, WRONG, WRONG]


def dataset(run: Path, name: str = "default") -> list[dict[str, Any]]:
    """The rows of train, then those of validation."""
    parts = [pl.read_parquet(run / "pivots" / name / f"{split}.parquet") for split in ("train", "validation")]
    return pl.concat(parts).to_dicts()


def many_tasks(num_tasks: int, **labels: Any) -> list[dict[str, Any]]:
    """Two states per task; the first message is `task NUMBER`."""
    return [
        trajectory(
            *(said(f"task {i}"), called("find", id="A"), answered(f"found {i}"), called("find", id="A"), answered("")),
            **labels,
            task_id=f"t{i}",
        )
        for i in range(num_tasks)
    ]


def card(run: Path, name: str = "default") -> str:
    return (run / "pivots" / name / "README.md").read_text(encoding="utf-8")


def card_table(text: str, head: str) -> list[list[str]]:
    """The cells of the card's table with this head."""
    lines = text.split(f"\n| {head}")[1].splitlines()[2:]
    table = itertools.takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]
