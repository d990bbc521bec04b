"""What a server's answer holds: samples, or the reason why it holds none; never an empty one that looks drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pivotmine import strict_json
from pivotmine_stages.engines.options import one_line
from pivotmine_stages.engines.protocol import Reply, Request, Sample

FINISH_REASONS = {"stop": "stop", "tool_calls": "stop", "length": "length"}
"""A sample that ended otherwise (`content_filter`, `abort`, ...) is no sample."""

TRANSIENT_ENDS = ("abort", "error")
"""A request whose samples all ended so is sent again: the server was shutting down, or ran into trouble."""


class Trouble(Exception):
    """This try failed and another may not; its words are for the reject where it was the last one."""

    def __init__(self, words: str, wait_s: float = 0.0) -> None:
        super().__init__(words)
        self.wait_s = wait_s


def read_reply(request: Request, body: Any) -> Reply:
    """The samples of a reply, and why some are missing; Trouble where all of them were broken off.

    A server may give fewer answers than were asked for: the reply's request is cut to the samples that it answered.
    Answers beyond those are left.
    """
    choices = sorted(body["choices"], key=lambda choice: choice["index"])[: len(request.sample_indices)]
    usage = body.get("usage") or {}
    request = replace(request, sample_indices=request.sample_indices[: len(choices)])
    kept = [
        choice["finish_reason"] in FINISH_REASONS and _is_drawn(choice, usage.get("completion_tokens"))
        for choice in choices
    ]
    answers = list(zip(request.sample_indices, choices, kept, strict=True))
    samples = tuple(_sample(index, choice) for index, choice, is_kept in answers if is_kept)
    details = usage.get("prompt_tokens_details") or {}
    reply = Reply(request=request, samples=samples, num_cached_tokens=details.get("cached_tokens"))
    if choices and all(kept):
        return reply
    reasons = sorted({str(choice["finish_reason"]) for _, choice, is_kept in answers if not is_kept})
    ended = ", ".join(reasons) or "no sample at all"
    words = f"the server ended with {ended}{' and generated nothing' if {*reasons} & {*FINISH_REASONS} else ''}"
    if not samples and all(reason in TRANSIENT_ENDS for reason in reasons):
        raise Trouble(words)
    return replace(reply, failure="engine_error", detail=one_line(words))


def put_together(request: Request, replies: list[Reply]) -> Reply:
    """What several requests for the samples of one state have brought: all samples, and the first failure."""
    failure = next((reply for reply in replies if reply.failure), replies[0])
    samples = tuple(sample for reply in replies for sample in reply.samples)
    return replace(failure, request=request, samples=samples, num_cached_tokens=replies[0].num_cached_tokens)


def _is_drawn(choice: dict[str, Any], num_completion_tokens: int | None) -> bool:
    """Whether the model said something, be it the end of its turn: some servers answer with an empty completion where
    they could not sample, as on a prompt that fills the context."""
    message: dict[str, Any] = choice.get("message") or {}
    said = choice.get("text") or any(value for key, value in message.items() if key != "role")
    if said or choice.get("token_ids") is not None:
        return bool(said or choice["token_ids"])
    return choice["finish_reason"] != "length" and bool(num_completion_tokens)


def _sample(sample_index: int, choice: dict[str, Any]) -> Sample:
    message: dict[str, Any] | None = choice.get("message")
    text = choice["text"] if message is None else message.get("content") or ""
    token_ids: list[int] | None = choice.get("token_ids")
    logprobs = _token_logprobs(choice.get("logprobs") or {})
    said = {key: value for key, value in (message or {}).items() if value is not None}
    return Sample(
        sample_index=sample_index,
        text=_storable(text),
        token_ids=token_ids,
        logprobs=logprobs if token_ids is not None and len(logprobs) == len(token_ids) else None,
        finish_reason=FINISH_REASONS[choice["finish_reason"]],
        num_tokens=None if token_ids is None else len(token_ids),
        message=None if message is None else _storable(strict_json.dumps(said)),
    )


def _token_logprobs(logprobs: dict[str, Any]) -> list[float]:
    if "token_logprobs" in logprobs:  # completions
        return logprobs["token_logprobs"]
    return [token["logprob"] for token in logprobs.get("content") or ()]  # chat


def _storable(text: str) -> str:
    """Half of a surrogate pair, which JSON can say and UTF-8 cannot, becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")
