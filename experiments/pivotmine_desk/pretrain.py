"""The base policy's recipe: `python -m pivotmine_desk.pretrain --tokenizer DIR --work DIR --out DIR`.

A Qwen3 of 0.9 M parameters is trained on the mediocre agent's episodes and on general skills, with the loss on the
assistant's tokens. Training is seeded, and an interrupted run resumes from the last checkpoint in --work. It needs only
torch, transformers and numpy, and uses a GPU if there is one.
"""

# Capital suffixes name the axes: B sequences, T tokens, H hidden, N turn tokens.
# ruff: noqa: N806

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing.spawn import spawn
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from pivotmine_desk.conversation import END_OF_TURN, load_tokenizer
from pivotmine_desk.data import Batch, Reader
from pivotmine_desk.muon import Muon

SKILLS_WEIGHT = 1.0
"""Weight of the skills batch's mean loss; the desk batch's has weight 1."""


def new_model(tokenizer: Any, *, hidden: int, layers: int, seed: int) -> Qwen3ForCausalLM:
    """Make an untrained policy with heads of 32 dimensions and tied embeddings."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 64,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(END_OF_TURN),
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen3ForCausalLM(config)


def optimizers(model: Qwen3ForCausalLM, *, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embedding and the norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        Muon(matrices, lr=lr),
        torch.optim.AdamW(others, lr=lr, weight_decay=0.0, betas=(0.9, 0.98)),
    ]


def learning_rate(step: int, *, steps: int) -> float:
    """Factor in [0, 1]: rises over 100 steps, stays level, and falls to 0 over the second half."""
    return min(1.0, (step + 1) / 100, (steps - step) / (steps / 2))


def turn_loss(model: Any, batch: Batch, device: str) -> torch.Tensor:
    """Mean cross-entropy of the assistant's tokens, in nats."""
    ids_BT = torch.from_numpy(batch.ids).to(device)
    mask_BT = torch.from_numpy(batch.mask).to(device)
    hidden_BTH = model.model(input_ids=ids_BT, use_cache=False)[0]  # padding is on the right: causal masks suffice
    before_NH = hidden_BTH[:, :-1][mask_BT[:, 1:]]
    return cross_entropy(model.lm_head(before_NH).float(), ids_BT[:, 1:][mask_BT[:, 1:]])


def train(model: Qwen3ForCausalLM, reader: Reader, options: argparse.Namespace, rank: int) -> None:
    """Train up to `options.steps`. Each worker reads its share of the batches; all use the mean gradient."""
    opts = optimizers(model, lr=options.lr)
    checkpoint = options.work / "checkpoint.pt"
    start = load_checkpoint(checkpoint, model, opts)
    began, tokens = time.monotonic(), 0
    for step in range(start, options.steps):
        for opt in opts:
            for group in opt.param_groups:
                group["lr"] = options.lr * learning_rate(step, steps=options.steps)
        desk, skills = reader.batch(step * options.workers + rank)
        desk_loss = turn_loss(model, desk, options.device)
        skills_loss = turn_loss(model, skills, options.device)
        (desk_loss + SKILLS_WEIGHT * skills_loss).backward()
        average_gradients(model, workers=options.workers)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad()
        tokens += (desk.ids.size + skills.ids.size) * options.workers
        if rank == 0 and step % 20 == 19:
            rate = round(tokens / (time.monotonic() - began))
            losses = {"desk": round(desk_loss.item(), 4), "skills": round(skills_loss.item(), 4)}
            log_line(options.work / "log.jsonl", {"step": step + 1, **losses, "tokens_per_s": rate})
        if rank == 0 and ((step + 1) % options.save_every == 0 or step + 1 == options.steps):
            save_checkpoint(checkpoint, model, opts, step + 1)


def average_gradients(model: Any, *, workers: int) -> None:
    """Give every worker the mean of the workers' gradients."""
    if workers > 1:
        gradients = [p.grad for p in model.parameters()]
        flat = torch.cat([g.flatten() for g in gradients]) / workers
        torch.distributed.all_reduce(flat)
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def log_line(path: Path, row: dict[str, Any]) -> None:
    with path.open("a") as log:
        log.write(json.dumps(row) + "\n")
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{row}")


def save_checkpoint(path: Path, model: Any, opts: list[torch.optim.Optimizer], step: int) -> None:
    """Write to a temporary file and rename it, so that an interruption leaves the old checkpoint intact."""
    part = path.with_suffix(".tmp")
    torch.save({"model": model.state_dict(), "opts": [opt.state_dict() for opt in opts], "step": step}, part)
    part.rename(path)


def load_checkpoint(path: Path, model: Any, opts: list[torch.optim.Optimizer]) -> int:
    """Load a checkpoint; return the step to continue from, 0 if there is none."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location=model.device, weights_only=True)
    model.load_state_dict(state["model"])
    for opt, saved in zip(opts, state["opts"], strict=True):
        opt.load_state_dict(saved)
    return state["step"]


def save_policy(model: Any, tokenizer: Any, out: Path) -> None:
    """Save what an engine needs: weights in bfloat16, configuration, tokenizer and chat template."""
    model.to(torch.bfloat16).save_pretrained(out)
    GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
    ).save_pretrained(out)
    tokenizer.save_pretrained(out, save_jinja_files=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True, help="directory of make_tokenizer")
    parser.add_argument("--work", type=Path, required=True, help="checkpoint and log.jsonl")
    parser.add_argument("--out", type=Path, required=True, help="the policy, once trained")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--num-desk", type=int, default=12, help="episodes per step and worker")
    parser.add_argument("--num-skills", type=int, default=32, help="questions per step and worker")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1 if torch.cuda.is_available() else 2)
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    options.run_id = os.getpid()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.workers == 1:
        work(0, options)
    else:
        spawn(work, (options,), nprocs=options.workers)


def work(rank: int, options: argparse.Namespace) -> None:
    """One worker's run, from the tokenizer to the saved policy."""
    if options.device == "cpu":
        # One thread per worker: the threads of a process wait for each other at every operation. On a busy machine
        # the waiting costs more than a second thread saves.
        torch.set_num_threads(1)
    if options.workers > 1:
        meeting = f"file://{(options.work / f'workers-{options.run_id}').resolve()}"
        torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=options.workers)
    tokenizer = load_tokenizer(options.tokenizer)
    model: Any = new_model(tokenizer, hidden=options.hidden, layers=options.layers, seed=options.seed)
    model.to(options.device)
    reader = Reader(tokenizer, seed=options.seed, num_desk=options.num_desk, num_skills=options.num_skills)
    train(model, reader, options, rank)
    if rank == 0:
        save_policy(model, tokenizer, options.out)


if __name__ == "__main__":
    main()
