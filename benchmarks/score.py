"""score from stored rollouts to stored verdicts, against a plain recursive comparator over the same rows."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measuring import paired_ratio

from pivotmine import rundir
from pivotmine_stages.commands import extract, score

NUM_STATES = 500
NUM_SAMPLES = 40
POLICY = "recorded-000000000000"


def main() -> None:
    """Print verdicts a second and the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        texts = _make_run(Path(folder), run)

        def ours() -> None:
            for path in run.glob("scores/*/*/part-*.parquet"):
                path.unlink()
            score({}, run=run)

        def theirs() -> None:
            for number, rows in enumerate(texts):
                gold = {"order_id": f"B{number}", "quantity": 2, "note": "as agreed"}
                for text in rows:
                    _same(gold, json.loads(text[12:-13])["arguments"])

        seconds, plain, ratio = paired_ratio(ours, theirs, repeats=3)
        count = NUM_STATES * NUM_SAMPLES
        print(
            f"score    {count:,} samples: {count / seconds:,.0f} verdicts/s, plain loop {count / plain:,.0f}/s, ratio {ratio:.1f}"
        )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and a == b


def _make_run(folder: Path, run: Path) -> list[list[str]]:
    """A run whose rollouts were written by hand: an engine is not what is measured here."""
    parameters = {"type": "object", "properties": {"order_id": {"type": "string"}, "quantity": {"type": "integer"}, "note": {"type": "string"}}}  # fmt: skip
    tools = [{"type": "function", "function": {"name": "order", "parameters": parameters}}]
    records, texts = [], []
    for number in range(NUM_STATES):
        arguments = {"order_id": f"B{number}", "quantity": 2, "note": "as agreed"}
        call = {"id": "c", "type": "function", "function": {"name": "order", "arguments": json.dumps(arguments)}}
        messages = [{"role": "user", "content": f"Order B{number}."}, {"role": "assistant", "tool_calls": [call]}]
        records.append({"messages": messages, "tools": tools})
        answers = [{"name": "order", "arguments": {**arguments, "quantity": k % 4}} for k in range(NUM_SAMPLES)]
        texts.append([f"<tool_call>\n{json.dumps(answer)}\n</tool_call>" for answer in answers])
    (folder / "source.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    extract({}, sources=[folder / "source.jsonl"], run=run)
    states = rundir.scan(run, "turns").collect()["state_id"].to_list()
    rows = [
        {"policy_id": POLICY, "state_id": state, "sample_index": k, "text": text, "finish_reason": "stop", "opened_reasoning": False}
        for state, answers in zip(states, texts, strict=True)
        for k, text in enumerate(answers)
    ]  # fmt: skip
    rundir.write_rows(run / "rollouts" / POLICY / "part-0of1-000000.parquet", "rollouts", rows)
    record = dict.fromkeys(("adapter", "tokenizer", "weights_hash", "tokenizer_hash", "template_hash"))
    record |= {"policy_id": POLICY, "name": "recorded", "engine": "recorded", "model": "none", "parser": "hermes"}
    record |= {"template_options": {}, "sampling": {}, "seed": 0}
    rundir.write_text(run / "rollouts" / POLICY / "policy.json", json.dumps(record))
    return texts
