"""The verify stage: check parts against their digests, and manifests and records as JSON; name faults and remedies.

`--repair` remakes broken files and no others (`repair`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pivotmine.counts import counted
from pivotmine.errors import UserError
from pivotmine.progress import track
from pivotmine.run import parts, rundir
from pivotmine.run.parts import Known, Problem
from pivotmine_stages.policy.record import load_policy
from pivotmine_stages.verify import repair
from pivotmine_stages.verify.options import VerifyConfig
from pivotmine_stages.verify.repair import MendedFile

TABLES = (*parts.TABLES, "rejects")
_SCORE_AGAIN = "delete it and start the same `pivotmine score` again"
_RECORDS = {"rollouts": "rollouts/*/policy.json", "scores": "scores/*/*/verifier.json"}


@dataclass(frozen=True, slots=True)
class BrokenFile:
    """A file that is still broken."""

    path: str
    table: str
    """The part's table, or `manifests`."""
    problem: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySummary:
    """The files of one run."""

    files: int
    bytes: int
    without_digest: int
    """Files of earlier versions without a digest, which were decoded instead."""
    broken: list[BrokenFile]
    mended: list[MendedFile]
    """What `--repair` did."""
    seconds: float


def verify(config: VerifyConfig, run: Path) -> VerifySummary:
    """Run the command and return its summary."""
    started = time.monotonic()
    rundir.require_run(run)
    broken, counts = check(run)
    mended: list[MendedFile] = []
    if config.repair and broken:
        mended = repair.mend(run, broken, config.source)
        broken, counts = check(run)
    return VerifySummary(
        **counts,
        broken=[BrokenFile(str(one.path), one.table, one.words, one.remedy) for one in broken],
        mended=mended,
        seconds=round(time.monotonic() - started, 2),
    )


def check(run: Path) -> tuple[list[repair.Broken], dict[str, int]]:
    """Return the broken files, manifests first, and how many files and bytes were read."""
    broken = [*_broken_json(run)]
    lost = {one.path for one in broken if one.table == "manifests"}
    # Without its manifest, a folder counts as one of an earlier version.
    known = parts.known_parts(run, without=lost)
    counts = {"files": 0, "bytes": 0, "without_digest": 0}
    for table in track(TABLES, "verify", "tables", len(TABLES)):
        files = rundir.table_files(run, table)
        counts["files"] += len(files)
        counts["bytes"] += sum(path.stat().st_size for path in files)
        counts["without_digest"] += sum(path.relative_to(run).as_posix() not in known.digests for path in files)
        found = parts.problems(run, table, files, known)
        broken += [repair.Broken.of(run, problem) for problem in found]
        broken += _unreadable(run, table, set(files) - {problem.path for problem in found}, known)
    return broken, counts


def _unreadable(run: Path, table: str, files: Iterable[Path], known: Known) -> Iterator[repair.Broken]:
    """Yield the parts without a digest that cannot be decoded."""
    for path in sorted(files):
        if path.relative_to(run).as_posix() not in known.digests and not parts.is_readable(path):
            yield repair.Broken.of(run, Problem(path, table, "damaged"))


def _broken_json(run: Path) -> Iterator[repair.Broken]:
    """Yield the manifests, and the records of policies and verifiers, that are not valid."""
    for path in sorted((run / "manifests").glob("*.json")):
        if wrong := _refusal(lambda path=path: parts.read_digests(run, path)):
            yield repair.Broken(path, "manifests", *_split(path, wrong))
    for path in sorted(run.glob(_RECORDS["rollouts"])):
        if wrong := _refusal(lambda path=path: load_policy(run, path.parent.name)):
            yield repair.Broken(path, "rollouts", *_split(path, wrong))
    for path in sorted(run.glob(_RECORDS["scores"])):
        if wrong := _refusal(lambda path=path: rundir.read_json(path, _SCORE_AGAIN)["options"]):
            yield repair.Broken(path, "scores", *_split(path, wrong))


def _refusal(read: Any) -> str | None:
    try:
        read()
    except UserError as error:
        return str(error)
    except KeyError:
        return "is damaged: delete it and start the command that wrote it again"
    return None


def _split(path: Path, line: str) -> tuple[str, str]:
    """Split an error's line into the fault and the remedy."""
    problem, _, remedy = line.removeprefix(f"{path} ").partition(": ")
    return problem, remedy


def verify_report(s: VerifySummary) -> str:
    """Return the summary as lines of text."""
    lines = [f"{counted(s.files, 'file')}, {s.bytes / 1e6:,.1f} MB"]
    if s.without_digest:
        lines.append(f"{counted(s.without_digest, 'file')} of earlier versions, without a digest, decoded")
    lines += [f"mended {one.path} ({one.table}): {one.how}" for one in s.mended]
    lines += [f"{one.path} ({one.table}) {one.problem}: {one.remedy}" for one in s.broken]
    lines.append(f"{len(s.broken):,} broken, {s.seconds} s" if s.broken else f"all whole, {s.seconds} s")
    return "\n".join(f"{'verify' if i == 0 else '':<9} {line}" for i, line in enumerate(lines))
