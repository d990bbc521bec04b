"""The thread that writes parts: their size, their delay, and the effect of an error."""

import contextlib
import threading
import time
from collections.abc import Callable

import pytest

from pivotmine_stages.rollout.part_writer import PartWriter, Rows

NEVER = 1e6


def rows(first: int, last: int) -> Rows:
    return [{"number": number} for number in range(first, last + 1)]


def flat(written: list[Rows]) -> Rows:
    return [row for part in written for row in part]


def wait_until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not met() and time.monotonic() < deadline:
        time.sleep(0.001)


def test_a_part_is_written_when_it_is_full_and_the_rest_at_the_end() -> None:
    written: list[Rows] = []
    with PartWriter(written.append, num_rows=5, seconds=NEVER) as parts:
        for first in range(1, 14, 2):
            parts.add(rows(first, first + 1))
        wait_until(lambda: len(written) == 2)
        assert written == [rows(1, 6), rows(7, 12)]
    assert written == [rows(1, 6), rows(7, 12), rows(13, 14)]


def test_a_part_is_written_when_its_oldest_row_has_waited_whatever_comes_after() -> None:
    """Rows that come more often than parts are due do not put one off, and a silence does not keep the last ones."""
    given, written = list[Rows](), list[Rows]()
    with PartWriter(written.append, num_rows=1000, seconds=0.3) as parts:
        deadline = time.monotonic() + 30
        while not written and time.monotonic() < deadline:
            given.append(rows(len(given), len(given)))
            parts.add(given[-1])
            time.sleep(0.1)
        assert len(written[0]) > 1
        given.append(rows(1000, 1001))
        parts.add(given[-1])
        wait_until(lambda: len(flat(written)) == len(flat(given)))
        assert flat(written) == flat(given)


def test_rows_of_two_parts_are_in_memory_and_no_more() -> None:
    """A disk that has stopped stops the engine, after the part on its way there and the next one."""
    taken, written, disk = list[int](), list[Rows](), threading.Event()

    def write(part: Rows) -> None:
        disk.wait()
        written.append(part)

    def give() -> None:
        with PartWriter(write, num_rows=2, seconds=NEVER) as parts:
            for number in range(1, 9):
                parts.add(rows(number, number))
                taken.append(number)

    giver = threading.Thread(target=give)
    giver.start()
    wait_until(lambda: len(taken) == 4)
    time.sleep(0.2)
    assert (taken, written) == ([1, 2, 3, 4], [])
    disk.set()
    giver.join(30)
    assert written == [rows(1, 2), rows(3, 4), rows(5, 6), rows(7, 8)]


def test_an_error_is_raised_when_further_rows_come_and_those_are_written() -> None:
    given, tried, written = list[Rows](), list[Rows](), list[Rows]()

    def write(part: Rows) -> None:
        tried.append(part)
        if part == rows(0, 0):
            raise OSError(28, "No space left on device")
        written.append(part)

    def give() -> None:
        with PartWriter(write, num_rows=1, seconds=NEVER) as parts:
            for number in range(1000):
                given.append(rows(number, number))
                parts.add(given[-1])
                wait_until(lambda: len(tried) == len(given))

    with pytest.raises(OSError, match="No space left"):
        give()
    assert 2 <= len(given) < 1000
    assert written == given[1:]


def test_an_error_at_the_end_is_raised_and_what_ends_the_work_loses_nothing() -> None:
    written: list[Rows] = []

    def fail(part: Rows) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"), PartWriter(fail, num_rows=9, seconds=NEVER) as parts:
        parts.add(rows(1, 1))
    with contextlib.suppress(SystemExit), PartWriter(written.append, num_rows=9, seconds=NEVER) as parts:
        parts.add(rows(1, 3))
        raise SystemExit(143)
    assert written == [rows(1, 3)]


def test_an_interruption_while_the_lock_is_taken_ends_all_the_same() -> None:
    """An exception that a signal raises just then leaves the lock taken."""
    written: list[Rows] = []

    def interrupted() -> None:
        with contextlib.suppress(SystemExit), PartWriter(written.append, num_rows=5, seconds=NEVER) as parts:
            parts.add(rows(1, 2))
            parts._changed.acquire()  # pyright: ignore[reportPrivateUsage]
            raise SystemExit

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert written == [rows(1, 2)]
