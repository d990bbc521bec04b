"""Engine `ray`: workers on one machine or many, each with a vllm (or transformers) engine, driven by Ray Data.

A block holds whole trajectories, with their states in order. Ray Data's `map_batches` hands blocks to a pool of actors.
Memory holds only the blocks in flight: the driver makes blocks as they are needed, and takes answers as they come.

If a worker dies, Ray starts it again, elsewhere if necessary, and repeats its blocks. If the cluster no longer has room
for it, its blocks would wait for ever. Blocks that take far longer than any finished block are therefore handed out
again, to other workers, and the first answer counts.

The workers' engine determines the policy: a run begun with `vllm` on one machine can continue with `ray`.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import pickle
import queue
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pivotmine.errors import UserError
from pivotmine.sampling.settings import Prefilled, TokenTree, TreeLogprobs
from pivotmine_stages.engines.options import EngineOptions, one_line
from pivotmine_stages.engines.protocol import Reply, Request

# Ray reads these on import. By default it sends usage statistics, warns of its own future changes, logs errors about
# what Ray Data always does, and starts a cluster whenever a thread uses Ray after the shutdown.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")

import ray
import ray.data
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pivotmine_stages.engines.ray.workers import Ledger, Worker, numbers
from pivotmine_stages.termination import waiting as waiting_for_more

CALLS_PER_WORKER = 2
"""Blocks that share a worker's engine at one time."""
BLOCKS_PER_WORKER = 4
"""Blocks in flight per worker: those in its engine, and others on their way to it."""
PATIENCE_S = 60.0
"""Blocks are handed out again if no answer has come for this long, and for `PATIENCE` times the longest duration of a
block."""
PATIENCE = 3.0
HAND_OUTS = 3
"""Maximum number of times a block is handed out: a block that is only slow must not be started for ever."""
_CLOSE_S = 5.0

_log = logging.getLogger("pivotmine")


class _Block:
    """A block in flight: requests to sample, or token sequences or trees to prefill."""

    def __init__(self, place: int, block: list[Any]) -> None:
        self.place, self.block = place, block
        self.started, self.hand_outs = time.monotonic(), 1


class RayEngine:
    """See `protocol.Engine`. Opening connects to a cluster or starts one here, and waits for the first worker."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._numbers = itertools.count()
        self._answers: queue.SimpleQueue[tuple[int, bytes] | BaseException] = queue.SimpleQueue()
        self._longest_s = 0.0
        self._ledger: Any = None
        self._stream: threading.Thread | None = None
        _connect(options.ray_address)
        try:
            self._gpus = _gpus(options)
            if options.ray_address is None:
                _require_room(options, self._gpus)
            here = ray.get_runtime_context().get_node_id()
            remote: Any = ray.remote(Ledger)
            pinned = NodeAffinitySchedulingStrategy(here, soft=False)
            self._ledger = remote.options(num_cpus=0, scheduling_strategy=pinned).remote()
            self._stream = threading.Thread(target=self._run, args=(here,), name="ray-engine", daemon=True)
            self._stream.start()
            self.max_model_len: int | None = self._first_opened()
        except BaseException:
            self.close()
            raise

    def sample(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """Sample every request; replies come a block at a time."""
        blocks = whole_trajectories(requests, self._options.states_per_block)
        for _, block, replies in self._answered(blocks):
            requests_by_key = {request.key: request for request in block}
            for reply in replies:
                yield replace(reply, request=requests_by_key[reply.request.key])

    def prefill(self, sequences: list[list[int]]) -> list[Prefilled]:
        """See `protocol.Engine`; the sequences are shared out among the workers."""
        return self._shared_out(sequences)

    def prefill_trees(self, trees: list[TokenTree]) -> list[TreeLogprobs]:
        """See `protocol.Engine`; the trees are shared out among the workers."""
        return self._shared_out(trees)

    def _shared_out(self, items: list[Any]) -> list[Any]:
        size = math.ceil(len(items) / (self._options.num_replicas * CALLS_PER_WORKER))
        blocks = [items[start : start + size] for start in range(0, len(items), size or 1)]
        found = {place: answers for place, _, answers in self._answered(iter(blocks))}
        return [answer for place in range(len(blocks)) for answer in found[place]]

    def _answered(self, blocks: Iterator[list[Any]]) -> Iterator[tuple[int, list[Any], list[Any]]]:
        """Yield (place, block, its answers) of each block as it is answered; few blocks are in flight at a time."""
        numbered = enumerate(blocks)
        under_way: dict[int, _Block] = {}
        most = self._options.num_replicas * BLOCKS_PER_WORKER
        more = True
        try:
            while more or under_way:
                while more and len(under_way) < most:
                    place, block = next(numbered, (0, None))
                    more = block is not None
                    if block is not None:
                        under_way[number := next(self._numbers)] = _Block(place, block)
                        self._add(number, block)
                if under_way:
                    number, answers = self._answer(under_way)
                    done = under_way.pop(number)
                    self._longest_s = max(self._longest_s, time.monotonic() - done.started)
                    self._ledger.drop.remote(number)
                    yield done.place, done.block, answers
        finally:
            for number in under_way:
                self._ledger.drop.remote(number)

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        if not ray.is_initialized():
            return
        if self._stream is not None:
            with contextlib.suppress(RayError):
                ray.get(self._ledger.close.remote(), timeout=_CLOSE_S)
            self._stream.join(_CLOSE_S)
        ray.shutdown()

    def _add(self, number: int, block: list[Any]) -> None:
        _ledger_answer(self._ledger.add.remote(number, [_for_workers(one) for one in block]))

    def _answer(self, under_way: dict[int, _Block]) -> tuple[int, list[Any]]:
        """The number and answers of the next block; a second answer to a block is skipped."""
        while True:
            patience_s = max(PATIENCE_S, PATIENCE * self._longest_s) if self._longest_s else self._options.timeout_s
            try:
                if self._answers.empty():  # else take it: SIGTERM may end the program in `waiting_for_more`
                    with waiting_for_more():
                        answer = self._answers.get(timeout=patience_s)
                else:
                    answer = self._answers.get()
            except queue.Empty:
                self._hand_out_again(under_way, patience_s)
                continue
            if isinstance(answer, BaseException):
                raise _stopped(answer) from None
            number, pickled = answer
            if number in under_way:
                answers = pickle.loads(pickled)
                if isinstance(answers, BaseException):
                    raise answers
                return number, answers

    def _hand_out_again(self, under_way: dict[int, _Block], patience_s: float) -> None:
        late = {number: block for number, block in under_way.items() if block.hand_outs < HAND_OUTS}
        for number, block in late.items():
            block.hand_outs += 1
            self._ledger.hand_out.remote(number)
        _log.warning("no block has come back for %.0f s: %d are handed out again", patience_s, len(late))

    def _run(self, here: str) -> None:
        """Run Ray Data's loop in a separate thread."""
        try:
            for batch in self._dataset(here).iter_batches(batch_size=None, prefetch_batches=0):
                for number, answers in zip(batch["block"].tolist(), batch["answers"], strict=True):
                    self._answers.put((number, answers))
        except BaseException as error:
            self._answers.put(error)

    def _dataset(self, here: str) -> Any:
        options = self._options
        context = ray.data.DataContext.get_current()
        # Each row (a block of ours) is a block of Ray's, so that none waits for others to fill one up.
        context.target_max_block_size = 1
        context.enable_progress_bars = False
        context.max_errored_blocks = -1  # they are handed out again
        source: Any = ray.data.from_items([{"start": 0}])
        handed_out = source.map_batches(
            numbers, fn_kwargs={"ledger": self._ledger}, num_cpus=0, label_selector={"ray.io/node-id": here}
        )
        inside = replace(
            options, model=_absolute(options.model), adapter=options.adapter and _absolute(options.adapter)
        )
        return handed_out.map_batches(
            Worker,
            fn_constructor_args=(self._ledger, options.replica_engine, inside),
            batch_size=None,
            num_cpus=options.cpus_per_replica,
            num_gpus=self._gpus or None,
            compute=ray.data.ActorPoolStrategy(
                size=options.num_replicas,
                max_concurrent_calls_per_actor=CALLS_PER_WORKER,
                max_tasks_in_flight_per_actor=BLOCKS_PER_WORKER,
                enable_true_multi_threading=True,
            ),
        )

    def _first_opened(self) -> int | None:
        started = time.monotonic()
        placed, opened = self._ledger.first_worker.remote(), self._ledger.first_opened.remote()
        while not ray.wait([opened], timeout=1.0)[0]:
            with contextlib.suppress(queue.Empty):
                answer = self._answers.get_nowait()
                assert isinstance(answer, BaseException), answer
                raise _stopped(answer) from None
            if time.monotonic() - started > self._options.timeout_s and not ray.wait([placed], timeout=0)[0]:
                raise UserError(f"no worker could start within {self._options.timeout_s:.0f} s: {_room(self._gpus)}")
        max_model_len, trouble = _ledger_answer(opened)
        if trouble is not None:
            raise UserError(trouble)
        return max_model_len


def whole_trajectories(requests: Iterable[Request], num_states: int) -> Iterator[list[Request]]:
    """Group requests into blocks of whole trajectories, with at least `num_states` requests in each but the last."""
    block: list[Request] = []
    for _, of_trajectory in itertools.groupby(requests, lambda request: request.trajectory_id or request.state_id):
        block += of_trajectory
        if len(block) >= num_states:
            yield block
            block = []
    if block:
        yield block


def _for_workers(item: Request | list[int]) -> Request | list[int]:
    """A request without messages and tools, which only a chat server reads; tokens as they are."""
    return replace(item, messages=None, tools=None) if isinstance(item, Request) else item


def _connect(address: str | None) -> None:
    """Join the cluster at the address, or start one here; UserError if no cluster is there."""
    if address is not None and ":" in address:
        _require_answer(address)
    # Ray Data's errors come as exceptions, and its warnings about blocks of one row do not apply here.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors", module="ray")
    before = signal.getsignal(signal.SIGTERM)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            ray.init(address="local", include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except Exception as error:  # a dozen types, plain Exception among them
        words = "; has `ray start` run there?" if address is not None else ""
        raise UserError(f"Ray at {address or 'this machine'}: {one_line(str(error))}{words}") from None
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray has set its own, which loses samples that are not written yet


def _require_answer(address: str) -> None:
    """Raise UserError if nothing listens there; Ray itself would try for a minute and end the program."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=15).close()
    except (OSError, ValueError):
        raise UserError(f"Ray at {address}: no answer; run `ray start --head` there, or correct the address") from None


def _gpus(options: EngineOptions) -> float:
    """GPUs of a replica: --gpus-per-replica, else --tensor-parallel-size if the cluster has GPUs, else 0."""
    if options.gpus_per_replica is not None:
        return options.gpus_per_replica
    return options.tensor_parallel_size if ray.cluster_resources().get("GPU") else 0


def _require_room(options: EngineOptions, gpus: float) -> None:
    for kind, each in (("CPU", options.cpus_per_replica), ("GPU", gpus)):
        there = ray.cluster_resources().get(kind, 0)
        if each * options.num_replicas > there:
            words = f"{options.num_replicas} replicas of {each:g} {kind}s are more than the {there:g} of this machine"
            raise UserError(f"{words}: reduce --num-replicas or --{kind.lower()}s-per-replica")


def _room(gpus: float) -> str:
    there = ray.cluster_resources()
    return (
        f"the cluster has {there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs, a replica takes {gpus:g} GPUs"
    )


def _absolute(model: str) -> str:
    """The absolute path of a folder, which must exist on every machine; a hub id as it is."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def _ledger_answer(call: Any) -> Any:
    """The ledger's answer; UserError if the ledger was lost, for example if its machine ran out of memory."""
    try:
        return ray.get(call)
    except RayError as error:
        raise _stopped(error) from None


def _stopped(error: BaseException) -> UserError:
    return UserError(f"Ray has stopped: {one_line(str(error))}; start again: stored samples are kept")
