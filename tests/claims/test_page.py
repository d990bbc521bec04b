"""The page reports what the cells contain, and names missing cells."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pivotmine_claims import cells, page
from pivotmine_claims.arms import ARMS
from pivotmine_claims.cells import Cell, cell_of, file_of, frozen, tries_of
from pivotmine_claims.claims import MISSING
from pivotmine_claims.ledger import Cost, Entry, as_json, write_json
from pivotmine_claims.mining import World
from pivotmine_claims.runner import missing
from pivotmine_claims.scale import FULL, SMOKE

DESK = Path(__file__).parents[2] / "data" / "desk"
WORLD = World(name="middle", policy=DESK / "policy", trajectories=DESK / "trajectories.jsonl", never=(0.17, 0.23))
SCALE = replace(SMOKE, seeds=3)


def point(greedy: float, *, how: str = "final", turns: int = 100) -> dict[str, Any]:
    cost = Cost(turns=turns, generated=10 * turns, trained=20 * turns, groups=10, dead_groups=4, cpu_s=2.0)
    ledger = [
        Entry(
            stage="mine-base", kind="mining", cost=Cost(turns=50), found={"never": 21, "sometimes": 30, "always": 49}
        ),
        Entry(stage="turn-level RL", kind="training", cost=cost),
    ]
    scores = {"greedy": greedy, "sampled": greedy - 0.1, "skills_mean": 0.99, "skills_worst": 0.9, "kl_to_base": 0.01}
    measured = scores if how == "final" else {"greedy": greedy}
    return {"step": 1, "how": how, "measured": measured, "measuring_cpu_s": 1.0, "ledger": as_json(ledger)}


def write_cell(cell: Cell | None, results: Path, *points: dict[str, Any]) -> None:
    assert cell is not None
    write_json(file_of(cell, WORLD, SCALE, results), {"settings": cell.settings, "points": list(points)})


def tried(arm: str, results: Path, best: int) -> None:
    for place, cell in enumerate(tries_of(arm, WORLD, SCALE, results) or []):
        write_cell(cell, results, point(0.4 if place == best else 0.3, how="try"))


def test_an_empty_page_concludes_nothing(tmp_path: Path) -> None:
    page.write(tmp_path / "results.md", tmp_path / "results", WORLD, SCALE)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert f"0 of {3 * len(ARMS)} cells are there" in text
    assert f"| SFT | 0 | {MISSING} |" in text
    assert "holds here" not in text


def test_the_best_try_is_frozen_and_ties_go_to_the_first(tmp_path: Path) -> None:
    assert frozen("sft", WORLD, SCALE, tmp_path) is None
    assert cell_of("sft_then_pivots", 0, WORLD, SCALE, tmp_path) is None
    tried("sft", tmp_path, best=2)
    assert frozen("sft", WORLD, SCALE, tmp_path) == ARMS["sft"].tries[2]
    assert cell_of("sft_then_pivots", 0, WORLD, SCALE, tmp_path) is None
    tried("sft_then_pivots", tmp_path, best=17)
    assert frozen("sft_then_pivots", WORLD, SCALE, tmp_path) == ARMS["sft_then_pivots"].tries[0]
    after = cell_of("sft_then_pivots", 0, WORLD, SCALE, tmp_path)
    assert after is not None
    assert (after.settings, after.first) == (ARMS["sft_then_pivots"].tries[0], ARMS["sft"].tries[2])


def test_a_matched_control_takes_the_settings_of_its_arm(tmp_path: Path) -> None:
    assert list(missing(WORLD, SCALE, tmp_path, ["demonstrations"])) == []
    tried("pivots_demonstrations", tmp_path, best=3)
    (cell, *_) = missing(WORLD, SCALE, tmp_path, ["demonstrations"])
    assert (cell.settings, cell.place) == (ARMS["pivots_demonstrations"].tries[3], None)


def test_tries_come_before_cells_and_a_rate_at_an_end_is_told(tmp_path: Path) -> None:
    results, out = tmp_path / "results", tmp_path / "results.md"
    tried("sft", results, best=5)
    order = [(cell.arm, cell.place) for cell in missing(WORLD, SCALE, results, ["sft", "pivots", "base"])]
    assert order == [*[("pivots", place) for place in range(6)], *[("sft", None), ("base", None)] * 3]
    page.write(out, results, WORLD, SCALE)
    assert "outside of what was tried: SFT (largest).\n" in out.read_text(encoding="utf-8")


def test_words_follow_from_the_seeds(tmp_path: Path) -> None:
    results, out, curve = tmp_path / "results", tmp_path / "results.md", point(0.3, how="curve", turns=60)
    for arm in ("sft", "pivots"):
        tried(arm, results, best=1)
    for seed in range(2):
        write_cell(cell_of("sft", seed, WORLD, SCALE, results), results, point(0.8))
        write_cell(cell_of("pivots", seed, WORLD, SCALE, results), results, curve, point(0.4 + seed / 100))
    page.write(out, results, WORLD, SCALE)
    assert "Too few seeds to conclude from." in out.read_text(encoding="utf-8")
    write_cell(cell_of("sft", 2, WORLD, SCALE, results), results, point(0.8))
    write_cell(cell_of("pivots", 2, WORLD, SCALE, results), results, curve, point(0.42))
    page.write(out, results, WORLD, SCALE)
    text = out.read_text(encoding="utf-8")
    assert (
        "Pivots over SFT, greedy episodes: -39.0 points [-41.5, -36.5] (3 seeds). The claim does not hold here." in text
    )
    assert "no success of the base policy in 21.0 % of the call states" in text
    assert (
        "| pivots, functional | 3 | 100 | 50 | 0.00 M | 2 | 40.0 % | 41.0 % | 31.0 % | 99.0 % | 90.0 % | 0.0100 |"
        in text
    )
    svg = ElementTree.fromstring((results / "middle" / "curves.svg").read_text(encoding="utf-8"))
    assert len(svg.findall(".//{*}path[@stroke-width]")) == 9  # three seeds of one arm with a curve, in three panels


def test_a_comparison_tells_rates_that_differ(tmp_path: Path) -> None:
    results, out = tmp_path / "results", tmp_path / "results.md"
    for arm, best in (("pivots", 2), ("random", 0), ("mixed", 2)):
        tried(arm, results, best=best)
        for seed in range(3):
            write_cell(cell_of(arm, seed, WORLD, SCALE, results), results, point(0.4 + seed / 100))
    page.write(out, results, WORLD, SCALE)
    text = out.read_text(encoding="utf-8")
    said = [line for line in text.splitlines() if line.startswith(("- Pivots in place of random", "- No bound"))]
    none = "+0.0 points [+0.0, +0.0] (3 seeds). It is not worth more than its interval."
    assert said == [
        f"- Pivots in place of random states: {none} The arms' learning rates differ too: 0.0003 and 0.0001.",
        f"- No bound on the mean: {none}",
    ]


def test_cells_of_other_settings_are_counted_and_left_out(tmp_path: Path) -> None:
    results = tmp_path / "results"
    base = cell_of("base", 0, WORLD, SCALE, results)
    assert base is not None
    old = file_of(base, WORLD, replace(SCALE, final_tasks=7), results)
    write_json(old, {"points": [point(0.9)]})
    page.write(tmp_path / "results.md", results, WORLD, SCALE)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "1 files under" in text
    assert f"| base | 0 | {MISSING} |" in text


def test_the_key_follows_what_a_cell_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(arm="pivots", seed=0, settings={"learning_rate": 1e-3})
    key = cells.key_of(cell, WORLD, SCALE)
    others = [
        cells.key_of(replace(cell, seed=1), WORLD, SCALE),
        cells.key_of(replace(cell, settings={"learning_rate": 2e-3}), WORLD, SCALE),
        cells.key_of(replace(cell, place=0), WORLD, SCALE),
        cells.key_of(cell, replace(WORLD, trajectories=DESK / "README.md"), SCALE),
        cells.key_of(cell, WORLD, replace(SCALE, group=4)),
    ]
    assert len({key, *others}) == 6
    assert cells.key_of(cell, WORLD, replace(SCALE, seeds=9)) == key
    monkeypatch.setattr(cells, "RECIPES_VERSION", 99)
    assert cells.key_of(cell, WORLD, SCALE) != key


def test_the_committed_page_is_that_of_the_committed_cells(tmp_path: Path) -> None:
    root = DESK.parents[1]
    (tmp_path / "docs").mkdir()
    readme = tmp_path / "README.md"
    shutil.copytree(root / "docs" / "results", tmp_path / "docs" / "results")
    readme.write_text((root / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    page.write(tmp_path / "docs" / "results.md", tmp_path / "docs" / "results", WORLD, FULL, readme)
    for name in ("docs/results.md", "docs/results/middle/curves.svg", "README.md"):
        made, committed = ((folder / name).read_text(encoding="utf-8") for folder in (tmp_path, root))
        assert made == committed, f"{name} is not that of the cells: run `python -m pivotmine_claims page`"


def test_the_committed_cells_can_be_read() -> None:
    for path in (DESK.parents[1] / "docs" / "results").glob("*/*/*.json"):
        cell = json.loads(path.read_text(encoding="utf-8"))
        assert cell["arm"] in ARMS
        assert path.name.endswith(f"-{cell['key'][:8]}.json")
