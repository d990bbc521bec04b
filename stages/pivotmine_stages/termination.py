"""SIGTERM: finished work is stored, then the program exits with code 143.

A cluster that takes a machine back sends SIGTERM, and SIGKILL half a minute later. An exception that is raised at any
place would lose what an engine has finished and `rollout` has not taken yet. So inside `finishing` the signal is only
noted, and it ends the program at the next `waiting`: where nothing finished is left to be taken.

Python runs a handler in its main thread alone. If the kernel gives a signal to another thread, or just before the main
thread begins to wait for a lock, the main thread sleeps on: `score` then waits for a judge that never answers. So a
thread is told of each signal and wakes the main one.

Python drops what is raised in `__del__` and in the callback of a weak reference. What a signal raised there is raised
again when the main thread is woken.
"""

from __future__ import annotations

import itertools
import signal
import socket
import sys
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
        self.dropped: BaseException | None = None
        """What a signal raised and Python dropped."""


_state = _State()


def on_sigterm() -> None:
    """From now on SIGTERM raises SystemExit(143) in the main thread, at a place where nothing finished is lost.

    A second SIGTERM changes nothing: whoever sends it to a whole group of processes may send it twice.
    """
    signal.signal(signal.SIGTERM, _note)
    signal.signal(signal.SIGURG, _raise_dropped)
    told, teller = socket.socketpair()
    teller.setblocking(False)
    signal.set_wakeup_fd(teller.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_wake_main_thread, args=(told, teller), name="signals", daemon=True).start()
    print_dropped = sys.unraisablehook

    def keep_dropped(args: sys.UnraisableHookArgs) -> None:
        ours = isinstance(args.exc_value, KeyboardInterrupt) or (
            isinstance(args.exc_value, SystemExit) and _state.is_asked
        )
        if ours:
            _state.dropped = args.exc_value
        else:
            print_dropped(args)

    sys.unraisablehook = keep_dropped


def _wake_main_thread(told: socket.socket, teller: socket.socket) -> None:
    """Python writes the number of each signal into `teller`. SIGURG wakes, and raises what was dropped."""
    with told, teller:
        while numbers := told.recv(64):
            if not {signal.SIGTERM, signal.SIGINT} & set(numbers):
                continue
            for times in itertools.count(1):
                time.sleep(_WAKE_S)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGURG)
                if times >= _WAKE_TIMES and _state.dropped is None:
                    break


def _note(*_: Any) -> None:
    if _state.is_asked:
        return
    _state.is_asked = True
    if not _state.num_finishing or _state.is_waiting:
        raise SystemExit(TERMINATED)


def _raise_dropped(*_: Any) -> None:
    dropped, _state.dropped = _state.dropped, None
    if isinstance(dropped, SystemExit):
        _state.is_asked = False
        _note()
    elif dropped is not None:
        raise KeyboardInterrupt


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
