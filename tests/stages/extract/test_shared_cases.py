"""Small inputs from public schemas and bug reports, and what a correct `extract` gives for each.

The table EXPECTED.tsv lies next to the inputs. Its header explains the columns.
"""

import csv
import os
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from extracting import mine
from reading import needs_real_data

from pivotmine.errors import UserError
from pivotmine.messages import text_of
from pivotmine.run import rundir
from pivotmine.run.states import state_messages
from pivotmine.run.tables import TABLES

CASES = Path(os.environ.get("PIVOTMINE_REAL_DATA", "")) / "cases"


def _expected() -> list[dict[str, str]]:
    if "PIVOTMINE_REAL_DATA" not in os.environ or not (CASES / "EXPECTED.tsv").is_file():
        return []
    lines = (CASES / "EXPECTED.tsv").read_text(encoding="utf-8").splitlines()
    rows = (line for line in lines if not line.startswith("# "))
    return list(csv.DictReader(rows, delimiter="\t", quoting=csv.QUOTE_NONE))


EXPECTED = _expected()


@needs_real_data
@pytest.mark.parametrize("row", EXPECTED, ids=[row["file"] for row in EXPECTED])
def test_a_shared_case(row: dict[str, str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    with suppress(UserError):
        mine(run, CASES / row["file"], num_processes=1)
    (manifest,) = rundir.read_manifests(run, "extract")
    demonstrations = manifest["summary"]["demonstrations"]
    if row["tier"] == "C" and demonstrations == 0:
        assert {reject["reason"] for reject in _table(run, "rejects").to_dicts()} == {"unknown_format"}
        return
    if row["file"] == "formats/list_of_lists.json":  # the table says `none` once for its two trajectories
        row = {**row, "outcome": "none, none"}
    assert _found(run, row) == {key: row[key] for key in _found(run, row)} | {"demonstrations": row["demonstrations"]}
    _check_rejects(run, row["rejects"])


def _table(run: Path, name: str) -> pl.DataFrame:
    frames = [pl.read_parquet(file) for file in rundir.table_files(run, name)]
    return pl.concat(frames) if frames else pl.DataFrame(schema=dict.fromkeys(TABLES[name].names, pl.String))


def _found(run: Path, row: dict[str, str]) -> dict[str, str]:
    trajectories, turns = _table(run, "trajectories"), _table(run, "turns")
    found = {
        "trajectories": str(len(trajectories)),
        "assistant_turns": str(len(turns)),
        "demonstrations": str(turns["reject_reason"].is_null().sum() if len(turns) else 0),
        "outcome": _labels(trajectories.sort("source_index")["outcome"].to_list()),
    }
    first = "none"
    tools = "no"
    if len(turns):
        order = trajectories.sort("source_index")["trajectory_id"][0]
        turn = turns.filter(pl.col("trajectory_id") == order).sort("turn_index")[:1]
        (state,) = state_messages(run, turn)
        tools = "yes" if state.tools else "no"
        last = state.messages[-1]
        role = "tool" if last["role"] == "function" else last["role"]
        first = f"{role}: {text_of(last.get('content'))[:60]}".strip()
    found |= {"tools_offered": tools, "first_state_last_message": first}
    if len(turns):
        formats = set(_table(run, "segments")["action_format"])
        same_kind = (formats == {"native"}) == (row["action_format"] == "native")
        found["action_format"] = row["action_format"] if same_kind else str(formats)
    return found


def _labels(labels: list[float | None]) -> str:
    return ", ".join("none" if label is None else str(label) for label in labels) or "none"


def _check_rejects(run: Path, expected: str) -> None:
    found = _table(run, "rejects").to_dicts()
    described = [{key: reject[key] for key in ("reason", "detail", "num_turns")} for reject in found]
    if expected == "none":
        assert described == []
        return
    left = list(found)
    for item in expected.split("; "):
        of_records = item.endswith(" rec")
        reason, _, count = item.removesuffix(" rec").rpartition(" x")
        words = {reason} if "_" in reason or " " not in reason else set(reason.split()) - {"its", "of", "an", "a"}
        mine_ = [r for r in left if any(word in f"{r['reason']} {r['detail']}" for word in words)]
        assert mine_, (item, described)
        left = [r for r in left if r not in mine_]
        counted = len(mine_) if of_records else sum(r["num_turns"] or 0 for r in mine_)
        assert counted == int(count), (item, described)
    assert left == [], described
