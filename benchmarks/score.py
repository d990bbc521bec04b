"""The `score` stage against a plain recursive comparator over the same rows, and each verifier by itself.

There are two loads: samples of a policy that repeats itself (one of four answers in each state), and samples that all
differ. Times are processor seconds of all processes, because the clock of a shared machine is unreliable. Parts are
scored independently, so n cores give n times the verdicts per second of one.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import paired_ratio

from pivotmine.actions import Action, ToolCall
from pivotmine.errors import UserError
from pivotmine.run import rundir
from pivotmine.verifiers import VERIFIERS, State, make_spec, prepare
from pivotmine_stages.cli.options import extract, score

NUM_STATES = 1000
NUM_SAMPLES = 40
NUM_PARTS = 4
POLICY = "recorded-000000000000"
PARAMETERS = {"type": "object", "properties": {"order_id": {"type": "string"}, "quantity": {"type": "integer"}, "note": {"type": "string"}}}  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": "order", "parameters": PARAMETERS}}]
JUDGED_ALONE_S = 0.5


def main() -> None:
    """Print verdicts per second and the ratios."""
    for load, num_distinct in (("of 4 answers a state", 4), ("all distinct", NUM_SAMPLES)):
        _whole_road(load, num_distinct)
    for name in sorted(VERIFIERS):
        _alone(name)


def _whole_road(load: str, num_distinct: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        texts = _make_run(Path(folder), run, num_distinct)
        cpu_s: list[float] = []

        def ours() -> None:
            for path in run.glob("scores/*/*/part-*.parquet"):
                path.unlink()
            started = _cpu_s()
            score({}, run=run, num_processes=1)
            cpu_s.append(_cpu_s() - started)

        def theirs() -> None:
            for number, rows in enumerate(texts):
                for text in rows:
                    _same(_gold(number), json.loads(text[12:-13])["arguments"])

        _, plain_s, ratio = paired_ratio(ours, theirs, repeats=3)
        count = NUM_STATES * NUM_SAMPLES
        print(
            f"score    {count:,} samples, {load}: {count / min(cpu_s):,.0f} verdicts/s of one core, plain loop {count / plain_s:,.0f}/s, ratio {ratio:.1f}"
        )


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _alone(name: str) -> None:
    """Time a verifier on actions in one state, half of them right."""
    gold = Action(message="I ordered 2 of B7 as agreed.", tool_calls=(ToolCall(name="order", arguments=_gold(7)),))
    wrong = Action(
        message="I ordered 3 of B7 as agreed.",
        tool_calls=(ToolCall(name="order", arguments={**_gold(7), "quantity": 3}),),
    )
    try:
        spec = make_spec(name, {})
    except UserError:
        return  # a combination needs members
    if name in ("judge", "recorded"):
        return
    judge = prepare(spec, State(tools=tuple(TOOLS), messages=({"role": "user", "content": "Order 2 of B7."},)), [gold])
    started, count = time.process_time(), 0
    while time.process_time() - started < JUDGED_ALONE_S:
        for _ in range(50):
            judge(gold)
            judge(wrong)
        count += 100
    print(f"score    {name}: {count / (time.process_time() - started):,.0f} verdicts/s")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and a == b


def _gold(number: int) -> dict[str, Any]:
    return {"order_id": f"B{number}", "quantity": 2, "note": "as agreed"}


def _make_run(folder: Path, run: Path, num_distinct: int) -> list[list[str]]:
    """Make a run with rollouts that no engine sampled; return the samples' texts by state."""
    records, texts = [], []
    for number in range(NUM_STATES):
        call = {"id": "c", "type": "function", "function": {"name": "order", "arguments": json.dumps(_gold(number))}}
        messages = [{"role": "user", "content": f"Order B{number}."}, {"role": "assistant", "tool_calls": [call]}]
        records.append({"messages": messages, "tools": TOOLS})
        answers = [
            {"name": "order", "arguments": {**_gold(number), "quantity": k % num_distinct}} for k in range(NUM_SAMPLES)
        ]
        texts.append([f"<tool_call>\n{json.dumps(answer)}\n</tool_call>" for answer in answers])
    (folder / "source.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    extract({}, sources=[folder / "source.jsonl"], run=run)
    states = rundir.scan(run, "turns").collect()["state_id"].to_list()
    rows = [
        {"policy_id": POLICY, "state_id": state, "sample_index": k, "text": text, "finish_reason": "stop", "opened_reasoning": False}
        for state, answers in zip(states, texts, strict=True)
        for k, text in enumerate(answers)
    ]  # fmt: skip
    size = len(rows) // NUM_PARTS
    for part in range(NUM_PARTS):
        path = run / "rollouts" / POLICY / f"part-0of1-{part:06d}.parquet"
        rundir.write_rows(path, "rollouts", rows[part * size : part * size + size])
    record = dict.fromkeys(("adapter", "tokenizer", "weights_hash", "tokenizer_hash", "template_hash"))
    record |= {"policy_id": POLICY, "name": "recorded", "engine": "recorded", "model": "none", "parser": "hermes"}
    record |= {"template_options": {}, "sampling": {}, "seed": 0}
    rundir.write_text(run / "rollouts" / POLICY / "policy.json", json.dumps(record))
    return texts
