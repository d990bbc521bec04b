"""Hostile clients of `view`: it answers or closes the connection, reveals nothing, and keeps running."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mined_runs import mined_run

from pivotmine_stages.view.options import ViewConfig
from pivotmine_stages.view.stage import Viewer


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    viewer = Viewer(ViewConfig(policy="policy-1"), mined_run(tmp_path_factory.mktemp("view")))
    thread = threading.Thread(target=viewer.serve)
    thread.start()
    yield viewer
    viewer.close()
    thread.join()


def say(viewer: Viewer, request: bytes) -> bytes:
    """What the server answers to these bytes, until it hangs up."""
    with socket.create_connection(("127.0.0.1", viewer.port), timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = bytearray()
        try:
            while block := connection.recv(1 << 16):
                answer += block
        except ConnectionResetError:
            pass
        return bytes(answer)


def gives_nothing(viewer: Viewer, answer: bytes) -> bool:
    status = answer.split(b" ", 2)[1:2]
    secrets = (viewer.token.encode(), b"<!doctype html>", b"Find B", b"Traceback")
    return status != [b"200"] and not any(secret in answer for secret in secrets)


REQUESTS = [
    b"GET http://[ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    b"GET http://[::1/?token={token} HTTP/1.1\r\nHost: {host}\r\n\r\n",
    b"GET http://evil.example/?token=x HTTP/1.1\r\nHost: {host}\r\n\r\n",
    b"GET /?" + b"&".join(b"a%d=1" % i for i in range(5000)) + b" HTTP/1.1\r\nHost: {host}\r\n\r\n",
    b"GET /?token=%ff%00%ed%a0%80 HTTP/1.1\r\nHost: {host}\r\n\r\n",
    b"GET /?token={token}%00 HTTP/1.1\r\nHost: {host}\r\n\r\n",
    b"GET /?token={token}&token=wrong HTTP/1.1\r\nHost: {host}\r\n\r\n",
    b"GET /?token={token} HTTP/1.1\r\nHost: evil.example\r\nHost: {host}\r\n\r\n",
    b"GET /?token={token} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}.evil.example\r\n\r\n",
    b"GET /?token={token} HTTP/1.1\r\n\r\n",
    b"GET /?token={token}\r\n",
    b"GET //evil.example/%2e%2e/etc/passwd?token={token} HTTP/1.1\r\nHost: {host}\r\n\r\n",
    b"GET /api/state?id=%27%20union%20select%201--&token={token} HTTP/1.1\r\nHost: {host}\r\n\r\n",
    b"GET /api/state?id=%00&token={token} HTTP/1.1\r\nHost: {host}\r\n\r\n",
    b"GET /api/states?from=" + b"9" * 5000 + b"&token={token} HTTP/1.1\r\nHost: {host}\r\n\r\n",
    b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: {host}\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    b"GET / HTTP/9999999999.1\r\nHost: {host}\r\n\r\n",
    b"<script>alert(1)</script> / HTTP/1.1\r\nHost: {host}\r\n\r\n",
    b"POST /?token={token} HTTP/1.1\r\nHost: {host}\r\nContent-Length: -1\r\n\r\n",
    b"OPTIONS /?token={token} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://evil.example\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"",
]


@pytest.mark.parametrize("request_", REQUESTS, ids=range(len(REQUESTS)))
def test_an_ill_request_is_refused_without_a_word_of_the_run(
    viewer: Viewer, request_: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    known = {b"{host}": f"127.0.0.1:{viewer.port}".encode(), b"{token}": viewer.token.encode()}
    for name, value in known.items():
        request_ = request_.replace(name, value)
    answer = say(viewer, request_)
    assert gives_nothing(viewer, answer), answer[:500]
    assert b"<script>" not in answer
    assert b"Access-Control" not in answer
    assert capfd.readouterr() == ("", "")


@given(st.binary(max_size=200), st.sampled_from([b"", b"GET ", b"GET /?", b"GET /api/states?", b"GET / HTTP/1.1\r\n"]))
def test_whatever_bytes_come_the_server_stays_up_and_gives_nothing(viewer: Viewer, data: bytes, begin: bytes) -> None:
    assert gives_nothing(viewer, say(viewer, begin + data))


def test_who_hangs_up_in_the_middle_is_no_error(viewer: Viewer, capfd: pytest.CaptureFixture[str]) -> None:
    request = f"GET /?token={viewer.token} HTTP/1.1\r\nHost: 127.0.0.1:{viewer.port}\r\n\r\n".encode()
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", viewer.port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            connection.sendall(request * 50)
    assert say(viewer, request).startswith(b"HTTP/1.1 200 ")
    assert "Traceback" not in capfd.readouterr().err
