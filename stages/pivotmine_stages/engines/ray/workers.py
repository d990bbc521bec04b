"""The actors in the Ray cluster: the ledger of the blocks in flight, and the workers, each with its own engine."""

from __future__ import annotations

import asyncio
import itertools
import os
import pickle
import queue
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import ray

from pivotmine.counts import counted
from pivotmine.errors import UserError
from pivotmine.sampling.settings import Prefilled, TokenTree, TreeLogprobs
from pivotmine_stages.engines import open_engine
from pivotmine_stages.engines.options import EngineOptions, derive_seed, failed
from pivotmine_stages.engines.protocol import Engine, EngineDied, Reply, Request

MAX_STARTS = 5
"""Maximum starts of a block. One that needs more has probably killed its workers; its states fail."""


class Ledger:
    """The blocks in flight and the order in which they are handed out.

    It lives on the driver's machine and ends with the driver. A block stays here until the driver has its answers, so
    the death of a worker loses no block. If Ray repeats a task, the same place in the order gives the same block.
    """

    def __init__(self) -> None:
        self._blocks: dict[int, list[Any]] = {}
        self._order: list[int] = []
        self._starts: Counter[int] = Counter()
        self._num_workers = 0
        self._opened: tuple[int | None, str | None] | None = None
        self._closed = False
        self._changed = asyncio.Condition()

    async def add(self, number: int, block: list[Any]) -> None:
        self._blocks[number] = block
        await self.hand_out(number)

    async def hand_out(self, number: int) -> None:
        """Hand a block to the next free worker; a second time if the first worker may be lost."""
        async with self._changed:
            self._order.append(number)
            self._changed.notify_all()

    async def number(self, place: int) -> int | None:
        """Wait for the number of the block at this place in the order; None if no further block will come."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or len(self._order) > place)
            return self._order[place] if len(self._order) > place else None

    async def take(self, number: int) -> tuple[list[Any], int]:
        """A block, empty if it was already answered, and how often it has been started."""
        self._starts[number] += 1
        return self._blocks.get(number, []), self._starts[number]

    async def drop(self, number: int) -> None:
        """Forget a block whose answers have come."""
        self._blocks.pop(number, None)

    async def register(self) -> int:
        """A new number for a worker that starts."""
        async with self._changed:
            self._num_workers += 1
            self._changed.notify_all()
            return self._num_workers

    async def opened(self, max_model_len: int | None, trouble: str | None) -> None:
        """Note that a worker has opened its engine, or why it could not."""
        async with self._changed:
            self._opened = max_model_len, trouble
            self._changed.notify_all()

    async def first_worker(self) -> None:
        """Wait until a worker runs in the cluster."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._num_workers > 0)

    async def first_opened(self) -> tuple[int | None, str | None]:
        """Wait until a worker has called `opened`; returns what it reported."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._opened is not None)
            assert self._opened is not None
            return self._opened

    async def close(self) -> None:
        async with self._changed:
            self._closed = True
            self._changed.notify_all()


def numbers(_: dict[str, Any], ledger: Any) -> Iterator[dict[str, Any]]:
    """Yield the blocks' numbers in the ledger's order, each as a row."""
    for place in itertools.count():
        number: Any = ray.get(ledger.number.remote(place))
        if number is None:
            return
        yield {"block": np.array([number])}


class _Call:
    """A block that is being sampled."""

    def __init__(self, requests: list[Request]) -> None:
        self.left = len(requests)
        self.replies: list[Reply] = []
        self.trouble: BaseException | None = None
        self.done = threading.Event()


class Worker:
    """One engine that samples two blocks at a time, so that it is not idle during the last states of a block."""

    def __init__(self, ledger: Any, engine_name: str, options: EngineOptions) -> None:
        self._ledger = ledger
        # An engine with a single seed must not repeat the samples of other workers or of its own last start.
        worker = ray.get(ledger.register.remote())
        options = replace(options, num_stored=derive_seed(options.num_stored, worker))
        try:
            self._engine: Engine = open_engine(engine_name, options)
        except UserError as error:
            ray.get(ledger.opened.remote(None, str(error)))
            raise
        ray.get(ledger.opened.remote(self._engine.max_model_len, None))
        self._queue: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._calls: dict[int, tuple[_Call, Request]] = {}
        self._lock, self._engine_lock = threading.Lock(), threading.Lock()
        threading.Thread(target=self._sample, name="sampling", daemon=True).start()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Sample or prefill a block. Returns its number (`block`) and pickled `answers`: replies with only the keys of
        their requests, or prefilled sequences or trees, or an exception."""
        (number,) = batch["block"].tolist()
        block, num_starts = ray.get(self._ledger.take.remote(number))
        answer: Any = []
        if block and num_starts > MAX_STARTS:
            answer = _given_up(block, f"its worker died or was lost {num_starts - 1} times")
        elif block and isinstance(block[0], Request):
            answer = self._replies(block)
        elif block:
            answer = self._prefilled(block)
        return {"block": np.array([number]), "answers": [pickle.dumps(answer)]}

    def _prefilled(self, block: list[Any]) -> list[Prefilled] | list[TreeLogprobs] | BaseException:
        try:
            with self._engine_lock:
                is_tree = isinstance(block[0], TokenTree)
                return self._engine.prefill_trees(block) if is_tree else self._engine.prefill(block)
        except BaseException as error:
            return _for_driver(error)

    def _replies(self, requests: list[Request]) -> list[Reply] | BaseException:
        call = _Call(requests)
        with self._lock:
            for request in requests:
                # By identity, which the engine's reply keeps: two blocks may hold equal requests.
                self._calls[id(request)] = call, request
            for request in requests:
                self._queue.put(request)
        call.done.wait()
        return call.trouble or call.replies

    def _sample(self) -> None:
        while True:
            first = self._queue.get()
            try:
                with self._engine_lock:
                    self._sample_all(first)
            except BaseException as error:
                self._fail(_for_driver(error))

    def _sample_all(self, first: Request) -> None:
        for reply in self._engine.sample(itertools.chain([first], self._waiting())):
            call, _ = self._calls.pop(id(reply.request))
            call.replies.append(replace(reply, request=_key_only(reply.request)))
            call.left -= 1
            if call.left == 0:
                call.done.set()

    def _waiting(self) -> Iterator[Request]:
        while True:
            try:
                yield self._queue.get_nowait()
            except queue.Empty:
                return

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            for _ in self._waiting():
                pass
            for call in {call for call, _ in self._calls.values()}:
                call.trouble = error
                call.done.set()
            self._calls.clear()


def _for_driver(error: BaseException) -> BaseException:
    """The error in the form that goes to the driver; a worker whose engine died ends here instead."""
    if isinstance(error, EngineDied):
        # Ray then starts another worker and repeats the blocks.
        os._exit(1)
    return error if isinstance(error, UserError) else RuntimeError("".join(traceback.format_exception(error)))


def _given_up(block: list[Any], why: str) -> list[Reply] | UserError:
    if isinstance(block[0], Request):
        return [failed(_key_only(request), "engine_error", why) for request in block]
    return UserError(f"engine ray: {counted(len(block), 'sequence')} could not be prefilled: {why}")


def _key_only(request: Request) -> Request:
    """The request with only its key, since the driver has the rest."""
    return Request(state_id=request.state_id, prompt_ids=[], sample_indices=request.sample_indices)
