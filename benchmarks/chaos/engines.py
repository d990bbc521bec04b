"""Kills at random times: afterwards the rows are those of an undisturbed run, by their keys, none missing, none twice.

`python -m benchmarks.chaos --engines 20`: rollouts of the desk, half of the kills through Ray (a worker, a node or the
driver) and half through two vLLM servers (a server, or the driver), each a SIGKILL, until the rows are complete. The
tests hold one kill of each kind.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import polars as pl
import psutil

from pivotmine.run import rundir
from pivotmine_stages.cli.options import extract, rollout

DESK = Path(__file__).parents[2] / "data/desk"
NUM_TRAJECTORIES, NUM_SAMPLES = 120, 8
SECONDS_PER_PART = 2.0
"""Parts ten times as often as a real run writes them: a killed driver then loses little of the whole run."""
LONGEST_S = 7200.0
FLAGS: dict[str, Any] = {"num_samples": NUM_SAMPLES, "max_new_tokens": 64, "model": str(DESK / "policy")}
_COMMAND = f"""
import pivotmine_stages.rollout.stage as stage
stage.SECONDS_PER_PART = {SECONDS_PER_PART}
from pivotmine_stages.cli.app import main
main()
"""

Victims = dict[str, Callable[[], None]]


WAYS = ("ray", "openai")


def kill(total: int, seed: int) -> None:
    """Print the kills by victim, and whether the rows agree; exit code 1 where they do not."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        calm = _extracted(Path(folder) / "calm")
        rollout({}, run=calm, engine="transformers", **FLAGS)
        expected = _keys(calm)
        for place, way in enumerate(WAYS):
            kills = total // len(WAYS) + (place < total % len(WAYS))
            run = _extracted(Path(folder) / way)
            with {"ray": _ray, "openai": _openai}[way](run) as (command, victims):
                killed, starts = _disturbed(command, victims, kills, chance)
            found = _keys(run)
            told = ", ".join(f"{victim} {count}" for victim, count in sorted(killed.items()))
            verdict = "the keys equal an undisturbed run's" if found == expected else "THE KEYS DIFFER"
            print(f"chaos    {way}: {killed.total()} kills ({told}), {starts} starts, {len(found)} rows: {verdict}")
            if found != expected:
                sys.exit(1)


def _disturbed(command: list[str], victims: Victims, kills: int, chance: random.Random) -> tuple[Counter[str], int]:
    """Start the command until it ends by itself, and kill something every few seconds as long as kills are left."""
    killed: Counter[str] = Counter()
    deadline, starts = time.monotonic() + LONGEST_S, 0
    while time.monotonic() < deadline:
        driver, starts = _start(command), starts + 1
        while driver.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                driver.wait(chance.uniform(1.0, 15.0))
            if driver.poll() is None and killed.total() < kills:
                victim = chance.choice([*victims, "driver"])
                killed[victim] += 1
                driver.kill() if victim == "driver" else victims[victim]()
        if driver.returncode == 0 and (killed.total() == kills or starts > 2 * kills):
            # What was a reject because its server was gone is there after another start.
            _start(command).wait()
            return killed, starts + 1
        if driver.returncode > 0:
            time.sleep(5.0)  # no server was up
    raise SystemExit(f"chaos    the command has not ended by itself in {LONGEST_S:.0f} s")


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _COMMAND, *command], stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def _ray(run: Path) -> Generator[tuple[list[str], Victims]]:
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]

    def kill_worker() -> None:
        workers = [p for p in psutil.process_iter(["cmdline"]) if "MapWorker" in " ".join(p.info["cmdline"] or ())]
        if workers:
            random.choice(workers).kill()

    def kill_node() -> None:
        cluster.remove_node(nodes.pop(0), allow_graceful=False)
        nodes.append(cluster.add_node(num_cpus=1))

    flags = ["--engine", "ray", "--ray-address", cluster.address, "--replica-engine", "transformers"]
    flags += ["--num-replicas", "2", "--cpus-per-replica", "0.5", "--states-per-block", "8"]
    try:
        yield _command(run, *flags), {"worker": kill_worker, "node": kill_node}
    finally:
        cluster.shutdown()


@contextlib.contextmanager
def _openai(run: Path) -> Generator[tuple[list[str], Victims]]:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(_server(run.parent / f"server-{number}.log")) for number in range(2)]
        for server in servers:
            server.wait()
        flags = ["--engine", "openai", "--policy-name", "desk", "--tokenizer", str(DESK / "policy")]
        flags += [flag for server in servers for flag in ("--base-url", f"http://127.0.0.1:{server.port}/v1")]
        yield _command(run, *flags), {f"server {number}": server.kill for number, server in enumerate(servers)}


class _Server:
    """A vLLM server, started again as soon as it is killed."""

    def __init__(self, log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._log = log
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(DESK / "policy")]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--dtype", "float32", "--enforce-eager"]
        environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)

    def wait(self) -> None:
        while True:
            assert self._process.poll() is None, self._log.read_text(errors="replace")[-2000:]
            address = f"http://127.0.0.1:{self.port}/health"
            with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
                return
            time.sleep(0.5)

    def kill(self) -> None:
        self.end()
        self._start()

    def end(self) -> None:
        """SIGKILL, its engine's process too."""
        for process in [*psutil.Process(self._process.pid).children(recursive=True), self._process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()


@contextlib.contextmanager
def _server(log: Path) -> Generator[_Server]:
    server = _Server(log)
    try:
        yield server
    finally:
        server.end()


def _command(run: Path, *flags: str) -> list[str]:
    sampled = [text for name, value in FLAGS.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    return ["rollout", str(run), *sampled, *flags]


def _extracted(run: Path) -> Path:
    source = run.parent / "desk.jsonl"
    with (DESK / "trajectories.jsonl").open() as lines:
        source.write_text("".join(line for line, _ in zip(lines, range(NUM_TRAJECTORIES), strict=False)))
    extract({}, sources=[source], run=run)
    return run


def _keys(run: Path) -> list[tuple[str, int]]:
    """Sorted, with what is there twice standing there twice."""
    found = rundir.scan(run, "rollouts").select(pl.col("state_id", "sample_index")).collect()
    return sorted(found.iter_rows())
