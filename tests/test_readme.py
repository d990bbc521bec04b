"""The README names what is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_file_tree_names_every_folder_of_code_and_no_other() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text[text.index("pyproject.toml  constraints.txt") :]
    named = set(re.findall(r"(?<![.\w])(\w+)/", tree[: tree.index("```")]))
    roots = ("pipeline/pivotmine", "stages/pivotmine_stages", "trainer/pivotmine_trainer")
    folders = {path.parent.name for root in roots for path in (ROOT / root).glob("*/__init__.py")}
    assert folders <= named
    assert [name for name in sorted(named) if not any(ROOT.glob(f"**/{name}"))] == []


def test_every_option_of_the_trainer_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    part = text[text.index("## Train on them") : text.index("## Where things are")]
    commands = "\n".join(re.findall(r"(?:pivotmine-train|trl grpo)[^\n`]*", part))
    used = {*re.findall(r"--([a-z_]+)(?= )", commands), *re.findall(r"`--([a-z_]+)[^`]*`", part)}
    assert {"dataset", "method", "retrieval_prompts", "echo_weight"} <= used
    declared = (ROOT / "trainer/pivotmine_trainer/cli/arguments.py").read_text(encoding="utf-8")
    of_trl = {
        "output_dir",
        "use_peft",
        "report_to",
        "use_vllm",
        "resume_from_checkpoint",
        "reward_funcs",
        "dataset_name",
    }
    assert [
        name for name in sorted(used - of_trl) if not re.search(rf"(^    {name}:|\"--{name}\")", declared, re.M)
    ] == []


def test_every_command_and_flag_of_the_readme_exists() -> None:
    from typer.main import get_command

    from pivotmine_stages.cli.app import app

    commands = get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    used = re.findall(r"^pivotmine (\w+) (.*)$", text, flags=re.MULTILINE)
    assert used
    for command, rest in used:
        flags = {flag for parameter in commands[command].params for flag in parameter.opts}
        assert set(re.findall(r"(?<!\S)--[\w-]+", rest)) <= flags, command
