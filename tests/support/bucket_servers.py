"""Buckets and a hub on this machine, each behind a proxy that can refuse requests and break connections.

S3 is moto's server, Google's storage is gcp-storage-emulator's. The hub is a double, because no package imitates it and
the real one needs a network. It answers HfFileSystem's requests for a dataset (info, tree, paths-info, resolve).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import threading
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

Answer = tuple[int, dict[str, str], bytes]

DENIED = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
ANONYMOUS = b'{"error": {"code": 401, "message": "Anonymous caller does not have storage.objects.get access"}}'
GATED = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to dataset own/logs is restricted."}


@dataclass
class Remote:
    """A bucket or a dataset repository."""

    url: str
    env: dict[str, str]
    """Environment variables with the server and the credentials, as a user sets them."""
    put: Callable[[str, bytes], None]
    refusal: Answer
    asked: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    """Method, path and range of every request."""
    sent: list[int] = field(default_factory=list[int])
    """Number of bytes of every body."""
    refuses: bool = False
    breaks_at: int | None = None
    """Byte at which an object's answer breaks off. The next request for it is refused."""


@contextmanager
def s3() -> Generator[Remote]:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            """Nothing."""

    app = DomainDispatcherApplication(create_backend_app)
    with _served(make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)) as behind:
        _ask(f"{behind}/moto-api/reset", "POST")
        _ask(f"{behind}/logs", "PUT")
        env = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
        remote = Remote(
            "s3://logs",
            env,
            lambda name, data: _ask(f"{behind}/logs/{name}", "PUT", data),
            (403, {"Content-Type": "application/xml"}, DENIED),
        )
        with _front(remote, behind) as url:
            env["AWS_ENDPOINT_URL"] = url
            yield remote


@contextmanager
def gs() -> Generator[Remote]:
    from gcp_storage_emulator.server import RequestHandler
    from gcp_storage_emulator.storage import Storage

    handler = functools.partial(RequestHandler, Storage(use_memory_fs=True))
    with _served(HTTPServer(("127.0.0.1", 0), handler)) as behind:
        _ask(f"{behind}/storage/v1/b", "POST", b'{"name": "logs"}', "application/json")
        env = {"NO_GCE_CHECK": "true"}
        remote = Remote(
            "gs://logs",
            env,
            lambda name, data: _ask(f"{behind}/upload/storage/v1/b/logs/o?uploadType=media&name={name}", "POST", data),
            (401, {"Content-Type": "application/json"}, ANONYMOUS),
        )
        with _front(remote, behind) as url:
            env["STORAGE_EMULATOR_HOST"] = url
            yield remote


@contextmanager
def hf() -> Generator[Remote]:
    files: dict[str, bytes] = {}

    class Handler(_Handler):
        def answer(self, body: bytes) -> Answer:
            return _hub(files, self.path, self.headers["Range"], body)

    with _served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as behind:
        env = {"HF_HUB_OFFLINE": "0"}
        remote = Remote("hf://datasets/own/logs", env, files.__setitem__, (403, GATED, b""))
        with _front(remote, behind) as url:
            env["HF_ENDPOINT"] = url
            yield remote


SERVERS = {"s3": s3, "gs": gs, "hf": hf}


def _hub(files: dict[str, bytes], url: str, wanted: str | None, body: bytes) -> Answer:
    path = unquote(urlsplit(url).path)
    _, ours, rest = path.partition("/datasets/own/logs")
    verb, _, name = rest.removeprefix("/").partition("/")
    name = name.removeprefix("main").removeprefix("/")
    if not ours:
        return 401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Invalid username or password."}, b""
    if verb in ("", "revision"):
        return _json({"id": "own/logs", "sha": "0" * 40, "siblings": []})
    if verb == "paths-info":
        asked = json.loads(body)["paths"]
        return _json([entry for entry in _tree(files, "", deep=True) if entry["path"] in asked])
    if verb == "tree":
        found = _tree(files, name, deep="recursive=true" in url.lower())
        return _json(found) if found else _gone()
    if verb != "resolve" or name not in files:
        return _gone()
    return _part(files[name], wanted)


def _tree(files: dict[str, bytes], folder: str, *, deep: bool) -> list[dict[str, Any]]:
    inside = {name for name in files if not folder or name.startswith(f"{folder}/")}
    parents = {str(parent) for name in inside for parent in PurePosixPath(name).parents} - {".", folder}
    found = [{"type": "directory", "path": name, "oid": "1" * 40, "size": 0} for name in parents]
    for name in inside:
        oid = hashlib.sha1(files[name]).hexdigest()
        found.append({"type": "file", "path": name, "oid": oid, "size": len(files[name])})
    direct = [one for one in found if deep or str(PurePosixPath(str(one["path"])).parent) == (folder or ".")]
    return sorted(direct, key=lambda one: str(one["path"]))


def _part(data: bytes, wanted: str | None) -> Answer:
    if not wanted:
        return 200, {}, data
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    part = data[int(first) : int(last) + 1 if last else None]
    return 206, {"Content-Range": f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"}, part


def _json(value: Any) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _gone() -> Answer:
    return 404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}, b""


class _Handler(BaseHTTPRequestHandler):
    """Answers a request with `answer`. A body shorter than its Content-Length is a broken connection."""

    def answer(self, body: bytes) -> Answer:
        raise NotImplementedError

    def do_GET(self) -> None:
        status, headers, body = self.answer(self.rfile.read(int(self.headers["Content-Length"] or 0)))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):  # a client may have read enough
                self.wfile.write(body)

    do_HEAD = do_POST = do_GET  # noqa: N815 (their names are the library's)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def _front(remote: Remote, behind: str) -> Generator[str]:
    """A proxy that forwards every request and records it in the remote, which says what to refuse or break off."""

    class Handler(_Handler):
        def answer(self, body: bytes) -> Answer:
            remote.asked.append((self.command, unquote(self.path), self.headers["Range"] or ""))
            if remote.refuses:
                return remote.refusal
            status, headers, data = _passed_on(behind, self, body)
            remote.sent.append(len(data))
            return _broken_off(remote, self.headers["Range"], (status, headers, data))

    with _served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


def _passed_on(behind: str, request: BaseHTTPRequestHandler, body: bytes) -> Answer:
    connection = HTTPConnection(urlsplit(behind).netloc)
    try:
        connection.request(request.command, request.path, body or None, dict(request.headers))
        response = connection.getresponse()
        kept = {
            k: v for k, v in response.getheaders() if k not in ("Connection", "Date", "Server", "Transfer-Encoding")
        }
        return response.status, kept, response.read()
    finally:
        connection.close()


def _broken_off(remote: Remote, wanted: str | None, answer: Answer) -> Answer:
    status, headers, data = answer
    first = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
    if remote.breaks_at is None or not wanted or first + len(data) <= remote.breaks_at:
        return answer
    remote.refuses = True
    return status, {**headers, "Content-Length": str(len(data))}, data[: max(0, remote.breaks_at - first)]


@contextmanager
def _served(server: Any) -> Generator[str]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def _ask(url: str, method: str, data: bytes = b"", kind: str = "application/octet-stream") -> None:
    headers = {
        "Content-Type": kind,
        "Authorization": "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request",
    }
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    with urllib.request.urlopen(request) as answered:
        answered.read()
