"""SIGTERM: finished work is stored, then the program exits with code 143.

A cluster that takes a machine back sends SIGTERM, and SIGKILL half a minute later. An exception that is raised at any
place would lose what an engine has finished and `rollout` has not taken yet. So inside `finishing` the signal is only
noted, and it ends the program at the next `waiting`: where nothing finished is left to be taken.

Python runs a handler in its main thread alone. If the kernel gives a signal to another thread, or just before the main
thread begins to wait for a lock, the main thread sleeps on: `score` then waits for a judge that never answers. So a
thread is told of each signal and wakes the main one.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

TERMINATED = 143
"""Exit code: 128 and the number of SIGTERM, as shells have it."""
_WAKE_TIMES, _WAKE_S = 5, 0.1
"""One signal may come just before the main thread begins to wait; five do not."""


class _State:
    def __init__(self) -> None:
        self.num_finishing = 0
        self.is_waiting = False
        self.is_asked = False


_state = _State()


def on_sigterm() -> None:
    """From now on SIGTERM raises SystemExit(143) in the main thread, at a place where nothing finished is lost.

    A second SIGTERM changes nothing: whoever sends it to a whole group of processes may send it twice.
    """
    signal.signal(signal.SIGTERM, _note)
    signal.signal(signal.SIGURG, lambda *_: None)  # a handler of ours, or the kernel drops it
    told, teller = socket.socketpair()
    teller.setblocking(False)
    signal.set_wakeup_fd(teller.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_wake_main_thread, args=(told, teller), name="signals", daemon=True).start()


def _wake_main_thread(told: socket.socket, teller: socket.socket) -> None:
    """Python writes the number of each signal into `teller`. SIGURG does nothing but wake."""
    with told, teller:
        while numbers := told.recv(64):
            for _ in range(_WAKE_TIMES if {signal.SIGTERM, signal.SIGINT} & set(numbers) else 0):
                time.sleep(_WAKE_S)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGURG)


def _note(*_: Any) -> None:
    if _state.is_asked:
        return
    _state.is_asked = True
    if not _state.num_finishing or _state.is_waiting:
        raise SystemExit(TERMINATED)


def is_asked() -> bool:
    """Whether SIGTERM has come: begin nothing new."""
    return _state.is_asked


@contextmanager
def finishing() -> Generator[None]:
    """Take in finished work: SIGTERM waits for the next `waiting` inside, or for the end."""
    _state.num_finishing += 1
    try:
        yield
    finally:
        _state.num_finishing -= 1
    if _state.is_asked and not _state.num_finishing:
        raise SystemExit(TERMINATED)


@contextmanager
def waiting() -> Generator[None]:
    """Wait for something to finish: SIGTERM ends the program here, also one that came before."""
    if _state.num_finishing and _state.is_asked:
        raise SystemExit(TERMINATED)
    before, _state.is_waiting = _state.is_waiting, True
    try:
        yield
    finally:
        _state.is_waiting = before
