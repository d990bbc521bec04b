"""Code of another package that a file names is imported only if the user allowed it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from runs import (
    add_rollouts,
    answered,
    call_text,
    called,
    make_run,
    policy_record,
    remember,
    said,
    sample,
    states_of,
    trajectory,
)

from pivotmine.errors import NotTrusted, UserError
from pivotmine.verifiers import dataset_rows, make_spec
from pivotmine.verifiers.composed import third_party
from pivotmine.verifiers.composed.third_party import TRUSTED, require_trusted, trust
from pivotmine.verifiers.configured import configured_spec
from pivotmine.verifiers.dataset_rows import row_spec
from pivotmine_stages.cli.config_file import read_config, verifier
from pivotmine_stages.policy.record import stored_verifier

STRANGER = """\
from pathlib import Path
Path(__file__).with_name("imported").write_text("here")


def always(state, demonstration, action):
    return 1.0
"""
NAME = "stranger:always"
FILES = [
    f'[[choose]]\nverifier = "{NAME}"\n',
    f'[verifiers.mine]\nverifier = "{NAME}"\n[[choose]]\nverifier = "mine"\n',
    f'[verifiers.mine]\nfirst_decided = ["exact", "{NAME}"]\n[[choose]]\nverifier = "mine"\n',
    f'[verifiers.mine]\nweights = {{ exact = 0.5, "{NAME}" = 0.5 }}\n[[choose]]\nverifier = "mine"\n',
    f'[score]\nverifier = "{NAME}"\n',
]


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A stranger's module in a folder of its own, which leaves a mark where it is imported."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "stranger.py").write_text(STRANGER)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = make_run(tmp_path, trajectory(said("x"), called("find", id="A"), answered("A")))
    remember(run, policy_record())
    add_rollouts(run, {states_of(run)["user: x"]: [sample(call_text("find", id="B"))] * 4})
    return run


def _command(module: Path, *words: str | Path, trusted: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pivotmine_stages", *map(str, words), "--quiet"]
    paths = {"PYTHONPATH": f"{module}:{os.environ.get('PYTHONPATH', '')}", TRUSTED: trusted}
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **paths})


@pytest.mark.parametrize("text", FILES)
def test_a_file_does_not_import_what_nobody_vouched_for(
    text: str, module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(module))
    monkeypatch.delenv(TRUSTED, raising=False)
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(
        NotTrusted, match=rf"asks for code of another package, '{NAME}': .* --trust-verifier.* {TRUSTED}"
    ):
        verifier(read_config(tmp_path / "run.toml"), "auto")
    assert not (module / "imported").exists()
    assert "stranger" not in sys.modules


def test_a_command_that_does_not_use_it_reads_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRUSTED, raising=False)
    (tmp_path / "run.toml").write_text(FILES[2] + "[rollout]\nnum_samples = 4\n")
    assert read_config(tmp_path / "run.toml")["rollout"] == {"num_samples": 4}


def test_the_flag_the_variable_and_what_is_typed_vouch_for_it(run: Path, module: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(FILES[2])
    refused = _command(module, "score", run, "--config", config, trusted="stranger:other")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert f"[verifiers.mine] asks for code of another package, '{NAME}'" in refused.stderr
    assert not (module / "imported").exists()
    assert _command(module, "score", run, "--config", config, "--trust-verifier", NAME).returncode == 0
    assert (module / "imported").exists()
    # The run names it now, and it may be a stranger's run.
    (module / "imported").unlink()
    refused = _command(module, "select", run, "--verifier", "auto", "--dry-run")
    assert refused.returncode == 1
    assert f"verifier.json asks for code of another package, '{NAME}'" in refused.stderr
    assert not (module / "imported").exists()
    assert "asks for code" not in _command(module, "select", run, "--dry-run", trusted=f"a:b, {NAME}").stderr
    assert (module / "imported").exists()
    assert _command(module, "score", run, "--verifier", NAME).returncode == 0


def test_what_is_vouched_for_is_named_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUSTED, "a.b:c")
    trust("d:e")
    for name in ("a.b:c", "d:e", "exact"):
        require_trusted("it", name)
    for name in ("a.b:cc", "b:c", "d:", ":"):
        with pytest.raises(NotTrusted):
            require_trusted("it", name)
    with pytest.raises(NotTrusted, match="'x:y'"):
        require_trusted("it", "all", {"members": [{"name": "any", "options": {"members": [{"name": "x:y"}]}}]})


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_row_of_a_strangers_dataset_sends_nothing_to_its_server(
    *, wrapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trajectories, and the key in the variable that the row names."""
    address = "https://evil.example/v1"
    options = {"base_url": address, "model": "m", "api_key_env": "HOME"}
    spec = make_spec("judge", options)
    if wrapped:
        spec = make_spec("any", {"members": [{"name": "judge", "options": options}]})
    row = {"verifier": spec.name, "verifier_options": spec.options_json, "verifier_id": spec.verifier_id}
    for trusted in ("", "judge", "https://evil.example", "https://evil.example/v1/more"):
        monkeypatch.setenv(TRUSTED, trusted)
        dataset_rows._check_trust.cache_clear()  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(UserError, match=f"^row 0: the row asks a server, {address}: if you trust it"):
            row_spec(row, "row 0")
    monkeypatch.setenv(TRUSTED, f"a:b,{address}")
    assert row_spec(row, "row 0") == spec
    near = make_spec("judge", {**options, "base_url": "http://127.0.0.1:9/v1"})
    row = {"verifier": "judge", "verifier_options": near.options_json, "verifier_id": near.verifier_id}
    monkeypatch.delenv(TRUSTED)
    assert row_spec(row, "row 0") == near


def test_what_a_program_imported_itself_is_vouched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRUSTED, raising=False)
    third_party.load("own_verifiers:half")
    tables = {"mine": {"all": ["own_verifiers:half", "exact"]}}
    assert configured_spec("mine", tables).name == "all"


@pytest.mark.parametrize("settings", [{}, {"verifier": "exact"}, {"verifier": "exact", "options": 3}])
def test_settings_of_scores_that_are_none_are_one_line(settings: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "verifier.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"^\S+/verifier\.json is damaged: delete it and start"):
        stored_verifier(tmp_path)
