import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pivotmine.errors import UserError
from pivotmine_stages.cli.options import extract

TOOLS = [{"type": "function", "function": {"name": "f"}}]
CALL = {"name": "f", "arguments": "{}"}


def say(role: str, text: str | None, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": text, **more}


def call(identity: str) -> dict[str, Any]:
    return say("assistant", None, tool_calls=[{"id": identity, "function": CALL}])


def source(folder: Path) -> Path:
    """Two trajectories that part after the second message but for a call id, and one without tools."""
    first = [
        say("system", "sss"),
        say("user", "uu"),
        call("a"),
        say("tool", "rrrr", tool_call_id="a"),
        say("assistant", "x"),
    ]
    second = [
        *first[:2],
        call("b"),
        say("tool", "tttttt", tool_call_id="b"),
        say("assistant", "x", reasoning_content="hm"),
    ]
    third = [say("user", "uu"), say("assistant", "y"), say("user", "v" * 7), say("assistant", "z")]
    records = [{"messages": m, "tools": TOOLS} for m in (first, second)] + [{"messages": third}]
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_dry_run_counts_prompts_and_their_distinct_prefixes_and_writes_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    path = source(tmp_path)
    summary = extract({}, sources=[path], run=run, dry_run=True)
    assert not run.exists()
    written = extract({}, sources=[path], run=run)
    tools, called = (len(json.dumps(value, separators=(",", ":"))) for value in (TOOLS, CALL))
    start = tools + 3 + 2
    ours: dict[str, Any] = {
        "formats": {"openai": 3},
        "prompt_characters": 2 * start + 2 * (start + called) + 4 + 6 + 2 + (2 + 1 + 7),
        "distinct_prefix_characters": start + called + 4 + 6 + (2 + 1 + 7),
        "longest_prompt_characters": start + called + 6,
    }
    assert replace(summary, seconds=0) == replace(written, dry_run=True, **ours, seconds=0)


def test_a_tokenizer_counts_tokens(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = str(Path(__file__).parents[3] / "data" / "desk" / "policy")
    summary = extract({}, sources=[source(tmp_path)], run=tmp_path / "run", dry_run=True, tokenizer=tokenizer)
    ids = AutoTokenizer.from_pretrained(tokenizer)

    def size(*texts: str) -> int:
        return sum(len(ids(text, add_special_tokens=False)["input_ids"]) for text in texts)

    compact = (json.dumps(TOOLS, separators=(",", ":")), json.dumps(CALL, separators=(",", ":")))
    third = ("uu", "y", "v" * 7)
    assert summary.distinct_prefix_tokens == size(*compact, "sss", "uu", "rrrr", "tttttt", *third)
    assert summary.longest_prompt_tokens == size(*compact, "sss", "uu", "tttttt")
    assert summary.prompt_characters is None
    assert (summary.max_model_len, summary.too_long) == (1024, 0)


def test_a_policys_context_tells_how_many_prompts_fill_it(tmp_path: Path) -> None:
    policy = shutil.copytree(Path(__file__).parents[3] / "data" / "desk" / "policy", tmp_path / "policy")
    config = json.loads((policy / "config.json").read_text())
    dry: dict[str, Any] = {"sources": [source(tmp_path)], "run": tmp_path / "run", "dry_run": True}
    longest = extract({}, **dry, tokenizer=str(policy)).longest_prompt_tokens
    (policy / "config.json").write_text(json.dumps({**config, "max_position_embeddings": longest}))
    filled = extract({}, **dry, tokenizer=str(policy))
    assert (filled.max_model_len, filled.too_long) == (longest, 1)
    (policy / "config.json").unlink()
    assert extract({}, **dry, tokenizer=str(policy)).too_long is None


def test_a_tokenizer_without_a_dry_run_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--tokenizer counts the tokens of a --dry-run"):
        extract({}, sources=[source(tmp_path)], run=tmp_path / "run", tokenizer="t")
    assert not (tmp_path / "run").exists()


def test_extract_without_a_dry_run_needs_no_polars(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib\n"
        "from pivotmine_stages.cli.options import extract\n"
        "sources, run = [pathlib.Path(sys.argv[1])], pathlib.Path(sys.argv[2])\n"
        "extract({}, sources=sources, run=run, num_processes=1)\n"
        "sys.exit('polars' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(source(tmp_path)), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
