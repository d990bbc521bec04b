"""A newcomer's five changes, each made in a copy of the project as CONTRIBUTING says, and run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from pivotmine.run.sql import query

ROOT = Path(__file__).parents[1]
DESK = ROOT / "data" / "desk"
OLD_RUN = ROOT / "tests" / "fixtures" / "old_run"
PACKAGES = {"pipeline": "pivotmine", "stages": "pivotmine_stages"}


class Copy:
    """The project's code in a folder of its own, with the contract of its tables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for root, package in PACKAGES.items():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / root / package, folder / root / package, ignore=ignored)

    def add(self, path: str, text: str) -> None:
        (self.folder / path).write_text(text, encoding="utf-8")

    def replace(self, path: str, old: str, new: str) -> None:
        text = (self.folder / path).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{path} holds {old!r} {text.count(old)} times"
        self.add(path, text.replace(old, new))

    def python(self, *arguments: object) -> str:
        """Run Python on the copy; returns what it prints."""
        paths = os.pathsep.join(str(self.folder / root) for root in PACKAGES)
        command = [sys.executable, *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": paths}
        done = subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def pivotmine(self, *arguments: object) -> str:
        return self.python("-m", "pivotmine_stages", *arguments)

    def changed(self) -> set[str]:
        """The files that differ from the project's."""
        paths = {path.relative_to(self.folder) for root in PACKAGES for path in (self.folder / root).rglob("*.py")}
        same = {path for path in paths if (ROOT / path).exists() and _same(ROOT / path, self.folder / path)}
        return {str(path) for path in paths - same}


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "copy")


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD_RUN / "run", tmp_path / "run"))


def test_a_selection_rule(copy: Copy, old_run: Path) -> None:
    strategies, options = "stages/pivotmine_stages/select/strategies.py", "stages/pivotmine_stages/select/options.py"
    rule = """\
def hardest(config: SelectConfig) -> pl.Expr:
    \"\"\"Rewards differ, and at most a quarter of them is earned.\"\"\"
    return _rewards_differ(config).when(pl.col("mean") > 0.25).then(pl.lit("too_easy")).otherwise(None)


STRATEGIES:"""
    copy.replace(strategies, "STRATEGIES:", rule)
    line = '    "mixed": Strategy(mixed, lambda config: 1.0, by_variance),\n'
    copy.replace(strategies, line, f'{line}    "hardest": Strategy(hardest, None, by_variance),\n')
    copy.replace(options, '"mixed", "entropy"', '"mixed", "hardest", "entropy"')
    assert copy.changed() == {strategies, options}

    # The old run's scores are of an older version of the verifier.
    policy = ["--policy", "policy-243826d65f48"]
    copy.pivotmine("score", old_run, *policy, "--verifier", "tool_call")
    of_run = [*policy, "--verifier", "tool_call", "--tokenizer", OLD_RUN / "policy"]
    copy.pivotmine("select", old_run, "--strategy", "hardest", "--name", "hard", *of_run)
    chosen = pl.concat([pl.read_parquet(file) for file in (old_run / "pivots/hard").glob("[tv]*.parquet")])
    sql = """select count(*) from profiles where starts_with(verifier_id, 'tool_call')
        and reward_class = 'sometimes' and mean <= 0.25 and gate = 'correct'"""
    assert len(chosen) == query(old_run, sql).column(0)[0].as_py() > 0
    assert "hardest" in copy.pivotmine("select", "--help")


def test_a_reader(copy: Copy, tmp_path: Path) -> None:
    registry, module = "pipeline/pivotmine/readers/__init__.py", "pipeline/pivotmine/readers/own_reader.py"
    # The example's reader, without the part that runs as a script.
    example = (ROOT / "examples" / "own_reader.py").read_text(encoding="utf-8")
    reader = example[: example.index("def main")]
    lines = [line for line in reader.splitlines() if not re.match(r"from pivotmine(_stages)?(\.readers)? import", line)]
    copy.add(module, "\n".join(lines))
    copy.replace(registry, "    nemo_gym,\n", "    nemo_gym,\n    own_reader,\n")
    copy.replace(
        registry,
        "READERS: dict[str, Reader] = {\n",
        'READERS: dict[str, Reader] = {\n    "own_reader": own_reader.READER,\n',
    )
    assert copy.changed() == {registry, module}

    log = tmp_path / "log.jsonl"
    log.write_text(
        copy.python("-c", "import json; from pivotmine.readers.own_reader import SAMPLE; print(json.dumps(SAMPLE))")
    )
    copy.pivotmine("extract", log, "--run", tmp_path / "run")
    found = query(tmp_path / "run", "select format, task_id, outcome, num_turns from trajectories").to_pylist()
    assert found == [{"format": "own_reader", "task_id": "T-17", "outcome": 1.0, "num_turns": 2}]


def test_a_verifier(copy: Copy, old_run: Path) -> None:
    registry, module = "pipeline/pivotmine/verifiers/registry.py", "pipeline/pivotmine/verifiers/same_length.py"
    verifier = '''\
"""Verifier `same_length`: as many calls as were demonstrated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pivotmine.actions.action import Action
from pivotmine.verifiers.base import Outcome, State, Verdict, Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class SameLengthOptions:
    """It has no options."""


def prepare(state: State, demonstration: Action, options: SameLengthOptions) -> Callable[[Action], Verdict]:
    """Return a scorer for one demonstration."""
    number = len(demonstration.tool_calls)

    def judge(action: Action) -> Verdict:
        same = len(action.tool_calls) == number
        return Verdict(1.0, Outcome.CORRECT) if same else Verdict(0.0, Outcome.MISSING_CALLS)

    return judge


VERIFIER = Verifier(prepare=prepare, options=SameLengthOptions, version=1, kinds=frozenset({"tool_call"}))
'''
    copy.add(module, verifier)
    copy.replace(
        registry,
        '    "shell": shell.VERIFIER,\n',
        '    "same_length": same_length.VERIFIER,\n    "shell": shell.VERIFIER,\n',
    )
    text = (copy.folder / registry).read_text(encoding="utf-8")
    copy.add(
        registry, text.replace("from pivotmine.verifiers import ", "from pivotmine.verifiers import same_length, ", 1)
    )
    assert copy.changed() == {registry, module}

    copy.pivotmine("score", old_run, "--verifier", "same_length", "--policy", "policy-243826d65f48")
    sql = "select verifier_id, count(*) as n from scores where starts_with(verifier_id, 'same_length') group by all"
    assert [row["n"] for row in query(old_run, sql).to_pylist()] == [464]  # those of states with calls
    assert "same_length" in copy.pivotmine("verifiers")


def test_a_column_of_profiles(copy: Copy, old_run: Path) -> None:
    tables = "pipeline/pivotmine/run/tables.py"
    text = (copy.folder / tables).read_text(encoding="utf-8")
    (number,) = re.findall(r"^FORMAT = (\d+)$", text, re.MULTILINE)
    line = '        _statistic("min_reward",'
    aggregate, since = 'lambda pl: (pl.col("reward") > 0).sum()', int(number) + 1
    column = f'        _statistic("num_rewarded", _INT, "rewards above 0", {aggregate}, since={since}),\n'
    copy.replace(tables, line, column + line)
    copy.replace(tables, f"FORMAT = {number}\n", f"FORMAT = {int(number) + 1}\n")
    assert copy.changed() == {tables}
    assert "| `num_rewarded` | int32 | rewards above 0; since format" in copy.python("-m", "pivotmine.run.tables")

    sql = "select count(*) as states, count(num_rewarded) as known from profiles"
    before = copy.pivotmine("sql", old_run, sql, "--json")
    assert '"states": 73, "known": 0' in before.replace("\n", " ").replace("  ", " ")
    shutil.rmtree(old_run / "scores")
    copy.pivotmine("score", old_run, "--policy", "policy-243826d65f48", "--config", OLD_RUN / "run.toml")
    after = copy.pivotmine(
        "sql",
        old_run,
        "select sum(num_rewarded) = (select count(*) from scores where reward > 0) as ok from profiles",
        "--json",
    )
    assert "true" in after


def test_an_engine(copy: Copy, old_run: Path, tmp_path: Path) -> None:
    registry, module = "stages/pivotmine_stages/engines/__init__.py", "stages/pivotmine_stages/engines/silent.py"
    engine = '''\
"""Engine `silent`: ends its turn at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pivotmine.errors import UserError
from pivotmine.sampling.settings import Prefilled
from pivotmine_stages.engines.options import EngineOptions
from pivotmine_stages.engines.protocol import EngineSpec, Reply, Request, Sample


class SilentEngine:
    max_model_len: int | None = 4096

    def sample(self, requests: Iterable[Request]) -> Iterator[Reply]:
        for request in requests:
            yield Reply(request=request, samples=tuple(_silence(index) for index in request.sample_indices))

    def prefill(self, sequences: list[list[int]]) -> list[Prefilled]:
        raise UserError("the engine silent cannot prefill")

    def close(self) -> None: ...


def _silence(index: int) -> Sample:
    return Sample(sample_index=index, text="", token_ids=[1], logprobs=[0.0], finish_reason="stop", num_tokens=1)


def _open(options: EngineOptions) -> SilentEngine:
    return SilentEngine()


ENGINE = EngineSpec(open=_open, summary="says nothing", packages=(), can_prefill=False)
'''
    copy.add(module, engine)
    copy.replace(registry, '    "vllm": vllm.ENGINE,\n', '    "silent": silent.ENGINE,\n    "vllm": vllm.ENGINE,\n')
    copy.replace(registry, "import openai, ray, transformers", "import openai, ray, silent, transformers")
    assert copy.changed() == {registry, module}

    settings = ["--engine", "silent", "--num-samples", "2", "--limit", "5"]
    copy.pivotmine("rollout", old_run, "--model", OLD_RUN / "policy", "--policy-name", "silent", *settings)
    sql = "select count(*) as n, max(num_tokens) as tokens from rollouts where starts_with(policy_id, 'silent')"
    assert query(old_run, sql).to_pylist() == [{"n": 10, "tokens": 1}]
    assert "silent" in copy.pivotmine("rollout", "--help")


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()
