import io
import logging

import pytest

from pivotmine import progress
from pivotmine.progress import Progress, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_short_command_says_nothing_in_a_log_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(3), "extract", "records", 3)) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_a_log_file_gets_plain_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    assert list(track("ab", "extract", "records", 2)) == ["a", "b"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[:2] for line in lines] == [["extract", "1/2 records"], ["extract", "2/2 records"]]
    assert "\x1b" not in "".join(lines)


def test_quiet_shows_neither(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    monkeypatch.setattr(logging.getLogger("pivotmine"), "level", logging.WARNING)
    assert list(track("ab", "extract", "records", 2)) == ["a", "b"]
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(track("ab", "extract", "records", 2)) == ["a", "b"]
    assert (capsys.readouterr().err, terminal.getvalue()) == ("", "")


def test_a_terminal_gets_a_bar_that_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    assert list(track("ab", "extract", "records", 2)) == ["a", "b"]
    assert "extract" in terminal.getvalue()
    assert "━" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K")


@pytest.mark.parametrize(
    ("total", "amounts", "elapsed_s", "words"),
    [
        (None, {"records": 1500}, 2.0, "1,500 records  750 records/s"),
        (
            400,
            {"states": 100, "tokens": 90_000},
            20.0,
            "100/400 states  5.0 states/s  4,500 tokens/s  1 min 0 s left",
        ),
        (4, {"states": 1}, 7200.0, "1/4 states  0.0 states/s  6 h 0 min left"),
        (4, {"states": 4}, 6.0, "4/4 states  0.7 states/s  0 s left"),
        (60, {"states": 1}, 4.0, "1/60 states  0.2 states/s"),
        (4, {"states": 0}, 10.0, "0/4 states  0.0 states/s"),
        (0, {"states": 0}, 10.0, "0/0 states  0.0 states/s"),
        (20e6, {"bytes": 5e6}, 5.0, "5.0 MB/20.0 MB  1.0 MB/s  15 s left"),
        (None, {}, 1.0, ""),
    ],
)
def test_the_words(total: float | None, amounts: dict[str, float], elapsed_s: float, words: str) -> None:
    shown = Progress("words", total)
    shown.advance(**amounts)
    assert shown.words(elapsed_s) == words


def test_the_time_left_of_a_round_begins_with_the_pace_of_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with progress.progress("rounds", 60) as first:
        first.advance(states=1)
        assert first.words(4.0) == "1/60 states  0.2 states/s"
        first.advance(states=59)
        now[0] += 6.0
    with progress.progress("rounds", 60) as second:
        second.advance(states=1)
        assert second.words(0.1) == "1/60 states  10.0 states/s  5 s left"
