"""`python -m benchmarks.fuzz [--seconds 60] [--seed 0]`: mutated inputs through every place that takes foreign text.

Readers, action parsers, verifiers, servers' replies and run.toml, from a seed corpus of our own (`corpus`). The only
answers are a result, a reject with its reason, a verdict, or a UserError; anything else is printed with the input that
caused it. The tests hold the properties one by one; this gives all of them more time, with other inputs each time.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from pivotmine import strict_json
from pivotmine.actions import (
    PARSERS,
    Action,
    ToolCall,
    action_from_json,
    action_from_message,
    action_to_json,
    parse_action,
)
from pivotmine.errors import UserError
from pivotmine.messages import problem
from pivotmine.readers import all_readers, detect, grouped
from pivotmine.readers.trajectory import BadTrajectory
from pivotmine.run import rundir
from pivotmine.sources.json_records import Record
from pivotmine.sources.sources import read_source
from pivotmine.verifiers import State, Verdict, make_spec, prepare
from pivotmine.verifiers.registry import VERIFIERS
from pivotmine_stages.cli.config_file import read_config
from pivotmine_stages.cli.options import configs
from pivotmine_stages.engines.openai.replies import Trouble, read_reply
from pivotmine_stages.engines.protocol import Request, Sample

ROOT = Path(__file__).parents[1]
OF_SAMPLE = [field.name for field in fields(Sample)]
JUNK: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 2**70, 10**400, "", "x", "\x1b[2J", "\ud800", "\u202e", "9" * 5000, "[" * 3000, "{oops"),
    *([], {}, [None], [[]], [{}], {"a": None}, {"role": []}, "<tool_call>", "'; --", "$(x)", "\\frac{" * 50),
)
LONGEST_S = 20.0
"""One input that takes longer hangs."""
MOST_TOLD = 20
_NEEDS_A_SERVER = ("judge",)
Fuzz = Callable[[random.Random, "Corpus"], None]


class Corpus:
    """What mutations start from: records of every format, texts of every convention, actions, replies, a run.toml."""

    def __init__(self) -> None:
        sys.path.insert(0, str(ROOT / "tests/support"))
        import format_samples

        self.records: list[list[Any]] = [list(records) for records in format_samples.SAMPLES.values()]
        self.texts = [
            '<tool_call>\n{"name": "find", "arguments": {"id": "A"}}\n</tool_call>',
            "<tool_call><function=find><parameter=id>A</parameter></function></tool_call>",
            '[TOOL_CALLS][{"name": "find", "arguments": {"id": "A"}}]',
            '{"name": "find", "parameters": {"id": "A"}}',
            "<think>so</think>Order A is open.",
            "Thought: look\nAction: find[A]\n",
            "```bash\nls -la /tmp | grep x && rm -f y\n```",
            '{"analysis": "", "plan": "", "commands": [{"keystrokes": "ls\\n"}]}',
        ]
        self.arguments: list[dict[str, Any]] = [
            {"command": "grep -rn 'a b' src | head -5 > out.txt"},
            {"query": "select a, count(*) from t where b = 'x' group by a order by 2"},
            {"code": "def f(x):\n    return [i ** 2 for i in range(x)]\n"},
            {"path": "a.py", "old_str": "x = 1\n", "new_str": "x = 2\n", "command": "str_replace"},
            {"answer": "\\frac{1}{2} + \\sqrt{4}"},
            {"id": "A", "tags": ["a", "b"], "deep": {"n": 1.0}},
        ]
        self.toml = (ROOT / "data/desk/run.toml").read_text() + (
            '[score]\nverifier = "any"\n[verifiers.any]\nmembers = ["exact", "tool_call"]\n[select]\nmax_mean = 0.6\n'
        )


def mutated(value: Any, chance: random.Random) -> Any:
    """A JSON value with one to three of its places taken out, doubled, or replaced by junk."""
    value = json.loads(json.dumps(value))
    for _ in range(chance.randint(1, 3)):
        places = list(_places(value))
        if not places:
            return copy.deepcopy(chance.choice(JUNK))
        holder, key = chance.choice(places)
        match chance.choice(("drop", "double", "junk", "text")):
            case "drop":
                del holder[key]
            case "double" if isinstance(holder, list):
                holder.insert(key, json.loads(json.dumps(holder[key])))
            case "text" if isinstance(holder[key], str):
                holder[key] = mutated_text(holder[key], chance)
            case _:
                holder[key] = copy.deepcopy(chance.choice(JUNK))
    return value


def _places(value: Any) -> Any:
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, child in items:
        yield value, key
        yield from _places(child)


def mutated_text(text: str, chance: random.Random) -> str:
    """A text with a piece taken out, doubled, or put in."""
    a, b = sorted((chance.randint(0, len(text)), chance.randint(0, len(text))))
    piece = chance.choice(
        (text[a:b], text[a:b] * 40, str(chance.choice(JUNK)), "\x00", "```", "<", "{", "'", '"', "\n")
    )
    made = chance.choice((text[:a] + text[b:], text[:a] + piece + text[a:], text[:a] + piece + text[b:]))[:50_000]
    return made.encode("utf-8", "replace").decode()  # text that came as UTF-8 has no lone surrogates


def readers(chance: random.Random, corpus: Corpus) -> None:
    """Records of one file, as extract takes them."""
    try:
        records = strict_json.loads(json.dumps(mutated(chance.choice(corpus.records), chance)))
    except ValueError:
        return  # no file with such text is read as far as this
    if not isinstance(records, list):
        return
    for record in grouped((Record(place, value) for place, value in enumerate(records)), None):
        try:
            if record.problem:
                continue
            found = all_readers()[detect(record.value)].read(record.value)
        except BadTrajectory as bad:
            json.dumps([bad.reason, bad.detail])
            continue
        for segment in found.segments:
            for message in segment.messages:
                if problem(message) is None and message["role"] == "assistant":
                    action_to_json(action_from_message(message))


def files(chance: random.Random, corpus: Corpus) -> None:
    """The bytes of a file, whole, cut, and with bytes changed."""
    lines = "".join(json.dumps(record) + "\n" for record in chance.choice(corpus.records))
    data = bytearray(lines.encode("utf-8", "surrogatepass"))
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / chance.choice(("a.jsonl", "a.json", "a.parquet", "a.jsonl.gz", "a.jsonl.zst", "a.eval"))
        path.write_bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
        for record in read_source(path):
            json.dumps(record.problem)


def parsers(chance: random.Random, corpus: Corpus) -> None:
    """What a policy wrote, in every convention of calls."""
    text = mutated_text(chance.choice(corpus.texts), chance)
    action = parse_action(
        text, parser=chance.choice(sorted(PARSERS)), opened_reasoning=chance.random() < 0.3, tools=_tools(chance)
    )
    assert action_to_json(action_from_json(action_to_json(action))) == action_to_json(action)


def _tools(chance: random.Random) -> tuple[dict[str, Any], ...]:
    schema = {"type": "object", "properties": {"id": {"type": "string"}, "n": {"type": "integer"}}, "required": ["id"]}
    tool = {"type": "function", "function": {"name": "find", "parameters": schema}}
    return (mutated(tool, chance),) if chance.random() < 0.2 else (tool,)


def verifiers(chance: random.Random, corpus: Corpus) -> None:
    """An action against a demonstration, by every verifier that needs no server."""
    name = chance.choice(sorted(set(VERIFIERS) - set(_NEEDS_A_SERVER)))
    try:
        spec = make_spec(name, {})
    except UserError:
        return  # needs options
    whole = chance.choice(corpus.arguments)
    gold = Action(
        tool_calls=(ToolCall(name=chance.choice(("find", "bash", "sql", "python", "edit")), arguments=whole),)
    )
    if chance.random() < 0.3:
        gold = Action(message=chance.choice(corpus.texts))
    other = mutated(whole, chance)
    action = Action(tool_calls=(ToolCall(name="find", arguments=other if isinstance(other, dict) else {"a": other}),))
    if chance.random() < 0.4:
        action = Action(message=mutated_text(gold.message or json.dumps(whole), chance))
    state = State(tools=({"type": "function", "function": {"name": "find", "parameters": {}}},))
    verdict = prepare(spec, state, [gold])(action)
    assert isinstance(verdict, Verdict)
    assert verdict.reward is None or 0 <= verdict.reward <= 1
    assert verdict.detail.isprintable()


def replies(chance: random.Random, corpus: Corpus) -> None:
    """The body of a server's reply, through the engine's own reading."""
    said = {"role": "assistant", "content": chance.choice(corpus.texts), "tool_calls": None}
    choice: dict[str, Any] = {"index": 0, "message": said, "text": "x", "finish_reason": "stop", "token_ids": [1, 2]}
    choice["logprobs"] = {"content": [{"token": "a", "logprob": -0.5}], "token_logprobs": [-0.5]}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}
    body = mutated({"choices": [choice, {**choice, "index": 1}], "usage": usage, "model": "m"}, chance)
    request = Request(state_id="s", prompt_ids=[1], sample_indices=(0, 1))
    try:
        reply = read_reply(request, body)
    except (ValueError, Trouble):
        return
    samples = [{name: getattr(sample, name) for name in OF_SAMPLE} for sample in reply.samples]
    rows = [{"policy_id": "p", "state_id": "s", "num_cached_tokens": reply.num_cached_tokens, **one} for one in samples]
    rundir.table_of_rows("rollouts", rows)
    for sample in reply.samples:
        if sample.message is not None:
            action_from_message(json.loads(sample.message))


def config(chance: random.Random, corpus: Corpus) -> None:
    """A run.toml, and the options of a command from it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.toml"
        path.write_text(mutated_text(corpus.toml, chance), encoding="utf-8", errors="replace")
        try:
            tables = read_config(path)
            command = chance.choice(("score", "select", "rollout"))
            configs(command, tables, tables.get(command, {}))
        except UserError:
            return


PLACES: dict[str, Fuzz] = {
    "readers": readers,
    "files": files,
    "parsers": parsers,
    "verifiers": verifiers,
    "replies": replies,
    "run.toml": config,
}


def main() -> None:
    """Exit code 1 if an input was answered by anything but a result or a reason."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--places", nargs="+", choices=sorted(PLACES), default=list(PLACES))
    options = parser.parse_args()
    corpus, tried, wrong = Corpus(), Counter[str](), Counter[str]()
    signal.signal(signal.SIGALRM, _hangs)
    started, number = time.monotonic(), 0
    while time.monotonic() - started < options.seconds and sum(wrong.values()) < MOST_TOLD:
        name = options.places[number % len(options.places)]
        tried[name] += 1
        signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
        try:
            PLACES[name](random.Random(f"{options.seed}/{number}"), corpus)
        except Exception:
            wrong[name] += 1
            print(f"fuzz     {name}, seed {options.seed}/{number}:\n{traceback.format_exc()[-1500:]}", flush=True)
        signal.setitimer(signal.ITIMER_REAL, 0)
        number += 1
    rows = [f"| {name} | {count:,} | {wrong[name]} |" for name, count in sorted(tried.items())]
    print("\n".join(["| place | inputs | neither result nor reason |", "|---|---|---|", *rows, ""]))
    print(f"*{tried.total():,} inputs, seed {options.seed}, {time.monotonic() - started:.0f} s.*")
    sys.exit(1 if wrong.total() else 0)


def _hangs(*_: Any) -> None:
    raise TimeoutError(f"no answer in {LONGEST_S:.0f} s")


if __name__ == "__main__":
    main()
