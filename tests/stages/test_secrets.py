"""Signatures and passwords in addresses are used, but never stored or printed; a card contains no local path."""

from __future__ import annotations

import functools
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from engine_fixtures import OddServer
from runs import answered, called, make_run, said, trajectory
from selecting import MIXED, card, mine, save_tokenizer
from trajectories import order_trajectory, write_jsonl

from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.run.tables import TABLES
from pivotmine.verifiers import make_spec
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.stage import select

SECRET = "hunter2"


def _command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pivotmine_stages", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def _stored(run: Path) -> str:
    """Everything in the run, tables and texts."""
    tables = "".join(str(rundir.scan(run, name).collect().to_dicts()) for name in TABLES)
    texts = [path for path in run.rglob("*") if path.is_file() and path.suffix != ".parquet"]
    return tables + "".join(f"{path} {path.read_text(errors='replace')}" for path in texts)


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder, without ranges; the path's query is a signature that it wants."""

    def send_head(self) -> Any:
        if f"sig={SECRET}" not in self.path:
            self.send_error(403)
            return None
        return super().send_head()

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    handler = functools.partial(_Handler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


def test_a_signed_source_is_stored_without_its_signature(host: str, tmp_path: Path) -> None:
    served = write_jsonl(tmp_path / "served" / "s.jsonl", [order_trajectory("A1"), order_trajectory("A2")])
    served.write_text(served.read_text() + "{oops\n")
    run = tmp_path / "run"
    done = _command("extract", f"http://me:{SECRET}@{host}/s.jsonl?sig={SECRET}", "--run", run)
    assert done.returncode == 0, done.stderr
    assert set(rundir.scan(run, "trajectories").collect()["source"]) == {f"http://{host}/s.jsonl"}
    assert SECRET not in done.stdout + done.stderr + _stored(run)
    for wrong in (f"http://me:{SECRET}@{host}/none.jsonl?sig={SECRET}", f"http://{host}/s.jsonl?token={SECRET}"):
        refused = _command("extract", wrong, "--run", tmp_path / "other")
        assert refused.returncode == 1
        assert SECRET not in refused.stdout + refused.stderr


def test_a_servers_password_is_sent_to_it_and_told_to_nobody_else(odd_server: OddServer, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "s.jsonl", [order_trajectory("A1")])
    run = tmp_path / "run"
    assert _command("extract", source, "--run", run).returncode == 0
    odd_server.answers = [(500, {"error": {"message": "on fire"}})]
    address = odd_server.address.replace("http://", f"http://me:{SECRET}@")
    flags = ["--engine", "openai", "--model", "m", "--policy-name", "p", "--api", "chat", "--num-samples", "1"]
    done = _command("rollout", run, *flags, "--base-url", address, "--max-retries", "3", "--timeout-s", "1")
    assert done.returncode == 1
    assert f"server {odd_server.address} is left out" in done.stderr
    assert "on fire" in _stored(run)
    assert SECRET not in done.stdout + done.stderr + _stored(run)
    assert {key.partition(" ")[0] for key in odd_server.keys} == {"Basic"}
    for wrong in (f"http://me:{SECRET}@127.0.0.1:9/v1", f"http://me:{SECRET}@127.0.0.1:9/v1?key={SECRET}"):
        refused = _command("rollout", run, *flags, "--base-url", wrong)
        assert refused.returncode == 1
        assert "pivotmine: server http://127.0.0.1:9/v1" in refused.stderr
        assert SECRET not in refused.stdout + refused.stderr


@pytest.mark.parametrize("address", [f"http://me:{SECRET}@host/v1", f"http://host/v1?key={SECRET}"])
def test_a_judges_address_which_every_row_holds_has_no_secret(address: str) -> None:
    with pytest.raises(UserError, match="give http://host/v1 without user, password and query") as refused:
        make_spec("judge", {"base_url": address})
    assert SECRET not in str(refused.value)


def test_a_card_names_what_it_was_made_from_and_not_where_it_lay(tmp_path: Path) -> None:
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    run = make_run(tmp_path, trajectory(said("hard"), called("find", id="A"), answered("found")))
    mine(run, tokenizer, {"user: hard": MIXED})
    select(SelectConfig(validation_share=0.0, tokenizer=str(tokenizer)), run)
    text = card(run)
    assert str(tmp_path) not in text.replace("\\", "")
    assert "/models" not in text
    assert "| tokenizer | tokenizer |" in text
    assert "| model | policy |" in text
    assert "| source.jsonl |" in text
    assert "| tokenizer\\_hash |" in text
