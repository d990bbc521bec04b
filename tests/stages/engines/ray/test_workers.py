"""The ray engine's ledger, worker and driver as plain objects, where no cluster can be made to do what is on trial.

A ledger here answers at once, and `ray.get` gives what it is given; the engine stands in for one that fails when told.
The same parts run in real clusters in `ray_clusters.py`.
"""

from __future__ import annotations

import asyncio
import pickle
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pivotmine.errors import UserError
from pivotmine.sampling.settings import Prefilled, TokenTree, TreeLogprobs
from pivotmine_stages.engines.options import EngineOptions
from pivotmine_stages.engines.protocol import EngineDied, Reply, Request, Sample
from pivotmine_stages.engines.ray import workers
from pivotmine_stages.engines.ray.engine import HAND_OUTS, RayEngine
from pivotmine_stages.engines.ray.workers import MAX_STARTS, Ledger, Worker

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class AtOnce:
    """A ledger with Ray's way of calling it; `then` is told of every call that has been made."""

    def __init__(self, then: Callable[..., None] = lambda *_: None) -> None:
        self.ledger, self._then = Ledger(), then

    def __getattr__(self, name: str) -> Any:
        def remote(*given: Any) -> Any:
            answer = asyncio.run(getattr(self.ledger, name)(*given))
            self._then(name, *given)
            return answer

        return type("Method", (), {"remote": staticmethod(remote)})


class Echo:
    """Samples the state's own name; a state called `user` or `bug` raises."""

    max_model_len = 77

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        self.prompts: list[list[int]] = []

    def sample(self, requests: Iterable[Request]) -> Iterator[Reply]:
        for request in requests:
            self.prompts.append(request.prompt_ids)
            yield Reply(request=request, samples=(_sample(request),), num_prefill_tokens=len(_known(request)))

    def prefill(self, sequences: list[list[int]]) -> list[Prefilled]:
        return [Prefilled([float(len(ids))], [0]) for ids in sequences]

    def prefill_trees(self, trees: list[TokenTree]) -> list[TreeLogprobs]:
        return [TreeLogprobs([[float(len(branch))] for branch in tree.branches], 0) for tree in trees]

    def close(self) -> None:
        pass


def _known(request: Request) -> list[int]:
    if request.state_id == "user":
        raise UserError("the model is gone")
    if request.state_id == "bug":
        raise ZeroDivisionError("of the engine")
    return request.prompt_ids


def _sample(request: Request) -> Sample:
    index = request.sample_indices[0]
    return Sample(
        sample_index=index, text=request.state_id, token_ids=None, logprobs=None, finish_reason="stop", num_tokens=None
    )


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> list[Echo]:
    """The engines that were opened."""
    engines: list[Echo] = []

    def open_engine(name: str, options: EngineOptions) -> Echo:
        if name == "none":
            raise UserError("no such weights")
        engines.append(Echo(options))
        return engines[-1]

    monkeypatch.setattr(workers.ray, "get", lambda answer: answer)
    monkeypatch.setattr(workers, "open_engine", open_engine)
    return engines


def asked(*states: str, turn: int = 0) -> list[Request]:
    return [Request(state_id=state, prompt_ids=[1, 2, 3], sample_indices=(turn,), messages=[]) for state in states]


def answers(worker: Worker, number: int) -> Any:
    given = worker({"block": np.array([number])})
    assert given["block"].tolist() == [number]
    (answer,) = given["answers"]
    return pickle.loads(answer)


def test_a_place_keeps_its_block_and_the_next_one_is_waited_for() -> None:
    async def places() -> None:
        ledger = Ledger()
        waiting = asyncio.create_task(ledger.number(0))
        await asyncio.sleep(0)
        assert not waiting.done()
        await ledger.add(7, ["a"])
        assert await waiting == 7
        await ledger.add(8, ["b"])
        await ledger.hand_out(7)
        assert [await ledger.number(place) for place in (0, 1, 2, 0)] == [7, 8, 7, 7]
        beyond = asyncio.create_task(ledger.number(3))
        await asyncio.sleep(0)
        await ledger.close()
        assert await beyond is None
        assert await ledger.number(2) == 7

    asyncio.run(places())


def test_a_block_stays_until_its_answers_have_come_and_its_starts_are_counted() -> None:
    async def starts() -> None:
        ledger = Ledger()
        await ledger.add(7, ["a"])
        await ledger.add(8, ["b"])
        assert [await ledger.take(number) for number in (7, 8, 7)] == [(["a"], 1), (["b"], 1), (["a"], 2)]
        await ledger.drop(7)
        await ledger.drop(7)
        assert [await ledger.take(number) for number in (7, 8)] == [([], 3), (["b"], 2)]

    asyncio.run(starts())


def test_the_first_worker_and_its_engine_are_waited_for() -> None:
    async def first() -> None:
        ledger = Ledger()
        placed, opened = asyncio.create_task(ledger.first_worker()), asyncio.create_task(ledger.first_opened())
        await asyncio.sleep(0)
        assert (placed.done(), opened.done()) == (False, False)
        assert [await ledger.register() for _ in range(2)] == [1, 2]
        await placed
        assert not opened.done()
        await ledger.opened(None, "no such weights")
        assert await opened == (None, "no such weights")

    asyncio.run(first())


def test_no_two_workers_draw_alike(no_cluster: list[Echo]) -> None:
    ledger, options = AtOnce(), EngineOptions(model="m", seed=3, num_stored=9)
    for _ in range(2):
        Worker(ledger, "echo", options)
    assert [replace(engine.options, num_stored=9) for engine in no_cluster] == [options, options]
    assert len({9, *(engine.options.num_stored for engine in no_cluster)}) == 3
    assert asyncio.run(ledger.ledger.first_opened()) == (77, None)


def test_an_engine_that_cannot_start_is_told_of() -> None:
    ledger = AtOnce()
    with pytest.raises(UserError, match="no such weights"):
        Worker(ledger, "none", EngineOptions(model="m"))
    assert asyncio.run(ledger.ledger.first_opened()) == (None, "no such weights")


def test_a_block_is_sampled_once_and_its_replies_name_their_states_alone(no_cluster: list[Echo]) -> None:
    ledger = AtOnce()
    worker = Worker(ledger, "echo", EngineOptions(model="m"))
    ledger.add.remote(5, asked("a", "b"))
    found = answers(worker, 5)
    assert [(reply.request, reply.samples[0].text) for reply in found] == [
        (Request(state_id=state, prompt_ids=[], sample_indices=(0,)), state) for state in ("a", "b")
    ]
    assert [reply.num_prefill_tokens for reply in found] == [3, 3]
    ledger.drop.remote(5)
    assert answers(worker, 5) == []
    assert len(no_cluster[0].prompts) == 2
    ledger.add.remote(6, [[1, 2], [1]])
    assert answers(worker, 6) == [Prefilled([2.0], [0]), Prefilled([1.0], [0])]


def test_blocks_side_by_side_get_their_own_replies() -> None:
    ledger = AtOnce()
    worker = Worker(ledger, "echo", EngineOptions(model="m"))
    found: dict[int, Any] = {}
    for number in range(8):
        ledger.add.remote(number, asked("a", "b", turn=number))
    threads = [threading.Thread(target=lambda n=n: found.update({n: answers(worker, n)})) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, replies in found.items():
        said = [(reply.request.state_id, reply.samples[0].sample_index) for reply in replies]
        assert said == [("a", number), ("b", number)]
    assert sorted(found) == list(range(8))


def test_what_the_engine_raises_is_the_blocks_answer_and_the_next_block_is_sampled() -> None:
    ledger = AtOnce()
    worker = Worker(ledger, "echo", EngineOptions(model="m"))
    for number, state in enumerate(("user", "bug", "fine")):
        ledger.add.remote(number, asked("before", state, "after"))
    user, bug, fine = (answers(worker, number) for number in range(3))
    assert (type(user), str(user)) == (UserError, "the model is gone")
    assert type(bug) is RuntimeError
    assert str(bug).startswith("Traceback")
    assert str(bug).endswith("ZeroDivisionError: of the engine\n")
    assert [reply.request.state_id for reply in fine] == ["before", "fine", "after"]


def test_a_block_that_has_killed_its_workers_fails_with_the_reason(no_cluster: list[Echo]) -> None:
    ledger = AtOnce()
    worker = Worker(ledger, "echo", EngineOptions(model="m"))
    ledger.add.remote(1, asked("a"))
    ledger.add.remote(2, [[1, 2]])
    assert [answers(worker, 1)[0].failure for _ in range(MAX_STARTS)] == [None] * MAX_STARTS
    (reply,) = answers(worker, 1)
    assert (reply.request.state_id, reply.samples, reply.failure) == ("a", (), "engine_error")
    assert reply.detail == f"its worker died or was lost {MAX_STARTS} times"
    assert len(no_cluster[0].prompts) == MAX_STARTS
    for _ in range(MAX_STARTS):
        assert answers(worker, 2) == [Prefilled([2.0], [0])]
    assert str(answers(worker, 2)).startswith("engine ray: 1 sequence could not be prefilled: its worker died")


def test_a_worker_is_asked_for_trees_too(no_cluster: list[Echo]) -> None:
    ledger = AtOnce()
    worker = Worker(ledger, "echo", EngineOptions(model="m"))
    ledger.add.remote(1, [TokenTree([1], [[2], [2, 3]])])
    assert answers(worker, 1) == [TreeLogprobs([[1.0], [2.0]], 0)]


def test_a_worker_whose_engine_has_died_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[int] = []
    monkeypatch.setattr(workers.os, "_exit", ends.append)
    for error in (EngineDied("gone"), UserError("no weights")):
        assert workers._for_driver(error) is error  # pyright: ignore[reportPrivateUsage]
    assert ends == [1]


def driver(then: Callable[..., None], **options: Any) -> RayEngine:
    """The engine without its cluster: `then(engine, name, *given)` is told what the ledger is told."""
    engine = RayEngine.__new__(RayEngine)
    known: dict[str, Any] = {
        "_options": EngineOptions(model="m", states_per_block=2, **options),
        "_numbers": iter(range(100)),
        "_answers": queue.SimpleQueue[Any](),
        "_longest_s": 0.0,
        "_ledger": AtOnce(lambda name, *given: then(engine, name, *given)),
    }
    for name, value in known.items():
        setattr(engine, name, value)
    return engine


def put(engine: Any, number: int, answer: Any) -> None:
    engine._answers.put((number, pickle.dumps(answer)))


def test_an_answer_that_comes_twice_counts_once_and_the_order_is_free() -> None:
    late: list[tuple[int, Any]] = []

    def answer_late(engine: Any, name: str, number: int, block: Any = None) -> None:
        if name == "add":
            assert all(request.messages is None for request in block)
            late.insert(0, (number, [Reply(request=request, samples=(_sample(request),)) for request in block]))
            if number % 4 == 3 or number == 4:
                for each in (*late, *late):
                    put(engine, *each)
                late.clear()

    requests = [replace(one, trajectory_id=one.state_id) for one in asked(*map(str, range(10)))]
    replies = list(driver(answer_late).sample(requests))
    assert sorted(reply.request.state_id for reply in replies) == sorted(map(str, range(10)))
    assert all(reply.request.messages == [] for reply in replies)


def test_blocks_without_an_answer_are_handed_out_again_so_often_and_no_oftener() -> None:
    told: list[tuple[str, int]] = []

    def answer_at_last(engine: Any, name: str, number: int, block: Any = None) -> None:
        told.append((name, number))
        if len([1 for name, _ in told if name == "hand_out"]) == 2 * (HAND_OUTS - 1):
            threading.Timer(0.1, lambda: [put(engine, n, [Prefilled([float(n)], [n])]) for n in (1, 0)]).start()

    engine = driver(answer_at_last, timeout_s=0.01, num_replicas=2)
    assert engine.prefill([[1], [2]]) == [Prefilled([0.0], [0]), Prefilled([1.0], [1])]
    again = [("hand_out", number) for _ in range(HAND_OUTS - 1) for number in (0, 1)]
    assert told == [("add", 0), ("add", 1), *again, ("drop", 1), ("drop", 0)]


def test_a_workers_error_ends_the_run_and_what_is_under_way_is_dropped() -> None:
    told: list[tuple[str, int]] = []

    def fail_first(engine: Any, name: str, number: int, block: Any = None) -> None:
        told.append((name, number))
        if name == "add" and number == 0:
            put(engine, 0, UserError("the model is gone"))

    with pytest.raises(UserError, match="the model is gone"):
        list(driver(fail_first).sample([replace(one, trajectory_id=one.state_id) for one in asked(*"abcd")]))
    assert told == [("add", 0), ("add", 1), ("drop", 0), ("drop", 1)]
