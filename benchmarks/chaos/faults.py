"""The faults. Each gets the world and a seeded source of chance, and returns what was wrong, or None.

What counts as wrong: a traceback, an exit code without a reason, a process that hangs or is left behind, and tables
that differ from the undisturbed run's after the same commands were started again.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import psutil
from benchmarks.chaos.server import FAULTS as SERVER_FAULTS
from benchmarks.chaos.world import STAGES, Command, Ended, World, difference, is_one_line

Fault = Callable[[World, random.Random], str | None]
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}
_CODES = {signal.SIGKILL: {-9}, signal.SIGTERM: {143, -15}, signal.SIGINT: {130, -2}}
NOBODY = 65534


def _again(world: World, run: Path, stage: str, *, only_keys: bool = False) -> str | None:
    """Start the stages again from `stage` on; what is wrong then."""
    if failed := world.finish(run, stage):
        return f"started again: exit {failed.code}: {failed.err.strip()[-300:]}"
    return difference(world, run, only_keys=only_keys)


def killed(name: str, world: World, chance: random.Random) -> str | None:
    """A signal at a random time of a stage, up to three times."""
    stage, sent = chance.choice(STAGES), SIGNALS[name]
    run = world.copy(stage, "killed")
    for _ in range(chance.randint(1, 3)):
        command = Command(world.command(stage, run), world.folder / "log")
        time.sleep(chance.uniform(0, world.seconds[stage]))
        pid = command.process.pid
        children = _children(pid)
        if command.process.is_alive() and pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)
        ended = command.end()
        if ended.code and ended.code not in _CODES[sent]:
            return f"{stage}: exit {ended.code} after {name}: {ended.err.strip()[-300:]}"
        if "Traceback" in ended.err and sent != signal.SIGKILL and ended.code not in (-15, -2):
            return f"{stage}: a traceback after {name}: {ended.err.strip()[-300:]}"
        if left := [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]:
            _, alive = psutil.wait_procs(left, timeout=10)
            if alive:
                return f"{stage}: {len(alive)} processes are left behind"
    return _again(world, run, stage)


def _children(pid: int | None) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def full_disk(world: World, chance: random.Random) -> str | None:
    """A disk that is full after some kilobytes: a small tmpfs where one may be mounted, else a limit on file sizes."""
    stage = chance.choice(STAGES)
    run = world.copy(stage, "full")
    size = sum(path.stat().st_size for path in run.rglob("*")) if run.exists() else 0
    if not can_mount(world.folder):
        ended = world.run(*world.command(stage, run), prepare=partial(_limit, resource.RLIMIT_FSIZE, 2_000))
        return is_one_line(ended) or _again(world, run, stage)
    with _mounted(world.folder / "small", f"size={(size + chance.randrange(8_000, 120_000)) // 1000 + 40}k") as place:
        inside = place / "run"
        with contextlib.suppress(shutil.Error, OSError):
            if run.exists():
                shutil.copytree(run, inside)
            ended = world.run(*world.command(stage, inside))
            if wrong := is_one_line(ended):
                return f"{stage}: {wrong}"
            if left := [path.name for path in inside.rglob("*.tmp")]:
                return f"{stage}: {left[0]} is left behind"
            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(inside, run)
    return _again(world, run, stage)


def read_only(world: World, chance: random.Random) -> str | None:
    """A run that may not be written."""
    stage = chance.choice(STAGES)
    run = world.copy(stage, "readonly")
    run.mkdir(exist_ok=True)
    if can_mount(world.folder):
        with _mounted(world.folder / "small", "size=64m") as place:
            shutil.copytree(run, place / "run")
            subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
            ended = world.run(*world.command(stage, place / "run"))
    else:
        for path in [run, *run.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        ended = world.run(*world.command(stage, run), prepare=_as_nobody if os.getuid() == 0 else None)
        for path in [run, *run.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    return is_one_line(ended) or _again(world, run, stage)


def little_memory(world: World, chance: random.Random) -> str | None:
    """A limit on memory that any allocation may meet; how the command ends is the libraries' affair."""
    stage = chance.choice(STAGES)
    run = world.copy(stage, "memory")
    extra = chance.randrange(1 << 20, 400 << 20)
    world.run(*world.command(stage, run), prepare=partial(_limit_memory, extra))
    return _again(world, run, stage)


def two_at_once(world: World, chance: random.Random) -> str | None:
    """The same command twice at the same time: one waits, or says that the other is at work."""
    stage = chance.choice(STAGES)
    run = world.copy(stage, "two")
    first = Command(world.command(stage, run), world.folder / "log")
    time.sleep(chance.uniform(0, world.seconds[stage] / 2))
    second = Command(world.command(stage, run), world.folder / "log2")
    ends = [first.end(), second.end()]
    wrong = [found for ended in ends if (found := is_one_line(ended))]
    if wrong or all(ended.code for ended in ends):
        return f"{stage}: {wrong or [ended.err[-200:] for ended in ends]}"
    return _again(world, run, stage)


def bad_server(name: str, world: World, chance: random.Random) -> str | None:
    """A server that answers half of the requests badly, and is well again afterwards."""
    run = world.copy("rollout", "server")
    world.server.disturb(name, random.Random(chance.random()))
    try:
        ended = world.run(*world.command("rollout", run))
    finally:
        world.server.disturb(None, chance)
    # Words of a wrong type are told from words; words that are others are an answer.
    return is_one_line(ended) or _again(world, run, "rollout", only_keys=name == "wrong types")


def damaged(kind: str, world: World, chance: random.Random) -> str | None:
    """A flipped bit, or a file that is cut short: told by the stages that decide from it, and mended by `verify`."""
    run = world.copy("done", "damaged")
    files = [path for path in sorted(run.rglob("*.parquet")) if "rejects" not in path.parts]
    files += sorted(run.glob("manifests/*.json")) if kind == "cut" else []
    path = chance.choice(files)
    data = bytearray(path.read_bytes())
    if kind == "flip":
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
    else:
        path.write_bytes(data[: chance.randrange(len(data))])
    where = str(path.relative_to(run))
    command: list[object] = chance.choice(
        [world.command(stage, run) for stage in ("rollout", "score", "select")]
        + [["report", run], ["status", run], ["sql", run, "select count(*) from scores"], ["export", run]]
    )
    if wrong := is_one_line(world.run(*command)):
        return f"{kind} of {where}, {command[0]}: {wrong}"
    found = world.run("verify", run, "--repair")
    if found.code and path.name.startswith("extract-"):
        return None  # extract's manifest is the one thing that nothing else knows
    if found.code:
        return f"{kind} of {where}: verify --repair: exit {found.code}: {found.err.strip()[-300:]}"
    wrong = _again(world, run, "rollout")
    return wrong and f"{kind} of {where}: {wrong}"


def copied_part(world: World, chance: random.Random) -> str | None:
    """A part that stands twice, or that is gone."""
    run = world.copy("score", "copied")
    (path,) = run.glob("rollouts/*/*.parquet")
    if chance.random() < 0.5:
        shutil.copy(path, path.with_name("part-0of1-000099.parquet"))
    else:
        path.unlink()
    ended = world.run(*world.command("score", run))
    if ended.code != 1 or is_one_line(ended):
        return f"score took it: exit {ended.code}: {ended.err.strip()[-200:]}"
    if mended := world.run("verify", run, "--repair").code:
        return f"verify --repair: exit {mended}"
    return _again(world, run, "rollout")


HOSTILE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "bytes": lambda path: path.write_bytes(bytes(range(256)) * 40),
    "deep": lambda path: path.write_text("[" * 100_000),
    "long": lambda path: path.write_text('{"messages": "' + "x" * 2_000_000),
    "numbers": lambda path: path.write_text('{"messages": [1e999, -0.0, 9' + "9" * 5000 + "]}\n"),
    "surrogate": lambda path: path.write_text('{"messages": [{"role": "user", "content": "\\ud800"}]}\n'),
    "parquet": lambda path: path.rename(path.with_suffix(".parquet")) if path.write_bytes(b"PAR1" * 9) else None,
    "gzip": lambda path: path.with_suffix(".jsonl.gz").write_bytes(b"\x1f\x8b\x08" + b"\xff" * 99),
    "zip": lambda path: path.with_suffix(".eval").write_bytes(b"PK\x03\x04" + b"\xff" * 99),
    "nothing": lambda path: path.symlink_to("/nowhere"),
    "loop": lambda path: path.symlink_to(path.parent, target_is_directory=True),
    "roles": lambda path: path.write_text('{"messages": [{"role": "\x1b[2J", "content": {"a": [null]}}]}\n'),
}


def hostile_file(world: World, chance: random.Random) -> str | None:
    """A file next to the sources that nobody meant to write: the others are read as if it were not there."""
    name = chance.choice(sorted(HOSTILE))
    folder = world.folder / "sources"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(world.source, folder / "a.jsonl")
    HOSTILE[name](folder / "b.jsonl")
    run = world.copy("extract", "hostile")
    ended = world.run("extract", folder, "--run", run)
    if wrong := is_one_line(ended):
        return f"{name}: {wrong}"
    if ended.code:
        return None  # refused as a whole, with a reason
    wrong = _again_without_extract(world, run)
    return wrong and f"{name}: {wrong}"


def _again_without_extract(world: World, run: Path) -> str | None:
    failed = world.finish(run, "rollout")
    return f"exit {failed.code}: {failed.err.strip()[-300:]}" if failed else difference(world, run)


def can_mount(folder: Path) -> bool:
    """Whether a tmpfs may be mounted here."""
    try:
        with _mounted(folder / "probe", "size=64k"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextlib.contextmanager
def _mounted(place: Path, options: str) -> Generator[Path]:
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _limit(kind: int, value: int) -> None:
    resource.setrlimit(kind, (value, value))


def _limit_memory(extra: int) -> None:
    _limit(resource.RLIMIT_AS, psutil.Process().memory_info().vms + extra)


def _as_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


FAULTS: dict[str, Fault] = {
    **{name: partial(killed, name) for name in SIGNALS},
    **{f"server: {name}": partial(bad_server, name) for name in SERVER_FAULTS},
    "full disk": full_disk,
    "read-only": read_only,
    "little memory": little_memory,
    "two at once": two_at_once,
    "flip": partial(damaged, "flip"),
    "cut": partial(damaged, "cut"),
    "copied or lost part": copied_part,
    "hostile file": hostile_file,
}
__all__ = ["FAULTS", "Ended", "can_mount"]
