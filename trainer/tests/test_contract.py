"""What the trainer uses of the miner: the dataset's columns and a few light modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import tiny

from pivotmine.run.tables import PIVOTS
from pivotmine.verifiers.dataset_rows import COLUMNS
from pivotmine_trainer.data.dataset import CONTRACT, judged_rows, load_split

KINDS = {pa.string(): "string", pa.bool_(): "bool", pa.list_(pa.int32()): "list"}
IMPORT_ALL = """
import importlib, pkgutil, sys
import pivotmine_trainer
for module in pkgutil.walk_packages(pivotmine_trainer.__path__, "pivotmine_trainer."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(" ".join(sorted(sys.modules)))
"""


def test_every_column_is_in_the_miner_s_table_with_its_kind() -> None:
    assert {name: KINDS[PIVOTS.field(name).type] for name in CONTRACT} == CONTRACT
    assert set(COLUMNS) <= set(CONTRACT)


def test_importing_the_trainer_imports_no_stage_no_duckdb_and_no_polars(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True, cwd=tmp_path)
    loaded = done.stdout.split()
    assert "pivotmine_trainer.train.grpo" in loaded
    assert [name for name in loaded if name.split(".")[0] in ("pivotmine_stages", "duckdb", "polars")] == []
    of_the_miner = {name.split(".")[1] for name in loaded if name.startswith("pivotmine.")}
    light = {
        "actions",
        "policy",
        "verifiers",
        "errors",
        "escape",
        "strict_json",
        "messages",
        "options",
        "run",
        "sampling",
    }
    assert of_the_miner == light


def test_rows_that_no_verifier_judges_are_left_out_and_counted(policy: Path, tmp_path: Path) -> None:
    rows = tiny.pivot_rows(policy)
    rows[0] |= {"verifier": None, "verifier_options": None, "verifier_id": None, "mean": None}
    rows[4] |= {"kind": "message"}
    folder = tiny.write_dataset(tmp_path / "pivots", rows, [])
    kept, left_out = judged_rows(load_split(str(folder), "train"), "train", None)
    assert kept["state_id"] == ["state1", "state2", "state3", "state5"]
    assert left_out == {"no_verifier": 1, "tool_call does not verify message turns": 1}
    kept, left_out = judged_rows(load_split(str(folder), "train"), "train", "exact")
    assert kept["state_id"] == ["state0", "state1", "state2", "state3", "state5"]


def test_options_of_a_verifier_are_part_of_what_it_is(policy: Path, tmp_path: Path) -> None:
    from pivotmine.verifiers import make_spec

    spec = make_spec("tool_call", {"free_text": ["cancel.id"]})
    other = {"verifier_options": spec.options_json, "verifier_id": spec.verifier_id}
    folder = tiny.write_dataset(tmp_path / "pivots", tiny.pivot_rows(policy, **other), [])
    assert len(judged_rows(load_split(str(folder), "train"), "train", None).data) == 6


def test_another_token_budget_is_not_another_policy(
    policy: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pivotmine_trainer.cli.arguments import GRPOSettings, parse
    from pivotmine_trainer.train.sampling import sample_as_mined

    _, settings, _ = parse(tiny.command(policy, dataset, Path("out"), max_completion_length=16))
    assert isinstance(settings, GRPOSettings)
    sample_as_mined(settings, load_split(str(dataset), "train"))
    said = "--max_completion_length 16, but mining used 32: the profiles are of another token budget\n"
    assert capsys.readouterr().err == f"warning: {said}"


@pytest.mark.parametrize("given", [None, 0.7])
def test_sampling_comes_from_the_dataset(
    policy: Path, dataset: Path, given: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    from pivotmine_trainer.cli.arguments import GRPOSettings, parse
    from pivotmine_trainer.train.sampling import sample_as_mined

    _, settings, _ = parse(tiny.command(policy, dataset, Path("out"), temperature=given))
    assert isinstance(settings, GRPOSettings)
    sample_as_mined(settings, load_split(str(dataset), "train"))
    assert settings.temperature == (1.0 if given is None else 0.7)
    assert (settings.top_p, settings.top_k, settings.max_completion_length) == (1.0, 0, 32)
    said = "warning: --temperature 0.7, but mining used 1.0: the profiles are of another policy\n"
    assert capsys.readouterr().err == ("" if given is None else said)


def test_another_policy_than_the_profiled_one_is_a_warning(
    policy: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pivotmine_trainer.checks.policies import compare_weights
    from pivotmine_trainer.cli.arguments import ModelSettings

    data = load_split(str(dataset), "train")
    compare_weights(data, ModelSettings(model_name_or_path=str(policy)))
    assert capsys.readouterr().err == ""
    rows = tiny.pivot_rows(policy, weights_hash="of another one")
    other = load_split(str(tiny.write_dataset(dataset.parent / "other", rows, [])), "train")
    compare_weights(other, ModelSettings(model_name_or_path=str(policy)))
    assert "is not the policy that was profiled" in capsys.readouterr().err


def test_the_recipe_s_step_is_64_prompts_of_16_actions() -> None:
    from pivotmine_trainer.cli.arguments import GRPOSettings

    settings = GRPOSettings(output_dir="out")
    assert (settings.generation_batch_size, settings.num_generations, settings.gradient_accumulation_steps) == (
        1024,
        16,
        64,
    )
    assert settings.steps_per_generation == 64  # one update on fresh samples
    assert (settings.learning_rate, settings.beta, settings.epsilon, settings.epsilon_high) == (1e-6, 0.0, 0.2, 0.28)
    assert (settings.scale_rewards, settings.loss_type, settings.num_iterations) == ("group", "dapo", 1)
