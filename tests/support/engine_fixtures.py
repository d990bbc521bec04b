"""The engines, each started once with the coin policy, which errs in 4 answers of 10."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pivotmine.sampling.settings import Sampling
from pivotmine_stages.engines import open_engine
from pivotmine_stages.engines.options import EngineOptions
from pivotmine_stages.engines.protocol import Engine, Request

SERVER_START_S = 300
"""More than a busy machine needs. A server that ends earlier is noticed at once."""

Open = Callable[..., contextlib.closing[Engine]]


@pytest.fixture(scope="session")
def coin_prompt(policies: ModuleType, coin_policy: Path) -> list[int]:
    return policies.render(coin_policy, policies.COIN)


@pytest.fixture(scope="session")
def ask(policies: ModuleType, coin_prompt: list[int]) -> Callable[..., Request]:
    """Make a request for the coin's state; `fields` override its prompt, messages or tools."""

    def request(state_id: str = "coin", indices: tuple[int, ...] = (0,), **fields: Any) -> Request:
        said: dict[str, Any] = {
            "prompt_ids": coin_prompt,
            "messages": policies.COIN.messages,
            "tools": policies.COIN.tools,
        }
        return Request(state_id=state_id, sample_indices=indices, **{**said, **fields})

    return request


@pytest.fixture(scope="session")
def opened(coin_policy: Path) -> Callable[..., contextlib.closing[Engine]]:
    """Open an engine on the coin policy, for a `with` statement."""

    def open_it(name: str, **options: Any) -> contextlib.closing[Engine]:
        defaults: dict[str, Any] = {"model": str(coin_policy), "sampling": Sampling(max_new_tokens=64)}
        return contextlib.closing(open_engine(name, EngineOptions(**{**defaults, **options})))

    return open_it


@pytest.fixture(scope="session")
def transformers_engine(opened: Open) -> Iterator[Engine]:
    with opened("transformers") as engine:
        yield engine


@pytest.fixture(scope="session")
def vllm_engine(opened: Open) -> Iterator[Engine]:
    with opened("vllm") as engine:
        yield engine


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., AbstractContextManager[str]]:
    """A vLLM server on loopback for the length of a `with` block, which receives its address."""

    @contextlib.contextmanager
    def server(model: Path, *flags: str) -> Generator[str]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        log = tmp_path_factory.mktemp("server") / "log"
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
        command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager", *flags]
        with log.open("wb") as out:
            environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    return server


@dataclass
class OddServer:
    """Answers every POST with the next of `answers`, and repeats the last one."""

    address: str
    answers: list[tuple[int, Any]] = field(default_factory=list[Any])
    asked: list[dict[str, Any]] = field(default_factory=list[Any])
    models: Any = None
    keys: list[str] = field(default_factory=list[str])
    """`Authorization` headers of the requests."""


@pytest.fixture
def odd_server() -> Iterator[OddServer]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/v1/models"
            self._say(200 if found else 404, odd.models if found else {"detail": "Not Found"})

        def do_POST(self) -> None:
            odd.keys.append(self.headers.get("Authorization", ""))
            odd.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._say(*(odd.answers.pop(0) if len(odd.answers) > 1 else odd.answers[0]))

        def _say(self, status: int, body: Any) -> None:
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Retry-After", "0.01")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        odd = OddServer(address=f"http://127.0.0.1:{server.server_port}/v1")
        odd.models = {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "us"}]}
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield odd
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def vllm_server(
    serve: Callable[..., AbstractContextManager[str]], coin_policy: Path, coin_adapter: Path
) -> Iterator[str]:
    """Yield the address of a server of the model `coin` and, if it has an adapter, of `adapter`."""
    flags = ["--served-model-name", "coin", "--enable-prompt-tokens-details"]
    flags += ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    flags += ["--enable-lora", "--max-lora-rank", "8", "--lora-modules", f"adapter={coin_adapter}"]
    with serve(coin_policy, *flags) as address:
        yield address


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SERVER_START_S
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.5)
    pytest.fail(f"the vLLM server did not start: {log.read_text(errors='replace')[-3000:]}")
