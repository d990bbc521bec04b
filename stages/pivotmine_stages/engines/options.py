"""Options and helpers that all engines share, and checks that load nothing heavy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pivotmine import escape
from pivotmine.errors import UserError
from pivotmine.options import Option
from pivotmine.sampling.settings import Sampling
from pivotmine_stages.engines.model_files import read_object, require_whole_files
from pivotmine_stages.engines.protocol import Reply, Request, Sample

TOKENIZER_FILES = ("tokenizer*", "vocab.*", "tekken*", "*.tiktoken", "*.model")
"""A folder without any of these has no tokenizer, and transformers would silently make up an empty one."""


def _replica_engines() -> list[str]:
    from pivotmine_stages.engines import ENGINES

    return [name for name, spec in ENGINES.items() if spec.can_be_replica]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Options of an engine. The program sets `num_stored`; every other field is a flag of `rollout`."""

    model: Annotated[str, Option(panel="Policy")]
    """Folder or hub id of the policy; on a server, the served model's name."""
    adapter: Annotated[str | None, Option(panel="Policy")] = None
    """Folder of a LoRA adapter. A server lists its adapters as models: use --served-model there."""
    sampling: Sampling = field(default_factory=Sampling)
    seed: Annotated[int, Option(panel="Sampling")] = 0
    """Seed of the sampling. A server is not seeded."""
    num_stored: Annotated[int, Option(is_set=False)] = 0
    """Number of samples of this policy that earlier starts stored. An engine with a single seed mixes it into the seed;
    otherwise a second start would repeat the first one's samples."""
    max_model_len: Annotated[int | None, Option(panel="Engine", min=1)] = None
    """Maximum tokens of prompt and reply together; by default the model's own limit, which still applies."""
    concurrency: Annotated[int, Option(panel="Engine", min=1)] = 64
    """Maximum requests in flight (vllm, and openai for each server)."""
    batch_size: Annotated[int, Option(panel="Engine", min=1)] = 128
    """Samples decoded together (transformers); a state with more samples is a batch of its own."""
    tensor_parallel_size: Annotated[int, Option(panel="Engine", min=1)] = 1
    """GPUs that share one copy of the model (vllm)."""
    gpu_memory_utilization: Annotated[float, Option(panel="Engine", above=0, max=1)] = 0.9
    """Share of a GPU's memory to use (vllm)."""
    num_replicas: Annotated[int, Option(panel="Ray", min=1)] = 1
    """Number of workers, each with an engine of its own (ray)."""
    replica_engine: Annotated[str, Option(panel="Ray", choices=_replica_engines)] = "vllm"
    """Engine that the workers run; it determines the policy (ray)."""
    cpus_per_replica: Annotated[float, Option(panel="Ray", above=0)] = 1.0
    """CPUs that a worker takes from Ray; may be less than one (ray)."""
    gpus_per_replica: Annotated[float | None, Option(panel="Ray", min=0)] = None
    """GPUs that a worker takes from Ray; by default --tensor-parallel-size if the cluster has GPUs (ray)."""
    states_per_block: Annotated[int, Option(panel="Ray", min=1)] = 64
    """Minimum states in a block of whole trajectories; the blocks of a lost worker are repeated (ray)."""
    ray_address: Annotated[str | None, Option(panel="Ray")] = None
    """`auto` or host:port of a Ray cluster; by default one is started on this machine (ray)."""
    base_urls: Annotated[tuple[str, ...], Option(panel="Server", flag="base_url")] = ()
    """URL of a server, with /v1 at its end; repeat it for several servers, which share the trajectories (openai)."""
    api: Annotated[Literal["completions", "chat"], Option(panel="Server")] = "completions"
    """completions sends token ids; chat sends messages and the server renders them (openai)."""
    api_key_env: Annotated[str, Option(panel="Server")] = "OPENAI_API_KEY"
    """Environment variable that holds the API key; leave it unset for a server without keys (openai)."""
    served_model: Annotated[str | None, Option(panel="Server")] = None
    """Name of the model on the server; by default --model if the server lists it, else its only model (openai)."""
    timeout_s: Annotated[float, Option(panel="Server", above=0)] = 600.0
    """Maximum wait in seconds for a reply or for any server (openai), or for the first worker (ray)."""
    max_retries: Annotated[int, Option(panel="Server", min=0)] = 5
    """Retries after connection errors, timeouts, 429, 5xx and unreadable replies (openai)."""
    template_options: Annotated[Mapping[str, Any], Option(panel="Policy", metavar="JSON")] = field(
        default_factory=dict[str, Any]
    )
    """Options of the chat template as JSON, for example {"enable_thinking": false}."""


def require_model(model: str) -> None:
    """Raise UserError unless the model is a folder with `config.json` and a tokenizer, or a loadable hub id."""
    folder = Path(model)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"model {model}: the folder has no config.json; name a Hugging Face model folder")
        if not any(True for pattern in TOKENIZER_FILES for _ in folder.glob(pattern)):
            raise UserError(f"model {model}: the folder has no tokenizer; save the policy's tokenizer into it")
        require_whole_files(f"model {model}", folder)
    elif folder.exists() or model.startswith(("/", ".", "~")) or model.count("/") > 1:
        raise UserError(f"model {model}: no such folder; name a Hugging Face model folder or a hub id")
    else:
        _require_hub_model(model)


def _require_hub_model(model: str) -> None:
    import huggingface_hub

    try:
        huggingface_hub.hf_hub_download(model, "config.json")
    except (OSError, ValueError) as error:  # the library's own errors derive from these two
        words = one_line(str(error))
        raise UserError(f"model {model}: no such folder, and it cannot be loaded from the hub: {words}") from None


def adapter_config(adapter: str) -> dict[str, Any]:
    """The adapter's `adapter_config.json`; UserError if one of the adapter's files is missing or cut short."""
    path = Path(adapter) / "adapter_config.json"
    found = read_object(path)
    if found is None:
        raise UserError(f"adapter {adapter}: no readable adapter_config.json; name a LoRA folder")
    require_whole_files(f"adapter {adapter}", path.parent)
    return found


def context_length(options: EngineOptions) -> int | None:
    """Maximum tokens of prompt and reply together: the smaller of `max_model_len` and the limit in `config.json`.

    None if neither is known.
    """
    config = _model_json(options.model, "config.json")
    own = (config.get("text_config") or config).get("max_position_embeddings")
    return smaller(own if isinstance(own, int) else None, options.max_model_len)


def end_of_turn_ids(options: EngineOptions, tokenizer: Any) -> frozenset[int]:
    """All tokens that end a turn according to the model's files or its tokenizer."""
    files = [_model_json(options.model, name) for name in ("config.json", "generation_config.json")]
    named = [tokenizer.eos_token_id, *((one.get("text_config") or one).get("eos_token_id") for one in files)]
    lists = [ids if isinstance(ids, list) else [ids] for ids in named]
    return frozenset(token for ids in lists for token in ids if isinstance(token, int))


def _model_json(model: str, name: str) -> dict[str, Any]:
    """Read a JSON file from a model's folder or from the hub; empty if it is missing or does not hold an object."""
    if Path(model).is_dir():
        return read_object(Path(model) / name) or {}
    import huggingface_hub

    try:
        return read_object(Path(huggingface_hub.hf_hub_download(model, name))) or {}
    except (OSError, ValueError):  # the library's own errors derive from these two
        return {}


def require_room(max_new_tokens: int, max_model_len: int | None, what: str) -> None:
    """Raise UserError if the token budget alone fills the context, since no prompt fits then."""
    if max_model_len is not None and max_new_tokens >= max_model_len:
        raise UserError(
            f"--max-new-tokens {max_new_tokens} leaves no room for a prompt in {what} of {max_model_len} tokens: "
            "give a smaller one"
        )


def refusal(request: Request, max_model_len: int | None, vocab_size: int | None) -> Reply | None:
    """The failed reply to a prompt that no engine can take; None if it can be sampled."""
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
    """Foreign text on one line (`escape.one_line`), cut to at most `limit` characters."""
    line = escape.one_line(words)
    return line if len(line) <= limit else line[: limit - 3] + "..."


def token_budget(request: Request, sampling: Sampling, max_model_len: int | None) -> int:
    """Maximum new tokens for a sample of this request: the budget minus its stored tokens, limited by the context."""
    left = sampling.max_new_tokens - request.num_continued
    return left if max_model_len is None else min(left, max_model_len - len(request.prompt_ids))


def num_drawn(request: Request, sampling: Sampling) -> int:
    """Number of samples to request: only 1 if greedy, since they are all equal and vLLM refuses more."""
    return 1 if sampling.temperature == 0 else len(request.sample_indices)


def for_all_indices(request: Request, sampling: Sampling, samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """The drawn samples; a greedy one is repeated for every requested index."""
    if sampling.temperature > 0:
        return samples
    return tuple(replace(sample, sample_index=index) for sample in samples[:1] for index in request.sample_indices)


def derive_seed(*parts: object) -> int:
    """A seed of 63 bits, hashed from parts such as the user's seed, a state id and a sample index."""
    digest = hashlib.sha256("\0".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def smaller(a: int | None, b: int | None) -> int | None:
    """The smaller of two limits; either may be unknown."""
    known = [limit for limit in (a, b) if limit is not None]
    return min(known, default=None)


def sample_from_tokens(
    tokenizer: Any, sample_index: int, token_ids: list[int], logprobs: list[float] | None, finish_reason: str
) -> Sample:
    """A sample from its tokens; its text keeps special tokens, except the end-of-turn token."""
    shown = token_ids[:-1] if finish_reason == "stop" else token_ids
    text = tokenizer.decode(shown, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return Sample(
        sample_index=sample_index,
        text=text,
        token_ids=token_ids,
        logprobs=logprobs,
        finish_reason=finish_reason,
        num_tokens=len(token_ids),
    )
