"""A chat server for the judge: real HTTP in a thread of this process; only its answers are made up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pivotmine.verifiers.llm_judge import llm_judge

Said = tuple[int, str | bytes, dict[str, str]]


class Server:
    """The requests, how many came at once, and the answer: a text or a whole response, by question and number."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.models: Any = {"data": [{"id": "only"}]}
        self.say: Callable[[str, int], str | Said] = lambda question, number: "VERDICT: SAME"
        self.most_at_once = self.at_once = 0
        self.lock = threading.Lock()
        self.url = ""

    def reply(self, path: str, body: dict[str, Any]) -> Said:
        if path == "/v1/models":
            return 200, json.dumps(self.models), {}
        with self.lock:
            self.asked.append(body)
            number = len(self.asked)
        said = self.say(body["messages"][1]["content"], number)
        if isinstance(said, str):
            return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]}), {}
        return said


@contextmanager
def judge_server() -> Generator[Server]:
    """A running server; forgets the verdicts of earlier servers."""
    llm_judge._client.cache_clear()  # pyright: ignore[reportPrivateUsage]
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(*state.reply(self.path, {}))

        def do_POST(self) -> None:
            with state.lock:
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
                state.keys.append(self.headers["Authorization"])
            said = state.reply(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            with state.lock:
                state.at_once -= 1
            self._answer(*said)

        def _answer(self, status: int, text: str | bytes, headers: dict[str, str]) -> None:
            body = text.encode() if isinstance(text, str) else text
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        state.url = f"http://127.0.0.1:{listening.server_port}/v1"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:  # a failing test must not leave a thread that keeps pytest from ending
            listening.shutdown()
            thread.join()
