"""Tests that load the exports with the real libraries, each in an environment of its own: `just test-exports`.

They are not part of the gate: the environments take minutes to install, verl's alone 2 GB. PIVOTMINE_EXPORTED names
the folder of `make_exports.py`; without it there is nothing to collect.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

EXPORTED = os.environ.get("PIVOTMINE_EXPORTED")
collect_ignore_glob = [] if EXPORTED else ["*"]

RIGHT = '<tool_call>\n{"name": "find", "arguments": {"id": "7"}}\n</tool_call>'
WRONG = RIGHT.replace("7", "8")


@pytest.fixture(scope="session")
def exported() -> Path:
    """The folder of `make_exports.py`."""
    return Path(EXPORTED or "")


@pytest.fixture(scope="session")
def row(exported: Path) -> dict[str, Any]:
    """The only pivot."""
    (found,) = pq.read_table(exported / "run/pivots/default/train.parquet").to_pylist()
    return found


@dataclass
class Server:
    """An OpenAI-compatible server that says what it is told to: a policy's server needs vLLM, which is not here."""

    url: str = ""
    replies: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            told.asked.append((self.path, json.loads(self.rfile.read(length))))
            body = json.dumps(told.replies.pop(0)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{running.server_port}/v1"
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield told
    running.shutdown()
