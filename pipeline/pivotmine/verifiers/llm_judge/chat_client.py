"""A client for OpenAI-compatible chat servers, by the standard library. Requests are bounded, retried if that may help,
and cached.

Safe to call from many threads. Redirects are not followed, because the key would go with them.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import random
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

FIRST_PAUSE_S = 1.0
"""Pause before the second attempt. It doubles before each further one, up to MAX_PAUSE_S."""
MAX_PAUSE_S = 60.0
MAX_REPLY_BYTES = 4 << 20
MAX_REMEMBERED = 100_000
"""Maximum number of replies that a client without a cache folder keeps."""
_WORTH_ANOTHER_TRY = frozenset({408, 409, 425, 429, *range(500, 600)})


class ChatError(Exception):
    """No usable reply, after all attempts."""


class ChatClient:
    """A client for one server."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float,
        max_concurrency: int,
        max_attempts: int,
        api_key_env: str,
        cache: str,
    ) -> None:
        self._url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._max_attempts = max_attempts
        self._api_key_env = api_key_env
        self._folder = Path(cache) if cache else None
        self._remembered: dict[str, str] = {}
        self._useless: dict[str, str] = {}
        self._in_flight = threading.BoundedSemaphore(max_concurrency)
        self._lock = threading.Lock()
        self._opener = urllib.request.build_opener(_NoRedirect, _Timed, _TimedTLS)
        self._only_model = ""

    def ask(self, request: dict[str, Any], is_usable: Callable[[str], bool]) -> str:
        """Return the text of the first choice. Raise ChatError if it is not usable or no reply comes.

        A reply that is not usable is not requested again.
        """
        request = {**request, "model": request["model"] or self._model()}
        key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        known = self._recall(key)
        if known is not None and is_usable(known):
            return known
        if (useless := self._useless.get(key)) is not None:
            raise ChatError(useless)
        try:
            reply = self._repeat(lambda: self._text(request, is_usable))
        except _Useless as error:
            with self._lock:
                if len(self._useless) < MAX_REMEMBERED:
                    self._useless[key] = str(error)
            raise ChatError(str(error)) from None
        self._remember(key, reply)
        return reply

    def _model(self) -> str:
        """The one model that the server offers."""
        with self._lock:
            if not self._only_model:
                served = self._repeat(lambda: self._fetch("/models", None))
                data = served.get("data") if isinstance(served, dict) else None
                models = [model for model in data if isinstance(model, dict)] if isinstance(data, list) else []
                names = [model["id"] for model in models if isinstance(model.get("id"), str)]
                if len(names) != 1:
                    raise ChatError(f"option model is empty, and the server offers {len(names)} models")
                self._only_model = names[0]
            return self._only_model

    def _text(self, request: dict[str, Any], is_usable: Callable[[str], bool]) -> str:
        reply = self._fetch("/chat/completions", request)
        try:
            text = reply["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise _Again("a reply without choices") from None
        if not isinstance(text, str) or not is_usable(text):
            raise _Useless(f"a reply of no use: {str(text)[-80:]!r}")
        return text

    def _repeat(self, attempt: Callable[[], Any]) -> Any:
        for number in range(1, self._max_attempts + 1):
            try:
                with self._in_flight:
                    return attempt()
            except _Again as error:
                if number == self._max_attempts:
                    raise ChatError(f"{error} ({number} attempts)") from None
                pause_s = error.pause_s or FIRST_PAUSE_S * 2 ** (number - 1) * random.uniform(0.5, 1.5)
                time.sleep(min(pause_s, MAX_PAUSE_S))
        raise AssertionError("at least one attempt")

    def _fetch(self, path: str, body: dict[str, Any] | None) -> Any:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self._api_key_env, ""):
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}{path}", data, headers)
        deadline = _Deadline(self._timeout_s)
        try:
            with deadline, self._opener.open(request, timeout=self._timeout_s) as response:
                reply = response.read(MAX_REPLY_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                if error.code in _WORTH_ANOTHER_TRY:
                    raise _Again(f"status {error.code}", _seconds(error.headers.get("Retry-After"))) from None
                said = error.read(200).decode(errors="replace")
                raise ChatError(f"status {error.code}: {said}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            late = f"no whole answer within {self._timeout_s:g} s"
            raise _Again(late if deadline.is_over else f"{type(error).__name__}: {error}") from None
        if deadline.is_over:
            raise _Again(f"no whole answer within {self._timeout_s:g} s")
        try:
            return json.loads(reply[:MAX_REPLY_BYTES])
        except (ValueError, RecursionError):
            raise _Again("a reply that is not JSON") from None

    def _recall(self, key: str) -> str | None:
        if self._folder is None:
            return self._remembered.get(key)
        try:
            stored = json.loads(self._path(key).read_text(encoding="utf-8"))
            return stored["reply"] if isinstance(stored["reply"], str) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _remember(self, key: str, reply: str) -> None:
        if self._folder is None:
            with self._lock:
                self._remembered[key] = reply
                while len(self._remembered) > MAX_REMEMBERED:
                    del self._remembered[next(iter(self._remembered))]
            return
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written next to its place and renamed, so that another process never reads half a reply.
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(json.dumps({"reply": reply}))
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / key[:2] / f"{key}.json"


class _Useless(Exception):
    """A whole reply that the caller cannot use. At temperature 0, another attempt would give the same one."""


class _Again(Exception):
    """A failure that another attempt may avoid."""

    def __init__(self, words: str, pause_s: float = 0.0) -> None:
        super().__init__(words)
        self.pause_s = pause_s


class _Deadline:
    """A context manager that ends an exchange after this many seconds, even if the server sends byte by byte.

    A socket's own timeout holds for each read only. At the deadline the socket is shut down, which wakes its reader.
    """

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self.connection: http.client.HTTPConnection | None = None
        self.sock: socket.socket | None = None
        """The connection's socket, which urllib takes from the connection once the reply begins."""
        self.is_over = False

    def __enter__(self) -> _Deadline:
        _here.deadline = self
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        _here.deadline = None

    def _end(self) -> None:
        self.is_over = True
        for sock in (self.sock, self.connection and self.connection.sock):
            with contextlib.suppress(OSError, ValueError):  # it is closed
                if sock:
                    sock.shutdown(socket.SHUT_RDWR)


# The deadline of this thread's exchange: urllib has no way to pass it to the connection that it makes.
_here = threading.local()


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        deadline: _Deadline = _here.deadline
        deadline.connection = self
        super().connect()
        deadline.sock = self.sock


class _TLSConnection(_Connection, http.client.HTTPSConnection):
    pass  # `_Connection.connect` calls that of HTTPSConnection


class _Timed(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _TimedTLS(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TLSConnection, req)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _seconds(retry_after: str | None) -> float:
    """The seconds of a Retry-After header; 0 if it is missing or a date."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else 0.0
