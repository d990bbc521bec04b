"""`pivotmine view`: the report's page over a run of any size, served on the loopback interface.

Whoever has the address with its token may read the run, and nobody may write. Requests with another host name (DNS
rebinding), from another origin or without the token are refused.
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb

from pivotmine.errors import UserError
from pivotmine_stages.report.details import message_texts, sample_groups
from pivotmine_stages.report.options import ReportConfig
from pivotmine_stages.report.page import content_policy, json_in_html, render
from pivotmine_stages.report.stage import chosen_details, index_row, other_subjects, page_facts
from pivotmine_stages.report.subject import choose_subject, connect, connect_samples
from pivotmine_stages.view.listing import PAGE, SORTS, Filters, listing
from pivotmine_stages.view.options import ViewConfig

HOST = "127.0.0.1"
MAX_FIELDS = 32
"""Maximum number of fields in a query; the page sends ten."""


class Viewer:
    """A run's page and its answers. `address` has the token; `serve` runs until `close`."""

    def __init__(self, config: ViewConfig, run: Path) -> None:
        subject = choose_subject(run, config.policy, config.verifier)
        self._connection = connect(run, subject)
        shown = ReportConfig(name=config.name, price_per_hour=config.price_per_hour)
        facts = page_facts(self._connection, run, subject, shown)
        self._run, self._others = run, {one.name: one for one in other_subjects(run, subject)}
        self._connections: dict[str, duckdb.DuckDBPyConnection] = {}
        empty = {"index": [], "details": {}, "messages": {}}
        self._page = render(facts, {**facts["data"], **empty, "served": True}).encode()
        # A connection runs one query at a time, and requests come from several threads.
        self._lock = threading.Lock()
        self.token = secrets.token_urlsafe(24)
        try:
            self._server = _Server((HOST, config.port), partial(_Handler, self))
        except (OSError, OverflowError) as error:
            raise UserError(f"--port {config.port}: {error}; choose another") from None
        self.port = self._server.server_address[1]

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}/?token={self.token}"

    def serve(self) -> None:
        self._server.serve_forever()

    def close(self) -> None:
        """End `serve`, which runs in another thread, and free the port."""
        self._server.shutdown()
        self._server.server_close()
        for connection in (self._connection, *self._connections.values()):
            connection.close()

    def answer(self, path: str, query: Mapping[str, str]) -> tuple[HTTPStatus, str, bytes]:
        """Return status, content type and body for a permitted request."""
        if path == "/":
            return HTTPStatus.OK, "text/html; charset=utf-8", self._page
        found = {"/api/states": self._states, "/api/state": self._state, "/api/samples": self._samples}.get(path)
        if found is None:
            return _refused(HTTPStatus.NOT_FOUND, "no such page")
        try:
            with self._lock:
                body = found(query)
        except (ValueError, KeyError, duckdb.Error) as error:
            return _refused(HTTPStatus.BAD_REQUEST, f"{type(error).__name__}: the request is not understood")
        return HTTPStatus.OK, "application/json", json_in_html(body).encode()

    def _states(self, query: Mapping[str, str]) -> dict[str, Any]:
        low, high = (float(query[name]) if query.get(name) else None for name in ("low", "high"))
        words = {name: query.get(name, "") for name in ("domain", "tool", "outcome", "text")}
        filters = replace(Filters(low=low, high=high, reward_class=query.get("class", "")), **words)
        if query.get("chosen"):
            mask, bits = (int(word) for word in query["chosen"].split(":"))
            filters = replace(filters, chosen=(mask, bits))
        sort, start = query.get("sort") or "variance", int(query.get("from") or 0)
        if sort not in SORTS or not 0 <= start < 2**31:
            raise ValueError(sort)
        total, rows = listing(self._connection, filters, sort=sort, start=start, count=PAGE)
        return {"total": total, "rows": [index_row(row) for row in rows]}

    def _state(self, query: Mapping[str, str]) -> dict[str, Any]:
        found = chosen_details(self._connection, [query["id"]])
        if not found:
            raise KeyError(query["id"])
        return {**found[0], "texts": message_texts(self._connection, found[0]["messages"])}

    def _samples(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return another profile's groups of samples in a state."""
        other = self._others[query["other"]]
        if other.name not in self._connections:
            self._connections[other.name] = connect_samples(self._run, other)
        return sample_groups(self._connections[other.name], [query["id"]]).get(query["id"], [])


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that closes the page during a reply; a bug keeps its traceback."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version, protocol_version = "pivotmine", "", "HTTP/1.1"
    timeout = 30
    """Seconds after which a silent client no longer holds a thread."""

    def __init__(self, viewer: Viewer, *args: Any) -> None:
        self._viewer = viewer
        super().__init__(*args)

    def do_GET(self) -> None:
        try:
            address = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(address.query, max_num_fields=MAX_FIELDS).items()}
            status, kind, body = self._refusal(query) or self._viewer.answer(address.path, query)
        except ValueError:  # not a valid address, or too many fields
            status, kind, body = _refused(HTTPStatus.BAD_REQUEST, "the address is not understood")
        self._send(status, kind, body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send a refusal of http.server itself without its error page, which would repeat the request."""
        self.close_connection = True
        self._send(*_refused(HTTPStatus(code), "the request is refused"))

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": content_policy(served=True),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _refusal(self, query: Mapping[str, str]) -> tuple[HTTPStatus, str, bytes] | None:
        ours = {f"{HOST}:{self._viewer.port}", f"localhost:{self._viewer.port}"}
        origin = self.headers.get("Origin")
        token = self.headers.get("X-Pivotmine-Token") or query.get("token", "")
        if self.headers.get("Host") not in ours:
            return _refused(HTTPStatus.FORBIDDEN, "another host name")
        if origin is not None and origin not in {f"http://{name}" for name in ours}:
            return _refused(HTTPStatus.FORBIDDEN, "another origin")
        if not secrets.compare_digest(token.encode(), self._viewer.token.encode()):
            return _refused(HTTPStatus.FORBIDDEN, "open the address that `pivotmine view` printed, with its token")
        return None

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: their addresses hold the token."""


def _refused(status: HTTPStatus, words: str) -> tuple[HTTPStatus, str, bytes]:
    return status, "application/json", json.dumps({"error": words}).encode()


def view(config: ViewConfig, run: Path) -> str:
    """Serve until Ctrl-C, and return the address that was served."""
    viewer = Viewer(config, run)
    sys.stdout.write(f"view      {viewer.address}\n          Ctrl-C ends it\n")
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):
        viewer.serve()
    return viewer.address


def view_text(address: str) -> str:
    """Return the line that is printed at the end."""
    return "view      ended"
