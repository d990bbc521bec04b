from pathlib import Path

import pytest

from pivotmine.errors import UserError
from pivotmine.verifiers import make_spec
from pivotmine_stages.cli.config_file import command_options, read_config, verifier


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "run.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_the_tables_of_a_file(tmp_path: Path) -> None:
    text = '[rollout]\nnum-samples = 16\ntop_p = 0.9\n[verifiers.tool_call]\nfree_text = ["a.b"]\n'
    tables = read_config(write(tmp_path, text))
    assert command_options(tables, "rollout", ["num_samples", "top_p"]) == {"num_samples": 16, "top_p": 0.9}
    assert command_options(tables, "score", []) == {}
    assert verifier(tables, "tool_call") == make_spec("tool_call", {"free_text": ["a.b"]})
    assert verifier(tables, "exact") == make_spec("exact", {})


def test_no_file_has_no_tables() -> None:
    assert read_config(None) == {}


TABLES = "extract, rollout, score, select, record, export, audit, verifiers, [[choose]]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rollouts]\n", f"no table is called [rollouts]; there are {TABLES}"),
        ("limit = 3\n", f"no table is called [limit]; there are {TABLES}"),
        ("rollout = 3\n", "rollout is a table of options, [rollout], not 3"),
        ("[[rollout]]\nseed = 1\n", "rollout is a table of options, [rollout], not [{'seed': 1}]"),
        ("verifiers = 3\n", "verifiers is a table of options, [verifiers], not 3"),
        ("[verifiers.tool_cal]\n", "[verifiers.tool_cal] is the table of no verifier; there are all, any, "),
        ("[verifiers]\nexact = 3\n", "[verifiers.exact] is the table of no verifier; there are all, any, "),
        ("[choose]\ntool = 'a'\n", "rules are tables [[choose]], in two brackets"),
        ("choose = [3]\n", "rules are tables [[choose]], in two brackets"),
        ("[rollout\n", "cannot be read: "),
        (b"\xff", "cannot be read: "),
    ],
)
def test_a_file_that_says_what_nobody_reads_is_a_user_error(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as raised:
        read_config(path)
    assert str(raised.value).startswith(f"--config {path}")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read: .*No such file"):
        read_config(tmp_path / "run.toml")


def test_an_option_that_the_command_has_not_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"^--config: \[score\] has no option 'num_sample'; it has a, b$"):
        command_options({"score": {"num-sample": 1}}, "score", ["b", "a"])


def test_a_table_is_the_json_text_of_its_flag() -> None:
    tables = {"rollout": {"template-options": {"enable_thinking": False}, "num_samples": 4}}
    options = command_options(tables, "rollout", {"template_options", "num_samples"})
    assert options == {"template_options": '{"enable_thinking": false}', "num_samples": 4}
