"""The command line for a person: what it prints, where, and its exit codes."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Command


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['pivotmine', '--help']\n"
        "from pivotmine_stages.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'polars', 'pyarrow', 'duckdb', 'torch', 'transformers', 'vllm', 'ray', 'openai'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for command in ("extract", "record", "rollout", "score", "select", "export", "run", "sql"):
        assert f" {command} " in done.stdout


def test_version(pivotmine: Command) -> None:
    assert pivotmine("--version") == (0, "pivotmine 0.1.0\n", "")


def test_extract_says_what_it_found(pivotmine: Command, source: Path, tmp_path: Path) -> None:
    code, out, err = pivotmine("extract", source, "--run", tmp_path / "run")
    lines = [line.strip() for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert lines[0] == "extract   6 trajectories, 6 segments, 31 distinct messages"
    assert "outcomes 0.0: 3, 1.0: 3; label 1.0 or better makes a demonstration" in lines
    assert "9 of 18 turns are demonstrations (6 calls, 3 messages), of 9 states" in lines
    assert "rejects: low_outcome 9" in lines


def test_json_summaries_are_for_programs(pivotmine: Command, source: Path, tmp_path: Path) -> None:
    _, out, _ = pivotmine("extract", source, "--run", tmp_path / "run", "--json")
    summary = json.loads(out)
    assert (summary["turns"], summary["demonstrations"], summary["outcomes"]) == (18, 9, {"0.0": 3, "1.0": 3})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("audit", "run", "--limit", "0"), "--limit 0: at least 1"),
        (("extract", "nowhere.jsonl", "--run", "run"), "nowhere.jsonl is neither a file nor a folder"),
        (("extract", "SOURCE", "--run", "run", "--format", "csv"), "--format csv: choose from tau_bench, "),
        (("extract", "SOURCE", "--run", "run", "--config", "nowhere.toml"), "--config nowhere.toml does not exist"),
        (
            ("extract", "SOURCE", "--run", "run", "--messages-column", "talk", "--dry-run"),
            "no_messages_column 6 (first: SOURCE, line 1: no key 'talk': the record has ",
        ),
        (("rollout", "nowhere", "--model", "m", "--engine", "openai"), "nowhere is not a run"),
        (("score", "nowhere"), "nowhere is not a run"),
        (("select", "nowhere"), "nowhere is not a run"),
        (("sql", "nowhere", "select 1"), "nowhere is not a run"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(
    pivotmine: Command,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = pivotmine(*[source if a == "SOURCE" else a for a in arguments])
    assert (code, out) == (1, "")
    assert err.startswith("pivotmine: ")
    assert words.replace("SOURCE", str(source)) in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_wrong_usage_is_exit_code_2(pivotmine: Command) -> None:
    assert pivotmine("extract")[0] == 2
    assert pivotmine("select", "run", "--max-meen", "1")[0] == 2


def test_stages_in_the_wrong_order_say_what_to_run_first(pivotmine: Command, source: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pivotmine("extract", source, "--run", run)
    code, _, err = pivotmine("score", run)
    assert (code, err) == (1, f"pivotmine: no policy in {run}: run `pivotmine rollout {run}` first\n")
    assert pivotmine("select", run)[0] == 1


def test_options_come_from_a_file_and_flags_win(pivotmine: Command, source: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        '[extract]\nmin-outcome = 0.0\ndomain = "orders"\n\n[verifiers.tool_call]\nfree_text = ["*.body"]\n'
    )
    _, out, _ = pivotmine("extract", source, "--run", tmp_path / "a", "--config", file, "--json")
    assert json.loads(out)["demonstrations"] == 18
    _, out, _ = pivotmine("extract", source, "--run", tmp_path / "b", "--config", file, "--json", "--min-outcome", 1)
    assert json.loads(out)["demonstrations"] == 9
    _, out, _ = pivotmine("sql", tmp_path / "a", "select distinct domain from turns", "--json")
    assert json.loads(out) == {"domain": "orders"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[extract]\nmin_outcom = 1\n", "[extract] has no option 'min_outcom'"),
        ("[extrakt]\n", "no table is called [extrakt]"),
        ("[extract\n", "cannot be read"),
    ],
)
def test_a_mistyped_file_is_an_error(pivotmine: Command, source: Path, tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    code, _, err = pivotmine("extract", source, "--run", tmp_path / "run", "--config", file)
    assert code == 1
    assert words in err


def test_run_checks_a_files_values_as_it_checks_flags(pivotmine: Command, source: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    for text in ('[extract]\nmin_outcome = "x"\n', "[rollout]\nnum_samples = 0\n", '[select]\nmax_mean = "high"\n'):
        file.write_text(text)
        code, _, err = pivotmine("run", source, "--run", tmp_path / "run", "--model", "m", "--config", file)
        assert code == 1
        assert f"--config {file}: [" in err
    assert not (tmp_path / "run").exists()


def test_audit_prints_rates_and_gives_all_of_it_as_json(pivotmine: Command, source: Path, tmp_path: Path) -> None:
    assert pivotmine("extract", source, "--run", tmp_path / "run")[0] == 0
    code, out, _ = pivotmine("audit", tmp_path / "run", "--verifier", "exact", "--limit", 2)
    assert code == 0
    assert out.startswith("audit     2 states under exact-")
    assert "false_reject of white_space by exact, state " in out
    code, out, _ = pivotmine("audit", tmp_path / "run", "--verifier", "tool_call", "--json")
    assert code == 0
    assert sum(row["false_accept"] for row in json.loads(out)["rates"]) == 0


def run_printed(pivotmine: Command, out: str) -> None:
    """Each command that was printed ends well; what a shell would write into a file is written there."""
    lines = [line for line in out.splitlines() if line.strip().startswith("pivotmine ")]
    assert lines
    for line in lines:
        words, _, file = line.partition(" > ")
        code, printed, err = pivotmine(*shlex.split(words)[1:])
        assert code == 0, (line, err)
        if file:
            Path(file).write_text(printed, encoding="utf-8")


def test_run_goes_the_whole_road_and_says_what_next(
    pivotmine: Command, source: Path, tmp_path: Path, tiny_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run, file = tmp_path / "run", tmp_path / "run.toml"
    file.write_text("[rollout]\nbatch_size = 32\n[select]\nvalidation_share = 0.5\n")
    flags = ("--model", tiny_policy, "--engine", "transformers", "--num-samples", 2, "--max-new-tokens", 4)
    flags = (*flags, "--verifier", "tool_call")  # messages have none
    code, out, err = pivotmine("run", source, "--run", run, *flags, "--config", file)
    assert (code, err) == (1, "pivotmine: no row is selected, no dataset is written: never 6, not_profiled 3\n")
    assert not (run / "pivots").exists()
    stages = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    assert stages == ["extract", "rollout", "score", "select", "run"]
    assert "no pivot: the policy fails in every state (all samples have reward 0)" in out
    assert "rejects: no_verifier 3" in out
    assert "cost: 12 samples, " in out
    run_printed(pivotmine, out)


def test_every_stage_of_a_run_says_that_it_has_begun(
    pivotmine: Command, source: Path, tmp_path: Path, tiny_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pivotmine.progress.SILENT_S", 0.0)
    run = tmp_path / "run"
    flags = ("--model", tiny_policy, "--engine", "transformers", "--num-samples", 1, "--max-new-tokens", 2)
    _, _, err = pivotmine("run", source, "--run", run, *flags, "--limit", 1)
    said = [line for line in err.splitlines() if line.endswith(" ...")]
    assert said == [f"pivotmine: {name} in {run} ..." for name in ("run", "extract", "rollout", "score", "select")]


def test_audit_tries_the_verifier_that_gave_the_scores(
    pivotmine: Command, source: Path, tmp_path: Path, tiny_policy: Path
) -> None:
    """Options of --config make another verifier: without them the audit would be of one that nobody asked about."""
    run, file = tmp_path / "run", tmp_path / "run.toml"
    file.write_text('[verifiers.tool_call]\nfree_text = ["*.note"]\n')
    flags = ("--model", tiny_policy, "--engine", "transformers", "--num-samples", 1, "--max-new-tokens", 2)
    pivotmine("run", source, "--run", run, *flags, "--limit", 1, "--config", file)
    (scored,) = {path.name for path in run.glob("scores/*/*")}
    code, out, _ = pivotmine("audit", run, "--json")
    assert (code, json.loads(out)["verifier_id"]) == (0, scored)
    other = json.loads(pivotmine("audit", run, "--json", "--verifier", "auto")[1])["verifier_id"]
    assert other != scored


@pytest.mark.parametrize("adaptive", [(), ("--adaptive", "exact")])
def test_folders_may_have_any_name(
    pivotmine: Command,
    source: Path,
    tmp_path: Path,
    tiny_policy: Path,
    adaptive: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Brackets, stars and blanks are no patterns."""
    monkeypatch.chdir(tmp_path)
    run, model = tmp_path / "my [1] run's *", Path(shutil.copytree(tiny_policy, tmp_path / "a model [2]"))
    flags = ("--model", model, "--engine", "transformers", "--num-samples", 2, "--max-new-tokens", 4)
    _, out, err = pivotmine("run", source, "--run", run, *flags, "--verifier", "tool_call", *adaptive)
    assert "no row is selected" in err, err
    (policy,) = (folder.name for folder in (run / "rollouts").iterdir())
    run_printed(pivotmine, out)  # it samples another policy, too
    states = json.loads(pivotmine("sql", run, "select state_id from profiles limit 1", "--json")[1])
    plan = tmp_path / "plan [3].csv"
    plan.write_text(f"state_id,num_samples\n{states['state_id']},3\n")
    again = pivotmine("rollout", run, *flags, "--verifier", "tool_call", "--plan", plan)
    assert again[0] == 0, again[2]
    for command in ("score", "audit"):
        assert pivotmine(command, run, "--verifier", "tool_call", "--policy", policy)[0] == 0
    assert pivotmine("select", run, "--name", "all", "--strategy", "all", "--policy", policy)[0] == 0
    assert pivotmine("export", run, "--name", "all")[0] == 0


def test_run_as_json_is_one_object_of_summaries(
    pivotmine: Command, source: Path, tmp_path: Path, tiny_policy: Path
) -> None:
    flags = (
        "--model",
        tiny_policy,
        "--engine",
        "transformers",
        "--num-samples",
        2,
        "--max-new-tokens",
        4,
        "--limit",
        2,
    )
    _, out, _ = pivotmine("run", source, "--run", tmp_path / "run", *flags, "--json")
    summaries = json.loads(out)
    assert list(summaries) == ["extract", "rollout", "score", "select"]
    assert summaries["score"]["classes"] == {"never": 2}
    assert summaries["select"]["rejects"] == {"never": 2, "not_profiled": 7}


def test_two_policies_and_none_named_is_an_error(
    pivotmine: Command, source: Path, tmp_path: Path, tiny_policy: Path
) -> None:
    run, flags = tmp_path / "run", ("--engine", "transformers", "--num-samples", 1, "--limit", 1, "--max-new-tokens", 2)
    pivotmine("extract", source, "--run", run)
    for temperature in (1, 0.5):
        code, _, err = pivotmine("rollout", run, "--model", tiny_policy, *flags, "--temperature", temperature)
        assert code == 0
    assert "pivotmine: new policy: temperature 1.0 -> 0.5, against tiny-" in err
    assert "which has 1 sample\n" in err
    code, _, err = pivotmine("score", run)
    names = sorted(path.name for path in (run / "rollouts").iterdir())
    told = dict(re.findall(r"(tiny-\w+) \(temperature ([\d.]+)\)", err))
    assert (code, sorted(told), sorted(told.values())) == (1, names, ["0.5", "1.0"])
    assert err.endswith("; choose one with --policy\n")
    assert pivotmine("score", run, "--policy", names[0])[0] == 0
    assert not (run / "scores" / names[1]).exists()
