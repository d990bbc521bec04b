import io
import os

import pytest

from pivotmine import progress
from pivotmine.progress import Progress, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_silent_where_nobody_looks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "DELAY_S", -1.0)
    assert list(track(range(3), "extract", "records", 3)) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_a_line_that_is_taken_away_again(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(progress, "DELAY_S", -1.0)
    monkeypatch.setattr(progress, "_EVERY_S", -1.0)
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((12, 24)))
    assert list(track("ab", "extract", "records")) == ["a", "b"]
    assert terminal.getvalue() == "\r\x1b[2Kextract  1 \r\x1b[2Kextract  2 \r\x1b[2K"


def test_a_short_run_says_nothing_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(progress, "DELAY_S", 3600.0)
    assert list(track("ab", "extract", "records")) == ["a", "b"]
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(
    ("total", "amounts", "elapsed_s", "line"),
    [
        (None, {"records": 1500}, 2.0, "extract  1,500 records  750.0 records/s"),
        (
            400,
            {"states": 100, "tokens": 90_000},
            20.0,
            "extract  100/400 states  5.0 states/s  4,500.0 tokens/s  1 min 0 s left",
        ),
        (4, {"states": 1}, 7200.0, "extract  1/4 states  0.0 states/s  6 h 0 min left"),
        (4, {"states": 4}, 1.0, "extract  4/4 states  4.0 states/s  0 s left"),
        (4, {"states": 0}, 1.0, "extract  0/4 states  0.0 states/s"),
        (0, {"states": 0}, 1.0, "extract  0/0 states  0.0 states/s"),
        (None, {}, 1.0, "extract"),
    ],
)
def test_the_line(total: int | None, amounts: dict[str, float], elapsed_s: float, line: str) -> None:
    shown = Progress("extract", total)
    shown.advance(**amounts)
    assert shown.line(elapsed_s) == line
