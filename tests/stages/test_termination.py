"""SIGTERM: finished work is kept, and unfinished work is not waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_fixtures import OddServer
from judge_server import judge_server
from trajectories import order_trajectory, write_jsonl

from pivotmine.run.rundir import scan
from pivotmine_stages import termination
from pivotmine_stages.cli.options import extract, rollout
from pivotmine_stages.termination import finishing, is_asked, on_sigterm, waiting


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process answers SIGTERM for the length of a test."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # restored in the end
    monkeypatch.setattr(termination, "_state", termination._State())  # pyright: ignore[reportPrivateUsage]
    on_sigterm()
    # A shell starts background jobs with SIGINT ignored.
    before_int = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before_int)
    signal.signal(signal.SIGTERM, before)
    signal.set_wakeup_fd(-1)


def _ask() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_it_ends_the_program_at_once_where_nothing_is_to_be_finished(listening: None) -> None:
    with pytest.raises(SystemExit) as ended:
        _ask()
    assert ended.value.code == 143
    _ask()  # a second one changes nothing


def test_what_is_finished_is_taken_in_before_the_next_wait(listening: None) -> None:
    done: list[str] = []
    with pytest.raises(SystemExit), finishing():  # noqa: PT012
        with waiting():
            done.append("waited")
        assert not is_asked()
        _ask()
        done.append("taken in")
        assert is_asked()
        with waiting():
            done.append("waited again")
    assert done == ["waited", "taken in"]


def test_it_ends_a_wait(listening: None) -> None:
    with pytest.raises(SystemExit), finishing(), waiting():
        _ask()


def test_it_ends_the_program_after_the_last_of_what_is_finished(listening: None) -> None:
    done: list[str] = []
    with pytest.raises(SystemExit), finishing():  # noqa: PT012
        with finishing():
            _ask()
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]


@pytest.mark.parametrize(("number", "ending"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_it_ends_a_wait_if_another_thread_gets_the_signal(
    listening: None, number: signal.Signals, ending: type[BaseException]
) -> None:
    """As the kernel may give it to any thread: then nothing interrupts what the main thread waits for."""
    answered = threading.Event()

    def other() -> None:
        time.sleep(0.5)  # the main thread waits by now
        signal.pthread_kill(threading.get_ident(), number)
        answered.wait(20)
        answered.set()

    asking = threading.Thread(target=other)
    with pytest.raises(ending):  # noqa: PT012
        asking.start()
        answered.wait()
    assert not answered.is_set()
    answered.set()
    asking.join()


class _Dying:
    def __init__(self, last_words: Callable[[], Any]) -> None:
        self.last_words = last_words

    def __del__(self) -> None:
        self.last_words()


@pytest.mark.parametrize("times", [1, 9])
@pytest.mark.parametrize(("number", "ending"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_it_ends_the_program_if_python_drops_the_exception(
    listening: None, number: signal.Signals, ending: type[BaseException], times: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """As in `__del__` and in the callback of a weak reference: Python prints what they raise, and goes on."""
    until = time.monotonic() + 10

    def pause() -> None:
        time.sleep(0.2)  # raised in here, it is dropped again

    with pytest.raises(ending):  # noqa: PT012
        gone = _Dying(lambda: os.kill(os.getpid(), number))
        del gone
        for _ in range(times - 1):
            gone = _Dying(pause)
            del gone
        while time.monotonic() < until:
            time.sleep(0.01)
    assert time.monotonic() < until
    assert capfd.readouterr().err == ""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    source = write_jsonl(tmp_path / "s.jsonl", [order_trajectory(f"B{i}", task_id=i) for i in range(4)])
    extract({}, sources=[source], run=tmp_path / "run")
    return tmp_path / "run"


CALL = {"id": "1", "type": "function", "function": {"name": "find_order", "arguments": '{"order_id": "X"}'}}
GOOD: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "tool_calls": [CALL]}}
OPTIONS = {"engine": "openai", "model": "m", "policy_name": "p", "api": "chat", "num_samples": 1}


def test_rollout_stores_every_reply_that_has_come(run: Path, odd_server: OddServer) -> None:
    """The second reply brings the signal; of those that have come by then none is lost, and no other is asked for."""
    odd_server.answers = [(200, {"choices": [GOOD]})]
    report = (
        "import os, signal, time; import pivotmine_stages.engines.openai.engine as engine\n"
        "sample = engine.OpenAIEngine.sample\n"
        "def told(self, requests):\n"
        "    for number, reply in enumerate(sample(self, requests)):\n"
        "        if number == 1:\n"
        "            time.sleep(2)  # meanwhile the other replies in flight come\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "        yield reply\n"
        "engine.OpenAIEngine.sample = told\n"
        "from pivotmine_stages.cli.app import main; main()"
    )
    options = {**OPTIONS, "verifier": "tool_name", "base_url": odd_server.address, "concurrency": 4}
    flags = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    done = subprocess.run([sys.executable, "-c", report, "rollout", str(run), *flags], capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (143, False)
    assert "pivotmine: stopped; the same command continues from here\n" in done.stderr
    assert len(scan(run, "rollouts").collect()) == len(odd_server.asked) < 8


SLOW = "select count(*) from range(100000000) a, range(1000) b where a.range * b.range % 7 = 3"


ENDINGS = [(signal.SIGTERM, 143, "stopped"), (signal.SIGINT, 130, "interrupted")]


@pytest.mark.parametrize(("number", "code", "word"), ENDINGS)
def test_a_signal_ends_a_query(run: Path, number: signal.Signals, code: int, word: str) -> None:
    """Alone, DuckDB looks at no signal while it makes an Arrow table."""
    program = (
        "import os, threading; import pivotmine.run.sql; from pivotmine_stages.cli.app import main\n"
        f"threading.Timer(2, os.kill, (os.getpid(), {int(number)})).start(); main()"
    )
    _ends(["-c", program, "sql", str(run), SLOW], code, word)


@pytest.mark.parametrize(("number", "code", "word"), ENDINGS)
def test_duckdbs_own_error_for_a_signal_is_no_traceback(
    run: Path, number: signal.Signals, code: int, word: str
) -> None:
    """A double of a query that is executed: whether DuckDB notices a signal there depends on its threads."""
    program = (
        "import os, time; from pivotmine.run import sql; from pivotmine_stages.cli.app import main\n"
        "def query_all(*_, **__):\n"
        "    try:\n"
        f"        os.kill(os.getpid(), {int(number)}); time.sleep(20)\n"
        "    except BaseException:\n"
        "        raise RuntimeError('Query interrupted') from None\n"
        "sql.query_all = query_all; main()"
    )
    _ends(["-c", program, "sql", str(run), "select 1"], code, word)


def _ends(arguments: list[str], code: int, word: str) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert done.stderr.endswith(f"pivotmine: {word}; the same command continues from here\n")


def test_score_does_not_wait_for_a_judge_that_is_silent(run: Path, odd_server: OddServer, tmp_path: Path) -> None:
    odd_server.answers = [(200, {"choices": [GOOD]})]
    rollout({}, run=run, base_url=[odd_server.address], verifier="exact", **OPTIONS)
    asked, end = threading.Event(), threading.Event()

    def silent(question: str, number: int) -> str:
        asked.set()
        end.wait()
        return "VERDICT: SAME"

    with judge_server() as server:
        server.say = silent
        config = tmp_path / "run.toml"
        config.write_text(f'[verifiers.judge]\nbase_url = "{server.url}"\nmodel = "m"\ntimeout_s = 3000.0\n')
        command = [sys.executable, "-m", "pivotmine_stages", "score", str(run), "--verifier", "judge"]
        command += ["--config", str(config)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert asked.wait(60)
                process.terminate()
                _, said = process.communicate(timeout=60)
            finally:
                end.set()
                process.kill()
    assert process.returncode == 143
    assert said.endswith("pivotmine: stopped; the same command continues from here\n")
