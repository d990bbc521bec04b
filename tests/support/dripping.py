"""A server that never ends an answer: it sends a byte now and then, as long as the client listens."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Generator


@contextlib.contextmanager
def dripping_server(began: bytes, drop: bytes = b"x") -> Generator[str]:
    """Yield the server's address. began: sent at once. drop: sent every 20 ms from then on."""
    end = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 20)
            connection.sendall(began)
            while not end.wait(0.02):
                connection.sendall(drop)

    def listen(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=listen, args=(listening,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        finally:
            end.set()
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
