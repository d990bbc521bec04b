from pathlib import Path

import pytest

from pivotmine.errors import UserError
from pivotmine.verifiers import make_spec
from pivotmine_stages.cli.config_file import read_config, verifier
from pivotmine_stages.cli.options import configs


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "run.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_the_tables_of_a_file(tmp_path: Path) -> None:
    text = '[rollout]\nnum-samples = 16\ntop_p = 0.9\n[verifiers.tool_call]\nfree_text = ["a.b"]\n'
    tables = read_config(write(tmp_path, text))
    assert tables["rollout"] == {"num_samples": 16, "top_p": 0.9}
    assert verifier(tables, "tool_call") == make_spec("tool_call", {"free_text": ["a.b"]})
    assert verifier(tables, "exact") == make_spec("exact", {})


def test_no_file_has_no_tables() -> None:
    assert read_config(None) == {}


TABLES = (
    "extract, rollout, score, select, record, export, audit, report, view, show, compare, verify, verifiers, [[choose]]"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rollouts]\n", f"no table is called [rollouts]; there are {TABLES}; did you mean rollout?"),
        ("limit = 3\n", f"no table is called [limit]; there are {TABLES}"),
        ("rollout = 3\n", "rollout is a table of options, [rollout], not 3"),
        ("[[rollout]]\nseed = 1\n", "rollout is a table of options, [rollout], not [{'seed': 1}]"),
        ("verifiers = 3\n", "verifiers is a table of options, [verifiers], not 3"),
        (
            "[verifiers.tool_cal]\n",
            "unknown verifier [verifiers.tool_cal]; did you mean tool_call?; there are all, any, ",
        ),
        ("[verifiers]\nexact = 3\n", "unknown verifier [verifiers.exact]"),
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
    with pytest.raises(UserError, match=r"^--config .*/run.toml does not exist$"):
        read_config(tmp_path / "run.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[score]\nnum-proceses = 1\n", "[score] has no option 'num-proceses'; did you mean num_processes?"),
        ("[select]\nmax_meen = 0.5\n", "[select] has no option 'max_meen'; did you mean max_mean?"),
        ("[select]\nmax_mean = 1.5\n", "[select] max_mean = 1.5: in (0, 1]"),
        ("[select]\nmax_mean = 'high'\n", "[select] max_mean = 'high': must be a number"),
        ("[select]\nstrategy = 'pivot'\n", "strategy = pivot: choose from pivots, mixed, entropy, random, all; did"),
        ("[rollout]\nnum_samples = 0\n", "[rollout] num_samples = 0: in [1, 16384]"),
        ("[rollout]\nnum_samples = true\n", "[rollout] num_samples = True: must be a whole number"),
        ("[rollout]\nengine = 'vlm'\n", "[rollout] engine = vlm: choose from vllm, openai, transformers, ray; did"),
        ("[rollout]\nshard = '4/4'\n", "[rollout] shard = 4/4: i/n with i from 0 to n-1, for example 0/4"),
        ("[rollout]\ntemplate_options = '['\n", "[rollout] template_options = [: a JSON object, for example "),
        (
            "[export]\nto = 'nemogym'\n",
            "[export] to = nemogym: choose from nemo_gym, verl, verifiers; did you mean nemo_gym?",
        ),
        ("[verifiers.tool_call]\nfree_txt = ['a']\n", 'verifier tool_call has no option "free_txt"'),
        ("[verifiers.mail]\nall = ['tool_cal']\n", 'no verifier "tool_cal"'),
        ("[[choose]]\ntol = 'a'\nverifier = 'exact'\n", "[[choose]] has no key 'tol'"),
    ],
)
def test_a_typo_in_any_table_is_an_error_with_the_file_and_the_nearest_name(
    tmp_path: Path, text: str, message: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as raised:
        read_config(path)
    assert str(raised.value).startswith(f"--config {path}: ")
    assert message in str(raised.value)


def test_a_key_may_have_the_name_of_the_version_before(tmp_path: Path) -> None:
    assert read_config(write(tmp_path, "[select]\nlimit = 3\n"))["select"] == {"max_rows": 3}


def test_values_come_as_the_dataclass_holds_them(tmp_path: Path) -> None:
    text = "[rollout]\ntemplate-options = { enable_thinking = false }\nbase-url = ['a', 'b']\ntemperature = 1\n"
    assert read_config(write(tmp_path, text))["rollout"] == {
        "template_options": {"enable_thinking": False},
        "base_url": ("a", "b"),
        "temperature": 1.0,
    }


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000 + "]" * 5000,
        "a = " + "{a = " * 5000 + "1" + "}" * 5000,
        ".".join("a" * 3000) + " = 1",
        "[rollout]\ntemplate_options = " + "[" * 500 + "]" * 500,
        "[" + ".".join("v" * 3000) + "]",
        "a = " + "9" * 5000,
    ],
)
def test_a_file_that_is_nested_too_deeply_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(UserError, match=r"^--config \S+/run\.toml cannot be read: ") as refused:
        read_config(tmp_path / "run.toml")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("value", ["1.5", "[]", '["exact"]', "{ a = 1 }", "2020-01-01"])
def test_a_verifiers_name_is_a_text(tmp_path: Path, value: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f"[score]\nverifier = {value}\n")
    with pytest.raises(UserError, match="verifier"):
        configs("score", tables := read_config(path), tables["score"])
