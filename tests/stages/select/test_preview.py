"""`select --dry-run`: the rows over K and the bound, as `select` would write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from mined_runs import mined_run

from pivotmine_stages.select.options import PreviewOptions, SelectConfig
from pivotmine_stages.select.preview import preview_text, select_or_preview
from pivotmine_stages.select.summary import SelectPreview


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mined_run(tmp_path_factory.mktemp("preview"))


def test_rows_over_k_and_the_bound(run: Path) -> None:
    """Of 4 samples the states have 0, 1, 2, 3, 4 and 4 right ones, the right ones first."""
    config = SelectConfig(policy="policy-1", max_mean=0.6)
    found = select_or_preview(config, PreviewOptions(dry_run=True), run)
    assert isinstance(found, SelectPreview)
    rows = {(row["num_samples"], row["max_mean"]): row["train"] + row["validation"] for row in found.rows}
    assert {key: rows[key] for key in [(2, 0.5), (2, 0.55), (4, 0.25), (4, 0.3), (4, 0.6), (4, 0.75), (4, 1.0)]} == {
        **{(2, 0.5): 0, (2, 0.55): 1},
        **{(4, 0.25): 0, (4, 0.3): 1, (4, 0.6): 2, (4, 0.75): 2, (4, 1.0): 3},
    }
    assert not (run / "pivots").exists()
    assert preview_text(found.rows).splitlines()[2].split()[:5] == ["4", "|", "rows", "0", "0"]
