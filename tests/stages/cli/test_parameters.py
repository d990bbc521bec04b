"""The command line is made from the declarations: help, choices, completion, old names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Command
from typer.main import get_command

from pivotmine_stages.cli.app import app
from pivotmine_stages.cli.commands import COMMANDS
from pivotmine_stages.engines import ENGINES


def text_of(pivotmine: Command, *arguments: object) -> str:
    code, out, _ = pivotmine(*arguments)
    assert code == 0
    return " ".join(re.sub(r"\x1b\[[\d;]*m|[\u2500-\u257f]", " ", out).split())


def test_help_shows_panels_choices_defaults_and_examples(pivotmine: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    text = text_of(pivotmine, "rollout", "-h")
    for word in ("Policy", "Sampling", "Engine", "Ray", "Server", "Verifier", "Cost", "Output"):
        assert f" {word} " in text
    assert "--engine [vllm|openai|transformers|ray] Engine that samples;" in text
    assert "Samples per state (the paper's K). [in [1, 16384]] [default: 8]" in text
    assert "--model TEXT Folder or hub id of the policy; on a server, the served model's name. [required]" in text
    for flag in ("--api-key-env", "--served-model", "--max-retries"):
        assert flag in text
    assert "Examples: pivotmine rollout runs/mine --model Qwen/Qwen3-8B --num-samples 16" in text


def test_help_says_once_that_an_argument_is_required(pivotmine: Command) -> None:
    text = text_of(pivotmine, "compare", "--help")
    assert "* B <str> Another profile or selection. [required]" in text
    assert "[required] [required]" not in text


def test_every_option_of_every_stage_has_a_help_text_and_a_flag() -> None:
    commands = get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    for name, command in COMMANDS.items():
        flags = {flag for parameter in commands[name].params for flag in parameter.opts}
        for one in command.declared():
            assert one.help, (name, one.name)
            assert one.option.is_argument or one.flag in flags


def test_a_flag_has_one_meaning_in_all_commands() -> None:
    """One flag, one type: `--limit` are states everywhere, `--format` is a reader's name."""
    types: dict[str, set[object]] = {}
    for command in COMMANDS.values():
        for one in command.declared():
            types.setdefault(one.name, set()).add((str(one.type), one.is_list))
    assert {name for name, found in types.items() if len(found) > 1} == {"verifier"}  # in `select` it names scores
    assert [name for name, command in COMMANDS.items() if "limit" in {one.name for one in command.declared()}] == [
        "rollout",
        "audit",
    ]


def test_choices_complete() -> None:
    commands = get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    options = {parameter.name: parameter for parameter in commands["rollout"].params}
    context = commands["rollout"].make_context("rollout", ["run", "--model", "m"], resilient_parsing=True)
    found = [item.value for item in options["engine"].shell_complete(context, "v")]
    assert found == [name for name in ENGINES if name.startswith("v")] == ["vllm"]


def test_an_old_name_works_and_says_the_new_one(pivotmine: Command, source: Path, tmp_path: Path) -> None:
    code, out, err = pivotmine("extract", source, "--run", tmp_path / "run", "--limit", 2, "--json")
    assert (code, err) == (0, "pivotmine: --limit is now --max-records\n")
    assert '"trajectories": 2' in out


def test_lists_of_what_there_is(pivotmine: Command) -> None:
    assert "tool_call: calls that do the same" in text_of(pivotmine, "verifiers").replace("`", "")
    assert "sharegpt ShareGPT: " in text_of(pivotmine, "formats")
    doctor = text_of(pivotmine, "doctor")
    assert "pivotmine 0.1.0" in doctor
    assert "default engine transformers" in doctor
    assert "engine openai ready, any OpenAI-compatible server" in doctor


def test_doctor_says_what_is_missing(pivotmine: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from pivotmine_stages import engines

    real = engines.importlib.util.find_spec
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None if name == "ray" else real(name))
    assert "engine ray missing ray: in the project's folder, `pip install -c constraints.txt '.[ray]'`" in text_of(
        pivotmine, "doctor"
    )


def test_no_color_has_no_escape_codes() -> None:
    command = [sys.executable, "-m", "pivotmine_stages", "rollout", "--help"]
    environment = {"NO_COLOR": "1", "FORCE_COLOR": "1", "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "\x1b[" not in done.stdout


def test_a_slow_command_says_that_it_has_begun(
    pivotmine: Command, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pivotmine.progress.SILENT_S", 0.0)
    _, _, err = pivotmine("extract", source, "--run", tmp_path / "run")
    assert err == f"pivotmine: extract in {tmp_path / 'run'} ...\n"
    _, _, err = pivotmine("extract", source, "--run", tmp_path / "run", "--quiet")
    assert err == ""
