"""`python -m benchmarks scale [--states 20000]`: a made run of many states, and what each stage takes of it.

Trajectories go through the real extract. Each has four calls and a closing message. Rollouts are written as `rollout`
would store them, K = 16 per state, of which the policy gets 0 to 16 right. Each stage is a process of its own: wall
seconds, CPU seconds and peak memory, its workers included. Prompts are those of the desk's policy.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from pivotmine import policy
from pivotmine.run import rundir
from pivotmine.run.states import demonstrated_turns
from pivotmine.run.tables import TABLES
from pivotmine.stats.profiles import with_bounds
from pivotmine_stages.adaptive.planning import Goal, StateSoFar, probabilistic_plan
from pivotmine_stages.policy.prompts import load_renderer
from pivotmine_stages.profiles.covariates import covariates
from pivotmine_stages.profiles.posteriors import observed
from pivotmine_stages.profiles.stopping import REWARDS, StoppingRule, rewards_of

TURNS = 5
K = 16
POLICY = "made-000000000000"
DESK = Path(__file__).parents[1] / "data/desk/policy"
STATES_PER_PART = 4096
DOMAINS = ("orders", "travel", "files", "search")

STAGES = {
    "extract": "from pivotmine_stages.extract.stage import *; extract(ExtractConfig(sources=(source,)), run)",
    "score": "from pivotmine_stages.score.stage import *; from pivotmine.verifiers import make_spec; "
    "score(ScoreConfig(verifier=make_spec('auto', {})), run)",
    "score again": "from pivotmine_stages.score.stage import *; from pivotmine.verifiers import make_spec; "
    "score(ScoreConfig(verifier=make_spec('auto', {})), run)",
    "profile": "from pivotmine_stages.score.stage import *; from pivotmine.run.states import demonstrated_turns; "
    "(folder,) = run.glob('scores/*/*'); "
    "profiles = rundir.scan(run, 'profiles', [folder / 'profiles.parquet']).collect(); "
    "with_posteriors(run, demonstrated_turns(run), profiles)",
    "plan": "from benchmarks.scale import plan; plan(run)",
    "select preview": "from pivotmine_stages.select.preview import *; preview(SelectConfig(), run)",
    "select 100,000 rows": "from pivotmine_stages.select.stage import *; "
    "print(select(SelectConfig(strategy='mixed', limit=100_000), run).train, 'train', file=sys.stderr)",
    "report": "from pivotmine_stages.report.stage import *; report(ReportConfig(), run)",
    "status": "from pivotmine_stages.status.stage import *; status(run)",
    "sql": "from pivotmine.run import sql; sql.query(run, 'select reward_class, count(*) from profiles group by all')",
    "view, a filter": "from pivotmine_stages.view.stage import *; import time; viewer = Viewer(ViewConfig(), run); "
    "started = time.perf_counter(); "
    "viewer.answer('/api/states', {'class': 'sometimes', 'domain': 'files', 'text': 'a', 'sort': 'mean'}); "
    "print('filter', round(time.perf_counter() - started, 3), file=sys.stderr)",
}


def trajectories(num_states: int) -> Iterator[dict[str, Any]]:
    """`num_states` / TURNS trajectories whose states all differ."""
    parameters = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    tools = [
        {"type": "function", "function": {"name": f"get_{domain}", "parameters": parameters}} for domain in DOMAINS
    ]
    for number in range(num_states // TURNS):
        domain = DOMAINS[number % len(DOMAINS)]
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": f"You serve the {domain} desk."},
            {"role": "user", "content": f"Please look at {domain} {number} and all that belongs to it."},
        ]
        for turn in range(TURNS):
            function = {"name": f"get_{domain}", "arguments": json.dumps({"id": f"{number}-{turn}"})}
            call = {"id": f"c{turn}", "type": "function", "function": function}
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
            messages.append({"role": "tool", "tool_call_id": f"c{turn}", "content": f"state of {number}-{turn}: open"})
        messages[-2:] = [{"role": "assistant", "content": f"All that belongs to {domain} {number} is open."}]
        yield {"messages": messages, "tools": tools, "domain": domain, "task_id": f"t{number}", "reward": 1.0}


def write_rollouts(run: Path) -> None:
    """K samples of every demonstrated state, in parts: the i-th state has i mod 17 right ones."""
    turns = rundir.scan(run, "turns").filter(pl.col("reject_reason").is_null()).select("state_id", "demonstration")
    found = turns.collect().unique("state_id", maintain_order=True).with_row_index("number")
    schema = pl.Schema(TABLES["rollouts"])
    folder = run / "rollouts" / POLICY
    for part, start in enumerate(range(0, len(found), STATES_PER_PART)):
        some = found.slice(start, STATES_PER_PART)
        call = "<tool_call>\n" + pl.col("demonstration").str.extract(r'"tool_calls":\[(.*)\]\}$') + "\n</tool_call>"
        call = call.fill_null(pl.col("demonstration").str.extract(r'"message":"(.*)"\}$'))
        wrong = call.str.replace(r'"id":"', '"id":"not ').str.replace(r"is open\.$", "is closed.")
        good = pl.col("sample_index") < pl.col("number") % (K + 1)
        rows = (
            some.with_columns(sample_index=pl.lit(list(range(K)), pl.List(pl.Int32)))
            .explode("sample_index")
            .with_columns(text=pl.when(good).then(call).otherwise(wrong))
            .with_columns(
                policy_id=pl.lit(POLICY),
                finish_reason=pl.lit("stop"),
                num_tokens=pl.lit(24, pl.Int32),
                num_prompt_tokens=pl.lit(300, pl.Int32),
                opened_reasoning=pl.lit(False),
            )
        )
        absent = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in rows.columns]
        table = rows.with_columns(absent).select(schema.names()).to_arrow().cast(TABLES["rollouts"])
        rundir.write_table(folder / f"part-0of1-{part:06d}.parquet", table)
    renderer = load_renderer(str(DESK), {})
    record = {
        **{"policy_id": POLICY, "name": "made", "engine": "transformers", "model": "made", "adapter": None},
        **{"tokenizer": str(DESK), "template_options": {}, "parser": "hermes", "seed": 0, "weights_hash": None},
        "sampling": {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 64},
        "tokenizer_hash": policy.hash_tokenizer(renderer.tokenizer),
        "template_hash": policy.hash_template(renderer.template),
    }
    rundir.write_text(folder / "policy.json", json.dumps(record))


def plan(run: Path) -> None:
    """The next round of a probabilistic rule that has seen all samples so far."""
    rule = StoppingRule(rule="probabilistic", num_samples=2 * K, max_mean=0.6, min_scored=2)
    (path,) = run.glob("scores/*/*/profiles.parquet")
    rows = with_bounds(rundir.scan(run, "profiles", [path]).collect()).select("state_id", *REWARDS)
    profiles = {row["state_id"]: row for row in rows.iter_rows(named=True)}
    known = covariates(run, demonstrated_turns(run), POLICY, path.parent.name)
    states = [
        StateSoFar(rewards=rewards_of(row), known=observed(row, known) if row["num_scored"] else known[state_id])
        for state_id, row in profiles.items()
    ]
    probabilistic_plan(states, rule, Goal())


def measure(code: str, run: Path, source: Path) -> tuple[float, float, float, str]:
    """Wall seconds, CPU seconds and peak memory in MB of a stage in a process of its own, and what it printed."""
    program = f"import sys; from pathlib import Path; run, source = map(Path, sys.argv[1:]); {code}"
    guarded = f"if __name__ == '__main__':\n    {program}\n"
    script = run.parent / "stage.py"
    script.write_text(guarded)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen([sys.executable, str(script), str(run), str(source)], stderr=subprocess.PIPE, text=True)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _memory_mb(process.pid))
        time.sleep(0.05)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    errors = process.stderr.read() if process.stderr else ""
    if process.returncode:
        raise SystemExit(errors)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, peak, next((line for line in errors.splitlines() if line.startswith("filter")), "")


def _memory_mb(pid: int) -> float:
    """Memory of a process and of those that it started, in MB; what they share counts once."""
    total, open_pids = 0.0, [pid]
    while open_pids:
        one = open_pids.pop()
        try:
            rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
            children = Path(f"/proc/{one}/task/{one}/children").read_text().split()
        except (OSError, ValueError, IndexError):
            continue
        # Pss: what several processes share counts once.
        total += int(rollup.split("\nPss:")[1].split()[0]) * 1024 / 1e6
        open_pids += [int(child) for child in children]
    return total


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale")
    parser.add_argument("--states", type=int, default=20_000)
    parser.add_argument("--stages", nargs="*", default=list(STAGES), choices=list(STAGES))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, source = Path(folder) / "run", Path(folder) / "source.jsonl"
        with source.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in trajectories(asked.states))
        print(f"{asked.states:,} states x {K}; source {source.stat().st_size / 1e6:,.0f} MB")
        print("| stage | wall s | CPU s | peak MB |")
        print("|---|---|---|---|")
        for name in ["extract", *(stage for stage in asked.stages if stage != "extract")]:
            wall, cpu, peak, note = measure(STAGES[name], run, source)
            if name == "extract":
                write_rollouts(run)
            print(f"| {name} {note} | {wall:,.1f} | {cpu:,.1f} | {peak:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
