"""Repair a run: remake the files that follow from undamaged ones, and move the other broken files out of the way.

The sources are extracted again into a temporary folder. A new part replaces a broken one only if it has the digest in
the manifest. Scores, profiles and gates are remade from rollouts, and pivots from scores. Rollouts cannot be remade
here: their broken parts go to `RUN/set-aside`, and the result names the command that draws their samples again.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from pivotmine.errors import UserError
from pivotmine.run import parts, rundir
from pivotmine.run.parts import Problem
from pivotmine.run.rundir import EXTRACT_TABLES
from pivotmine_stages.extract.options import ExtractConfig
from pivotmine_stages.extract.stage import extract
from pivotmine_stages.policy.record import stored_verifier
from pivotmine_stages.score.options import ScoreConfig
from pivotmine_stages.score.stage import score
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.stage import select

log = logging.getLogger("pivotmine")
SET_ASIDE = "set-aside"
_SELECTED = ("pivots", "demonstrations")


@dataclass(frozen=True, slots=True)
class MendedFile:
    """What was done about a broken file."""

    path: str
    table: str
    """The part's table, or `manifests`."""
    how: str


class Broken(NamedTuple):
    path: Path
    table: str
    """The part's table, or `manifests`."""
    words: str
    """What is wrong."""
    remedy: str
    kind: str = ""
    """As in `parts.Problem`; empty for JSON."""

    @classmethod
    def of(cls, run: Path, problem: Problem) -> Broken:
        """Describe a broken part, with what to do about it."""
        words = str(problem).removeprefix(f"{problem.path} ")
        return cls(problem.path, problem.table, words, parts.remedy(run, problem), problem.kind)


def mend(run: Path, broken: list[Broken], sources: tuple[Path, ...]) -> list[MendedFile]:
    """Repair what can be repaired, and return what was done. The next check finds the rest still broken."""
    done: list[MendedFile] = []
    manifests = [one for one in broken if one.table == "manifests" and not one.path.name.startswith("extract-")]
    for one in manifests:
        _set_aside(run, one, done, "moved to set-aside")
    if len(manifests) < sum(one.table == "manifests" for one in broken):
        return done  # without extract's manifest nobody knows which files are undamaged
    for one in manifests:
        parts.rebuild(run, one.path)
    if tables := [one for one in broken if _is_of_extract(one)]:
        _extract_again(run, tables, sources, done)
    for one in broken:
        how = "forgotten" if one.kind == "missing" else "moved to set-aside"
        if one.table in ("rollouts", "triage", "carried") and one.kind:
            again = "" if one.kind == "not of this run" else "; the same `pivotmine rollout` draws its samples again"
            _set_aside(run, one, done, how + again)
        elif one.table == "rejects" and one.kind and _writer(run, one) is None and not _is_of_extract(one):
            is_drawn = one.path.parent.name.startswith("rollout-")
            again = "; the same `pivotmine rollout` writes it again" if is_drawn else ""
            _set_aside(run, one, done, how + again)
    for make_again in (_score_again, _select_again):
        try:
            make_again(run, broken, done)
        except UserError as error:  # the other repairs go on
            log.warning("%s", error)
    return done


def _writer(run: Path, one: Broken) -> tuple[str, dict[str, Any]] | None:
    """Return (stage, configuration) of rejects that are remade here; None for all other files."""
    if one.table != "rejects":
        return None
    for stage in ("score", "select"):
        for config in (manifest["config"] for manifest in rundir.read_manifests(run, stage)):
            key = {"name": config["name"]} if stage == "select" else config
            if rundir.rejects_dir(run, stage, key) == one.path.parent:
                return stage, config
    return None


def _is_of_extract(one: Broken) -> bool:
    return one.table in EXTRACT_TABLES or (
        one.table == "rejects" and one.path.parent.name.startswith("extract-") and one.kind != ""
    )


def _set_aside(run: Path, one: Broken, done: list[MendedFile], how: str) -> None:
    """Move a file out of the tables, and remove its digest."""
    if one.path.exists():
        place = run / SET_ASIDE / one.path.relative_to(run)
        place.parent.mkdir(parents=True, exist_ok=True)
        one.path.replace(place)
    if one.kind:
        parts.forget(run, one.path)
    done.append(MendedFile(str(one.path), one.table, how))


def _extract_again(run: Path, broken: list[Broken], sources: tuple[Path, ...], done: list[MendedFile]) -> None:
    """Extract the same sources again and take the broken parts from there. Parts with another digest stay broken."""
    foreign = [one for one in broken if one.kind == "not of this run"]
    for one in foreign:
        _set_aside(run, one, done, "moved to set-aside")
    manifests = rundir.read_manifests(run, "extract")
    config = manifests[-1]["config"]
    known = parts.known_parts(run).digests
    given = sources or tuple(Path(source) for source in manifests[-1].get("given", ()))
    if len(foreign) == len(broken) or not given or config.get("tools") is not None:
        return  # of a tools file the manifest has only the hash
    named = {field.name for field in fields(ExtractConfig)} - {"sources", "tools_file", "num_processes"}
    options: dict[str, Any] = {key: value for key, value in config.items() if key in named}
    with tempfile.TemporaryDirectory(dir=run, prefix=".verify-", suffix=".tmp") as folder:
        again = Path(folder) / "run"
        try:
            extract(ExtractConfig(sources=given, **options), again)
        except UserError:
            return  # the sources are gone, or hold something else
        for one in broken:
            name = one.path.relative_to(run).as_posix()
            made = again / name
            if one not in foreign and made.exists() and parts.file_digest(made) in known.get(name, ()):
                shutil.move(made, one.path)
                done.append(MendedFile(str(one.path), one.table, "extracted again"))


def _score_again(run: Path, broken: list[Broken], done: list[MendedFile]) -> None:
    """Score again where scores, profiles or gates are broken. Whole parts keep their verdicts."""
    wanted: dict[tuple[str, str], None] = {}
    for one in broken:
        if one.table in ("scores", "profiles") and one.kind:
            wanted[one.path.parent.parent.name, one.path.parent.name] = None
        elif one.table == "gates":
            wanted |= _scored(run, f"*/{one.path.stem}")
        elif one.table == "rollouts" and one.kind:
            wanted |= _scored(run, f"{one.path.parent.name}/*")
        elif one.kind and (writer := _writer(run, one)) is not None and writer[0] == "score":
            wanted[writer[1]["policy_id"], writer[1]["verifier_id"]] = None
        else:
            continue
        if one.table != "rollouts":
            _remove(run, one)
            done.append(MendedFile(str(one.path), one.table, "judged again"))
    for policy_id, verifier_id in wanted:
        spec, settings = stored_verifier(run / "scores" / policy_id / verifier_id)
        score(ScoreConfig(verifier=spec, policy=policy_id, parser=settings["parser"]), run)


def _scored(run: Path, pattern: str) -> dict[tuple[str, str], None]:
    """Return (policy_id, verifier_id) of the profiles in some folders of `scores`."""
    found = sorted(run.glob(f"scores/{pattern}/profiles.parquet"))
    return {(path.parent.parent.name, path.parent.name): None for path in found}


def _select_again(run: Path, broken: list[Broken], done: list[MendedFile]) -> None:
    """Select again where pivots are broken, with the settings in the manifest."""
    names = dict.fromkeys(one.path.parent.name for one in broken if one.table in _SELECTED and one.kind)
    for one in broken:
        if one.kind and (writer := _writer(run, one)) is not None and writer[0] == "select":
            names[writer[1]["name"]] = None
            _remove(run, one)
            done.append(MendedFile(str(one.path), one.table, "selected again"))
    configs = {one["config"]["name"]: one["config"] for one in rundir.read_manifests(run, "select")}
    for name in names:
        for one in (one for one in broken if one.table in _SELECTED and one.path.parent.name == name):
            if one.kind == "not of this run":
                _set_aside(run, one, done, "moved to set-aside")
            elif name in configs:
                _remove(run, one)
                done.append(MendedFile(str(one.path), one.table, "selected again"))
        if name in configs:
            named = {field.name for field in fields(SelectConfig)}
            select(SelectConfig(**{key: value for key, value in configs[name].items() if key in named}), run)


def _remove(run: Path, one: Broken) -> None:
    one.path.unlink(missing_ok=True)
    parts.forget(run, one.path)
