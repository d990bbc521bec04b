"""Run the command and return its refusal."""

from __future__ import annotations

import pytest

from pivotmine_trainer.cli.app import main


def refusal(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The command's only line of error; checks exit code 1."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0].removeprefix("error: ")
