"""Train the base policy's tokenizer on the desk's text: `python -m pivotmine_desk.make_tokenizer --out DIR`.

Byte-level BPE over pieces that never join words, digits, spaces and punctuation. A name has the same tokens in a
sentence and in JSON, so it can be copied token by token. A number is its digits; the first one includes the space or
`#` before it, so that a value directly follows its key. A run of JSON punctuation is one token. Needs `tokenizers`,
which comes with transformers.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pivotmine_desk import skills
from pivotmine_desk.agent import MEDIOCRE
from pivotmine_desk.conversation import render
from pivotmine_desk.tasks import numbered_task, play, tool_definitions

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>", "</tools>")
"""Single tokens that are not special: decoding keeps them if it skips special tokens."""
PIECES = r"[A-Za-z_]+|[ #]?[0-9]|\n|[^\S\n]|[^A-Za-z_0-9\s#]+|#"
TEMPLATE = Path(__file__).with_name("chat_template.jinja")


def train(vocabulary: int, episodes: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer of `vocabulary` tokens on this many pre-training episodes, each with a skill question."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokens = [AddedToken(text, special=True, normalized=False) for text in SPECIAL]
    marks = [AddedToken(text, special=False, normalized=False) for text in MARKS]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(MARKS),
        special_tokens=tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    plain = PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=TEMPLATE.read_text())
    tokenizer.train_from_iterator(_texts(plain, episodes), trainer)
    tokenizer.add_tokens(marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE.read_text(),
    )


def _texts(tokenizer: Any, episodes: int) -> Iterator[str]:
    rng = random.Random(0)
    for number in range(episodes):
        episode = play(numbered_task("pretrain", number), MEDIOCRE, 0)
        text = render(tokenizer, episode.messages, tool_definitions(episode.task.domain))
        for mark in (*SPECIAL, *MARKS):
            text = text.replace(mark, "\n")
        yield text
        asked = skills.question(rng.choice(skills.SKILLS), "pretrain", rng)
        yield asked.messages[0]["content"]
        yield asked.answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vocabulary", type=int, default=768)
    parser.add_argument("--episodes", type=int, default=4000)
    options = parser.parse_args()
    train(options.vocabulary, options.episodes).save_pretrained(options.out, save_jinja_files=False)


if __name__ == "__main__":
    main()
