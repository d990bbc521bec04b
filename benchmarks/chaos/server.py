"""A chat server whose answers follow from the question alone, and that misbehaves as it is told."""

from __future__ import annotations

import hashlib
import http.server
import json
import random
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

FAULTS = ("slow", "429", "500", "half", "wrong types", "drop", "fewer choices", "drip", "not json", "huge numbers")
WRONG: tuple[Any, ...] = (None, "many", -1, 2**70, [], {}, ["a"], [2**40], 1.5, True, "\x1b[2J", "NaN")


class Server:
    """`fault` is what it does to a share of the requests; None: nothing."""

    def __init__(self, address: str) -> None:
        self.address, self.fault, self.share, self.chance = address, None, 0.5, random.Random(0)
        self.fault: str | None

    def disturb(self, fault: str | None, chance: random.Random) -> None:
        """From now on do this to half of the requests."""
        self.fault, self.chance = fault, chance


@contextmanager
def serving() -> Generator[Server]:
    """A server on loopback for the length of a `with` block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say({"object": "list", "data": [{"id": "chaos", "object": "model", "owned_by": "us"}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = reply(asked)
            fault = told.fault if told.fault and told.chance.random() < told.share else None
            getattr(self, f"_{(fault or 'calm').replace(' ', '_')}")(body)

        def _calm(self, body: dict[str, Any]) -> None:
            self._say(body)

        def _slow(self, body: dict[str, Any]) -> None:
            time.sleep(told.chance.choice((0.3, 2.5)))
            self._say(body)

        def _429(self, body: dict[str, Any]) -> None:
            self._say({"error": {"message": "slow down"}}, 429)

        def _500(self, body: dict[str, Any]) -> None:
            self._say({"error": "\x1b[31mbroken\x1b[0m"}, 500)

        def _half(self, body: dict[str, Any]) -> None:
            self._say(body, cut=0.5)

        def _wrong_types(self, body: dict[str, Any]) -> None:
            places = [body["usage"], *body["choices"], *(choice["message"] for choice in body["choices"]), body]
            place = told.chance.choice(places)
            place[told.chance.choice(sorted(place))] = told.chance.choice(WRONG)
            self._say(body)

        def _huge_numbers(self, body: dict[str, Any]) -> None:
            body["usage"] = dict.fromkeys(body["usage"], 10**400)
            self._say(body)

        def _drop(self, body: dict[str, Any]) -> None:
            self.close_connection = True

        def _fewer_choices(self, body: dict[str, Any]) -> None:
            body["choices"] = body["choices"][: told.chance.randrange(len(body["choices"]))]
            self._say(body)

        def _drip(self, body: dict[str, Any]) -> None:
            self._say(body, pause=told.chance.choice((0.001, 0.1)))

        def _not_json(self, body: dict[str, Any]) -> None:
            self._say(told.chance.choice(("<html>busy</html>", "", "[" * 20_000, "NaN", "\x00\xff")))

        def _say(self, body: Any, status: int = 200, *, cut: float = 1.0, pause: float = 0.0) -> None:
            content = body.encode("utf-8", "replace") if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Retry-After", "0.01")
            self.end_headers()
            sent = content[: int(len(content) * cut)]
            step = 16 if pause else len(sent)
            for start in range(0, len(sent), step or 1):
                self.wfile.write(sent[start : start + step])
                time.sleep(pause)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that was killed is no news."""

    with Quiet(("127.0.0.1", 0), Handler) as server:
        told = Server(f"http://127.0.0.1:{server.server_port}/v1")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()


def reply(asked: dict[str, Any]) -> dict[str, Any]:
    """A completion whose choices are all the same: a state that is asked again for some of them answers alike."""
    question = json.dumps(asked["messages"], sort_keys=True).encode()
    word = hashlib.blake2b(question, digest_size=2).hexdigest()
    said = {"role": "assistant", "content": None, "tool_calls": [_call(asked, word)]}
    if int(word, 16) % 3 == 0:
        said = {"role": "assistant", "content": f"It is {word}."}
    choices = [{"index": i, "message": said, "finish_reason": "stop"} for i in range(asked.get("n") or 1)]
    usage = {"prompt_tokens": 40, "completion_tokens": 8 * len(choices), "total_tokens": 40 + 8 * len(choices)}
    whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "chaos", "choices": choices, "usage": usage}
    return json.loads(json.dumps(whole))  # no two places share an object


def _call(asked: dict[str, Any], word: str) -> dict[str, Any]:
    """The first tool with the number that the user named, or with something else."""
    number = asked["messages"][0]["content"].removesuffix(".").split()[-1] if int(word, 16) % 2 else word
    name = asked["tools"][0]["function"]["name"]
    return {"id": "c", "type": "function", "function": {"name": name, "arguments": json.dumps({"id": number})}}
