"""Read a server's answers: samples, model lists, or the reason why samples are missing.

A server is not trusted. Every field that is used is checked for type and range here, before anything else reads it. A
wrong field makes the whole reply unreadable, and its state a reject; nothing of the reply reaches a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pivotmine import strict_json
from pivotmine_stages.engines.options import one_line
from pivotmine_stages.engines.protocol import Reply, Request, Sample

FINISH_REASONS = {"stop": "stop", "tool_calls": "stop", "length": "length"}
"""A reply with another finish reason (`content_filter`, `abort`, ...) is not a sample."""

TRANSIENT_ENDS = ("abort", "error")
"""If all samples of a request end so, it is sent again: the server was shutting down, or had an internal error."""

MAX_INT = 2**31 - 1
"""The maximum in the integer columns of `rollouts`."""


def _storable(text: Any) -> Any:
    """Replace half of a surrogate pair, which JSON can express but UTF-8 cannot, by a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8") if isinstance(text, str) else text


_Text = Annotated[str, BeforeValidator(_storable)]
_Count = Annotated[int, Field(ge=0, le=MAX_INT)]
_Logprob = Annotated[float, Field(le=0.01)]
"""Rounding may lift a log-probability a little above 0; a server that returns raw logits is far above. `rollout`
rejects values that are not finite."""


class _Checked(BaseModel):
    model_config = ConfigDict(strict=True, hide_input_in_errors=True, frozen=True)


class _Function(_Checked):
    name: _Text | None = None
    arguments: _Text | dict[str, Any] | None = None


class _Call(_Checked):
    function: _Function | None = None


class _Message(_Checked):
    content: _Text | None = None
    reasoning: _Text | None = None
    reasoning_content: _Text | None = None
    refusal: _Text | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None


class _Token(_Checked):
    logprob: _Logprob


class _Logprobs(_Checked):
    token_logprobs: list[_Logprob | None] | None = None
    content: list[_Token] | None = None

    def of_tokens(self) -> list[float] | None:
        """The tokens' log-probabilities, of completions or of chat; None if the server does not return all of them."""
        found = self.token_logprobs
        if found is None:
            found = [token.logprob for token in self.content or ()]
        known = [logprob for logprob in found if logprob is not None]
        return known if len(known) == len(found) else None


class _Choice(_Checked):
    index: _Count
    finish_reason: _Text | None
    text: _Text | None = None
    message: _Message | None = None
    token_ids: list[_Count] | None = None
    logprobs: _Logprobs | None = None

    @model_validator(mode="after")
    def _says_something(self) -> _Choice:
        if self.text is None and self.message is None:
            raise ValueError("neither text nor message")
        return self


class _PromptDetails(_Checked):
    cached_tokens: _Count | None = None


class _Usage(_Checked):
    completion_tokens: _Count | None = None
    prompt_tokens_details: _PromptDetails | None = None


class _Body(_Checked):
    choices: list[_Choice]
    usage: _Usage | None = None


class ServedModel(_Checked):
    """An entry of `/v1/models`."""

    id: _Text
    owned_by: _Text | None = None
    parent: _Text | None = None
    """The base model of an adapter."""
    max_model_len: _Count | None = None
    """Maximum tokens of prompt and reply together; 0 or None if not reported."""


class _ModelList(_Checked):
    data: list[ServedModel]


C = TypeVar("C", bound=_Checked)


def _checked(kind: type[C], body: Any) -> C:
    """The validated body; ValueError that names the first field of a wrong type or range."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(one_line(f"{place}: {first['msg']}" if place else str(first["msg"]))) from None


def read_models(body: Any) -> dict[str, ServedModel]:
    """The models of a server by id; ValueError if the body is not a list of models."""
    return {model.id: model for model in _checked(_ModelList, body).data}


class Trouble(Exception):
    """This try failed, but another may succeed; after the last try, its message is the reject's detail."""

    def __init__(self, words: str, wait_s: float = 0.0) -> None:
        super().__init__(words)
        self.wait_s = wait_s


def read_reply(request: Request, body: Any) -> Reply:
    """The samples of a reply, and the reason if some are missing; Trouble if the server aborted all of them.

    A server may return fewer answers than requested: the reply's request then names only the answered samples. Extra
    answers are ignored. ValueError if a field has a wrong type or range.
    """
    read = _checked(_Body, body)
    pairs = sorted(zip(read.choices, body["choices"], strict=True), key=lambda pair: pair[0].index)
    pairs = pairs[: len(request.sample_indices)]
    usage = read.usage or _Usage()
    request = replace(request, sample_indices=request.sample_indices[: len(pairs)])
    kept = [
        choice.finish_reason in FINISH_REASONS and _is_drawn(choice, raw.get("message"), usage.completion_tokens)
        for choice, raw in pairs
    ]
    answers = list(zip(request.sample_indices, pairs, kept, strict=True))
    samples = tuple(_sample(index, choice, raw.get("message")) for index, (choice, raw), is_kept in answers if is_kept)
    details = usage.prompt_tokens_details or _PromptDetails()
    reply = Reply(request=request, samples=samples, num_cached_tokens=details.cached_tokens)
    if pairs and all(kept):
        return reply
    reasons = sorted({str(choice.finish_reason) for _, (choice, _), is_kept in answers if not is_kept})
    ended = ", ".join(reasons) or "no sample at all"
    words = f"the server ended with {ended}{' and generated nothing' if {*reasons} & {*FINISH_REASONS} else ''}"
    if not samples and all(reason in TRANSIENT_ENDS for reason in reasons):
        raise Trouble(words)
    return replace(reply, failure="engine_error", detail=one_line(words))


def put_together(request: Request, replies: list[Reply]) -> Reply:
    """Merge the replies to several requests for one state: all samples, and the first failure."""
    failure = next((reply for reply in replies if reply.failure), replies[0])
    samples = tuple(sample for reply in replies for sample in reply.samples)
    return replace(failure, request=request, samples=samples, num_cached_tokens=replies[0].num_cached_tokens)


def _is_drawn(choice: _Choice, message: Mapping[str, Any] | None, num_completion_tokens: int | None) -> bool:
    """Whether the model generated anything, if only the end of its turn. Some servers return an empty completion if
    they cannot sample, for example if the prompt fills the context."""
    said = choice.text or any(value for key, value in (message or {}).items() if key != "role")
    if said or choice.token_ids is not None:
        return bool(said or choice.token_ids)
    return choice.finish_reason != "length" and bool(num_completion_tokens)


def _sample(sample_index: int, choice: _Choice, message: Mapping[str, Any] | None) -> Sample:
    """message: as the server sent it, while `choice.message` has only the checked fields."""
    text = choice.text if choice.message is None else choice.message.content
    token_ids = choice.token_ids
    logprobs = choice.logprobs.of_tokens() if choice.logprobs else None
    said = {key: value for key, value in (message or {}).items() if value is not None}
    assert choice.finish_reason in FINISH_REASONS, choice.finish_reason
    return Sample(
        sample_index=sample_index,
        text=text or "",
        token_ids=token_ids,
        logprobs=logprobs if token_ids is not None and logprobs and len(logprobs) == len(token_ids) else None,
        finish_reason=FINISH_REASONS[choice.finish_reason],
        num_tokens=None if token_ids is None else len(token_ids),
        message=None if message is None else _storable(strict_json.dumps(said)),
    )
