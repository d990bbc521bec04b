"""What every engine is opened with, and the checks that come before anything heavy is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pivotmine.errors import UserError
from pivotmine.sampling.settings import Sampling
from pivotmine_stages.engines.model_files import require_whole_files
from pivotmine_stages.engines.protocol import Reply, Request, Sample

TOKENIZER_FILES = ("tokenizer*", "vocab.*", "tekken*", "*.tiktoken", "*.model")
"""A folder with none of these has no tokenizer, and transformers would make up an empty one without a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    model: str
    """Folder or hub id of a Hugging Face model; a server needs it only to choose among several models."""
    adapter: str | None = None
    """Folder of a LoRA adapter; a server names its adapters as models (`served_model`)."""
    sampling: Sampling = field(default_factory=Sampling)
    """How actions are drawn."""
    seed: int = 0
    """Seeds whatever the engine can seed: every sample (transformers, vLLM on a GPU), or the engine as a whole (vLLM
    on a CPU); a server is not seeded."""
    num_stored: int = 0
    """Samples of this policy that an earlier start stored. An engine seeded as a whole mixes it into the seed, or a
    second start would draw the first one's samples again."""
    max_model_len: int | None = None
    """Prompt and reply together, in tokens; null takes the model's own, and a larger one than the model's is cut."""
    concurrency: int = 64
    """Requests in flight (vllm; openai: for each server)."""
    batch_size: int = 128
    """Samples decoded side by side (transformers); a request with more is never split."""
    tensor_parallel_size: int = 1
    """GPUs that share one copy of the model (vllm)."""
    gpu_memory_utilization: float = 0.9
    """Share of the GPU's memory that is taken, in (0, 1] (vllm)."""
    num_replicas: int = 1
    """Workers, each with an engine of its own (ray)."""
    replica_engine: str = "vllm"
    """The engine of a worker, `vllm` or `transformers`: it is the policy's (ray)."""
    cpus_per_replica: float = 1.0
    """CPUs that a worker takes from Ray, above 0; it may be less than one (ray)."""
    gpus_per_replica: float | None = None
    """GPUs that a worker takes from Ray; null: `tensor_parallel_size` where the cluster has GPUs, else none (ray)."""
    states_per_block: int = 64
    """States that a worker is given at a time, in whole trajectories: what a worker that dies has to repeat (ray)."""
    ray_address: str | None = None
    """`auto` or host:port of a Ray cluster; null: one is started on this machine (ray)."""
    base_urls: tuple[str, ...] = ()
    """Servers, each with its `/v1`; several share out the trajectories (openai)."""
    api: str = "completions"
    """`completions` sends token ids; `chat` sends messages and lets the server render them (openai)."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; unset where the server wants none (openai)."""
    served_model: str | None = None
    """The model's name on the server; null takes `model` where the server knows it, or the server's only one."""
    timeout_s: float = 600.0
    """Longest wait for one reply, and for a server to come back where none takes requests (openai)."""
    max_retries: int = 5
    """Tries beyond the first, for connection errors, time-outs, 429, 5xx and half replies (openai)."""
    template_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Options of the chat template, which only chat mode hands on."""


def require_model(model: str) -> None:
    """UserError unless the model is a folder with `config.json` and a tokenizer, or a hub id that can be had."""
    folder = Path(model)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"model {model}: the folder has no config.json; name a Hugging Face model folder")
        if not any(True for pattern in TOKENIZER_FILES for _ in folder.glob(pattern)):
            raise UserError(f"model {model}: the folder has no tokenizer; save the policy's own beside its weights")
        require_whole_files(f"model {model}", folder)
    elif folder.exists() or model.startswith(("/", ".", "~")) or model.count("/") > 1:
        raise UserError(f"model {model}: no such folder; name a Hugging Face model folder or a hub id")
    else:
        _require_hub_model(model)


def _require_hub_model(model: str) -> None:
    import huggingface_hub

    try:
        huggingface_hub.hf_hub_download(model, "config.json")
    except (OSError, ValueError) as error:  # the library's own errors are of these two kinds
        words = one_line(str(error))
        raise UserError(f"model {model}: no such folder, and the hub does not give it: {words}") from None


def adapter_config(adapter: str) -> dict[str, Any]:
    """The adapter's `adapter_config.json`; UserError where there is none."""
    path = Path(adapter) / "adapter_config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"adapter {adapter}: no readable adapter_config.json; name a LoRA folder")
    require_whole_files(f"adapter {adapter}", path.parent)
    return found


def require_room(max_new_tokens: int, max_model_len: int | None, what: str) -> None:
    """UserError where the token budget alone fills the context: then no prompt fits beside it."""
    if max_model_len is not None and max_new_tokens >= max_model_len:
        raise UserError(
            f"--max-new-tokens {max_new_tokens} leaves no room for a prompt in {what} of {max_model_len} tokens: "
            "give a smaller one"
        )


def refusal(request: Request, max_model_len: int | None, vocab_size: int | None) -> Reply | None:
    """The reply to a prompt that no engine can take; null where it can be sampled."""
    num_tokens = len(request.prompt_ids)
    if num_tokens == 0:
        return failed(request, "engine_error", "the prompt is empty")
    if max_model_len is not None and num_tokens >= max_model_len:
        words = f"{num_tokens} tokens leave no room in a context of {max_model_len}"
        return failed(request, "prompt_too_long", words)
    if vocab_size is not None and max(request.prompt_ids) >= vocab_size:
        words = f"token {max(request.prompt_ids)} is not in the vocabulary of {vocab_size}"
        return failed(request, "engine_error", words)
    return None


def failed(request: Request, failure: str, detail: str) -> Reply:
    return Reply(request=request, failure=failure, detail=one_line(detail))


def one_line(words: str, limit: int = 300) -> str:
    """Foreign words on one line, at most `limit` characters."""
    line = " ".join(words.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def token_budget(request: Request, sampling: Sampling, max_model_len: int | None) -> int:
    """Tokens that a sample of this request may have."""
    if max_model_len is None:
        return sampling.max_new_tokens
    return min(sampling.max_new_tokens, max_model_len - len(request.prompt_ids))


def num_drawn(request: Request, sampling: Sampling) -> int:
    """Samples to ask a server or vLLM for: greedy ones are all alike, and vLLM refuses to draw two."""
    return 1 if sampling.temperature == 0 else len(request.sample_indices)


def for_all_indices(request: Request, sampling: Sampling, samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """What was drawn, a greedy sample repeated for every index that was asked for."""
    if sampling.temperature > 0:
        return samples
    return tuple(replace(sample, sample_index=index) for sample in samples[:1] for index in request.sample_indices)


def derive_seed(*parts: object) -> int:
    """63 bits that differ wherever a part differs: state ids, sample indices, the user's seed."""
    digest = hashlib.sha256("\0".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def smaller(a: int | None, b: int | None) -> int | None:
    """The smaller of two limits, of which either may be unknown."""
    known = [limit for limit in (a, b) if limit is not None]
    return min(known, default=None)


def sample_from_tokens(
    tokenizer: Any, sample_index: int, token_ids: list[int], logprobs: list[float], finish_reason: str
) -> Sample:
    """A sample decoded here, special tokens kept and the end-of-turn token left off."""
    said = token_ids[:-1] if finish_reason == "stop" else token_ids
    text = tokenizer.decode(said, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return Sample(
        sample_index=sample_index,
        text=text,
        token_ids=token_ids,
        logprobs=logprobs,
        finish_reason=finish_reason,
        num_tokens=len(token_ids),
    )
