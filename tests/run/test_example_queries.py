"""The named queries, and the page that shows their output."""

from __future__ import annotations

import shutil
from pathlib import Path
from textwrap import dedent

import pytest

from pivotmine.run import sql
from pivotmine.run.example_queries import EXAMPLES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "queries.md"
HEAD = """\
# Queries

`pivotmine sql RUN --example NAME` runs a query by its name, and `pivotmine sql RUN "select ..."` any other. Statements
that write, and files outside the run, are refused; `--unsafe` lifts this. The output is of a small run of the desk
(two policies, the second recorded elsewhere); ids are cut.
"""


@pytest.fixture(scope="module")
def old_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = ROOT / "tests" / "fixtures" / "old_run" / "run"
    return Path(shutil.copytree(source, tmp_path_factory.mktemp("old") / "run"))


def page(run: Path) -> str:
    """The page, made from the run. To write it again: `python tests/run/test_example_queries.py`."""
    parts = [HEAD]
    for name, example in EXAMPLES.items():
        answer = sql.query(run, example.statement)
        rows = [[cell(value) for value in row.values()] for row in answer.slice(0, 5).to_pylist()]
        table = [f"| {' | '.join(row)} |" for row in (answer.column_names, ["---"] * answer.num_columns, *rows)]
        parts += [
            f"## {name}",
            f"{example.title}.",
            f"```sql\n{dedent(example.statement).strip()}\n```",
            "\n".join(table),
        ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def cell(value: object) -> str:
    text = "" if value is None else str(value)
    return (text if len(text) <= 60 else text[:57] + "...").replace("|", "\\|")


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_query_answers_and_tells_policies_and_verifiers_apart(old_run: Path, name: str) -> None:
    answer = sql.query(old_run, EXAMPLES[name].statement)
    assert answer.num_rows > 0
    if "_scores" in EXAMPLES[name].statement or "from profiles" in EXAMPLES[name].statement:
        assert {"policy_id", "verifier_id"} <= set(answer.column_names)


def test_the_page_shows_their_output(old_run: Path) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(old_run), "write it again: python tests/run/test_example_queries.py"


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        copied = shutil.copytree(ROOT / "tests" / "fixtures" / "old_run" / "run", Path(folder) / "run")
        PAGE.write_text(page(Path(copied)), encoding="utf-8")
