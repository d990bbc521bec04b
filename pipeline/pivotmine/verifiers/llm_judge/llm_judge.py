"""`judge`: a language model says whether two actions do the same, asked in both orders.

Use it for what no rule proves. The model sees the state (system message, tools, messages), the demonstration and the
action, but not which of the two is which. They are JSON strings between marks that the texts cannot contain, and the
prompt says that they are data. The prompt is a file; nothing in it is replaced. The last line of the reply is the
verdict, and nothing else is read. An action passes if the model calls it the same in both orders; if only in one order,
it is UNPROVEN. A failed request or a reply without a verdict gives null, never 0.

A model can be talked into a verdict, and its verdicts can change. Put this verifier last, behind verifiers that prove.
Replies are cached by the whole question, in the folder `cache` or in memory. A reply without a verdict is not
requested again, because at temperature 0 it would not change. The demonstration itself passes without a request. Not
symmetric.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotmine import strict_json
from pivotmine.actions.action import Action
from pivotmine.errors import UserError
from pivotmine.escape import public_address
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier, unproven

if TYPE_CHECKING:
    from pivotmine.verifiers.llm_judge.chat_client import ChatClient

MAX_ACTION_CHARS = 40_000
"""A longer action is UNPROVEN, and is not sent."""

MAX_PROMPT_BYTES = 64 << 10
"""Maximum size of a prompt file."""
_PROMPTS = Path(__file__).parent / "prompts"
_VERDICTS = ("VERDICT: SAME", "VERDICT: DIFFERENT")
_QUERY_ARGUMENTS = frozenset({"query", "sql"})
_MACHINERY = frozenset({"base_url", "timeout_s", "max_concurrency", "max_attempts", "api_key_env", "cache", "prompt"})
# One word may stand in front ("Final:"), and thanks behind. "SAME or DIFFERENT" is not a verdict.
_VERDICT = re.compile(
    r"(?:\W*\w+ ?:)?\W*VERDICT:\W*(SAME|DIFFERENT)\W*(?:thanks|thank you)?\W*", re.ASCII | re.IGNORECASE
)
_COURTESY = re.compile(r"\W*(?:thanks|thank you)?\W*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions:
    base_url: str = "http://127.0.0.1:8000/v1"
    """Address of an OpenAI-compatible server with chat completions."""
    model: str = ""
    """Name of the model there; empty means the only one it offers. A named model is the same judge at any address."""
    both_orders: bool = True
    """Ask again with the actions swapped if the first reply says that they are the same."""
    context_chars: int = 8_000
    """Maximum characters of the state that the model sees: system message, tools, other messages; cut in the middle."""
    prompt: str = ""
    """File with the instructions, sent as it is; empty means the shipped one for messages, commands or queries."""
    prompt_sha256: str = ""
    """Hash of that file, filled in. A different hash is a different judge."""
    max_tokens: int = 2_048
    """Maximum tokens of a reply, reasoning included."""
    timeout_s: float = 120.0
    """Maximum duration of one request, in seconds."""
    max_concurrency: int = 16
    """Maximum number of requests in flight, in one process."""
    max_attempts: int = 5
    """Maximum attempts per request, with growing pauses."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key. If it is not set, no key is sent."""
    cache: str = ""
    """Folder for the replies; empty keeps them in memory."""

    @property
    def machinery(self) -> frozenset[str]:
        """Options that say how the model is reached, not which one it is. An unnamed model is known by its address."""
        return _MACHINERY if self.model else _MACHINERY - {"base_url"}

    def __post_init__(self) -> None:
        shown = public_address(self.base_url)
        if not self.base_url.startswith(("http://", "https://")):
            raise UserError(f'verifier judge, option base_url: must begin with http:// or https://, is "{shown}"')
        if self.base_url != shown:  # it is stored with the scores, and in every row of a dataset
            raise UserError(
                f"verifier judge, option base_url: give {shown} without user, password and query; a key is read from "
                "the environment variable that the option api_key_env names"
            )
        for option in ("max_tokens", "timeout_s", "max_concurrency", "max_attempts"):
            if getattr(self, option) <= 0:
                raise UserError(f"verifier judge, option {option}: must be above 0, is {getattr(self, option)}")
        if self.context_chars < 0:
            raise UserError(f"verifier judge, option context_chars: must be at least 0, is {self.context_chars}")
        digest = hashlib.sha256(_read_prompt(self.prompt).encode()).hexdigest() if self.prompt else ""
        if self.prompt_sha256 not in ("", digest):
            raise UserError(
                f"verifier judge, option prompt: {self.prompt or 'no file'} is not the file that was hashed: restore "
                "that file, or score again with this one"
            )
        object.__setattr__(self, "prompt_sha256", digest)


def prepare(state: State, demonstration: Action, options: JudgeOptions) -> Callable[[Action], Verdict]:
    """Return a scorer for one demonstration. It waits for the server."""
    gold = as_data(demonstration)
    context = shown_state(state, options.context_chars)
    prompt = prompt_for(demonstration, options)

    def judge(action: Action) -> Verdict:
        if action.kind != demonstration.kind:
            return Verdict(0.0, Outcome.WRONG_KIND, f"a {action.kind}, demonstrated a {demonstration.kind}")
        given = as_data(action)
        if given == gold:
            return Verdict(1.0, Outcome.CORRECT)
        if max(len(gold), len(given)) > MAX_ACTION_CHARS:
            return unproven(f"more than {MAX_ACTION_CHARS:,} characters")
        if not _says_same(_client(options), prompt, context, (gold, given), options):
            return Verdict(0.0, _wrong(action), "called different")
        if options.both_orders and not _says_same(_client(options), prompt, context, (given, gold), options):
            return unproven("called the same in one order, different in the other")
        return Verdict(1.0, Outcome.CORRECT)

    return judge


def check_server(options: JudgeOptions) -> None:
    """Request one verdict, without a cache. Raise UserError if none comes back."""
    from pivotmine.verifiers.llm_judge.chat_client import ChatError

    client = _new_client(replace(options, max_attempts=1, cache=""))
    try:
        _says_same(client, prompt_for(Action(message="yes"), options), "", ('"yes"', '"no"'), options)
    except ChatError as error:
        raise UserError(
            f"verifier judge: the server {options.base_url} gives no verdict: {error}; start it, or name "
            "another in the option base_url"
        ) from None


def _wrong(action: Action) -> Outcome:
    return Outcome.WRONG_ARGUMENTS if action.tool_calls else Outcome.WRONG_TEXT


def as_data(action: Action) -> str:
    """What the model sees of an action, as JSON: its calls, or its message if it has none. No reasoning."""
    if action.tool_calls:
        return strict_json.canonical([{"name": call.name, "arguments": call.arguments} for call in action.tool_calls])
    return strict_json.canonical(action.message.strip())


def _says_same(client: ChatClient, prompt: str, context: str, actions: tuple[str, str], options: JudgeOptions) -> bool:
    request: dict[str, Any] = {
        "model": options.model,
        "messages": [{"role": "system", "content": prompt}, {"role": "user", "content": question(context, actions)}],
        "temperature": 0,
        "max_tokens": options.max_tokens,
    }
    reply = client.ask(request, lambda text: read_verdict(text) is not None)
    return read_verdict(reply) is True


@lru_cache(maxsize=16)
def _client(options: JudgeOptions) -> ChatClient:
    return _new_client(options)


def _new_client(options: JudgeOptions) -> ChatClient:
    # Here, because the standard library's HTTP client takes longer to import than all verifiers.
    from pivotmine.verifiers.llm_judge.chat_client import ChatClient

    return ChatClient(
        options.base_url,
        timeout_s=options.timeout_s,
        max_concurrency=options.max_concurrency,
        max_attempts=options.max_attempts,
        api_key_env=options.api_key_env,
        cache=options.cache,
    )


def question(context: str, actions: Sequence[str]) -> str:
    """The question about two actions, given as JSON."""
    # No text can contain a mark made of its own hash. Each text is one line without a bare quotation mark.
    mark = hashlib.sha256("\n".join((context, *actions)).encode(errors="replace")).hexdigest()[:16]
    named = (("SITUATION", strict_json.dumps(context)), ("ACTION 1", actions[0]), ("ACTION 2", actions[1]))
    quoted = "\n\n".join(f"[{name} {mark}]\n{text}\n[END {mark}]" for name, text in named)
    return f"{quoted}\n\nAre ACTION 1 and ACTION 2 functionally equivalent? End with the VERDICT line."


def read_verdict(reply: str) -> bool | None:
    """Whether a reply's last line says SAME; None if it says neither. A line of thanks may follow it."""
    lines = reply.rpartition("</think>")[2].rstrip().rsplit("\n", 2)
    if len(lines) > 1 and _COURTESY.fullmatch(lines[-1][:200]):
        lines.pop()
    found = _VERDICT.fullmatch(lines[-1][:200])
    return None if found is None else found[1].upper() == "SAME"


def prompt_for(demonstration: Action, options: JudgeOptions) -> str:
    """The instructions in the file `prompt`, or the shipped ones for this kind of demonstration."""
    if options.prompt:
        return _read_prompt(options.prompt)
    if not demonstration.tool_calls:
        return _read_prompt(str(_PROMPTS / "message.txt"))
    is_query = any(_QUERY_ARGUMENTS & call.arguments.keys() for call in demonstration.tool_calls)
    return _read_prompt(str(_PROMPTS / ("query.txt" if is_query else "command.txt")))


@lru_cache(maxsize=16)
def _read_prompt(path: str) -> str:
    """The text of a prompt file. It is sent as it is: nothing in it is replaced or executed."""
    try:
        if not Path(path).is_file():  # reading a pipe would block, and a device never ends
            raise FileNotFoundError("no regular file")
        with Path(path).open("rb") as file:
            text = file.read(MAX_PROMPT_BYTES + 1).decode()
    except (OSError, ValueError) as error:
        raise UserError(f"verifier judge, option prompt: {path!r} cannot be read: {error}") from None
    if len(text.encode()) > MAX_PROMPT_BYTES:
        raise UserError(f"verifier judge, option prompt: {path!r} is longer than {MAX_PROMPT_BYTES:,} bytes")
    if missing := [verdict for verdict in _VERDICTS if verdict not in text]:
        raise UserError(f'verifier judge, option prompt: {path!r} must ask for the line "{missing[0]}"')
    return text


def shown_state(state: State, max_chars: int) -> str:
    """The state as JSON lines of at most `max_chars` characters: system message, tools, then the other messages."""
    messages = list(state.messages)
    first = messages[:1] if messages and messages[0].get("role") in ("system", "developer") else []
    system = cut_middle("".join(map(strict_json.dumps, first)), max_chars // 4)
    tools = cut_middle(strict_json.dumps(list(state.tools)) if state.tools else "", max_chars // 4)
    others = "\n".join(map(strict_json.dumps, messages[len(first) :]))
    left = max(max_chars - len(system) - len(tools) - 2, 0)
    return "\n".join(filter(None, (system, tools, cut_middle(others, left))))


def cut_middle(text: str, max_chars: int) -> str:
    """Cut a text in its middle to at most `max_chars` characters."""
    mark = " [...] "
    if len(text) <= max_chars:
        return text
    if max_chars <= len(mark):
        return ""
    end = (max_chars - len(mark)) * 2 // 3
    return text[: max_chars - len(mark) - end] + mark + (text[-end:] if end else "")


VERIFIER = Verifier(
    prepare=prepare,
    options=JudgeOptions,
    version=3,
    kinds=frozenset({"message", "tool_call"}),
    abstains=True,
    needs_messages=True,
    waits=True,
    check_server=check_server,
)
