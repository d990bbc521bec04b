"""Several servers of one policy: where a trajectory goes, and what becomes of it when servers fail.

The servers are processes of our own that answer at once: what is on trial is the engine, not what it samples.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivotmine.errors import UserError
from pivotmine.sampling.settings import Sampling
from pivotmine_stages.engines.openai import fleet as fleets
from pivotmine_stages.engines.openai.fleet import FAILURES, Fleet, Server
from pivotmine_stages.engines.options import EngineOptions
from pivotmine_stages.engines.protocol import Reply, Request

URLS = [f"http://{name}/v1" for name in "abcde"]


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def chosen(fleet: Fleet, key: str) -> str:
    server, wait_s = fleet.choose(key)
    assert server is not None
    assert wait_s == 0
    return server.url


def put_out(fleet: Fleet, url: str) -> Server:
    (server,) = [server for server in fleet.servers if server.url == url]
    for _ in range(FAILURES):
        fleet.failed(server, "broken")
    assert not server.is_in
    return server


@given(keys=st.lists(st.text(max_size=8), unique=True, min_size=1, max_size=30), gone=st.sampled_from(URLS))
@settings(max_examples=25)
def test_only_the_trajectories_of_a_server_that_is_out_move(keys: list[str], gone: str) -> None:
    fleet, reordered = Fleet(URLS), Fleet(URLS[::-1])
    before = {key: chosen(fleet, key) for key in keys}
    assert before == {key: chosen(reordered, key) for key in keys}
    put_out(fleet, gone)
    after = {key: chosen(fleet, key) for key in keys}
    assert {key for key in keys if before[key] != after[key]} == {key for key in keys if before[key] == gone}
    assert gone not in after.values()


def test_a_server_that_is_named_twice_is_one() -> None:
    assert [server.url for server in Fleet([*URLS, *URLS]).servers] == URLS


def test_pauses_double_up_to_a_bound() -> None:
    longest = [max(fleets.pause_s(num_tries) for _ in range(200)) for num_tries in (1, 2, 3, 4, 5, 50)]
    shortest = [min(fleets.pause_s(num_tries) for _ in range(200)) for num_tries in (1, 2, 3, 4, 5, 50)]
    for low, high, most in zip(shortest, longest, (0.5, 1, 2, 4, 8, 8), strict=True):
        assert most / 2 <= low < high <= most


def test_trajectories_are_shared_out_evenly() -> None:
    fleet = Fleet(URLS)
    counts = dict.fromkeys(URLS, 0)
    for number in range(5000):
        counts[chosen(fleet, str(number))] += 1
    # Binomial with p = 1/5: a standard deviation is 28.
    assert all(abs(count - 1000) < 150 for count in counts.values())


def test_a_server_that_fails_is_out_for_longer_each_time_and_back_on_trial() -> None:
    clock = Clock()
    fleet = Fleet(URLS[:1], now=clock)
    (server,) = fleet.servers
    fleet.failed(server, "a")
    fleet.answered(server)
    for _ in range(FAILURES - 1):
        fleet.failed(server, "b")
    assert server.is_in
    fleet.failed(server, "c")
    first_s = server.retry_at - clock.now
    assert not server.is_in
    assert 1.0 <= first_s <= 2.0
    fleet.failed(server, "sent before it went out")
    assert server.retry_at - clock.now == first_s

    assert fleet.due() == []
    clock.now += first_s
    assert fleet.due() == [server]
    assert fleet.due() == []
    fleet.take_back(server)
    fleet.failed(server, "still broken")
    assert 2.0 <= server.retry_at - clock.now <= 4.0
    for _ in range(20):
        fleet.leave_out(server, "no answer")
    assert 30.0 <= server.retry_at - clock.now <= 60.0
    fleet.take_back(server)
    fleet.answered(server)
    put_out(fleet, server.url)
    assert 1.0 <= server.retry_at - clock.now <= 2.0


def test_a_server_that_was_out_from_the_start_is_on_trial_too() -> None:
    fleet = Fleet(URLS[:1])
    (server,) = fleet.servers
    fleet.leave_out(server, "no answer")
    fleet.take_back(server)
    assert server.is_in
    fleet.failed(server, "still broken")
    assert not server.is_in


def test_a_busy_server_keeps_its_trajectories_for_a_short_wait_only() -> None:
    clock = Clock()
    fleet = Fleet(URLS[:2], now=clock)
    mine, _ = fleet.choose("t")
    assert mine is not None
    fleet.busy(mine, 5.0, "slow down")
    assert fleet.choose("t") == (mine, 5.0)
    fleet.busy(mine, 30.0, "slow down")
    (other,) = [server for server in fleet.servers if server is not mine]
    assert fleet.choose("t") == (other, 0.0)
    fleet.busy(other, 60.0, "slow down")
    assert fleet.choose("t") == (None, 20.0)
    fleet.busy(mine, 1.0, "a shorter wait that was named later")
    clock.now += 15
    assert fleet.choose("t") == (None, 5.0)
    assert fleet.seconds_all_down() == 15.0
    clock.now += 5
    assert fleet.choose("t") == (mine, 10.0)
    assert fleet.seconds_all_down() == 0.0


@dataclass
class Live:
    """A server on loopback; `answer` makes the reply of the n-th request, from 0: status, body, headers."""

    port: int
    name: str
    answer: Callable[[int], tuple[int, Any, dict[str, str]]]
    prompts: list[list[int]] = field(default_factory=list[list[int]])
    at: list[float] = field(default_factory=list[float])

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @contextlib.contextmanager
    def up(self) -> Generator[Live]:
        live = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._say(200, {"data": [{"id": live.name}]}, {})

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                live.prompts.append(asked["prompt"])
                live.at.append(time.monotonic())
                self._say(*live.answer(len(live.prompts) - 1))

            def _say(self, status: int, body: Any, headers: dict[str, str]) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
                self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Patient(http.server.ThreadingHTTPServer):
            request_queue_size = 256

        with Patient(("127.0.0.1", self.port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


def good(number: int) -> tuple[int, Any, dict[str, str]]:
    return 200, {"choices": [{"index": 0, "text": "yes", "finish_reason": "stop"}]}, {}


@pytest.fixture
def live(quick: None) -> Callable[..., Live]:
    def make(answer: Any = good, name: str = "m") -> Live:
        with socket.create_server(("127.0.0.1", 0)) as free:
            return Live(free.getsockname()[1], name, answer)

    return make


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits a hundred times shorter than a real fleet's."""
    monkeypatch.setattr(fleets, "FIRST_PAUSE_S", 0.005)
    monkeypatch.setattr(fleets, "FIRST_OUTAGE_S", 0.02)
    monkeypatch.setattr(fleets, "LONGEST_OUTAGE_S", 0.1)
    monkeypatch.setattr("pivotmine_stages.engines.openai.engine.LOOK_AGAIN_S", 0.02)


@contextlib.contextmanager
def opened(*servers: Live, **options: Any) -> Generator[Any]:
    from pivotmine_stages.engines.openai.engine import OpenAIEngine

    urls = tuple(server.address for server in servers)
    given: dict[str, Any] = {"model": "m", "base_urls": urls, "sampling": Sampling(max_new_tokens=8), **options}
    with contextlib.closing(OpenAIEngine(EngineOptions(**given))) as engine:
        yield engine


def requests(num_trajectories: int, num_states: int) -> list[Request]:
    """The prompt's first token names the trajectory, the second one the turn."""
    return [
        Request(state_id=f"{t}/{turn}", prompt_ids=[t, turn], sample_indices=(0,), trajectory_id=str(t))
        for t in range(num_trajectories)
        for turn in range(num_states)
    ]


def all_sampled(replies: list[Reply], asked: list[Request]) -> bool:
    got = sorted((reply.request.state_id, len(reply.samples)) for reply in replies)
    return got == sorted((request.state_id, 1) for request in asked)


def test_all_states_of_a_trajectory_go_to_one_server(live: Any) -> None:
    asked = requests(20, 4)
    with live().up() as a, live().up() as b, opened(a, b, a) as engine:
        assert all_sampled(list(engine.sample(asked)), asked)
    of_a, of_b = ({prompt[0] for prompt in server.prompts} for server in (a, b))
    assert of_a
    assert of_b
    assert of_a | of_b == set(range(20))
    assert not of_a & of_b
    assert len(a.prompts) + len(b.prompts) == 80


@pytest.mark.parametrize("status", [200, 401, 404, 408, 500])
def test_a_broken_server_is_left_out_and_its_trajectories_are_sampled_elsewhere(live: Any, status: int) -> None:
    """Its keys, its models, its time or its words: the fault is its own, not the states'."""
    asked = requests(40, 2)
    wrong = (status, {"error": {"message": "on fire"}}, {})
    with live(lambda _: wrong).up() as a, live().up() as b, opened(a, b, concurrency=2) as engine:
        assert all_sampled(list(engine.sample(asked)), asked)
    assert len(b.prompts) == 80
    # Not each of its trajectories' states has tried it.
    assert FAILURES <= len(a.prompts) < len([key for key in map(str, range(40)) if _first(a, b, key) == a.address]) * 2


def test_a_server_that_fails_now_and_then_is_not_left_out(live: Any, caplog: pytest.LogCaptureFixture) -> None:
    asked = requests(10, 1)
    wrong = (500, {"error": {"message": "on fire"}}, {})
    with live(lambda number: good(number) if number % 2 else wrong).up() as a, opened(a, concurrency=1) as engine:
        assert all_sampled(list(engine.sample(asked)), asked)
    assert len(a.prompts) == 20
    assert caplog.records == []


def _first(a: Live, b: Live, key: str) -> str:
    return chosen(Fleet([a.address, b.address]), key)


def test_a_server_that_goes_away_and_comes_back_is_used_again(live: Any, caplog: pytest.LogCaptureFixture) -> None:
    a, b = live(), live()
    asked = iter(requests(400, 1))
    with b.up(), contextlib.ExitStack() as first, opened(first.enter_context(a.up()), b, concurrency=1) as engine:
        replies = engine.sample(asked)
        got = [next(replies) for _ in range(20)]
        first.close()
        before = len(a.prompts)
        got += [next(replies) for _ in range(20)]
        assert len(a.prompts) == before
        with a.up():
            got += list(replies)
    assert len(a.prompts) > before
    assert [reply.failure for reply in got] == [None] * 400
    said = [record.getMessage() for record in caplog.records]
    assert any(words.startswith(f"server {a.address} is left out for") for words in said)
    assert f"server {a.address} is back" in said


def test_a_server_that_starts_late_joins(live: Any) -> None:
    a, b = live(), live()
    with b.up(), opened(a, b, concurrency=1) as engine:
        replies = engine.sample(requests(400, 1))
        got = [next(replies)]
        with a.up():
            got += list(replies)
    assert [reply.failure for reply in got] == [None] * 400
    assert a.prompts


def test_a_late_server_of_another_model_is_never_asked(live: Any) -> None:
    a, b = live(name="other"), live()
    with b.up(), opened(a, b, concurrency=1, served_model="m") as engine:
        replies = engine.sample(requests(100, 1))
        got = [next(replies)]
        with a.up():
            got += list(replies)
    assert [reply.failure for reply in got] == [None] * 100
    assert a.prompts == []


def test_no_server_at_the_start_or_one_of_another_model_is_a_user_error(live: Any) -> None:
    a, b = live(), live(name="other")
    with pytest.raises(UserError, match="no answer; start it"), opened(a, b):
        pass
    wrong = pytest.raises(UserError, match=r"does not serve m \(it serves other\); set --served-model")
    with a.up(), b.up(), wrong, opened(a, b, served_model="m"):
        pass


def test_all_servers_gone_is_a_reject_with_the_reason_and_the_rest_is_quick(live: Any) -> None:
    a, b = live(), live()
    both = contextlib.ExitStack()
    up = (both.enter_context(a.up()), both.enter_context(b.up()))
    with both, opened(*up, timeout_s=0.3, concurrency=1) as engine:
        both.close()
        replies = list(engine.sample(requests(200, 1)))
    assert {reply.failure for reply in replies} == {"engine_error"}
    assert all(reply.samples == () for reply in replies)
    words = replies[-1].detail
    assert words.startswith("no server has taken requests for ")
    assert a.address in words
    assert b.address in words


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_kept(live: Any, status: int) -> None:
    def busy_once(number: int) -> tuple[int, Any, dict[str, str]]:
        return good(number) if number else (status, {"error": {"message": "slow down"}}, {"Retry-After": "1"})

    with live(busy_once).up() as a, opened(a) as engine:
        (reply,) = engine.sample(requests(1, 1))
    assert reply.failure is None
    assert a.at[1] - a.at[0] >= 1.0


def test_a_wait_beyond_the_bound_is_a_reject_in_the_servers_words(live: Any) -> None:
    def busy(number: int) -> tuple[int, Any, dict[str, str]]:
        return 429, {"error": {"message": "no more today"}}, {"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}

    with live(busy).up() as a, opened(a, timeout_s=0.2) as engine:
        replies = list(engine.sample(requests(1, 3)))
    assert [reply.failure for reply in replies] == ["engine_error"] * 3
    assert all("no more today" in reply.detail for reply in replies)
    assert len(a.prompts) == 3


def test_samples_that_were_broken_off_are_drawn_again(live: Any) -> None:
    def aborted_once(number: int) -> tuple[int, Any, dict[str, str]]:
        return good(number) if number else (200, {"choices": [{"index": 0, "text": "y", "finish_reason": "abort"}]}, {})

    with live(aborted_once).up() as a, opened(a) as engine:
        (reply,) = engine.sample(requests(1, 1))
    assert [sample.text for sample in reply.samples] == ["yes"]
    assert len(a.prompts) == 2


def test_which_servers_sample_is_no_part_of_the_policy(tiny_policy: Path) -> None:
    from pivotmine_stages.policy.prompts import load_renderer
    from pivotmine_stages.policy.record import describe_policy

    renderer = load_renderer(str(tiny_policy), {})
    ids = {
        describe_policy(
            EngineOptions(model="m", base_urls=urls), "openai", renderer, parser="hermes", policy_name="p"
        ).policy_id
        for urls in ((URLS[0],), (URLS[1],), tuple(URLS))
    }
    assert len(ids) == 1
