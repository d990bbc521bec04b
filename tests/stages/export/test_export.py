"""export: the exported files have the content of the pivots, and NVIDIA's rows survive a round trip."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from reading import needs_real_data, real_file, records_of
from runs import (
    add_rollouts,
    answered,
    call_text,
    called,
    make_run,
    policy_record,
    remember,
    rows,
    said,
    sample,
    states_of,
    trajectory,
)

from pivotmine.errors import UserError
from pivotmine.messages import for_chat_server
from pivotmine.verifiers import make_spec
from pivotmine.verifiers.dataset_rows import COLUMNS
from pivotmine_stages.export.stage import ExportConfig, export
from pivotmine_stages.export.verifiers.package import ROWS, package_name, read_rows
from pivotmine_stages.export.verl.reward import compute_score
from pivotmine_stages.extract.stage import ExtractConfig, extract
from pivotmine_stages.record.stage import RecordConfig, record
from pivotmine_stages.score.stage import ScoreConfig, score
from pivotmine_stages.select.options import SelectConfig
from pivotmine_stages.select.stage import select

TOOL = {"type": "function", "name": "find", "parameters": {"type": "object", "properties": {}}, "strict": True}
INPUT = [
    {"type": "message", "role": "system", "content": "be kind"},
    {"role": "user", "content": "find order 7"},
    {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": None},
    {"type": "function_call", "name": "find", "arguments": '{ "id": 7 }', "call_id": "c", "id": "fc", "status": "done"},
    {"type": "function_call_output", "call_id": "c", "output": "", "id": "fco"},
]
CALL = {"type": "function_call", "name": "find", "arguments": '{ "id":  8 }'}
ACTIONS: list[dict[str, Any]] = [
    CALL,
    {"type": "message", "content": "Which one?"},
    {"type": "function_call_batch", "calls": [CALL, {**CALL, "arguments": "{}"}]},
]


def pivot_row(number: int, action: dict[str, Any]) -> dict[str, Any]:
    """A row of NVIDIA's with everything that the contract names, and more."""
    params: dict[str, Any] = {"input": [*INPUT, {"role": "user", "content": f"and {number}?"}], "tools": [TOOL]}
    params |= {"parallel_tool_calls": True, "tool_choice": "auto", "temperature": 0.5, "metadata": None}
    agent = {"type": "responses_api_agents", "name": "some_agent"}
    provenance = {"trajectory_id": f"t{number}", "meta_info": {"turn": 1}, "pass_rate": 0.25}
    return {"responses_create_params": params, "expected_action": action, "agent_ref": agent, **provenance}


def rollouts_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Two samples of its state: one fails, one succeeds."""
    output = [{"type": "message", "role": "assistant", "content": "hello"}]
    given = {"responses_create_params": row["responses_create_params"], "response": {"output": output}}
    return [{**given, "reward": reward} for reward in (0.0, 1.0, 0.0, 0.0)]


def write(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def exported(folder: Path, records: list[Any], tokenizer: Path, **options: Any) -> list[dict[str, Any]]:
    """The rows through extract, record, select and export."""
    folder.mkdir()
    run = folder / "run"
    extract(ExtractConfig(sources=(write(folder / "rows.jsonl", records),)), run)
    sampled = write(folder / "rollouts.jsonl", [sample for row in records for sample in rollouts_of(row)])
    record(RecordConfig(sources=(sampled,), policy_name="gpt"), run)
    select(SelectConfig(tokenizer=str(tokenizer), validation_share=0.0), run)
    summary = export(ExportConfig(**options), run)
    assert summary.validation == 0
    return records_of(run / "pivots" / "default" / "nemo_gym" / "train.jsonl")


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory, tiny_policy: Path) -> tuple[list[Any], list[Any], list[Any]]:
    """Rows as they are, imported and exported, and that once more."""
    folder = tmp_path_factory.mktemp("export")
    given = [pivot_row(number, action) for number, action in enumerate(ACTIONS)]
    once = exported(folder / "once", given, tiny_policy)
    return given, once, exported(folder / "twice", once, tiny_policy)


def by_trajectory(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(found, key=lambda row: row["trajectory_id"])


def test_import_and_export_are_the_identity_on_the_row(twice: tuple[list[Any], list[Any], list[Any]]) -> None:
    given, once, _ = twice
    profile = {"rewards": [0.0, 1.0, 0.0, 0.0], "reward_mean": 0.25, "reward_std": 0.1875**0.5, "reward_var": 0.1875}
    for row, found in zip(given, by_trajectory(once), strict=True):
        assert {key: found[key] for key in row} == row
        assert found["source_model_info"] == profile
        assert found.keys() - row.keys() == {"source_model_info", "pivotmine"}
        assert found["pivotmine"]["num_samples"] == 4
        assert found["pivotmine"]["task_id"] == row["trajectory_id"]


def test_a_second_import_and_export_change_nothing(twice: tuple[list[Any], list[Any], list[Any]]) -> None:
    _, once, again = twice
    # Only the ids of this run's rows are other ones: they hash what the record holds, the first profile too.
    for row in (*once, *again):
        for key in ("trajectory_id", "turn_id"):
            row["pivotmine"].pop(key)
    assert by_trajectory(again) == by_trajectory(once)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, tiny_policy: Path) -> Path:
    """A run of OpenAI messages with two tools of its own, all of whose turns were selected."""
    find = {**called("find", id="7"), "reasoning_content": "hm"}
    record_ = trajectory(said("go"), find, answered("open"), called("stop"), answered("ok"), said("end"))
    record_["messages"].append({"role": "assistant", "content": "done"})
    folder = tmp_path_factory.mktemp("other")
    run = make_run(folder, {**record_, "domain": "orders"})
    source = write(folder / "again.jsonl", [record_])
    record(RecordConfig(sources=(source,), policy_name="gpt"), run)
    select(SelectConfig(strategy="all", tokenizer=str(tiny_policy), validation_share=0.0), run)
    return run


def test_turns_of_another_format_become_rows(other: Path) -> None:
    export(ExportConfig(agent="my_agent"), other)
    found = sorted(records_of(other / "pivots/default/nemo_gym/train.jsonl"), key=lambda row: len(json.dumps(row)))
    pivots = {pivot["turn_id"]: pivot for pivot in rows(other, "pivots")}
    call = {"type": "function_call", "name": "find", "arguments": '{"id": "7"}'}
    items = [
        {"role": "user", "content": "go"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {**call, "call_id": "c"},
        {"type": "function_call_output", "call_id": "c", "output": "open"},
        {"type": "function_call", "name": "stop", "arguments": "{}", "call_id": "c"},
        {"type": "function_call_output", "call_id": "c", "output": "ok"},
        {"role": "user", "content": "end"},
    ]
    assert [row["responses_create_params"]["input"] for row in found] == [items[:1], items[:4], items]
    assert [row["expected_action"] for row in found] == [
        call,
        {"type": "function_call", "name": "stop", "arguments": "{}"},
        {"type": "message", "content": "done"},
    ]
    for row in found:
        pivot = pivots[row["pivotmine"]["turn_id"]]
        params = row["responses_create_params"]
        assert (params["parallel_tool_calls"], params["tool_choice"]) == (False, "auto")
        assert params["tools"] == [{**t["function"], "type": "function"} for t in json.loads(pivot["tools"])]
        assert row["agent_ref"] == {"type": "responses_api_agents", "name": "my_agent"}
        assert row["trajectory_id"] == pivot["trajectory_id"]
        assert "source_model_info" not in row


def test_verl_rows_say_what_the_pivots_say(other: Path) -> None:
    summary = export(ExportConfig(format="verl"), other)
    assert (summary.train, summary.validation) == (3, 0)
    found = pq.read_table(other / "pivots/default/verl/train.parquet").to_pylist()
    pivots = rows(other, "pivots")
    assert [row["extra_info"]["turn_id"] for row in found] == [pivot["turn_id"] for pivot in pivots]
    nothing = dict.fromkeys(("reasoning_content", "tool_calls", "tool_call_id", "name"))
    function = {"name": "find", "arguments": '{"id": "7"}'}
    conversation = [
        {**nothing, "role": "user", "content": "go"},
        {
            **nothing,
            "role": "assistant",
            "content": "",
            "reasoning_content": "hm",
            "tool_calls": [{"id": "c", "type": "function", "function": function}],
        },
        {**nothing, "role": "tool", "content": "open", "tool_call_id": "c"},
    ]
    assert sorted((row["prompt"] for row in found), key=len)[1] == conversation
    for index, (row, pivot) in enumerate(zip(found, pivots, strict=True)):
        assert (row["data_source"], row["ability"], row["reward_model"]["style"]) == ("pivotmine", "orders", "rule")
        actions = [shown["action"] for shown in json.loads(pivot["demonstrations"])]
        assert json.loads(row["reward_model"]["ground_truth"]) == actions
        extra = row["extra_info"]
        assert row["agent_name"] == "pivotmine"
        assert (extra.pop("split"), extra.pop("index")) == ("train", index)
        assert extra == {key: pivot[key] for key in extra}
        assert {"prompt", "prompt_ids", "mean", *COLUMNS} <= extra.keys()
    assert pq.read_table(other / "pivots/default/verl/validation.parquet").num_rows == 0


@pytest.fixture(scope="module")
def pivots(tmp_path_factory: pytest.TempPathFactory, tiny_policy: Path) -> Path:
    """A run with one pivot, scored by `tool_call`, and its exports for verl and `verifiers`."""
    run = make_run(tmp_path_factory.mktemp("pivots"), trajectory(said("go"), called("find", id="7")))
    remember(run, policy_record(tokenizer=str(tiny_policy)))
    add_rollouts(run, {states_of(run)["user: go"]: [sample(call_text("find", id=word)) for word in "7778"]})
    score(ScoreConfig(verifier=make_spec("tool_call", {})), run)
    select(SelectConfig(validation_share=0.0, max_mean=0.9), run)
    for format in ("verl", "verifiers"):
        export(ExportConfig(format=format), run)
    return run


def test_a_row_of_rules_has_the_rewards_that_its_rules_gave(tmp_path: Path, tiny_policy: Path) -> None:
    run = make_run(tmp_path, trajectory(said("go"), called("find", id="7")))
    remember(run, policy_record(tokenizer=str(tiny_policy)))
    add_rollouts(run, {states_of(run)["user: go"]: [sample(call_text("find", id=word)) for word in "7778"]})
    score(ScoreConfig(verifier=make_spec("auto", {})), run)
    select(SelectConfig(validation_share=0.0, max_mean=0.9), run)
    export(ExportConfig(format="nemo_gym"), run)
    (row,) = records_of(run / "pivots" / "default" / "nemo_gym" / "train.jsonl")
    assert row["pivotmine"]["verifier_id"].startswith("tool_call-")
    assert row["source_model_info"]["rewards"] == [1.0, 1.0, 1.0, 0.0]


def verl_score(run: Path, completion: str | None, **given: Any) -> dict[str, Any]:
    """What verl would be told of a completion in the run's pivot."""
    (row,) = pq.read_table(run / "pivots/default/verl/train.parquet").to_pylist()
    extra = row["extra_info"] | {"num_turns": 2, "rollout_reward_scores": {}}
    if completion is not None:
        extra |= {"completion": completion, "completion_truncated": False}
    bare = {"data_source": row["data_source"], "solution_str": "", "extra_info": extra | given.pop("extra", {})}
    return compute_score(ground_truth=row["reward_model"]["ground_truth"], **bare, **given)


def test_verl_gets_the_reward_that_score_gives(pivots: Path) -> None:
    right, wrong = call_text("find", id="7"), call_text("find", id="8")
    assert verl_score(pivots, right) == {"score": 1.0, "outcome": "correct", "unscored": 0.0}
    assert verl_score(pivots, wrong) == {"score": 0.0, "outcome": "wrong_arguments", "unscored": 0.0}
    assert verl_score(pivots, "Done.") == {"score": 0.0, "outcome": "wrong_kind", "unscored": 0.0}
    cut = verl_score(pivots, right, extra={"completion_truncated": True})
    assert cut == {"score": 0.0, "outcome": "truncated", "unscored": 0.0}
    # Another verifier's call with a default spelled out is another action to `exact`.
    longer = call_text("find", id="7", deep=False)
    assert [verl_score(pivots, longer, verifier=name)["score"] for name in (None, "exact")] == [1.0, 0.0]


def test_verl_gets_the_state_s_mean_where_nobody_could_judge(pivots: Path) -> None:
    failing = {"verifier": "python", "verifier_options": '{"function": "nowhere:nothing"}'}
    with pytest.raises(UserError, match=r"state \w+: "):
        verl_score(pivots, call_text("find", id="7"), extra=failing)
    (row,) = pq.read_table(pivots / "pivots/default/verl/train.parquet").to_pylist()
    assert row["extra_info"]["mean"] == 0.75
    message = {"kind": "message", "demonstrations": json.dumps([{"action": {"message": "All done."}}])}
    found = verl_score(pivots, "Finished it all.", verifier="text", extra=message)
    assert found == {"score": 0.75, "outcome": "unproven", "unscored": 1.0}


def test_verl_text_without_special_tokens_is_refused(pivots: Path) -> None:
    with pytest.raises(UserError, match=r"lost its special tokens; set .*agent_loop_config_path to agent_loops.yaml"):
        verl_score(pivots, None)


def test_verl_row_without_a_verifier_is_refused(pivots: Path) -> None:
    with pytest.raises(UserError, match="no verifier judges this row"):
        verl_score(pivots, "Done.", extra={"verifier": None})


def test_verl_is_told_how_mining_sampled(pivots: Path) -> None:
    folder = pivots / "pivots/default/verl"
    (row,) = rows(pivots, "pivots")
    text = (folder / "README.md").read_text(encoding="utf-8")
    for line in (
        f"data.train_files={folder}/train.parquet",
        f"data.max_prompt_length={len(row['prompt_ids'])}",
        "data.max_response_length=64",
        "rollout.temperature=1.0",
        "rollout.top_k=-1",
        f"agent_loop_config_path={folder}/agent_loops.yaml",
        "reward.custom_reward_function.path=pkg://pivotmine_stages.export.verl.reward",
    ):
        assert line in text
    listed = (folder / "agent_loops.yaml").read_text(encoding="utf-8")
    assert listed == "- name: pivotmine\n  _target_: pivotmine_stages.export.verl.prompt_loop.PromptLoop\n"


def test_verifiers_package_holds_the_rows_and_a_module(pivots: Path) -> None:
    folder = pivots / "pivots/default/verifiers"
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    module = "pivots_default"
    files = [f"{module}/{name}" for name in ("__init__.py", "train.parquet", "validation.parquet")]
    assert found == ["README.md", *files, "pyproject.toml"]
    (row,) = rows(pivots, "pivots")
    assert read_rows(folder / module, "train") == [{name: row[name] for name in ROWS.names}]
    assert read_rows(folder / module, "validation") == []
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["name"] == "pivots-default"
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [module]
    compile((folder / module / "__init__.py").read_text(encoding="utf-8"), "__init__.py", "exec")


@pytest.mark.parametrize(
    ("name", "package"), [("left-0", "pivots_left_0"), ("../x y", "pivots_x_y"), ("é", "pivots_dataset")]
)
def test_a_package_name_is_a_python_name(name: str, package: str) -> None:
    assert package_name(name) == package


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "csv"}, "--to csv: choose from nemo_gym, verl, verifiers"),
        ({"name": "mine"}, "no pivots called 'mine' in .* \\(there are: default\\)"),
    ],
)
def test_wrong_options(other: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        export(ExportConfig(**options), other)


@needs_real_data
def test_nvidias_example_rows_come_back(tmp_path: Path) -> None:
    folder = real_file("nemo-gym")
    paths = sorted(folder.glob("*/*example.jsonl"))
    records = [record_ for path in paths for record_ in records_of(path)]
    for number, row in enumerate(records):
        row["trajectory_id"] = str(number)
    found = exported(tmp_path / "real", records, real_file("tokenizers/qwen3"))
    assert len(records) == len(found) == 20
    for row, back in zip(records, sorted(found, key=lambda r: int(r["trajectory_id"])), strict=True):
        row["responses_create_params"].setdefault("parallel_tool_calls", None)
        back["responses_create_params"].setdefault("parallel_tool_calls", None)
        assert {key: back[key] for key in row} == row


def test_a_chat_server_is_sent_legacy_calls_as_tool_calls() -> None:
    """The taskset's requests lost them: its library is not in this environment, the function that makes them is."""
    function = {"name": "find", "arguments": "{}"}
    call = {"id": "a", "type": "function", "function": function}
    blocks = [{"type": "text", "text": "cancelled"}]
    recorded = [
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "content": None, "function_call": function, "reasoning_content": "hm"},
        {"role": "function", "name": "find", "content": "open"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": blocks},
    ]
    assert for_chat_server(recorded) == [
        {"role": "user", "content": "Where is it?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "name": "find", "tool_call_id": "call_1", "content": "open"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "cancelled"},
    ]
