"""A GRPO step with each prompt computed once against TRL's own way: the same rows, the same model, the same seeds.

Each side runs in a process of its own, two steps; the second one is measured: CPU seconds and wall seconds of
generation and of the update (losses, backward, optimiser), peak memory, and tokens computed over distinct tokens.
Random Qwen3 weights, a context of 8,192 tokens, one core, 16 actions of 20 tokens a prompt. The sides take turns;
medians over `--repeats`, with the smallest and the largest ratio of two neighbours.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from statistics import median
from typing import Any

LENGTHS, NUM_PROMPTS, NUM_ACTIONS, ACTION_TOKENS = (200, 1_000, 4_000), 4, 16, 20


def main() -> None:
    """Print a row a prompt length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="prompt tokens")
    parser.add_argument("--repeats", type=int, default=3, help="of each side; a long step of TRL takes minutes")
    parser.add_argument("--side", choices=("ours", "trl"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(_measure(options.side, options.lengths[0])))
        return
    print(f"train: CPU seconds of one step (ours / TRL's own way), medians of {options.repeats}")
    for length in options.lengths:
        pairs = [(_side("ours", length), _side("trl", length)) for _ in range(options.repeats)]
        print(f"train  prompts of {length:,}: {_compared(pairs)}", flush=True)


def _compared(pairs: list[tuple[dict[str, float], dict[str, float]]]) -> str:
    """One line: medians of both sides, and how often the one goes into the other."""
    ours, trl = (
        {name: median(side[name] for side in sides) for name in sides[0]} for sides in zip(*pairs, strict=True)
    )
    whole = [(b["update"] + b["generation"]) / (a["update"] + a["generation"]) for a, b in pairs]
    parts = [f"step {median(whole):.1f} times faster ({min(whole):.1f} to {max(whole):.1f})"]
    parts += [
        f"{name} {ours[name]:.2f} / {trl[name]:.2f} s, {median(b[name] / a[name] for a, b in pairs):.1f} times"
        for name in ("update", "generation")
    ]
    parts.append(f"wall {ours['wall']:.2f} / {trl['wall']:.2f} s")
    parts.append(f"peak {ours['peak_mb']:,.0f} / {trl['peak_mb']:,.0f} MB")
    return "; ".join([*parts, f"tokens computed over distinct {ours['tokens']:.2f}"])


def _side(side: str, length: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks", "train", "--side", side, "--lengths", str(length)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def _measure(side: str, length: int) -> dict[str, float]:
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
    from trl.trainer.grpo_trainer import GRPOTrainer

    from pivotmine_trainer.cli.arguments import GRPOSettings
    from pivotmine_trainer.train.trainer import PivotTrainer

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "head_dim": 32}
    heads: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 8192}
    ends: dict[str, Any] = {"eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None}
    model: Any = Qwen3ForCausalLM(Qwen3Config(vocab_size=2048, **sizes, **heads, **ends))
    words = {"<pad>": 0, "<end>": 1, **{f"w{place}": place for place in range(2, 2048)}}
    plain = Tokenizer(models.WordLevel(words, unk_token="w2"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, eos_token="<end>", pad_token="<pad>", padding_side="left"
    )
    rows = [
        {"prompt": " ".join(f"w{place}" for place in torch.randint(3, 2048, (length,)).tolist()), "state_id": f"s{row}"}
        for row in range(NUM_PROMPTS)
    ]
    seconds = {"generation": 0.0, "update": 0.0}

    def reward(*, completion_ids: list[list[int]], **columns: Any) -> list[float]:
        return [float(sum(ids) % 2) for ids in completion_ids]

    base: Any = PivotTrainer if side == "ours" else GRPOTrainer

    class Timed(base):  # pyright: ignore[reportUntypedBaseClass]
        def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
            started = time.process_time()
            found = super()._generate_single_turn(*args, **kwargs)
            seconds["generation"] += time.process_time() - started
            return found

    with tempfile.TemporaryDirectory() as folder:
        settings = GRPOSettings(
            output_dir=folder,
            num_generations=NUM_ACTIONS,
            prompts_per_step=NUM_PROMPTS,
            per_device_train_batch_size=NUM_ACTIONS,
            max_completion_length=ACTION_TOKENS,
            mask_truncated_completions=False,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            max_steps=2,
            warmup_steps=0,
            eval_strategy="no",
            eval_on_start=False,
            save_strategy="no",
            log_completions=False,
            gradient_checkpointing=True,
            dataloader_pin_memory=False,
            disable_tqdm=True,
            report_to="none",
            use_cpu=True,
        )
        data = Dataset.from_list(rows)
        trainer = Timed(model=model, reward_funcs=reward, args=settings, train_dataset=data, processing_class=tokenizer)
        marks: list[tuple[float, float]] = []
        original: Any = trainer.log

        def log(*args: Any, **kwargs: Any) -> None:
            marks.append((time.process_time(), time.perf_counter()))
            seconds["before"] = seconds["generation"] if len(marks) == 1 else seconds["before"]
            original(*args, **kwargs)

        trainer.log = log
        trainer.train()
    generation = seconds["generation"] - seconds["before"]
    shared = getattr(trainer, "_shared", {}).get("policy")
    distinct = 2 * NUM_PROMPTS * (length + NUM_ACTIONS * (ACTION_TOKENS - 1))
    return {
        "generation": generation,
        "update": marks[1][0] - marks[0][0] - generation,
        "wall": marks[1][1] - marks[0][1],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "tokens": shared.num_computed / distinct if shared else float(NUM_ACTIONS),
    }
