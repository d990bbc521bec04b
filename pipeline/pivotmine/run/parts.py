"""Digests of a run's parts. They reveal parts that were damaged, lost, copied, or brought from another run.

`manifests/extract-*.json` has the digests of extract's tables. Every other folder of parts has one
`manifests/parts-*.json` per writer. A digest is stored before its part is in place, so even after a kill the manifests
know every part. Folders without digests come from earlier versions: their parts are not checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import threading
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.run.atomic_files import settle, temporary_place
from pivotmine.run.rundir import EXTRACT_TABLES

STAGE = "parts"
"""The first word of these manifests' names."""
ABSENT = "absent"
"""Accepted in place of a digest: the part may be missing, because a kill can prevent the rename."""
TABLES = (*EXTRACT_TABLES, "gates", "rollouts", "scores", "profiles", "triage", "carried", "pivots", "demonstrations")
"""Tables whose parts are checked before use. `rejects` has digests too, but only `verify` checks them."""
_SECONDS_PER_SAVE = 5.0
_sound: dict[Path, tuple[int, int, int]] = {}
"""Parts that this process has checked, with inode, modification time and size at that time."""


class Known(NamedTuple):
    """The digests in all manifests of a run."""

    digests: dict[str, list[str]]
    """By path in the run: the digests that a part may have, perhaps with `ABSENT`."""
    folders: frozenset[str]
    """The folders whose parts have digests."""


class Problem(NamedTuple):
    path: Path
    table: str
    kind: Literal["cut short", "damaged", "missing", "not of this run"]

    def __str__(self) -> str:
        return f"{self.path} {_WORDS[self.kind]}"


_WORDS = {
    "cut short": "is cut short",
    "damaged": "is damaged: its content has changed",
    "missing": "is missing",
    "not of this run": "is not in the run's manifests: it is a copy, or from another run",
}


def file_digest(path: Path) -> str:
    """The first 32 hexadecimal digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


class PartsManifest:
    """The digests of one writer's parts in a folder. Call `close` after `note`, which does not always save."""

    def __init__(self, run: Path, folder: Path, writer: str = "") -> None:
        """writer: distinguishes writers that share the folder, such as shards."""
        self._run, self._lock, self._saved = run, threading.Lock(), 0.0
        self._config = {"folder": _name(run, folder), "writer": writer}
        self._path = run / "manifests" / f"{STAGE}-{rundir.config_digest(self._config)}.json"
        self._digests: dict[str, list[str]] = {}
        if self._path.exists():
            self._digests = _settled(run, read_digests(run, self._path))
        elif table_of(self._config["folder"]) != "rejects" and self._config["folder"] not in known_parts(run).folders:
            # An earlier version wrote no digests: adopt its parts as they are, and check them from now on.
            self._digests = {_name(run, path): [file_digest(path)] for path in sorted(folder.glob("*.parquet"))}

    def write(self, path: Path, table: pa.Table) -> None:
        """Write a part."""
        with temporary_place(path) as place:
            pq.write_table(table, place, compression="zstd")
            self.replace(place, path)

    def replace(self, place: Path, path: Path) -> None:
        """Store the digest of a file that was written next to a part, then put the file in its place."""
        name, digest = _name(self._run, path), file_digest(place)
        with self._lock:
            # Until the rename, the old file is still in place: both digests are accepted.
            self._digests[name] = [*self._digests.get(name, [ABSENT])[-1:], digest]
            self._save()
        settle(place, path)
        with self._lock:
            self._digests[name] = [digest]
            self._save()

    def note(self, path: Path, digest: str) -> None:
        """Add the digest of a part that is already in place. It can be computed again, so saving it may wait."""
        with self._lock:
            self._digests[_name(self._run, path)] = [digest]
            if time.monotonic() - self._saved > _SECONDS_PER_SAVE:
                self._save()

    def forget_lost(self) -> list[Path]:
        """Remove missing parts from the manifest; returns their paths."""
        gone = [name for name in self._digests if not (self._run / name).exists()]
        for name in gone:
            del self._digests[name]
        if gone:
            self.close()
        return [self._run / name for name in gone]

    def has(self, path: Path) -> bool:
        """Whether the digest of a part is known."""
        return _name(self._run, path) in self._digests

    def close(self) -> None:
        """Save the digests."""
        with self._lock:
            self._save()

    def _save(self) -> None:
        body = {"stage": STAGE, "config": self._config, "parts": self._digests}
        rundir.write_text(self._path, json.dumps(body, indent=1, ensure_ascii=False) + "\n")
        self._saved = time.monotonic()


def write_rejects(run: Path, folder: Path, rejects: pa.Table, writer: str = "") -> None:
    """Replace the rejects of one writer. writer: names its share of the work; empty means all of it."""
    manifest = PartsManifest(run, folder, writer)
    manifest.forget_lost()
    manifest.write(folder / f"{'-'.join(filter(None, ('rejects', writer)))}.parquet", rejects)


def _settled(run: Path, digests: dict[str, list[str]]) -> dict[str, list[str]]:
    """The digests after a possible kill.

    The file shows which of two digests is right. Parts that were never written are dropped.
    """
    found: dict[str, list[str]] = {}
    for name, accepted in digests.items():
        state = _state(run / name) if len(accepted) > 1 else accepted[0]
        if state != ABSENT:
            found[name] = [state] if state in accepted else accepted
    return found


def known_parts(run: Path, without: Collection[Path] = ()) -> Known:
    """The digests in all manifests except those in `without`; UserError if one is damaged."""
    digests: dict[str, list[str]] = {}
    folders: set[str] = set()
    for path in sorted(path for stage in ("extract", STAGE) for path in (run / "manifests").glob(f"{stage}-*.json")):
        if path in without:
            continue
        own, config = read_digests(run, path), rundir.read_manifest(path)["config"]
        digests |= own
        folders |= {config["folder"]} if "folder" in config else {name.rpartition("/")[0] for name in own}
    return Known(digests, frozenset(folders))


def forget(run: Path, path: Path) -> None:
    """Remove a part from the manifests, after it was moved out of its folder."""
    for manifest in sorted((run / "manifests").glob(f"{STAGE}-*.json")):
        body = rundir.read_manifest(manifest)
        if body["parts"].pop(_name(run, path), None) is not None:
            rundir.write_text(manifest, json.dumps(body, indent=1, ensure_ascii=False) + "\n")


def rebuild(run: Path, lost: Path) -> None:
    """Rewrite a lost parts manifest from the decodable parts of its folder that no other manifest lists."""
    known = known_parts(run).digests
    tables = (*TABLES, "rejects")
    for folder in sorted({path.parent for table in tables for path in rundir.table_files(run, table)}):
        files = sorted(folder.glob("*.parquet"))
        for writer in sorted({"", *(path.stem.split("-")[1] for path in files if "-" in path.stem)}):
            config = {"folder": _name(run, folder), "writer": writer}
            if lost.stem == f"{STAGE}-{rundir.config_digest(config)}":
                own = [path for path in files if not writer or path.stem.split("-")[1:2] == [writer]]
                whole = [path for path in own if _name(run, path) not in known and is_readable(path)]
                body = {"stage": STAGE, "config": config, "parts": {_name(run, p): [file_digest(p)] for p in whole}}
                rundir.write_text(lost, json.dumps(body, indent=1, ensure_ascii=False) + "\n")


def is_readable(path: Path) -> bool:
    """Whether every value of a Parquet file can be decoded."""
    try:
        for batch in pq.ParquetFile(path, page_checksum_verification=True).iter_batches(batch_size=4096):
            batch.validate(full=True)
    except (pa.ArrowException, OSError, ValueError):
        return False
    return True


def read_digests(run: Path, path: Path) -> dict[str, list[str]]:
    """The digests in a manifest by path; empty if an earlier version wrote it. UserError if it is damaged."""
    parts = rundir.read_manifest(path).get("parts", {})
    if not isinstance(parts, dict) or not all(_are_digests(one) for one in parts.values()):
        raise UserError(f"{path} is damaged: {_repair(run)} writes it again")
    return {name: [one] if isinstance(one, str) else one for name, one in parts.items()}


def _are_digests(found: Any) -> bool:
    return isinstance(found, str) or (isinstance(found, list) and bool(found) and all(type(d) is str for d in found))


def require_sound(run: Path, table: str, folder: Path | None = None, *, may_lack: bool = False) -> list[Path]:
    """The files of a table after a check of their digests; UserError, with what to do, if one is broken.

    folder: check only this folder of the table. may_lack: allow missing parts, for a caller that makes them again. A
    process reads each part only once for this.
    """
    files = rundir.table_files(run, table)
    files = files if folder is None else [path for path in files if path.parent == folder]
    for problem in problems(run, table, files, known_parts(run), folder):
        if problem.kind != "missing" or not may_lack:
            raise UserError(f"{problem}: {remedy(run, problem)}")
    return files


def problems(run: Path, table: str, files: list[Path], known: Known, folder: Path | None = None) -> list[Problem]:
    """The faults of these parts of a table, and the parts missing from `folder` (from the whole table if None)."""
    gone = [
        run / name
        for name, accepted in known.digests.items()
        if ABSENT not in accepted
        and table_of(name) == table
        and folder in (None, (run / name).parent)
        and not (run / name).exists()
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing releases Python's lock
        checked = list(pool.map(lambda path: _problem(run, table, path, known), files))
    return [*(Problem(path, table, "missing") for path in gone), *(one for one in checked if one is not None)]


def _problem(run: Path, table: str, path: Path, known: Known) -> Problem | None:
    facts = path.stat()
    seen = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
    if _sound.get(path) == seen:
        return None
    if not rundir.is_whole(path):
        return Problem(path, table, "cut short")
    accepted = known.digests.get(_name(run, path))
    if accepted is None:
        # `score` repeats parts without a digest, and shards of rejects may come from two versions.
        is_remade = table == "scores" or (table == "rejects" and not path.parent.name.startswith("extract-"))
        is_strange = not is_remade and _name(run, path.parent) in known.folders
        return Problem(path, table, "not of this run") if is_strange else None
    if _state(path) not in accepted:
        return Problem(path, table, "damaged")
    _sound[path] = seen
    return None


def remedy(run: Path, problem: Problem) -> str:
    """What to do about a broken part."""
    path, table = problem.path, problem.table
    if problem.kind == "not of this run":
        return f"move it away; {_repair(run)} does so"
    if problem.kind == "missing" and table == "rollouts":
        return f"start the same `pivotmine rollout` again, which draws its samples again; {_repair(run)} forgets it"
    return f"{rundir.remedy(path, table)}; or {_repair(run)}"


def _repair(run: Path) -> str:
    return f"`pivotmine verify {shlex.quote(str(run))} --repair`"


def first_problem(run: Path) -> str | None:
    """The first broken part of a run and what to do; None if all parts are sound."""
    try:
        for table in TABLES:
            require_sound(run, table)
    except UserError as error:
        return str(error)
    return None


def table_of(name: str) -> str:
    """The table of a part, by its path in the run."""
    last = name.rpartition("/")[2].removesuffix(".parquet")
    return last if last in ("profiles", "demonstrations") else name.partition("/")[0]


def _state(path: Path) -> str:
    return file_digest(path) if path.exists() else ABSENT


def _name(run: Path, path: Path) -> str:
    return path.relative_to(run).as_posix()
