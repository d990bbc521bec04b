"""The environment of the `verifiers` library up to 0.3: `load_environment`, as Tinker's cookbook calls it.

The policy continues the mined prompt as text, which contains the tools and tokenises to `prompt_ids`. For a chat
request the server would render the prompt, and the cookbook's chat client takes no tools. Only the package that
`export --to verifiers` writes imports this module.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import verifiers as vf  # pyright: ignore[reportMissingImports] - the exported package's environment only
from datasets import Dataset

from pivotmine.actions.reasoning import split_end_tokens
from pivotmine.verifiers.dataset_rows import judge_action, read_completion
from pivotmine_stages.export.verifiers.package import read_rows

KEPT = {"skip_special_tokens": False}
"""A field for vLLM servers: without it, completions lose their tool-call markers."""


def load(folder: Path, verifier: str | None = None) -> Any:
    """A `SingleTurnEnv` on the rows in a folder; `verifier` replaces each row's own verifier."""

    async def pivot_reward(state: Any) -> float:
        row = json.loads(state["info"]["row"])
        text, is_whole = said(state)
        verdict = judge_action(row, read_completion(row, text, truncated=not is_whole), verifier)
        # The library needs a reward. With the mean that mining found, the advantage is about 0.
        return (row["mean"] or 0.0) if verdict.reward is None else verdict.reward

    return vf.SingleTurnEnv(
        dataset=_dataset(folder, "train"),
        eval_dataset=_dataset(folder, "validation"),
        rubric=vf.Rubric(funcs=[pivot_reward]),
        message_type="completion",
        sampling_args={"extra_body": KEPT},
    )


def said(state: Any) -> tuple[str, bool]:
    """The completion without its end-of-turn token, and whether the policy ended it itself.

    Some clients report `stop` for every completion. A spent budget then shows that it is truncated.
    """
    step = state["trajectory"][-1]
    text, end = split_end_tokens(step["completion"])
    given = state["sampling_args"] or {}
    budget = given.get("max_tokens") or given.get("max_completion_tokens")
    ids = (step["tokens"] or {}).get("completion_ids", [])
    is_spent = budget is not None and len(ids) >= budget
    return text, bool(end.strip()) or not (step["is_truncated"] or is_spent)


def _dataset(folder: Path, split: str) -> Dataset | None:
    rows = read_rows(folder, split)
    examples = [
        {"prompt": row["prompt"], "answer": "", "task": row["domain"] or row["kind"], "info": {"row": json.dumps(row)}}
        for row in rows
    ]
    return Dataset.from_list(examples) if examples else None
