"""The demonstrated action and the environment's reply as the policy's chat template writes them.

The prompt is the mined one. To get the text after it, the tokenizer's template renders a short conversation with the
same action, and its first part, which stands for the prompt, is cut off. The action is used only if the row's parser
reads it back unchanged: some templates need the arguments as an object, others as JSON text, and a few cannot write
calls at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from pivotmine.actions import Action, action_from_json
from pivotmine.verifiers.dataset_rows import read_completion, tools_of

_ASKED = {"role": "user", "content": "?"}


class Continuation(NamedTuple):
    action_ids: list[int]
    """Tokens after the prompt, end of turn included."""
    reply_ids: list[int]
    """Tokens after the action, up to the policy's next turn. Empty if no reply was requested or recorded, or if the
    template writes the action differently once a reply follows it."""


def continuations(tokenizer: Any, row: dict[str, Any], *, with_reply: bool = False) -> Iterator[Continuation]:
    """Yield one continuation for each demonstration that the tokenizer's template can write."""
    offset = sum(len(message.get("tool_calls") or ()) for message in json.loads(row["prompt_messages"]))
    for entry in json.loads(row["demonstrations"]):
        action = action_from_json(json.dumps(entry["action"]))
        replies = entry.get("reply") or [] if with_reply else []
        for as_text in (False, True):
            texts = _texts(tokenizer, row, action, replies, offset, as_text=as_text)
            if texts is not None:
                yield Continuation(*(tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts))
                break


def _texts(
    tokenizer: Any, row: dict[str, Any], action: Action, replies: list[dict[str, Any]], offset: int, *, as_text: bool
) -> tuple[str, str] | None:
    """Text of the action and text of the reply; None if the template cannot write this action."""
    said = _message(action, offset, as_text=as_text)
    try:
        before = _render(tokenizer, row, [_ASKED], going_on=True)
        alone = _render(tokenizer, row, [_ASKED, said])
        after = _render(tokenizer, row, [_ASKED, said, *_results(replies, offset)], going_on=True) if replies else ""
    except Exception:  # a foreign template may raise anything: it cannot write this
        return None
    text = _until_end(tokenizer, alone.removeprefix(before))
    if not alone.startswith(before) or not _says(text, action, row):
        return None
    # Some templates drop the reasoning once a reply follows. Then the reply would follow another text.
    if not after.startswith(before + text):
        return text, ""
    return text, after.removeprefix(before + text)


def _says(text: str, action: Action, row: dict[str, Any]) -> bool:
    read = read_completion(row, text, truncated=False)
    return (read.tool_calls, read.message, read.unparsed) == (action.tool_calls, action.message.strip(), ())


def _until_end(tokenizer: Any, text: str) -> str:
    """The text with its end-of-turn token last: after it, templates write a line break that no policy writes."""
    end = tokenizer.eos_token
    stripped = text.rstrip()
    return stripped if stripped.endswith(end) else text + end


def _render(tokenizer: Any, row: dict[str, Any], messages: list[dict[str, Any]], *, going_on: bool = False) -> str:
    return tokenizer.apply_chat_template(
        messages,
        tools=tools_of(row) or None,
        add_generation_prompt=going_on,
        tokenize=False,
        **json.loads(row["template_options"] or "{}"),
    )


def _message(action: Action, offset: int, *, as_text: bool) -> dict[str, Any]:
    """The action as a chat message, with call ids by position in the state, as in the miner's prompts.

    An action of a text convention is its original text.
    """
    if action.text:
        return {"role": "assistant", "content": action.text}
    message: dict[str, Any] = {"role": "assistant", "content": action.message}
    if action.reasoning:
        message["reasoning_content"] = action.reasoning
    if action.tool_calls:
        message["tool_calls"] = [
            {
                "id": _call_id(offset + place),
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": json.dumps(call.arguments, ensure_ascii=False) if as_text else call.arguments,
                },
            }
            for place, call in enumerate(action.tool_calls)
        ]
    return message


def _results(replies: list[dict[str, Any]], offset: int) -> list[dict[str, Any]]:
    """The reply's messages, with the action's k-th call id in place of the k-th one in the reply."""
    places: dict[str, int] = {}
    ready: list[dict[str, Any]] = []
    for reply in replies:
        message = {**reply, "content": _text_of(reply.get("content"))}
        if message["role"] == "function":
            message["role"] = "tool"
        if "tool_call_id" in message:
            place = places.setdefault(str(message["tool_call_id"]), len(places))
            message["tool_call_id"] = _call_id(offset + place)
        ready.append(message)
    return ready


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content or ""


def _call_id(place: int) -> str:
    return f"call{place:05d}"
